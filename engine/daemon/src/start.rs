//! What the holder passes to a child: the sizes of the regions, and descriptors that were inherited by number. Each child maps
//! writable only the regions that it writes.

use std::os::fd::OwnedFd;

use engine_base::Limits;
use engine_io::Choice;

/// What `millrace engine` inherits.
#[derive(Debug)]
pub struct EngineStart {
    pub limits: Limits,
    /// Memfd of the node row; read-only.
    pub holder: OwnedFd,
    /// Desired rows; read-only.
    pub signaling: OwnedFd,
    /// Read-only; the engine's own cursors lie in `engine`.
    pub courier: OwnedFd,
    /// SRTP master keys; read-only.
    pub keys: OwnedFd,
    /// Writable.
    pub engine: OwnedFd,
    /// Writable.
    pub media: OwnedFd,
    /// An eventfd per worker: others write it while the worker sleeps.
    pub worker_wakes: Vec<OwnedFd>,
    pub courier_wake: OwnedFd,
    pub signaling_wake: OwnedFd,
    /// Per worker, one bound UDP socket for each of the node row's addresses, in their order.
    pub sockets: Vec<Vec<OwnedFd>>,
    /// Per worker, sockets to be connected to one subscriber each; empty lists for none.
    pub pool: Vec<Vec<OwnedFd>>,
    /// An eventfd that becomes readable when the engine shall end. SIGTERM ends it too, at once: nothing is lost by that, since
    /// a successor goes on from shared memory.
    pub shutdown: OwnedFd,
    /// Binds worker n to the n-th core that the process may use.
    pub pin_cores: bool,
    /// How packets go.
    pub packet_io: Choice,
    /// Interface through which datagrams are sent as frames, where they can be (AF_XDP).
    pub xdp_interface: Option<String>,
}

/// What `millrace courier` inherits.
#[derive(Debug)]
pub struct CourierStart {
    pub limits: Limits,
    /// Read-only.
    pub holder: OwnedFd,
    /// Read-only.
    pub signaling: OwnedFd,
    /// Punted datagrams; read-only.
    pub engine: OwnedFd,
    /// Writable.
    pub courier: OwnedFd,
    /// Writable.
    pub keys: OwnedFd,
    /// The node's certificate and private key; read-only.
    pub identity: OwnedFd,
    pub worker_wakes: Vec<OwnedFd>,
    /// The courier's own: it waits on it.
    pub courier_wake: OwnedFd,
    pub signaling_wake: OwnedFd,
    /// As in [`EngineStart::shutdown`].
    pub shutdown: OwnedFd,
}
