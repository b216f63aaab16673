//! Why bytes could not be read or written, named by blame.

/// A wire error. It carries nothing: callers count it, they do not print it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WireError {
    /// The sender broke the format.
    Malformed,
    /// The bytes end before the format does.
    Truncated,
    /// Well formed, but a version or kind that this crate does not read.
    Unsupported,
    /// Ours: the output buffer or a fixed array is too small, or a value does not fit its field.
    Capacity,
}

pub type Result<T> = core::result::Result<T, WireError>;

impl core::fmt::Display for WireError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Malformed => "malformed",
            Self::Truncated => "truncated",
            Self::Unsupported => "unsupported",
            Self::Capacity => "does not fit",
        })
    }
}

impl core::error::Error for WireError {}
