//! What a participant's peer connections have agreed on: ICE generations, sections, tracks in sections, offers and answers.
//!
//! Pure state that the room drives and the session journal stores (serde): no clock, no sockets, no protobuf, no randomness
//! but the caller's. A connection either answers the client's offers ([`OfferedPc`]: the publisher connection of the dual
//! layout, the only one of the single layout) or makes the offers itself ([`SubscriberPc`]). Both fill the desired rows of the
//! shared tables from what was agreed; which track goes to whom is the room's decision.
#![forbid(unsafe_code)]

mod error;
mod ice;
mod offered;
mod remote;
mod requirement;
mod rows;
mod section;
mod streams;
mod subscriber;

pub use error::NegotiationError;
pub use ice::{IceRandom, LocalIce, LocalNode};
pub use offered::{Answer, Layout, Offered, OfferedPc, PublishedSection};
pub use requirement::SectionCounts;
pub use rows::format_of;
pub use streams::{PublishedLayer, layer_rank};
pub use subscriber::{Answered, Offer, SubscriberPc};
