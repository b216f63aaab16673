//! The courier against clients made of the same sessions, over links and tables in memory, in simulated time.
#![forbid(unsafe_code)]

mod adoption;
mod garbage;
mod identity;
mod messages;
mod node;
mod process;
mod routing;
mod sessions;
