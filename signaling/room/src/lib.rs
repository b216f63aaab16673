//! A room as a pure state machine: inputs in, effects out. No clock, no socket, no runtime; time and randomness are arguments.
//!
//! It is authoritative only for its own participants (journaled); others are replicas fed by deltas.
#![forbid(unsafe_code)]
#![expect(deprecated, reason = "fields that the schema deprecates are what older clients still read")]

mod api;
mod backup;
mod delta;
mod demand;
mod effect;
mod ids;
mod input;
mod join;
mod journal;
mod leave;
mod message;
mod negotiate;
mod news;
mod outbox;
mod participant;
mod permissions;
mod publish;
mod quality;
mod rendition;
mod response;
mod rest;
mod restore;
mod resume;
mod room;
mod roster;
mod rows;
mod settings;
mod signal;
mod simulate;
mod speakers;
mod stored;
mod subscribe;
mod subscription;
mod timers;
mod track;
mod waits;

pub use delta::{Change, Delta, Shared};
pub use demand::Demand;
pub use effect::{ApiError, ApiReply, Effect};
pub use input::{
    ApiCall, AudioLevel, ConnectionId, Context, Input, JoinRequest, Layout, NodeFacts, RequestId, Resume, RoomDefaults,
    TransportQuality,
};
pub use journal::journal_room;
pub use message::{Message, Update};
pub use room::{RestoreError, Room};
pub use settings::{RoomPresets, RoomSettings, UnknownPreset};
