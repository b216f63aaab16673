//! Access tokens: who a caller is and what it may do (PROTOCOL §1.4, §1.5).
//!
//! It reads, checks, makes and refreshes LiveKit's JWTs. It does not read HTTP headers, and it never reads the clock: `now`
//! is an argument, in seconds since 1970.
#![forbid(unsafe_code)]

mod builder;
mod claims;
mod error;
mod grant;
mod keys;
mod refresh;
mod verify;

pub use builder::{DEFAULT_TTL_SECONDS, TokenBuilder};
pub use claims::Claims;
pub use error::TokenError;
pub use grant::{ParticipantKind, Permission, Source, VideoGrant};
pub use keys::KeyStore;
pub use refresh::{Current, refresh};
pub use verify::{bearer, sign, verify};
