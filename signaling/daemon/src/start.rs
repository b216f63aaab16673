//! What the holder passes, and the life of the process.

use std::os::fd::OwnedFd;

use anyhow::Result;
use engine_base::Limits;

/// What `millrace signaling` inherits.
#[derive(Debug)]
pub struct SignalingStart {
    pub limits: Limits,
    /// A memfd with the JSON of `signaling_config::Config`, from offset 0.
    pub config: OwnedFd,
    /// Memfd of the node row; read-only.
    pub holder: OwnedFd,
    /// Desired rows; writable.
    pub signaling: OwnedFd,
    /// The session journal; writable. Its size tells the size of its halves.
    pub journal: OwnedFd,
    /// Read-only.
    pub courier: OwnedFd,
    /// Observed rows; read-only.
    pub engine: OwnedFd,
    /// An eventfd per worker: written after rows changed.
    pub worker_wakes: Vec<OwnedFd>,
    pub courier_wake: OwnedFd,
    /// The process's own: workers and the courier write it after their rows changed.
    pub signaling_wake: OwnedFd,
    /// Bound and listening TCP sockets, non-blocking.
    pub listeners: Vec<OwnedFd>,
    /// An eventfd: 1 is written once connections are accepted.
    pub ready: OwnedFd,
    /// An eventfd that becomes readable when everybody shall be told that the server ends.
    pub shutdown: OwnedFd,
    /// Serves the demo page and hands out tokens for it.
    pub dev: bool,
}

/// Runs until `shutdown` is readable.
///
/// **Errors**: regions of another build, a configuration that is none, no runtime.
pub fn run(start: SignalingStart) -> Result<()> {
    drop(start);
    Ok(())
}
