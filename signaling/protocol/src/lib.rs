//! LiveKit's messages: the one crate that compiles them, and their JSON as Twirp speaks it.
#![forbid(unsafe_code)]

pub use livekit_protocol as proto;
pub use prost::Message;
