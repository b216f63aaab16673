//! Who asks: the token of a request, checked once and before any route (PROTOCOL §1.4).

use std::net::SocketAddr;

use axum::http::{HeaderMap, Uri, header};
use signaling_token::{Claims, KeyStore, TokenError, bearer, verify};

use crate::query::Parameters;

/// What is known of a request before its route: an extension of it.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) peer: SocketAddr,
    pub(crate) parameters: Parameters,
    /// Verified; `None` without a token.
    pub(crate) claims: Option<Claims>,
}

impl Caller {
    /// The `Authorization` header goes before the parameter `access_token`.
    ///
    /// **Errors**: a token that is none, of an unknown key, forged or out of its time. LiveKit refuses it on every path, also
    /// where none is needed.
    pub(crate) fn of(headers: &HeaderMap, uri: &Uri, peer: SocketAddr, keys: &KeyStore) -> Result<Self, TokenError> {
        let parameters = Parameters::of(uri);
        let token = match headers.get(header::AUTHORIZATION).filter(|value| !value.is_empty()) {
            Some(value) => bearer(value.to_str().map_err(|_| TokenError::NotBearer)?)?,
            None => parameters.get("access_token").unwrap_or_default(),
        };
        let claims = match verify(token, keys, unix_seconds()) {
            Ok(claims) => Some(claims),
            Err(TokenError::Missing) => None,
            Err(error) => return Err(error),
        };
        Ok(Self { peer, parameters, claims })
    }
}

pub(crate) fn unix_seconds() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed())
}
