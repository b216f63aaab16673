//! Why a description or a candidate was refused.

use std::fmt;

/// Named by blame. `line` counts from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SdpError {
    /// The peer wrote something that is not SDP, or a value of a known attribute that cannot be read.
    Malformed { line: u32, what: &'static str },
    /// More than any client writes: an attack or a defect of the peer.
    Capacity { line: u32, what: &'static str },
    /// The caller's decisions do not fit the description.
    Misuse { what: &'static str },
}

impl fmt::Display for SdpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { line, what } => write!(f, "line {line}: malformed {what}"),
            Self::Capacity { line, what } => write!(f, "line {line}: too many or too large: {what}"),
            Self::Misuse { what } => write!(f, "misuse: {what}"),
        }
    }
}

impl std::error::Error for SdpError {}
