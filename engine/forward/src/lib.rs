//! The pure core of forwarding: what a received packet is, which subscribers get it, and what it looks like there. No I/O, no
//! clock, no allocation after construction: packets, table snapshots and `now` go in, verdicts and bytes come out.
//!
//! The path of one packet through this crate, as a worker calls it:
//!
//! 1. [`StreamMap::find`] (or `learn` by mid and rid) names the ingress, layer and kind of an SSRC.
//! 2. [`parse::inspect`] turns the decrypted bytes into a [`PacketHeader`], RTX packets included; engine-rate's `ArrivalLog`
//!    takes the transport-wide number of every packet.
//! 3. [`ReceiveStream::receive`] gives the extended sequence number, or says that the packet came before. NACKs, receiver reports
//!    and the layer's activity come from the same stream.
//! 4. For each egress [`EgressState::verdict`] decides against its [`EgressPlan`] and gives a [`Rewrite`].
//! 5. [`write::packet`] writes header, extensions and codec descriptor; the rest of the payload is sealed from the slot.
//! 6. [`nack::Retransmissions::remember`] notes where the packet lies; `answer` rebuilds it bit for bit.
//!
//! Own sequence numbers are [`engine_base::ExtendedSequence`]s that begin in cycle 0: they are the SRTP index of the packet.
#![forbid(unsafe_code)]

pub mod audio;
pub mod egress;
pub mod ingress;
pub mod nack;
pub mod parse;
pub mod plan;
pub mod report;
pub mod source;
pub mod streams;
pub mod write;

mod extensions;
#[cfg(test)]
mod fixtures;
mod pictures;
mod sequences;
mod timeline;

pub use egress::{EgressState, Payload, Rewrite, Standing, Verdict};
pub use engine_table::PacketHeader;
pub use ingress::{Arrival, ReceiveStream};
pub use plan::EgressPlan;
pub use source::{SenderReport, SourceClocks};
pub use streams::{StreamId, StreamMap};
