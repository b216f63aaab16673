//! RoomService: who may call what, sizes, and the way to the room (PROTOCOL §9).

use signaling_protocol::{Message, proto};
use signaling_room::{ApiCall, ApiReply};

use super::Call;
use super::error::TwirpError;
use crate::node::{NodeCall, NodeReply};
use crate::settings::exceeds;

type Answer = Result<Vec<u8>, TwirpError>;

/// Bytes of an RPC's payload.
const RPC_PAYLOAD_BYTES_MAX: usize = 15_360;
/// A nonce is 16 bytes or absent.
const NONCE_BYTES: usize = 16;

pub(super) async fn call(call: &Call<'_>) -> Answer {
    match call.method {
        "CreateRoom" => create_room(call).await,
        "ListRooms" => list_rooms(call).await,
        "DeleteRoom" => delete_room(call).await,
        "ListParticipants" => list_participants(call).await,
        "GetParticipant" => get_participant(call).await,
        "RemoveParticipant" => remove_participant(call).await,
        "MutePublishedTrack" => mute(call).await,
        "UpdateParticipant" => update_participant(call).await,
        "UpdateSubscriptions" => update_subscriptions(call).await,
        "SendData" => send_data(call).await,
        "UpdateRoomMetadata" => update_metadata(call).await,
        "ForwardParticipant" => forward(call),
        "MoveParticipant" => move_participant(call),
        "PerformRpc" => perform_rpc(call).await,
        _ => Err(TwirpError::new("unknown", "not implemented")),
    }
}

fn decode<T: Message + Default>(call: &Call<'_>) -> Result<T, TwirpError> {
    T::decode(call.body).map_err(|_| TwirpError::malformed("the protobuf request could not be decoded"))
}

fn require(allowed: bool) -> Result<(), TwirpError> {
    if allowed { Ok(()) } else { Err(TwirpError::denied()) }
}

/// The room's answer.
async fn ask(call: &Call<'_>, room: String, api: ApiCall) -> Result<ApiReply, TwirpError> {
    match call.app.node.call(NodeCall::Room { room, call: Box::new(api) }).await? {
        NodeReply::Room(reply) => Ok(*reply),
        NodeReply::Rooms(_) => Err(unexpected()),
    }
}

fn unexpected() -> TwirpError {
    TwirpError::new("internal", "the room answered another question")
}

fn check_metadata(call: &Call<'_>, metadata: &str) -> Result<(), TwirpError> {
    let maximum = call.app.settings.limit.max_metadata_size;
    if exceeds(metadata.len(), maximum) {
        return Err(TwirpError::invalid(format!("metadata size exceeds limits: max {maximum} bytes")));
    }
    Ok(())
}

async fn create_room(call: &Call<'_>) -> Answer {
    require(call.claims.can_create())?;
    let request: proto::CreateRoomRequest = decode(call)?;
    let maximum = call.app.settings.limit.max_room_name_length;
    if exceeds(request.name.len(), maximum) {
        return Err(TwirpError::invalid(format!("room name length exceeds limits: max length {maximum}")));
    }
    check_metadata(call, &request.metadata)?;
    let NodeReply::Room(reply) = call.app.node.call(NodeCall::CreateRoom(Box::new(request))).await? else {
        return Err(unexpected());
    };
    match *reply {
        ApiReply::Room(room) => Ok(room.encode_to_vec()),
        _ => Err(unexpected()),
    }
}

async fn list_rooms(call: &Call<'_>) -> Answer {
    require(call.claims.can_list())?;
    let request: proto::ListRoomsRequest = decode(call)?;
    match call.app.node.call(NodeCall::ListRooms { names: request.names }).await? {
        NodeReply::Rooms(rooms) => Ok(proto::ListRoomsResponse { rooms }.encode_to_vec()),
        NodeReply::Room(_) => Err(unexpected()),
    }
}

async fn delete_room(call: &Call<'_>) -> Answer {
    require(call.claims.can_create())?;
    let request: proto::DeleteRoomRequest = decode(call)?;
    ask(call, request.room, ApiCall::DeleteRoom).await?;
    Ok(proto::DeleteRoomResponse::default().encode_to_vec())
}

async fn list_participants(call: &Call<'_>) -> Answer {
    let request: proto::ListParticipantsRequest = decode(call)?;
    require(call.claims.can_admin(&request.room))?;
    match ask(call, request.room, ApiCall::ListParticipants).await? {
        ApiReply::Participants(participants) => Ok(proto::ListParticipantsResponse { participants }.encode_to_vec()),
        _ => Err(unexpected()),
    }
}

async fn get_participant(call: &Call<'_>) -> Answer {
    let request: proto::RoomParticipantIdentity = decode(call)?;
    require(call.claims.can_admin(&request.room))?;
    participant(ask(call, request.room, ApiCall::GetParticipant { identity: request.identity }).await?)
}

fn participant(reply: ApiReply) -> Answer {
    match reply {
        ApiReply::Participant(info) => Ok(info.encode_to_vec()),
        _ => Err(unexpected()),
    }
}

async fn remove_participant(call: &Call<'_>) -> Answer {
    let request: proto::RoomParticipantIdentity = decode(call)?;
    require(call.claims.can_admin(&request.room))?;
    ask(call, request.room, ApiCall::RemoveParticipant { identity: request.identity }).await?;
    Ok(proto::RemoveParticipantResponse::default().encode_to_vec())
}

async fn mute(call: &Call<'_>) -> Answer {
    let request: proto::MuteRoomTrackRequest = decode(call)?;
    require(call.claims.can_admin(&request.room))?;
    match ask(call, request.room.clone(), ApiCall::MutePublishedTrack(request)).await? {
        ApiReply::Track(track) => Ok(proto::MuteRoomTrackResponse { track }.encode_to_vec()),
        _ => Err(unexpected()),
    }
}

async fn update_participant(call: &Call<'_>) -> Answer {
    let request: proto::UpdateParticipantRequest = decode(call)?;
    require(call.claims.can_admin(&request.room))?;
    let limit = &call.app.settings.limit;
    if exceeds(request.name.len(), limit.max_participant_name_length) {
        let maximum = limit.max_participant_name_length;
        return Err(TwirpError::invalid(format!("participant name length exceeds limits: max length {maximum}")));
    }
    check_metadata(call, &request.metadata)?;
    let bytes = request.attributes.iter().map(|(key, value)| key.len() + value.len()).sum();
    if exceeds(bytes, limit.max_attributes_size) {
        let maximum = limit.max_attributes_size;
        return Err(TwirpError::invalid(format!("attributes size exceeds limits: max {maximum} bytes")));
    }
    participant(ask(call, request.room.clone(), ApiCall::UpdateParticipant(request)).await?)
}

async fn update_subscriptions(call: &Call<'_>) -> Answer {
    let request: proto::UpdateSubscriptionsRequest = decode(call)?;
    require(call.claims.can_admin(&request.room))?;
    ask(call, request.room.clone(), ApiCall::UpdateSubscriptions(request)).await?;
    Ok(proto::UpdateSubscriptionsResponse::default().encode_to_vec())
}

async fn send_data(call: &Call<'_>) -> Answer {
    let request: proto::SendDataRequest = decode(call)?;
    require(call.claims.can_admin(&request.room))?;
    let nonce = request.nonce.len();
    if nonce != 0 && nonce != NONCE_BYTES {
        return Err(TwirpError::invalid(format!(
            "nonce should be {NONCE_BYTES} bytes or not present, got: {nonce} bytes"
        )));
    }
    ask(call, request.room.clone(), ApiCall::SendData(request)).await?;
    Ok(proto::SendDataResponse::default().encode_to_vec())
}

async fn update_metadata(call: &Call<'_>) -> Answer {
    let request: proto::UpdateRoomMetadataRequest = decode(call)?;
    require(call.claims.can_admin(&request.room))?;
    check_metadata(call, &request.metadata)?;
    match ask(call, request.room, ApiCall::UpdateRoomMetadata { metadata: request.metadata }).await? {
        ApiReply::Room(room) => Ok(room.encode_to_vec()),
        _ => Err(unexpected()),
    }
}

fn forward(call: &Call<'_>) -> Answer {
    let request: proto::ForwardParticipantRequest = decode(call)?;
    elsewhere(call, &request.room, &request.destination_room)
}

fn move_participant(call: &Call<'_>) -> Answer {
    let request: proto::MoveParticipantRequest = decode(call)?;
    elsewhere(call, &request.room, &request.destination_room)
}

/// LiveKit's open-source server checks both and then says that it cannot.
fn elsewhere(call: &Call<'_>, room: &str, destination: &str) -> Answer {
    let allowed = call.claims.video.as_ref().is_some_and(|video| video.destination_room == destination);
    require(call.claims.can_admin(room) && allowed)?;
    if room == destination {
        return Err(TwirpError::invalid("destination room is the same as the participant's room"));
    }
    Err(TwirpError::new("unknown", "not implemented"))
}

async fn perform_rpc(call: &Call<'_>) -> Answer {
    let request: proto::PerformRpcRequest = decode(call)?;
    require(call.claims.can_admin(&request.room))?;
    if request.destination_identity.is_empty() {
        return Err(TwirpError::invalid("destination identity is required"));
    }
    if request.payload.len() > RPC_PAYLOAD_BYTES_MAX {
        return Err(TwirpError::invalid(format!("payload exceeds {RPC_PAYLOAD_BYTES_MAX} bytes")));
    }
    let identity = request.destination_identity;
    ask(call, request.room, ApiCall::GetParticipant { identity }).await.map_err(|_| TwirpError::no_response())?;
    Err(TwirpError::new("unknown", "not implemented"))
}
