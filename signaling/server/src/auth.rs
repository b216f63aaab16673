//! Who asks: the token of a request and its claims.

use axum::http::{HeaderMap, header};
use signaling_token::{Claims, KeyStore, TokenError, bearer, verify};

use crate::query::Parameters;

/// The verified claims. The `Authorization` header goes before the parameter `access_token`.
///
/// **Errors**: [`TokenError::Missing`] without any token.
pub(crate) fn claims(headers: &HeaderMap, parameters: &Parameters, keys: &KeyStore) -> Result<Claims, TokenError> {
    let now = unix_seconds();
    match headers.get(header::AUTHORIZATION) {
        Some(value) => verify(bearer(value.to_str().map_err(|_| TokenError::NotBearer)?)?, keys, now),
        None => verify(parameters.get("access_token").unwrap_or_default(), keys, now),
    }
}

pub(crate) fn unix_seconds() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed())
}
