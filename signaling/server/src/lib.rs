//! The signaling server: HTTP and WebSocket in front, one task with every room behind.
//!
//! ```text
//! listener → HttpService → admission → NodeHandle ─inputs→ Node (rooms, program, journal) → rows, records
//!                            socket  ←───────── frames ───────┘
//! ```
//! Rooms are pure (`signaling-room`); this crate gives them time, randomness, rows, sockets and the journal. Tokio lives here
//! only. It makes no sockets and maps no memory: both come from the daemon.
#![forbid(unsafe_code)]

mod admission;
mod auth;
mod client_info;
mod cors;
mod demo;
mod http;
mod join_request;
mod listen;
mod node;
mod outgoing;
mod query;
mod refusal;
mod settings;
mod socket;
mod twirp;
mod upgrade;

pub use http::HttpService;
pub use listen::Listeners;
pub use node::{Node, NodeHandle, NodeParts, Regions, Wakes, wake, watch, woken};
pub use settings::ServerSettings;
