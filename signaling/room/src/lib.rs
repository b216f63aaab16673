//! A room as a pure state machine: inputs in, effects out. No clock, no socket, no runtime; time and randomness are arguments.
//!
//! It is authoritative only for its own participants (journaled); others are replicas fed by deltas.
#![forbid(unsafe_code)]

mod effect;
mod input;
mod journal;
mod room;
mod settings;

pub use effect::{ApiError, ApiReply, Effect};
pub use input::{
    ApiCall, AudioLevel, ConnectionId, Context, Input, JoinRequest, Layout, NodeFacts, RequestId, Resume, RoomDefaults,
    TransportQuality,
};
pub use journal::journal_room;
pub use room::{RestoreError, Room};
pub use settings::RoomSettings;
