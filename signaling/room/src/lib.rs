//! A room as a pure state machine: inputs in, effects out. No clock, no socket, no runtime; time and randomness are arguments.
//!
//! It is authoritative only for its own participants (journaled); others are replicas fed by deltas.
#![forbid(unsafe_code)]

mod delta;
mod effect;
mod input;
mod journal;
mod message;
mod room;
mod settings;

pub use delta::{Change, Delta, Shared};
pub use effect::{ApiError, ApiReply, Effect};
pub use input::{
    ApiCall, AudioLevel, ConnectionId, Context, Input, JoinRequest, Layout, NodeFacts, RequestId, Resume, RoomDefaults,
    TransportQuality,
};
pub use journal::journal_room;
pub use message::{Message, Update};
pub use room::{RestoreError, Room};
pub use settings::RoomSettings;
