//! Messages to clients, made from what the room knows.

use signaling_protocol::Message as _;
use signaling_protocol::proto::{self, signal_response::Message};
use signaling_sdp::{EnabledCodecs, mime_of_codec};

use crate::input::Context;
use crate::room::Room;
use crate::roster::Census;

/// LiveKit's protocol number that we serve (PROTOCOL §2.2).
const PROTOCOL: i32 = 17;
pub(crate) const PING_INTERVAL_S: i32 = 5;
pub(crate) const PING_TIMEOUT_S: i32 = 15;
/// A participant update is cut into messages of about this size.
const UPDATE_BYTES: usize = 128 * 1024;

/// The order in which the reference lists codecs for publishers.
const CODECS: [engine_base::Codec; 9] = [
    engine_base::Codec::Vp8,
    engine_base::Codec::H264,
    engine_base::Codec::Vp9,
    engine_base::Codec::Av1,
    engine_base::Codec::H265,
    engine_base::Codec::Pcmu,
    engine_base::Codec::Pcma,
    engine_base::Codec::Opus,
    engine_base::Codec::Red,
];

pub(crate) fn codecs(enabled: EnabledCodecs) -> Vec<proto::Codec> {
    let codec = |codec| proto::Codec { mime: mime_of_codec(codec), fmtp_line: String::new() };
    CODECS.into_iter().filter(|codec| enabled.contains(*codec)).map(codec).collect()
}

pub(crate) fn server_info(context: &Context<'_>) -> proto::ServerInfo {
    let node = context.node;
    proto::ServerInfo {
        edition: proto::server_info::Edition::Standard as i32,
        version: node.version.clone(),
        protocol: PROTOCOL,
        region: node.region.clone(),
        node_id: node.node_id.clone(),
        agent_protocol: 1,
        ..Default::default()
    }
}

/// Updates with these participants, cut at about 128 KiB.
pub(crate) fn updates(infos: Vec<proto::ParticipantInfo>) -> Vec<Message> {
    let mut updates = Vec::new();
    let mut part = proto::ParticipantUpdate::default();
    let mut bytes = 0;
    for info in infos {
        let size = info.encoded_len();
        if bytes + size > UPDATE_BYTES && !part.participants.is_empty() {
            updates.push(Message::Update(std::mem::take(&mut part)));
            bytes = 0;
        }
        bytes += size;
        part.participants.push(info);
    }
    if !part.participants.is_empty() {
        updates.push(Message::Update(part));
    }
    updates
}

pub(crate) fn update(info: proto::ParticipantInfo) -> Message {
    Message::Update(proto::ParticipantUpdate { participants: vec![info] })
}

pub(crate) fn leave(action: proto::leave_request::Action, reason: proto::DisconnectReason) -> Message {
    Message::Leave(proto::LeaveRequest {
        can_reconnect: action != proto::leave_request::Action::Disconnect,
        reason: reason as i32,
        action: action as i32,
        regions: None,
    })
}

/// Our candidates, one per message, the last one marked.
pub(crate) fn trickles(candidates: Vec<String>, target: proto::SignalTarget) -> Vec<Message> {
    let count = candidates.len();
    let trickle = |(index, candidate_init)| {
        let r#final = index + 1 == count;
        Message::Trickle(proto::TrickleRequest { candidate_init, target: target as i32, r#final })
    };
    candidates.into_iter().enumerate().map(trickle).collect()
}

pub(crate) fn description(
    kind: &str,
    id: u32,
    sdp: String,
    mids: std::collections::BTreeMap<String, String>,
) -> proto::SessionDescription {
    proto::SessionDescription { r#type: kind.to_owned(), sdp, id, mid_to_track_id: mids.into_iter().collect() }
}

pub(crate) fn refusal(reason: proto::request_response::Reason, request: proto::request_response::Request) -> Message {
    let (reason, request) = (reason as i32, Some(request));
    Message::RequestResponse(proto::RequestResponse { reason, request, ..Default::default() })
}

impl Room {
    pub(crate) fn room_info(&self) -> proto::Room {
        let record = &self.record;
        let mut enabled_codecs = codecs(self.enabled);
        enabled_codecs.push(proto::Codec { mime: "video/rtx".to_owned(), fmtp_line: String::new() });
        let Census { counted, publishers, .. } = self.census();
        let (remote, remote_publishers) = self.replication.counts();
        proto::Room {
            sid: record.sid.clone(),
            name: self.name.clone(),
            empty_timeout: record.empty_timeout_s,
            departure_timeout: record.departure_timeout_s,
            max_participants: record.max_participants,
            creation_time: (record.created_ms / 1_000) as i64,
            creation_time_ms: record.created_ms as i64,
            turn_password: record.turn_password.clone(),
            enabled_codecs,
            metadata: record.metadata.clone(),
            num_participants: (counted + remote) as u32,
            num_publishers: (publishers + remote_publishers) as u32,
            ..Default::default()
        }
    }

    pub(crate) fn room_update(&self) -> Message {
        Message::RoomUpdate(proto::RoomUpdate { room: Some(self.room_info()) })
    }
}
