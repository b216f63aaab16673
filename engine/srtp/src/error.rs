//! What can go wrong with one packet, named by blame.

use core::fmt;

use engine_base::Drop;

/// The peer's fault (`Malformed`, `Auth`) or a limit of ours (`Capacity`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SrtpError {
    /// Too short for its profile, not version 2, a header longer than the packet, or an index that does not belong to it.
    Malformed,
    /// The tag does not match: a wrong key, a wrong index estimate or a changed packet.
    Auth,
    /// The buffer has no room for the tag, or the index space of the key is used up.
    Capacity,
}

impl From<SrtpError> for Drop {
    fn from(error: SrtpError) -> Self {
        match error {
            SrtpError::Malformed => Self::SrtpMalformed,
            SrtpError::Auth => Self::SrtpAuth,
            SrtpError::Capacity => Self::RtpTooLarge,
        }
    }
}

impl fmt::Display for SrtpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "malformed packet or key material",
            Self::Auth => "authentication failed",
            Self::Capacity => "no room, or index space used up",
        })
    }
}

impl core::error::Error for SrtpError {}
