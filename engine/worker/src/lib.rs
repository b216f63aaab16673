//! The turn: one worker's loop from received datagrams to sent ones, over any port. It owns the transports that were nominated on
//! its sockets, and with them their keys, streams and egresses; everything else it reads from shared memory or hears by ring.
//! Rooms, participants and SDP are unknown here; DTLS goes to the courier unread.
//!
//! Files by noun: [`worker`] the loop · `state` what it works on · `rows`, `adopt` desired rows · `transport`, `link`, `keys`,
//! `addresses` a client's connection · `stun`, `checks`, `connect` connectivity · `moves`, [`crew`] ownership · `srtp_in`, `publisher`, `unknown`
//! packets in · `fan_out`, `ahead`, `train`, `round`, `hold`, `lane`, `egress` packets out · `rtcp_in`, `feedback`, `reports`, `demand` RTCP · `punt` the
//! slow path · `rings`, `records` other workers · `timers`, `work`, `observe` the end of a turn.
#![forbid(unsafe_code)]

mod addresses;
mod adopt;
mod ahead;
mod checks;
mod connect;
pub mod crew;
mod demand;
mod egress;
mod fan_out;
mod feedback;
mod hold;
mod ingress;
mod keys;
mod lane;
mod link;
mod moves;
mod observe;
mod publisher;
mod punt;
mod records;
mod reports;
mod rings;
mod round;
mod rows;
mod rtcp_in;
mod site;
mod srtp_in;
mod state;
mod stun;
mod timers;
mod train;
mod transport;
mod unknown;
mod work;
pub mod worker;

pub use crew::Crew;
pub use moves::Moved;
pub use rings::Bells;
pub use site::{Regions, Site};
pub use worker::Worker;
