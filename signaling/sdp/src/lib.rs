//! Session descriptions: what a client's SDP says, what Millrace answers, and what it offers.
//!
//! Text in, text out; no state, no clock, no sockets. Who publishes or receives which track is decided by the room, which
//! hands its decisions to [`write_answer`] and [`write_offer`]. It is not a general SDP library: it reads what WebRTC
//! endpoints write (JSEP, RFC 9429) and ignores every attribute that it does not know.
#![forbid(unsafe_code)]

mod answer;
mod attribute;
mod candidate;
mod candidate_init;
mod codec;
mod description;
mod error;
mod negotiate;
mod offer;
mod parse;
mod write;

pub use answer::{SectionAnswer, answer_setup, write_answer};
pub use candidate::{Candidate, CandidateAddress, CandidateKind, Protocol, TcpType};
pub use candidate_init::CandidateInit;
pub use codec::{CodecKey, EnabledCodecs, H264, PayloadType, codec_of_mime, mime_of_codec};
pub use description::{
    DataChannel, Direction, ExtensionMap, Fingerprint, Format, HashFunction, IceCredentials, MediaKind, MediaSection,
    Msid, Parameters, Rid, RidDirection, SessionDescription, Setup, Simulcast, SsrcGroup, SsrcInfo, Streams, Transport,
};
pub use error::SdpError;
pub use negotiate::{
    AnswerPolicy, FeedbackPolicy, NegotiatedSection, PublishRequest, layer_of_rid, negotiate_publish, negotiate_send,
};
pub use offer::{AcceptedSection, OfferSection, OfferState, SubscriberMedia, read_answer, write_offer};
pub use write::{LocalDescription, SendTrack};
