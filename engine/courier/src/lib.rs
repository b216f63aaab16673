//! The courier: DTLS handshakes, SCTP associations and LiveKit's data packets, in a process of their own because parsers of
//! hostile bytes must not share a fate with media.
//!
//! ```text
//!  worker ──punt ring──▶ courier ──courier ring──▶ worker       datagrams
//!                           │
//!       rows, commands ────▶│────▶ key rows (SRTP), session rows
//!      (signaling)          │
//!                        session × n     dtls ◀▶ channels (sctp, dcep)
//!                        data::router    who gets which data packet
//! ```
//!
//! Everything but `process` is sans-IO: bytes and `now` in, datagrams and rows out. It allocates freely: no packet of media
//! passes here. It knows nothing of rooms: a data row's `group` says who hears whom.
#![forbid(unsafe_code)]

pub mod channels;
pub mod clock;
pub mod courier;
pub mod data;
pub mod dcep;
pub mod limits;
pub mod process;
pub mod session;
pub mod settings;
mod signing;

pub use courier::Courier;
pub use process::{CourierStart, run};
pub use session::Session;
pub use settings::{Settings, Versions};
