//! What a room wants done. Effects are carried out in order.

use signaling_program::RowChange;
use signaling_protocol::{Bytes, proto};
use signaling_token::Claims;

use crate::delta::Delta;
use crate::input::{ConnectionId, RequestId};

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "the large ones are rare, and an effect is moved once or twice")]
pub enum Effect {
    /// A desired row. Whoever carries out a `Send` with SDP or `reconnect` waits first until every worker has adopted the rows
    /// before it ("level before wire").
    Row(RowChange),
    /// The latest value of a journal key, or its end. Order in the list: journal → rows → messages.
    Journal {
        key: Vec<u8>,
        value: Option<Vec<u8>>,
    },
    Send {
        connection: ConnectionId,
        message: Box<proto::SignalResponse>,
    },
    /// A serialized SignalResponse in parts, which other messages share.
    SendEncoded {
        connection: ConnectionId,
        parts: Vec<Bytes>,
    },
    /// The same message to several connections: encoded once.
    Broadcast {
        connections: Vec<ConnectionId>,
        message: Box<proto::SignalResponse>,
    },
    /// A `refresh_token` with these claims, signed by the server in this place of the order.
    RefreshToken {
        connection: ConnectionId,
        claims: Box<Claims>,
    },
    /// After everything before it was flushed. `code` is the WebSocket close code.
    Close {
        connection: ConnectionId,
        code: u16,
    },
    /// A data packet of the server to one participant.
    SendData {
        to: engine_base::DataRef,
        reliable: bool,
        packet: Vec<u8>,
    },
    /// Resend a sender's reliable packets after `last_sequence`.
    ReplayData {
        to: engine_base::DataRef,
        sender_sid: String,
        last_sequence: u32,
    },
    Reply {
        request: RequestId,
        reply: Result<ApiReply, ApiError>,
    },
    /// For the other nodes of this room; only after [`Room::replicate`](crate::Room::replicate).
    Delta(Box<Delta>),
    /// The room has ended: its journal keys are removed and all its rows freed by the effects before.
    Ended,
}

#[derive(Clone, Debug)]
pub enum ApiReply {
    Room(proto::Room),
    Participants(Vec<proto::ParticipantInfo>),
    Participant(proto::ParticipantInfo),
    /// MutePublishedTrack; an unknown track answers without one.
    Track(Option<proto::TrackInfo>),
    Done,
}

/// A Twirp error: code and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    pub code: &'static str,
    pub message: String,
}
