//! Why a request is refused. Texts and status codes are those that clients know (PROTOCOL §1.4).

use std::fmt;

/// Named by what the caller presented. `Display` is the body of the HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// No token at all, or one without a video grant where a room is to be joined.
    Missing,
    /// An `Authorization` header of another scheme.
    NotBearer,
    /// Not a JWT, not signed with HS256, or without readable claims.
    Unreadable,
    UnknownKey {
        key: String,
    },
    BadSignature {
        token: String,
    },
    Expired {
        token: String,
    },
    NotYetValid {
        token: String,
    },
    /// The claims do not allow what was asked.
    Denied,
    NoIdentity,
    NoRoom,
}

impl TokenError {
    /// HTTP status. Missing permission is 401, never 403: clients treat it as final.
    pub const fn status(&self) -> u16 {
        match self {
            Self::NoIdentity | Self::NoRoom => 400,
            _ => 401,
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("no permissions to access the room"),
            Self::NotBearer => f.write_str("invalid authorization header. Must start with Bearer "),
            Self::Unreadable => f.write_str("invalid authorization token"),
            Self::UnknownKey { key } => write!(f, "invalid API key: {key}"),
            Self::BadSignature { token } => write!(f, "invalid token: {token}, error: signature does not match"),
            Self::Expired { token } => write!(f, "invalid token: {token}, error: token is expired (exp)"),
            Self::NotYetValid { token } => write!(f, "invalid token: {token}, error: token not valid yet (nbf)"),
            Self::Denied => f.write_str("permissions denied"),
            Self::NoIdentity => f.write_str("identity cannot be empty"),
            Self::NoRoom => f.write_str("no room name"),
        }
    }
}

impl std::error::Error for TokenError {}
