//! The node: one task that owns the program, the journal and every room, and carries out what rooms want.
//!
//! It turns on inputs, on the eventfd that workers and courier write, and on deadlines. Effects are carried out in their order:
//! records, rows, then messages, of which SDP and `reconnect` wait in the outbox until the rows before them are adopted.

mod actor;
mod calls;
mod clients;
mod clock;
mod deliver;
mod handle;
mod index;
mod measure;
mod observe;
mod outbox;
mod restore;
mod rooms;
mod wakes;

pub use actor::{Node, NodeParts, Regions};
pub use handle::NodeHandle;
pub(crate) use handle::{Connection, NodeCall, NodeReply};
pub use wakes::{Wakes, wake, watch, woken};
