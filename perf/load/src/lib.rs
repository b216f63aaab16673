//! Load on a LiveKit-compatible server: synthetic participants that speak the real thing (WebSocket signaling in the dual
//! layout, ICE, DTLS, SRTP, data channels opened) but neither encode nor decode. It measures what receivers can see: every
//! sequence number, and the latency of stamped packets. It does not look at the server's processes; `perf-bench` does.
//!
//! ```text
//!  Scenario ──▶ run::run ──▶ Load ──commands──▶ Crew × n   one thread, one epoll, many participants
//!                  │                              └─ Participant: Signal (WebSocket), Connection × 2 (ICE, DTLS, SRTP)
//!               Observer                               ├─ Publication × tracks: packets out, reports, retransmissions
//!           (phases, progress)                         └─ Reception: streams in, sequence numbers, latency
//! ```
//! It holds no process-global state: several loads can run in one process.
#![forbid(unsafe_code)]

mod account;
mod clock;
mod connection;
mod crew;
mod description;
mod descriptors;
mod dtls;
mod ice;
mod junk;
mod layout;
mod load;
mod opus;
mod pacer;
mod participant;
mod publication;
mod reception;
mod run;
mod scenario;
mod sequence;
mod server;
mod signal;
mod socket;
mod stamp;
mod tally;
mod track;
mod trial;
mod vp8;

pub use account::{Account, StreamAccount};
pub use descriptors::raise_descriptor_limit;
pub use layout::Layout;
pub use load::{Load, Place, Progress};
pub use run::{Joins, Observer, Outcome, Phase, Steady, run};
pub use scenario::{
    AudioShape, JoinPlan, JunkPlan, Pacing, PublisherGroup, Scenario, Srtp, SteadyPlan, SubscriberGroup, VideoShape,
};
pub use server::Server;
pub use tally::{Tally, profile_name};
pub use trial::{Trial, trial};
