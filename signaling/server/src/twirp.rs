//! The server API over Twirp, JSON and protobuf (PROTOCOL §1.6, §9).

mod error;
mod other_services;
mod room_service;

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use axum::response::IntoResponse;
use signaling_protocol::{json, service};
use signaling_token::Claims;
use tokio::time::timeout;

use crate::auth::Caller;
use crate::http::App;
use error::TwirpError;

/// Without `X-Twirp-Timeout-Ms`, and at most.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// For a whole body; the token was checked before.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Json,
    Protobuf,
}

impl Encoding {
    /// `None` for another content type, or none.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        match value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "application/json" => Some(Self::Json),
            "application/protobuf" => Some(Self::Protobuf),
            _ => None,
        }
    }

    const fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/protobuf",
        })
    }
}

/// A call as a service sees it.
struct Call<'a> {
    app: &'a App,
    method: &'a str,
    claims: &'a Claims,
    /// The serialized request.
    body: &'a [u8],
}

pub(crate) async fn no_route(request: Request<Body>) -> Response<Body> {
    no_handler(&request).into_response()
}

fn no_handler(request: &Request<Body>) -> TwirpError {
    TwirpError::bad_route(request, format!("no handler for path {:?}", request.uri().path()))
}

pub(crate) async fn call(
    State(app): State<App>,
    Path((service, method)): Path<(String, String)>,
    Extension(caller): Extension<Arc<Caller>>,
    request: Request<Body>,
) -> Response<Body> {
    match answer(&app, &caller, (&service, &method), request).await {
        Ok((encoding, body)) => ([(header::CONTENT_TYPE, encoding.content_type())], body).into_response(),
        Err(error) => error.into_response(),
    }
}

async fn answer(
    app: &App,
    caller: &Caller,
    (service, method): (&str, &str),
    request: Request<Body>,
) -> Result<(Encoding, Bytes), TwirpError> {
    let Some(known) = service::method(service, method) else { return Err(no_handler(&request)) };
    if request.method() != Method::POST {
        let text = format!("unsupported method {:?} (only POST is allowed)", request.method().as_str());
        return Err(TwirpError::bad_route(&request, text));
    }
    let Some(encoding) = Encoding::of(request.headers()) else {
        let found = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let text = format!("unexpected Content-Type: {:?}", found.unwrap_or_default());
        return Err(TwirpError::bad_route(&request, text));
    };
    // Before the body is read, so that strangers cost a header only.
    let claims = caller.claims.as_ref().ok_or_else(TwirpError::denied)?;
    let longest = longest(request.headers());
    let body = read_body(app, request).await?;
    let body = match encoding {
        Encoding::Protobuf => body,
        Encoding::Json => json::to_protobuf(&known.input, &body)
            .map_err(|_| TwirpError::malformed("the json request could not be decoded"))?
            .into(),
    };
    let call = Call { app, method, claims, body: &body };
    let reply = timeout(longest, dispatch(service, &call))
        .await
        .map_err(|_| TwirpError::new("deadline_exceeded", "the request took too long"))??;
    let reply = match encoding {
        Encoding::Protobuf => Bytes::from(reply),
        Encoding::Json => json::from_protobuf(&known.output, &reply)
            .map_err(|error| TwirpError::new("internal", error.to_string()))?
            .into(),
    };
    Ok((encoding, reply))
}

async fn dispatch(service: &str, call: &Call<'_>) -> Result<Vec<u8>, TwirpError> {
    match service {
        "livekit.RoomService" => room_service::call(call).await,
        "livekit.AgentDispatchService" => other_services::agent_dispatch(call),
        _ => other_services::without_redis(service, call),
    }
}

fn longest(headers: &HeaderMap) -> Duration {
    let asked = headers.get("x-twirp-timeout-ms").and_then(|value| value.to_str().ok()?.parse().ok());
    asked.map_or(CALL_TIMEOUT, |ms| Duration::from_millis(ms).min(CALL_TIMEOUT))
}

async fn read_body(app: &App, request: Request<Body>) -> Result<Bytes, TwirpError> {
    let maximum = match app.settings.limit.max_api_request_body_size {
        0 => usize::MAX,
        bytes => bytes as usize,
    };
    let too_large = || TwirpError::with_status("malformed", "request body too large", StatusCode::PAYLOAD_TOO_LARGE);
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > maximum) {
        return Err(too_large());
    }
    match timeout(BODY_TIMEOUT, to_bytes(request.into_body(), maximum)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) if is_length_limit(&error) => Err(too_large()),
        Ok(Err(_)) => Err(TwirpError::malformed("the request body could not be read")),
        Err(_) => Err(TwirpError::new("deadline_exceeded", "the request body took too long")),
    }
}

fn is_length_limit(error: &axum::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if inner.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        source = inner.source();
    }
    false
}
