//! Errors as Twirp writes them: always JSON.

use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use signaling_room::ApiError;

#[derive(Debug, Serialize)]
pub(super) struct TwirpError {
    code: &'static str,
    msg: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<Meta>,
    #[serde(skip)]
    status: StatusCode,
}

#[derive(Debug, Serialize)]
struct Meta {
    twirp_invalid_route: String,
}

impl TwirpError {
    pub(super) fn new(code: &'static str, msg: impl Into<String>) -> Self {
        Self::with_status(code, msg, status(code))
    }

    pub(super) fn with_status(code: &'static str, msg: impl Into<String>, status: StatusCode) -> Self {
        Self { code, msg: msg.into(), meta: None, status }
    }

    pub(super) fn bad_route(request: &Request<Body>, msg: String) -> Self {
        let route = format!("{} {}", request.method(), request.uri().path());
        Self { meta: Some(Meta { twirp_invalid_route: route }), ..Self::new("bad_route", msg) }
    }

    pub(super) fn malformed(msg: &str) -> Self {
        Self::new("malformed", msg)
    }

    pub(super) fn invalid(msg: impl Into<String>) -> Self {
        Self::new("invalid_argument", msg)
    }

    /// 401 and never 403: clients take both as final, SDKs test for this one.
    pub(super) fn denied() -> Self {
        Self::new("unauthenticated", "permissions denied")
    }

    pub(super) fn no_response() -> Self {
        Self::new("unavailable", "no response from servers")
    }
}

/// The Twirp specification's table; unknown codes are internal errors.
fn status(code: &str) -> StatusCode {
    match code {
        "canceled" | "deadline_exceeded" => StatusCode::REQUEST_TIMEOUT,
        "malformed" | "invalid_argument" | "out_of_range" => StatusCode::BAD_REQUEST,
        "bad_route" | "not_found" => StatusCode::NOT_FOUND,
        "already_exists" | "aborted" => StatusCode::CONFLICT,
        "permission_denied" => StatusCode::FORBIDDEN,
        "unauthenticated" => StatusCode::UNAUTHORIZED,
        "resource_exhausted" => StatusCode::TOO_MANY_REQUESTS,
        "failed_precondition" => StatusCode::PRECONDITION_FAILED,
        "unimplemented" => StatusCode::NOT_IMPLEMENTED,
        "unavailable" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<ApiError> for TwirpError {
    fn from(error: ApiError) -> Self {
        Self::new(error.code, error.message)
    }
}

impl IntoResponse for TwirpError {
    fn into_response(self) -> Response {
        let body = serde_json::to_string(&self).unwrap_or_default();
        let kind = HeaderValue::from_static("application/json");
        (self.status, [(header::CONTENT_TYPE, kind)], body).into_response()
    }
}
