//! Why a description was refused, or a call could not be obeyed.

use std::fmt;

use signaling_sdp::SdpError;

/// Named by blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NegotiationError {
    /// The text is no session description, or one beyond the parser's bounds.
    Sdp(SdpError),
    /// A correct description that contradicts what was agreed before: only a new session helps.
    PeerMisbehaved { what: &'static str },
    /// Within the standards but more than a row holds.
    Capacity { what: &'static str },
    /// The client asks for something that this node does not do.
    Unsupported { what: &'static str },
}

impl fmt::Display for NegotiationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sdp(error) => write!(f, "{error}"),
            Self::PeerMisbehaved { what } => write!(f, "peer misbehaved: {what}"),
            Self::Capacity { what } => write!(f, "too large: {what}"),
            Self::Unsupported { what } => write!(f, "unsupported: {what}"),
        }
    }
}

impl std::error::Error for NegotiationError {}

impl From<SdpError> for NegotiationError {
    fn from(error: SdpError) -> Self {
        Self::Sdp(error)
    }
}
