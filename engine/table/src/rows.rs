//! The rows, one file per writer. All integers are in native byte order: a node is one machine.

mod courier;
mod engine;
mod holder;
mod signaling;
mod text;

pub use courier::*;
pub use engine::*;
pub use holder::*;
pub use signaling::*;
pub use text::{SocketAddress, Text};
