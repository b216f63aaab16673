//! Why a request to join gets an HTTP status instead of a session (PROTOCOL §1.4).

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use signaling_token::TokenError;

/// Status and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
}

impl Refusal {
    pub(crate) fn bad_request(text: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, text: text.into() }
    }

    pub(crate) fn unauthorized(text: impl Into<String>) -> Self {
        Self { status: StatusCode::UNAUTHORIZED, text: text.into() }
    }

    pub(crate) fn too_long(what: &str, maximum: u32) -> Self {
        Self::bad_request(format!("{what} exceeds limits: max length {maximum}"))
    }

    /// The one text with 404: any other makes clients believe that `/rtc/v1` does not exist.
    pub(crate) fn no_room() -> Self {
        Self { status: StatusCode::NOT_FOUND, text: "requested room does not exist".to_owned() }
    }

    pub(crate) fn over_limits() -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, text: "node has exceeded its configured limit".to_owned() }
    }

    /// The process ends, or its rooms do not answer.
    pub(crate) fn unavailable() -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, text: "the server is not available".to_owned() }
    }

    pub(crate) fn no_session() -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, text: "connection closed by media".to_owned() }
    }
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::UNAUTHORIZED);
        Self { status, text: error.to_string() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], self.text).into_response()
    }
}
