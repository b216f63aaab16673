//! What one participant, or the API, wants of another participant: addressed by identity, wherever it is connected.

use std::collections::BTreeMap;

use signaling_protocol::proto;

use crate::demand::Demand;

#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// RemoveParticipant, or another session of the identity joined (`sid` is the one that ends then). `replaced`: others see
    /// that session, so that modern clients need not be told of this end.
    End {
        sid: Option<String>,
        reason: proto::DisconnectReason,
        replaced: bool,
    },
    Mute {
        track_sid: String,
        muted: bool,
    },
    Update(Box<Update>),
    Subscribe {
        tracks: Vec<String>,
        subscribe: bool,
    },
    /// Somebody has begun to receive this track.
    Subscribed {
        track_sid: String,
    },
    /// What the participants of a node take of this track, all of them together.
    Demand {
        track_sid: String,
        node_id: String,
        demand: Demand,
    },
}

/// Changes of a participant; what is `None` or absent stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Update {
    pub name: Option<String>,
    pub metadata: Option<String>,
    /// An empty value removes the key.
    pub attributes: BTreeMap<String, String>,
    pub permission: Option<proto::ParticipantPermission>,
}
