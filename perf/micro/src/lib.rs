//! One worker of the engine, real in everything but its clients, forwards one publisher to many subscribers, and everything about that
//! is counted.
//!
//! ```text
//! publisher (here, not measured) → memory port → turn of the worker → memory | kernel port → nobody | a discarding device
//! ```
//! [`measure`] takes times and allocations in this process; [`stages`] times parts of the turn alone; [`census`] counts system
//! calls and instructions in a child that is traced. [`budget`] compares what does not depend on the machine's mood with
//! `perf/budget.toml`.
#![forbid(unsafe_code)]

pub mod budget;
pub mod case;
pub mod census;
pub mod device;
pub mod measure;
mod node;
mod port;
pub mod stages;
