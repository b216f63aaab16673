//! Entry points of the processes `millrace engine` and `millrace courier`: inherited descriptors become mapped regions, and
//! workers become threads. It parses no network bytes and holds no session state.
#![forbid(unsafe_code)]

pub mod courier;
pub mod engine;
mod packets;
mod shutdown;
pub mod start;

pub use start::{CourierStart, EngineStart};
