//! Ports: how a worker receives and sends datagrams in batches. [`UringPort`] is the kernel's, [`MmsgPort`] the
//! kernel's where io_uring is forbidden, [`MemoryPort`] a test's;
//! [`XdpPort`] sends another one's datagrams as frames.
//! The [`socket`] module binds the sockets that the holder hands down. No protocol is known here: bytes, addresses, socket
//! indices.
//!
//! Unsafe island. Invariants, referred to by number in SAFETY comments:
//! 1. An [`arena::Arena`] stays mapped at one address from its construction to its drop; offsets are checked against its length.
//! 2. A receive buffer is either in the kernel's buffer ring or named by exactly one backlog or batch entry, never both; only
//!    the latter are made into slices, and only through the one `&mut Batch`.
//! 3. A send slot is free, reserved (one [`SendSlot`] value exists, neither `Clone` nor `Copy`) or in flight. Its bytes and its
//!    message header are written only while it is reserved; it becomes free by its completion, in the port without rings by the
//!    return of the call.
//! 4. Whatever a submitted request points to (message headers, arenas, the receive template) lives at a fixed address in the
//!    port and is dropped after the ring. A closed ring runs no more requests, because deferred task work runs only inside
//!    the worker's own `io_uring_enter`.
//! 5. The ring is entered only by the thread that enabled it; `&mut` on the port makes it the only user of both queues.
#![allow(unsafe_code)] // an island: see the invariants above
#![deny(unsafe_op_in_unsafe_fn)]

mod address;
mod af_xdp;
mod arena;
mod batch;
mod connections;
mod kernel;
pub mod memory;
mod mmsg;
pub mod offload;
pub mod port;
mod send_slots;
mod setup;
pub mod socket;
pub mod uring;

pub use af_xdp::{SocketFacts, XdpError, XdpInterface, XdpPort, XdpSender};
pub use batch::{Batch, Datagram, RECEIVE_PAYLOAD_BYTES};
pub use connections::{Connection, Unconnected};
pub use kernel::{Backend, Choice, Chosen, KernelPort, UnknownChoice, choose};
pub use memory::MemoryPort;
pub use mmsg::{MmsgPort, MmsgSender};
pub use offload::Offload;
pub use port::{Outgoing, Port, PortCounters, SendFailure, SendSlot, Sender};
pub use setup::{PortConfig, RECEIVE_BUFFERS, SEND_SLOTS, SetupError};
pub use uring::UringPort;
