//! Entry point of the process `millrace signaling`: inherited descriptors become mapped regions, listeners and a runtime. It
//! knows no rooms and parses no network bytes.
#![forbid(unsafe_code)]

mod log;
mod start;

pub use start::{SignalingStart, run};
