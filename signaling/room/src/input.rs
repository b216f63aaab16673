//! What happens to a room.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::delta::Delta;
use crate::settings::RoomSettings;
use engine_base::{EgressRef, IngressRef, TimeNs, TransportRef};
use engine_table::{EgressObserved, IngressObserved, SessionRow, TransportObserved};
use signaling_program::RowAllocator;
use signaling_protocol::proto;
use signaling_token::Claims;

/// A client's WebSocket, unique within a process.
pub type ConnectionId = u64;
/// A pending Twirp call, unique within a process.
pub type RequestId = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `/rtc`: the client offers on a publisher PC, the server on a subscriber PC.
    Dual,
    /// `/rtc/v1` or any request with `join_request`: the client offers on its one PC.
    Single,
}

/// A resume (PROTOCOL §6.1).
#[derive(Clone, Debug)]
pub struct Resume {
    /// Empty when the client did not say.
    pub participant_sid: String,
    pub reason: i32,
    pub sync_state: Option<proto::SyncState>,
}

/// A verified request to join. The answer is the first message on the connection: join, reconnect or leave.
#[derive(Clone, Debug)]
pub struct JoinRequest {
    pub connection: ConnectionId,
    pub claims: Claims,
    pub client: proto::ClientInfo,
    pub layout: Layout,
    pub auto_subscribe: bool,
    pub adaptive_stream: bool,
    pub subscriber_allow_pause: bool,
    pub publisher_offer: Option<proto::SessionDescription>,
    pub add_tracks: Vec<proto::AddTrackRequest>,
    /// Of the v1 request; already checked against `canUpdateOwnMetadata`.
    pub metadata: Option<String>,
    pub attributes: BTreeMap<String, String>,
    pub resume: Option<Resume>,
}

/// Cumulative counters of a microphone (`IngressCounter`), read by the server every 400 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioLevel {
    pub ingress: IngressRef,
    pub packets: u64,
    pub active_packets: u64,
    pub active_level_sum: u64,
}

/// Loss and delay of a transport over the last 5 s, for connection quality.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TransportQuality {
    pub transport: TransportRef,
    /// 0.0 to 1.0.
    pub loss: f32,
    pub rtt_us: u32,
}

/// A RoomService call that is for this room. Permission and sizes were checked by the server.
#[derive(Clone, Debug)]
pub enum ApiCall {
    /// CreateRoom on an existing room, or right after it was made: settings to apply.
    UpdateRoom(RoomSettings),
    GetRoom,
    DeleteRoom,
    ListParticipants,
    GetParticipant {
        identity: String,
    },
    RemoveParticipant {
        identity: String,
    },
    MutePublishedTrack(proto::MuteRoomTrackRequest),
    UpdateParticipant(proto::UpdateParticipantRequest),
    UpdateSubscriptions(proto::UpdateSubscriptionsRequest),
    SendData(proto::SendDataRequest),
    UpdateRoomMetadata {
        metadata: String,
    },
}

#[derive(Debug)]
pub enum Input {
    Join(Box<JoinRequest>),
    Signal {
        connection: ConnectionId,
        message: Box<proto::SignalRequest>,
    },
    /// The socket closed without `leave`.
    SocketLost {
        connection: ConnectionId,
    },
    /// A row that a worker observed.
    Transport {
        transport: TransportRef,
        observed: TransportObserved,
    },
    Ingress {
        ingress: IngressRef,
        observed: IngressObserved,
    },
    Egress {
        egress: EgressRef,
        observed: EgressObserved,
    },
    /// A row of the courier.
    Session {
        transport: TransportRef,
        session: SessionRow,
    },
    Levels(Vec<AudioLevel>),
    Quality(Vec<TransportQuality>),
    Api {
        request: RequestId,
        call: ApiCall,
    },
    /// From another node of this room.
    Delta(Box<Delta>),
    /// The node shuts down: everybody gets leave SERVER_SHUTDOWN.
    Shutdown,
}

/// What a node is, for `join` and SDP.
#[derive(Clone, Debug)]
pub struct NodeFacts {
    pub node_id: String,
    /// 18 bits, in every local ufrag.
    pub node_tag: u32,
    pub region: String,
    pub version: String,
    /// SHA-256 of the certificate.
    pub fingerprint: [u8; 32],
    /// Host candidates.
    pub candidates: Vec<SocketAddr>,
    pub ice_servers: Vec<proto::IceServer>,
}

/// `room.*` of the configuration.
#[derive(Clone, Debug)]
pub struct RoomDefaults {
    pub empty_timeout_s: u32,
    pub departure_timeout_s: u32,
    pub max_participants: u32,
    pub enabled_codecs: signaling_sdp::EnabledCodecs,
    pub enable_remote_unmute: bool,
    /// Participants below which a backup codec replaces the first one (`video.codec_regression_threshold`); 0 for always.
    pub codec_regression_threshold: u32,
    pub max_metadata_bytes: usize,
    pub max_attributes_bytes: usize,
}

/// What a step of the room may use.
pub struct Context<'a> {
    pub now: TimeNs,
    /// Wall clock.
    pub unix_ms: u64,
    pub random: &'a mut dyn FnMut(&mut [u8]),
    pub rows: &'a mut dyn RowAllocator,
    pub node: &'a NodeFacts,
    pub defaults: &'a RoomDefaults,
}
