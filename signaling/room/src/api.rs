//! RoomService calls (PROTOCOL §9). Permissions and sizes that need no room were checked by the server.

use signaling_protocol::Message as _;
use signaling_protocol::proto::{self, data_packet};

use crate::effect::{ApiError, ApiReply, Effect};
use crate::input::{ApiCall, Context, RequestId};
use crate::message::{Message, Update};
use crate::participant::Participant;
use crate::room::Room;
use crate::settings::RoomSettings;

fn no_participant() -> ApiError {
    ApiError { code: "not_found", message: "participant does not exist".to_owned() }
}

impl Room {
    pub(crate) fn handle_api(&mut self, request: RequestId, call: ApiCall, context: &mut Context<'_>) {
        let reply = match self.ended {
            true => Err(ApiError { code: "not_found", message: "requested room does not exist".to_owned() }),
            false => self.call(call, context),
        };
        self.out.messages.push(Effect::Reply { request, reply });
    }

    fn call(&mut self, call: ApiCall, context: &mut Context<'_>) -> Result<ApiReply, ApiError> {
        match call {
            ApiCall::GetRoom => Ok(ApiReply::Room(self.room_info())),
            ApiCall::UpdateRoom(settings) => {
                self.apply_settings(settings);
                Ok(ApiReply::Room(self.room_info()))
            }
            ApiCall::UpdateRoomMetadata { metadata } => {
                self.set_room_metadata(metadata);
                Ok(ApiReply::Room(self.room_info()))
            }
            ApiCall::DeleteRoom => {
                self.end(proto::DisconnectReason::RoomDeleted, context);
                Ok(ApiReply::Done)
            }
            ApiCall::ListParticipants => Ok(ApiReply::Participants(self.participants())),
            ApiCall::GetParticipant { identity } => self.info_of(&identity).map(ApiReply::Participant),
            ApiCall::RemoveParticipant { identity } => {
                let reason = proto::DisconnectReason::ParticipantRemoved;
                self.ask(&identity, Message::End { sid: None, reason, replaced: false }, context)?;
                Ok(ApiReply::Done)
            }
            ApiCall::MutePublishedTrack(request) => self.mute_published(&request, context),
            ApiCall::UpdateParticipant(request) => self.api_update_participant(request, context),
            ApiCall::UpdateSubscriptions(request) => {
                let of_participants = request.participant_tracks.into_iter().flat_map(|tracks| tracks.track_sids);
                let tracks = request.track_sids.into_iter().chain(of_participants).collect();
                let message = Message::Subscribe { tracks, subscribe: request.subscribe };
                self.ask(&request.identity, message, context)?;
                Ok(ApiReply::Done)
            }
            ApiCall::SendData(request) => {
                self.send_data(&request);
                Ok(ApiReply::Done)
            }
        }
    }

    fn ask(&mut self, identity: &str, message: Message, context: &mut Context<'_>) -> Result<(), ApiError> {
        if self.post(identity, message, context) { Ok(()) } else { Err(no_participant()) }
    }

    fn info_of(&self, identity: &str) -> Result<proto::ParticipantInfo, ApiError> {
        let own = self.own(identity).map(Participant::info);
        own.or_else(|| self.replication.by_identity(identity).cloned()).ok_or_else(no_participant)
    }

    fn apply_settings(&mut self, settings: RoomSettings) {
        let record = &mut self.record;
        record.empty_timeout_s = settings.empty_timeout_s.unwrap_or(record.empty_timeout_s);
        record.departure_timeout_s = settings.departure_timeout_s.unwrap_or(record.departure_timeout_s);
        record.max_participants = settings.max_participants.unwrap_or(record.max_participants);
        self.out.room = true;
        if let Some(metadata) = settings.metadata.filter(|metadata| *metadata != self.record.metadata) {
            self.set_room_metadata(metadata);
        }
    }

    fn set_room_metadata(&mut self, metadata: String) {
        self.record.metadata = metadata;
        self.out.room = true;
        self.broadcast_room();
    }

    fn mute_published(
        &mut self,
        request: &proto::MuteRoomTrackRequest,
        context: &mut Context<'_>,
    ) -> Result<ApiReply, ApiError> {
        if !request.muted && !context.defaults.enable_remote_unmute {
            return Err(ApiError { code: "failed_precondition", message: "remote unmute not enabled".to_owned() });
        }
        let (track_sid, muted) = (request.track_sid.clone(), request.muted);
        self.ask(&request.identity, Message::Mute { track_sid, muted }, context)?;
        let info = self.info_of(&request.identity)?;
        Ok(ApiReply::Track(info.tracks.into_iter().find(|track| track.sid == request.track_sid)))
    }

    fn api_update_participant(
        &mut self,
        request: proto::UpdateParticipantRequest,
        context: &mut Context<'_>,
    ) -> Result<ApiReply, ApiError> {
        let filled = |text: String| Some(text).filter(|text| !text.is_empty());
        let update = Update {
            name: filled(request.name),
            metadata: filled(request.metadata),
            attributes: request.attributes.into_iter().collect(),
            permission: request.permission,
        };
        if let Some(own) = self.own(&request.identity) {
            let invalid = |what: &str| ApiError { code: "invalid_argument", message: what.to_owned() };
            self.check_sizes(own.sid(), &update, context).map_err(invalid)?;
        }
        self.ask(&request.identity, Message::Update(Box::new(update)), context)?;
        self.info_of(&request.identity).map(ApiReply::Participant)
    }

    /// A packet of nobody: without sid, identity and sequence.
    fn send_data(&mut self, request: &proto::SendDataRequest) {
        let user = proto::UserPacket {
            payload: request.data.clone(),
            topic: request.topic.clone(),
            nonce: request.nonce.clone(),
            ..Default::default()
        };
        let packet =
            proto::DataPacket { kind: request.kind, value: Some(data_packet::Value::User(user)), ..Default::default() };
        let packet = packet.encode_to_vec();
        let reliable = request.kind == data_packet::Kind::Reliable as i32;
        let everybody = request.destination_identities.is_empty() && request.destination_sids.is_empty();
        let chosen = |participant: &&Participant| {
            let core = &participant.core;
            let named =
                request.destination_identities.contains(&core.identity) || request.destination_sids.contains(&core.sid);
            (everybody || named) && !core.data.is_none()
        };
        for participant in self.participants.values().filter(chosen) {
            let (to, packet) = (participant.core.data, packet.clone());
            self.out.messages.push(Effect::SendData { to, reliable, packet });
        }
    }
}
