//! Joins and API calls: which room they are for, and what they get when there is none.

use std::sync::Arc;

use engine_table::SignalingFigure;
use signaling_protocol::proto::{self, signal_response};
use signaling_room::{
    ApiCall, ApiError, ApiReply, ConnectionId, Input, JoinRequest, Room, RoomSettings, UnknownPreset,
};
use tokio::sync::oneshot;

use crate::node::actor::Node;
use crate::node::handle::{NodeCall, NodeReply};
use crate::node::outbox::Delivery;
use crate::outgoing::{Frame, Outgoing};

/// WebSocket close code after `leave`.
const CLOSE_NORMAL: u16 = 1_000;

impl Node {
    pub(super) fn join(&mut self, room: &str, request: Box<JoinRequest>, outgoing: Outgoing) {
        if self.stopped {
            return;
        }
        let resumes = request.resume.is_some();
        let connection = request.connection;
        let name = match self.rooms.name(room) {
            Some(name) => name,
            // The session of a resume was here before the room ended, or its record was set aside.
            None if resumes => return self.send_away(connection, outgoing),
            None if self.facts.auto_create || request.claims.can_create() => {
                // Without an answer the client gets status 500, as in LiveKit.
                let Ok(settings) = RoomSettings::of_claims(&request.claims, &self.facts.presets) else { return };
                self.create(room, &settings)
            }
            None => return,
        };
        self.add_figure(if resumes { SignalingFigure::Resumes } else { SignalingFigure::Joins });
        self.clients.add(connection, Arc::clone(&name), outgoing);
        self.step(&name, Input::Join(request));
    }

    /// A resume without a session: the client must join anew (PROTOCOL §6.1).
    fn send_away(&mut self, connection: ConnectionId, outgoing: Outgoing) {
        let leave = proto::LeaveRequest {
            can_reconnect: true,
            reason: proto::DisconnectReason::StateMismatch as i32,
            action: proto::leave_request::Action::Reconnect as i32,
            regions: None,
        };
        self.clients.add(connection, "".into(), outgoing);
        self.send(connection, signal_response::Message::Leave(leave));
        self.push(Delivery::Frame { connection, frame: Frame::Close(CLOSE_NORMAL) });
    }

    fn create(&mut self, name: &str, settings: &RoomSettings) -> Arc<str> {
        let room = self.with_context(|context| Room::new(name, settings, context));
        self.rooms.add(room)
    }

    fn created(&mut self, request: &proto::CreateRoomRequest) -> Result<Arc<str>, UnknownPreset> {
        if let Some(existing) = self.rooms.name(&request.name) {
            return Ok(existing);
        }
        let settings = RoomSettings::of_request(request, &self.facts.presets)?;
        Ok(self.create(&request.name, &settings))
    }

    pub(super) fn call(&mut self, call: NodeCall, reply: oneshot::Sender<Result<NodeReply, ApiError>>) {
        self.add_figure(SignalingFigure::ApiCalls);
        let (room, call) = match call {
            NodeCall::ListRooms { names } => {
                let _ = reply.send(Ok(NodeReply::Rooms(self.rooms.infos(&names))));
                return;
            }
            NodeCall::CreateRoom(request) => match self.created(&request) {
                Ok(room) => (room, ApiCall::UpdateRoom(RoomSettings::stated(&request))),
                Err(unknown) => {
                    let _ = reply.send(Err(ApiError { code: "invalid_argument", message: unknown.to_string() }));
                    return;
                }
            },
            NodeCall::Room { room, call } => match self.rooms.name(&room) {
                Some(room) => (room, *call),
                None => {
                    let _ = reply.send(without_room(&call).map(|reply| NodeReply::Room(Box::new(reply))));
                    return;
                }
            },
        };
        let request = self.clients.begin_call(reply);
        self.step(&room, Input::Api { request, call });
    }
}

/// What calls answer for a room that does not exist (PROTOCOL §9): those that LiveKit reads from its store are not found,
/// those that it routes to the room get no answer.
fn without_room(call: &ApiCall) -> Result<ApiReply, ApiError> {
    let error = |code, message: &str| Err(ApiError { code, message: message.to_owned() });
    match call {
        ApiCall::ListParticipants => Ok(ApiReply::Participants(Vec::new())),
        ApiCall::GetParticipant { .. }
        | ApiCall::RemoveParticipant { .. }
        | ApiCall::UpdateParticipant(_)
        | ApiCall::MutePublishedTrack(_) => error("not_found", "participant does not exist"),
        ApiCall::UpdateSubscriptions(_) | ApiCall::SendData(_) => error("unavailable", "no response from servers"),
        ApiCall::UpdateRoom(_) | ApiCall::GetRoom | ApiCall::DeleteRoom | ApiCall::UpdateRoomMetadata { .. } => {
            error("not_found", "requested room does not exist")
        }
    }
}
