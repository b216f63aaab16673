//! Words that every part of the engine uses: ids of rows, RTP number spaces, time, limits, drop reasons, the local ICE
//! user fragment. It does no I/O and never allocates.
#![no_std]
#![forbid(unsafe_code)]

pub mod drops;
pub mod extension_ids;
pub mod limits;
pub mod row;
pub mod rtp;
pub mod time;
pub mod ufrag;

pub use drops::Drop;
pub use extension_ids::ExtensionIds;
pub use limits::Limits;
pub use row::{DataRef, EgressRef, IngressRef, TransportRef};
pub use rtp::{Codec, ExtendedSequence, Kind, RtpTimestamp, SequenceNumber, Ssrc};
pub use time::{NtpTime, TimeNs, WallOffset};
