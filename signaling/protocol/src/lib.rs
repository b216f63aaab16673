//! LiveKit's messages: the one crate that compiles them, and their JSON as Twirp speaks it.
//!
//! Two JSON conventions exist. Twirp answers with the proto names and all default values ([`json`]); webhooks and JSON signal
//! frames use camelCase without defaults, which is what the `serde` implementations of [`proto`] do.
#![forbid(unsafe_code)]

pub mod assembled;
pub mod json;
pub mod service;

pub use livekit_protocol as proto;
pub use prost::Message;
pub use prost::bytes::Bytes;
