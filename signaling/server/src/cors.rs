//! CORS as LiveKit answers it: any origin, echoed (PROTOCOL §1.1).

use axum::body::Body;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};

const METHODS: [Method; 6] = [Method::OPTIONS, Method::HEAD, Method::GET, Method::POST, Method::PATCH, Method::DELETE];
/// Seconds that a browser may keep the answer to a preflight.
const MAX_AGE: HeaderValue = HeaderValue::from_static("86400");
const ANY: HeaderValue = HeaderValue::from_static("*");

/// What of a request the answer depends on.
#[derive(Debug)]
pub(crate) struct Cors {
    origin: Option<HeaderValue>,
}

impl Cors {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self { origin: headers.get(header::ORIGIN).cloned() }
    }

    /// The whole answer, when the request is a preflight.
    pub(crate) fn preflight(&self, request: &Request<Body>) -> Option<Response> {
        let asked = request.headers().get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
        if request.method() != Method::OPTIONS {
            return None;
        }
        let mut response = StatusCode::NO_CONTENT.into_response();
        let headers = response.headers_mut();
        let vary = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
        headers.insert(header::VARY, HeaderValue::from_static(vary));
        let known = METHODS.iter().any(|method| method.as_str().as_bytes() == asked.as_bytes());
        let (Some(origin), true) = (&self.origin, known) else { return Some(response) };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, asked.clone());
        if let Some(names) = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        }
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        Some(response)
    }

    /// On every other answer. An origin that the answer has already stays.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        append_vary(headers, header::ORIGIN);
        let Some(origin) = &self.origin else { return };
        headers.entry(header::ACCESS_CONTROL_ALLOW_ORIGIN).or_insert_with(|| origin.clone());
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, ANY);
    }
}

fn append_vary(headers: &mut HeaderMap, name: HeaderName) {
    headers.append(header::VARY, HeaderValue::from(name));
}

/// `validate` allows every origin itself, so that browsers show its errors.
pub(crate) fn allow_any(headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
}
