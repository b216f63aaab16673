//! What nodes tell each other about a room: each is authoritative for its own participants, the others keep replicas.
//!
//! On one node deltas loop back: the room hands its own changes to the same code that takes those of other nodes.

use signaling_protocol::proto;

use crate::message::Message;

/// One change of a node's part of a room. Deltas of an origin are applied in order; an old one is ignored.
#[derive(Clone, Debug, PartialEq)]
pub struct Delta {
    /// Node id.
    pub origin: String,
    /// One more each time the origin restored the room from its journal.
    pub epoch: u64,
    /// Counts within an epoch, from 1.
    pub sequence: u64,
    pub change: Change,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A participant as it is now.
    Participant(Box<Shared>),
    /// A participant has left: its last info, with state DISCONNECTED and the reason. `replaced`: its identity goes on under a
    /// new sid, so that only old clients are told.
    Left { info: Box<proto::ParticipantInfo>, hidden: bool, replaced: bool },
    /// For the participant of this identity, wherever it is.
    Message { identity: String, message: Message },
    /// All participants of this epoch were told: what an earlier epoch had and this one has not is gone.
    Complete,
}

/// A participant as other nodes know it.
#[derive(Clone, Debug, PartialEq)]
pub struct Shared {
    /// Full state.
    pub info: proto::ParticipantInfo,
    pub hidden: bool,
    /// Who may subscribe to it; `None` for everybody.
    pub rule: Option<proto::SubscriptionPermission>,
}
