//! Signatures and times.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::Value;

use crate::claims::Claims;
use crate::error::TokenError;
use crate::keys::KeyStore;

/// Clocks may differ by this much (observed: 30 s late or early passes, 120 s does not).
const LEEWAY_SECONDS: i64 = 60;

/// The token of an `Authorization` header.
pub fn bearer(header: &str) -> Result<&str, TokenError> {
    header.strip_prefix("Bearer ").map(str::trim).ok_or(TokenError::NotBearer)
}

/// Checks signature and times of `token`.
///
/// Input: `now` in seconds since 1970. Errors: in the order unreadable, unknown key, signature, times. HS256 is the only
/// algorithm, whatever the header says.
pub fn verify(token: &str, keys: &KeyStore, now: i64) -> Result<Claims, TokenError> {
    if token.is_empty() {
        return Err(TokenError::Missing);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Unreadable)?;
    if header.alg != Algorithm::HS256 {
        return Err(TokenError::Unreadable);
    }
    let unchecked: Value =
        jsonwebtoken::dangerous::insecure_decode_claims(token).map_err(|_| TokenError::Unreadable)?;
    let key = unchecked.get("iss").and_then(Value::as_str).unwrap_or_default();
    let secret = keys.secret(key).ok_or_else(|| TokenError::UnknownKey { key: key.to_owned() })?;
    let key = DecodingKey::from_secret(secret.as_bytes());
    let checked = jsonwebtoken::decode::<Value>(token, &key, &signature_only());
    let mut claims = checked.map_err(|_| TokenError::BadSignature { token: token.to_owned() })?.claims;
    remove_nulls(&mut claims);
    let claims: Claims = serde_json::from_value(claims).map_err(|_| TokenError::Unreadable)?;
    if claims.exp.is_some_and(|exp| now > exp.saturating_add(LEEWAY_SECONDS)) {
        return Err(TokenError::Expired { token: token.to_owned() });
    }
    if claims.nbf.is_some_and(|nbf| now < nbf.saturating_sub(LEEWAY_SECONDS)) {
        return Err(TokenError::NotYetValid { token: token.to_owned() });
    }
    Ok(claims)
}

/// Signs `claims` with `secret`; `iss` becomes `key`.
pub fn sign(claims: &Claims, key: &str, secret: &str) -> String {
    let claims = Claims { iss: key.to_owned(), ..claims.clone() };
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(secret.as_bytes()))
        .expect("claims are plain JSON and HMAC takes any secret")
}

/// Times are checked against the caller's clock; LiveKit's tokens have no audience.
fn signature_only() -> Validation {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

/// A null claim is an absent one: some SDKs write what was not set. `roomConfig` and unknown claims may hold nulls too,
/// which mean the same there.
fn remove_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(remove_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(remove_nulls),
        _ => {}
    }
}
