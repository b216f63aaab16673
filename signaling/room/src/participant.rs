//! An own participant: what the journal keeps of it, in four records by how often they change, and its present socket.

use std::collections::BTreeMap;

use engine_base::{DataRef, IngressRef, TimeNs, TransportRef};
use engine_table::{SessionRow, TransportObserved, channel_bits, dtls_state, transport_state};
use serde::{Deserialize, Serialize};
use signaling_negotiation::{OfferedPc, PublishedLayer, SubscriberPc};
use signaling_protocol::proto;
use signaling_token::{Claims, ParticipantKind, Permission};

use crate::input::{ConnectionId, Layout};
use crate::rendition::Which;
use crate::stored::{self, Stored};
use crate::subscription::Subscription;
use crate::track::Track;

#[derive(Debug)]
pub(crate) struct Participant {
    /// In boxes, as are subscriptions: a node of a map has eleven places, of which few may be taken.
    pub(crate) core: Box<Core>,
    pub(crate) bulk: Box<Bulk>,
    pub(crate) peer: Box<Peer>,
    /// By track sid.
    pub(crate) subscriptions: BTreeMap<String, Box<Subscription>>,
    pub(crate) link: Link,
}

/// Who it is and what it publishes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Core {
    pub(crate) sid: String,
    pub(crate) identity: String,
    pub(crate) name: String,
    pub(crate) client: Client,
    pub(crate) kind: ParticipantKind,
    pub(crate) kind_details: Vec<i32>,
    pub(crate) joined_ms: u64,
    /// `proto::participant_info::State`.
    pub(crate) state: i32,
    /// Only goes up.
    pub(crate) version: u32,
    pub(crate) permission: Permission,
    pub(crate) publishing: Publishing,
    #[serde(with = "stored::data")]
    pub(crate) data: DataRef,
    pub(crate) deadlines: Deadlines,
}

/// What the client said of itself when it joined.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Client {
    pub(crate) protocol: i32,
    pub(crate) client_protocol: i32,
    /// `proto::client_info::Sdk`.
    pub(crate) sdk: i32,
    pub(crate) capabilities: Vec<i32>,
    pub(crate) auto_subscribe: bool,
    pub(crate) adaptive_stream: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Publishing {
    pub(crate) tracks: Vec<Track>,
    pub(crate) is_publisher: bool,
    /// AddTrack requests whose cid is in use.
    pub(crate) queued: Vec<Stored<proto::AddTrackRequest>>,
    /// Sections that the client sends on and no AddTrack names so far.
    pub(crate) unmatched: Vec<Unmatched>,
    /// Who may subscribe; `None` for everybody.
    pub(crate) rule: Option<Stored<proto::SubscriptionPermission>>,
}

impl Publishing {
    /// A section waits for an AddTrack that may still come, or an old one and a request may have missed each other.
    pub(crate) fn awaits_match(&self) -> bool {
        let pending = |audio: bool| {
            let kind = if audio { engine_base::Kind::Audio } else { engine_base::Kind::Video };
            self.tracks.iter().any(|track| track.is_pending() && track.kind() == kind)
        };
        self.unmatched.iter().any(|section| !section.ended && (!section.old || pending(section.audio)))
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Unmatched {
    pub(crate) mid: String,
    pub(crate) audio: bool,
    /// Track id of its msid.
    pub(crate) track: String,
    /// We ended its track: it is the section of no other one.
    pub(crate) ended: bool,
    /// It was answered without a track: the next request of its kind has most likely another section, which comes first.
    pub(crate) old: bool,
    pub(crate) layers: Vec<PublishedLayer>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Deadlines {
    /// ACTIVE by then, or JOIN_FAILURE.
    #[serde(with = "stored::time_option")]
    pub(crate) join: Option<TimeNs>,
    /// The end, unless its transport comes back or a resume postpones it.
    #[serde(with = "stored::time_option")]
    pub(crate) close: Option<TimeNs>,
    #[serde(with = "stored::time_option")]
    pub(crate) refresh: Option<TimeNs>,
    /// The client answers our offer by then.
    #[serde(with = "stored::time_option")]
    pub(crate) answer: Option<TimeNs>,
    /// Our answer waits no longer for the AddTrack of a section.
    #[serde(with = "stored::time_option")]
    pub(crate) hold: Option<TimeNs>,
    /// The client has most likely applied our answer by then: packets may flow.
    #[serde(with = "stored::time_option")]
    pub(crate) apply: Option<TimeNs>,
    /// Video to the client rests until its next offer, at most until then.
    #[serde(with = "stored::time_option")]
    pub(crate) rest: Option<TimeNs>,
    /// It has certainly applied it if its socket lives until then.
    #[serde(with = "stored::time_option")]
    pub(crate) sure: Option<TimeNs>,
}

/// Large and seldom changed: a mute must not write 512 KiB of metadata.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bulk {
    pub(crate) metadata: String,
    pub(crate) attributes: BTreeMap<String, String>,
    /// Those of the join, as JSON.
    pub(crate) claims: StoredClaims,
}

/// Claims hold arbitrary JSON, which only a self-describing format takes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct StoredClaims(pub(crate) Claims);

impl Serialize for StoredClaims {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = serde_json::to_string(&self.0).map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for StoredClaims {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        serde_json::from_str(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// Its peer connections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Peer {
    /// The publisher connection, or the only one.
    pub(crate) offered: OfferedPc,
    /// Of the dual layout.
    pub(crate) subscriber: Option<SubscriberPc>,
    /// Our candidates of this ICE generation were trickled, on the connection the client offers on.
    pub(crate) trickled: bool,
}

/// The two places of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Offered,
    Subscriber,
}

impl Peer {
    pub(crate) fn layout(&self) -> Layout {
        if self.subscriber.is_some() { Layout::Dual } else { Layout::Single }
    }

    pub(crate) fn uplink(&self) -> TransportRef {
        self.offered.transport()
    }

    pub(crate) fn downlink(&self) -> TransportRef {
        self.subscriber.as_ref().map_or(self.uplink(), SubscriberPc::transport)
    }

    pub(crate) fn transports(&self) -> Vec<(Part, TransportRef)> {
        let subscriber = self.subscriber.as_ref().map(|pc| (Part::Subscriber, pc.transport()));
        std::iter::once((Part::Offered, self.uplink())).chain(subscriber).collect()
    }

    pub(crate) fn uses_ssrc(&self, ssrc: u32) -> bool {
        self.offered.uses_ssrc(ssrc) || self.subscriber.as_ref().is_some_and(|pc| pc.uses_ssrc(ssrc))
    }
}

/// What a restart forgets: the socket, what was observed, and what was sent on this socket.
#[derive(Debug, Default)]
pub(crate) struct Link {
    pub(crate) connection: Option<ConnectionId>,
    pub(crate) observed: BTreeMap<TransportRef, Observed>,
    /// `ConnectionQuality` told, by participant sid.
    pub(crate) qualities: BTreeMap<String, i32>,
    /// Its session is lost: the next resume is answered with RECONNECT.
    pub(crate) must_reconnect: bool,
    /// A test hook: what the next resume shall meet.
    pub(crate) cut: Option<Cut>,
    /// Of the roster.
    pub(crate) block: Option<usize>,
}

impl Link {
    /// The client has closed every peer connection that was up.
    pub(crate) fn is_closed(&self) -> bool {
        let mut states = self.observed.values().map(|observed| observed.dtls).filter(|dtls| *dtls != dtls_state::NONE);
        states.clone().count() > 0 && states.all(|dtls| dtls == dtls_state::CLOSED)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    AfterMessages,
    BeforeMessages,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Observed {
    pub(crate) ice: u8,
    /// Place in the row of the credentials whose pair is nominated, once one is.
    pub(crate) nominated: Option<u8>,
    pub(crate) dtls: u8,
    pub(crate) channels: u8,
    pub(crate) last_sequence: u32,
}

impl Observed {
    pub(crate) fn take_transport(&mut self, observed: &TransportObserved) {
        self.ice = observed.state;
        self.nominated = (observed.moves > 0).then_some(observed.credentials);
    }

    pub(crate) fn take_session(&mut self, session: &SessionRow) {
        (self.dtls, self.channels, self.last_sequence) = (session.dtls, session.channels, session.last_sequence);
    }

    /// DTLS has ended its handshake over a valid pair. libwebrtc nominates a lite peer's pair up to 2.5 s later; the client is in
    /// at once.
    fn is_up(&self) -> bool {
        let path = matches!(self.ice, transport_state::CHECKING | transport_state::CONNECTED);
        path && self.dtls == dtls_state::CONNECTED
    }

    fn is_connected(&self, data: bool) -> bool {
        const BOTH: u8 = channel_bits::RELIABLE | channel_bits::LOSSY;
        self.is_up() && (!data || self.channels & BOTH == BOTH)
    }
}

impl Participant {
    pub(crate) fn sid(&self) -> &str {
        &self.core.sid
    }

    pub(crate) fn is_active(&self) -> bool {
        self.core.state == proto::participant_info::State::Active as i32
    }

    pub(crate) fn is_hidden(&self) -> bool {
        self.core.permission.hidden
    }

    pub(crate) fn is_dependent(&self) -> bool {
        is_dependent(self.core.kind as i32, &permission_info(&self.core.permission))
    }

    /// The connection that decides about ACTIVE is up, whatever its data channels.
    pub(crate) fn is_up(&self) -> bool {
        self.link.observed.get(&self.peer.downlink()).is_some_and(Observed::is_up)
    }

    /// The connection that decides about ACTIVE is up, with its data channels.
    pub(crate) fn is_connected(&self) -> bool {
        let transport = self.peer.downlink();
        let data = self.peer.subscriber.is_some() || self.peer.offered.has_application();
        self.link.observed.get(&transport).is_some_and(|observed| observed.is_connected(data))
    }

    pub(crate) fn nominated(&self, transport: TransportRef) -> Option<u8> {
        self.link.observed.get(&transport).and_then(|observed| observed.nominated)
    }

    pub(crate) fn track(&self, sid: &str) -> Option<&Track> {
        self.core.publishing.tracks.iter().find(|track| track.sid() == sid)
    }

    pub(crate) fn track_mut(&mut self, sid: &str) -> Option<&mut Track> {
        self.core.publishing.tracks.iter_mut().find(|track| track.sid() == sid)
    }

    pub(crate) fn published(&self) -> impl Iterator<Item = &Track> {
        self.core.publishing.tracks.iter().filter(|track| track.is_published())
    }

    pub(crate) fn track_of_ingress(&mut self, ingress: IngressRef) -> Option<(Which, &mut Track)> {
        let mut tracks = self.core.publishing.tracks.iter_mut();
        tracks.find_map(|track| Some((track.which_of_ingress(ingress)?, track)))
    }

    /// Full state (PROTOCOL §7).
    pub(crate) fn info(&self) -> proto::ParticipantInfo {
        let core = &self.core;
        proto::ParticipantInfo {
            sid: core.sid.clone(),
            identity: core.identity.clone(),
            state: core.state,
            tracks: self.published().map(|track| track.info.0.clone()).collect(),
            metadata: self.bulk.metadata.clone(),
            joined_at: (core.joined_ms / 1_000) as i64,
            joined_at_ms: core.joined_ms as i64,
            name: core.name.clone(),
            version: core.version,
            permission: Some(permission_info(&core.permission)),
            is_publisher: core.publishing.is_publisher,
            kind: core.kind as i32,
            attributes: self.bulk.attributes.clone().into_iter().collect(),
            kind_details: core.kind_details.clone(),
            client_protocol: core.client.client_protocol,
            capabilities: core.client.capabilities.clone(),
            ..Default::default()
        }
    }

    /// Whether this participant's rule lets a subscriber have a track.
    pub(crate) fn allows(&self, subscriber: &Core, track_sid: &str) -> bool {
        let rule = self.core.publishing.rule.as_deref();
        rule.is_none_or(|rule| rule_allows(rule, &subscriber.sid, &subscriber.identity, track_sid))
    }
}

fn rule_allows(rule: &proto::SubscriptionPermission, sid: &str, identity: &str, track_sid: &str) -> bool {
    let names = |permission: &&proto::TrackPermission| match permission.participant_identity.is_empty() {
        true => permission.participant_sid == sid,
        false => permission.participant_identity == identity,
    };
    let allows = |permission: &proto::TrackPermission| {
        permission.all_tracks || permission.track_sids.iter().any(|allowed| allowed == track_sid)
    };
    rule.all_participants || rule.track_permissions.iter().filter(names).any(allows)
}

/// Agents and recorders serve others: they neither keep a room nor fill it.
pub(crate) fn is_dependent(kind: i32, permission: &proto::ParticipantPermission) -> bool {
    let serves = [ParticipantKind::Agent as i32, ParticipantKind::Egress as i32].contains(&kind);
    serves || permission.agent || permission.recorder
}

pub(crate) fn permission_info(permission: &Permission) -> proto::ParticipantPermission {
    proto::ParticipantPermission {
        can_subscribe: permission.can_subscribe,
        can_publish: permission.can_publish,
        can_publish_data: permission.can_publish_data,
        can_publish_sources: permission.can_publish_sources.iter().map(|source| *source as i32).collect(),
        hidden: permission.hidden,
        recorder: permission.recorder,
        can_update_metadata: permission.can_update_own_metadata,
        agent: permission.agent,
        can_subscribe_metrics: permission.can_subscribe_metrics,
        can_manage_agent_session: permission.can_manage_agent_session,
    }
}

pub(crate) fn permission_of(info: &proto::ParticipantPermission) -> Permission {
    let source = |number: &i32| signaling_token::Source::from_number(*number);
    Permission {
        can_publish: info.can_publish,
        can_subscribe: info.can_subscribe,
        can_publish_data: info.can_publish_data,
        can_publish_sources: info.can_publish_sources.iter().map(source).collect(),
        can_update_own_metadata: info.can_update_metadata,
        can_subscribe_metrics: info.can_subscribe_metrics,
        can_manage_agent_session: info.can_manage_agent_session,
        hidden: info.hidden,
        recorder: info.recorder,
        agent: info.agent,
    }
}
