use engine_table::data_flags;
use signaling_protocol::Message as _;
use signaling_protocol::proto::{self, data_packet, signal_response::Message};
use signaling_room::*;

use crate::stage::*;

fn code<T: std::fmt::Debug>(result: Result<T, ApiError>) -> &'static str {
    result.unwrap_err().code
}

#[test]
fn missing_participants_are_not_found() {
    let mut stage = Stage::new();
    stage.join("a", Layout::Single);
    let identity = || "nobody".to_owned();
    let error = stage.api(ApiCall::GetParticipant { identity: identity() }).unwrap_err();
    assert_eq!((error.code, error.message.as_str()), ("not_found", "participant does not exist"));
    assert_eq!(code(stage.api(ApiCall::RemoveParticipant { identity: identity() })), "not_found");
    let update = proto::UpdateParticipantRequest { identity: identity(), ..Default::default() };
    assert_eq!(code(stage.api(ApiCall::UpdateParticipant(update))), "not_found");
    let mute = proto::MuteRoomTrackRequest { identity: identity(), muted: true, ..Default::default() };
    assert_eq!(code(stage.api(ApiCall::MutePublishedTrack(mute))), "not_found");
    let subscriptions = proto::UpdateSubscriptionsRequest { identity: identity(), ..Default::default() };
    assert_eq!(code(stage.api(ApiCall::UpdateSubscriptions(subscriptions))), "not_found");
}

#[test]
fn a_track_is_muted_by_the_server_and_an_unknown_one_answers_without() {
    let mut stage = Stage::new();
    let mut client = stage.join("a", Layout::Single);
    let track = stage.publish(&mut client, microphone("mic"));
    stage.take(&client);
    let request = |track_sid: &str, muted| {
        ApiCall::MutePublishedTrack(proto::MuteRoomTrackRequest {
            identity: "a".into(),
            track_sid: track_sid.into(),
            muted,
            ..Default::default()
        })
    };
    let reply = stage.api(request(&track, true));
    assert!(matches!(reply, Ok(ApiReply::Track(Some(info))) if info.muted && info.sid == track));
    let messages = stage.take(&client);
    assert_eq!(names(&messages), ["mute", "update"]);
    assert!(matches!(stage.api(request("TR_x", true)), Ok(ApiReply::Track(None))));
    assert!(stage.take(&client).is_empty(), "a client is not asked to mute what it does not have");
    assert_eq!(code(stage.api(request(&track, false))), "failed_precondition");
    stage.world.defaults.enable_remote_unmute = true;
    assert!(matches!(stage.api(request(&track, false)), Ok(ApiReply::Track(Some(info))) if !info.muted));
}

#[test]
fn revoking_publish_ends_tracks_in_the_recorded_order() {
    let mut stage = Stage::new();
    let mut client = stage.join("a", Layout::Single);
    let watcher = stage.join("w", Layout::Single);
    let track = stage.publish(&mut client, microphone("mic"));
    stage.settle(&watcher);
    stage.take(&client);
    let permission = proto::ParticipantPermission { can_subscribe: true, can_publish_data: true, ..Default::default() };
    let request =
        proto::UpdateParticipantRequest { identity: "a".into(), permission: Some(permission), ..Default::default() };
    let reply = stage.api(ApiCall::UpdateParticipant(request));
    assert!(matches!(reply, Ok(ApiReply::Participant(info)) if info.tracks.is_empty() && !info.is_publisher));
    let messages = stage.take(&client);
    assert_eq!(names(&messages), ["update", "track_unpublished", "refresh_token"]);
    assert!(stage.egresses_of(&track).is_empty() && stage.ingress_of(&track).is_none());
    assert!(last_info(&stage.take(&watcher), "a").unwrap().tracks.is_empty());
    stage.signal(&client, proto::signal_request::Message::AddTrack(microphone("again")));
    assert_eq!(names(&stage.take(&client)), ["request_response"]);
}

#[test]
fn revoking_subscribe_ends_egresses_but_no_data_and_granting_it_brings_them_back() {
    let mut stage = Stage::new();
    let mut publisher = stage.join("p", Layout::Dual);
    let track = stage.publish(&mut publisher, microphone("mic"));
    let mut client = stage.join("a", Layout::Dual);
    stage.settle_mut(&mut client);
    let mut permit = |stage: &mut Stage, can_subscribe: bool| {
        let permission = proto::ParticipantPermission { can_subscribe, can_publish: true, ..Default::default() };
        let request = proto::UpdateParticipantRequest {
            identity: "a".into(),
            permission: Some(permission),
            ..Default::default()
        };
        stage.api(ApiCall::UpdateParticipant(request)).unwrap();
        stage.settle_mut(&mut client);
        let row = stage.world.desired.datas.values().find(|row| row.identity.as_str() == "a").unwrap();
        (stage.egresses_of(&track).len(), row.flags & data_flags::CAN_RECEIVE != 0)
    };
    assert_eq!(permit(&mut stage, false), (0, true));
    assert_eq!(permit(&mut stage, true), (1, true));
}

#[test]
fn hiding_a_participant_looks_like_its_leaving_and_showing_it_like_its_coming() {
    for layout in [Layout::Dual, Layout::Single] {
        let mut stage = Stage::new();
        let mut publisher = stage.join("p", layout);
        let track = stage.publish(&mut publisher, microphone("mic"));
        let mut watcher = stage.join("w", layout);
        stage.settle_mut(&mut watcher);
        stage.take(&publisher);
        let mut hide = |stage: &mut Stage, hidden: bool| {
            let permission = proto::ParticipantPermission {
                can_subscribe: true,
                can_publish: true,
                can_publish_data: true,
                hidden,
                ..Default::default()
            };
            let identity = "p".to_owned();
            let request =
                proto::UpdateParticipantRequest { identity, permission: Some(permission), ..Default::default() };
            stage.api(ApiCall::UpdateParticipant(request)).unwrap();
            let own = last_info(&stage.take(&publisher), "p").unwrap();
            assert_eq!(own.tracks.len(), 1, "nothing changes for itself but its permission");
            let seen = last_info(&stage.settle_mut(&mut watcher), "p").unwrap();
            (seen, stage.egresses_of(&track))
        };
        let before = stage.participant("p").unwrap().version;
        let (seen, egresses) = hide(&mut stage, true);
        assert!(seen.state == 3 && seen.tracks.is_empty() && seen.version > before && egresses.is_empty());
        let row = stage.world.desired.datas.values().find(|row| row.identity.as_str() == "p").unwrap();
        assert_ne!(row.flags & data_flags::HIDDEN, 0);
        let (shown, egresses) = hide(&mut stage, false);
        assert!(shown.state == 2 && shown.tracks.len() == 1 && shown.version > seen.version && shown.sid == seen.sid);
        assert!(egresses.len() == 1 && egresses[0].flags & engine_table::egress_flags::ENABLED != 0);
    }
}

#[test]
fn a_section_whose_track_was_ended_is_not_taken_for_the_next_request() {
    let mut stage = Stage::new();
    let mut client = stage.join("a", Layout::Single);
    stage.publish(&mut client, microphone("one"));
    let permit = |stage: &mut Stage, can_publish: bool| {
        let permission = proto::ParticipantPermission { can_publish, can_subscribe: true, ..Default::default() };
        let request = proto::UpdateParticipantRequest {
            identity: "a".into(),
            permission: Some(permission),
            ..Default::default()
        };
        stage.api(ApiCall::UpdateParticipant(request)).unwrap();
    };
    permit(&mut stage, false);
    permit(&mut stage, true);
    stage.take(&client);
    stage.offer(&mut client);
    assert_eq!(names(&stage.take(&client)), ["answer"], "nothing is waited for");
    let track = stage.publish(&mut client, microphone("two"));
    let row = stage.world.desired.ingresses[&stage.ingress_of(&track).unwrap()];
    assert_eq!(row.mid.as_str(), "8", "the section of the former track is the eighth, with mid 7");
    assert_eq!(stage.world.desired.ingresses.len(), 1);
}

#[test]
fn data_of_the_server_goes_to_its_destinations_without_a_sender() {
    let mut stage = Stage::new();
    let a = stage.join("a", Layout::Single);
    stage.join("b", Layout::Dual);
    let mut send = |request: proto::SendDataRequest| {
        stage.api(ApiCall::SendData(request)).unwrap();
        std::mem::take(&mut stage.world.data)
    };
    let request = proto::SendDataRequest { data: b"x".to_vec(), topic: Some("t".into()), ..Default::default() };
    assert_eq!(send(request.clone()).len(), 2);
    let one = proto::SendDataRequest { destination_identities: vec!["b".into()], kind: 1, ..request.clone() };
    let effects = send(one);
    let [Effect::SendData { reliable: false, packet, .. }] = &effects[..] else { panic!() };
    let packet = proto::DataPacket::decode(packet.as_slice()).unwrap();
    assert_eq!((packet.participant_sid.as_str(), packet.sequence), ("", 0));
    let Some(data_packet::Value::User(user)) = packet.value else { panic!() };
    assert_eq!((user.payload.as_slice(), user.topic.as_deref()), (b"x".as_slice(), Some("t")));
    assert!(user.participant_identity.is_empty());
    assert_eq!(send(proto::SendDataRequest { destination_sids: vec![a.sid], ..request }).len(), 1);
}

#[test]
fn a_room_is_updated_removed_from_and_deleted() {
    let mut stage = Stage::new();
    let a = stage.join("a", Layout::Single);
    let b = stage.join("b", Layout::Single);
    stage.take(&a);
    let sid = stage.room.info().sid;
    let settings = RoomSettings::new(7, 0, 0, "m");
    let Ok(ApiReply::Room(room)) = stage.api(ApiCall::UpdateRoom(settings)) else { panic!() };
    assert_eq!((room.sid, room.empty_timeout, room.metadata.as_str()), (sid, 7, "m"));
    assert_eq!(names(&stage.take(&a)), ["room_update"]);
    let reply = stage.api(ApiCall::UpdateRoomMetadata { metadata: "n".into() });
    assert!(matches!(reply, Ok(ApiReply::Room(room)) if room.metadata == "n"));

    stage.take(&b);
    stage.api(ApiCall::RemoveParticipant { identity: "b".into() }).unwrap();
    assert!(matches!(stage.take(&b)[..], [Message::Leave(ref leave)]
        if leave.reason == proto::DisconnectReason::ParticipantRemoved as i32 && leave.action == 0));
    stage.take(&a);
    stage.api(ApiCall::DeleteRoom).unwrap();
    assert!(matches!(stage.take(&a)[..], [Message::Leave(ref leave)]
        if leave.reason == proto::DisconnectReason::RoomDeleted as i32));
    assert!(stage.world.ended && stage.world.journal.is_empty());
    assert_eq!(code(stage.api(ApiCall::GetRoom)), "not_found");
}

#[test]
fn subscriptions_may_be_changed_for_a_participant() {
    let mut stage = Stage::new();
    let mut publisher = stage.join("p", Layout::Single);
    let track = stage.publish(&mut publisher, microphone("mic"));
    let mut client = stage.join("a", Layout::Single);
    stage.settle_mut(&mut client);
    let request = proto::UpdateSubscriptionsRequest {
        identity: "a".into(),
        track_sids: vec![track.clone()],
        subscribe: false,
        ..Default::default()
    };
    stage.api(ApiCall::UpdateSubscriptions(request)).unwrap();
    stage.settle_mut(&mut client);
    assert!(stage.egresses_of(&track).is_empty());
}

#[test]
fn a_token_configures_the_room_that_it_creates() {
    let config = serde_json::json!({ "emptyTimeout": 9, "max_participants": "3", "metadata": "m" });
    let claims = signaling_token::Claims { room_config: Some(config), ..claims("a", grant()) };
    let settings = RoomSettings::of_claims(&claims, &RoomPresets::new()).unwrap();
    assert_eq!((settings.empty_timeout_s, settings.max_participants), (Some(9), Some(3)));
    assert_eq!((settings.departure_timeout_s, settings.metadata.as_deref()), (None, Some("m")));
}

#[test]
fn a_named_configuration_fills_what_the_request_leaves_open() {
    let presets = RoomPresets::from([("small".to_owned(), RoomSettings::new(77, 5, 0, "hello"))]);
    let request = proto::CreateRoomRequest {
        room_preset: "small".into(),
        empty_timeout: 9,
        max_participants: 2,
        ..Default::default()
    };
    assert_eq!(RoomSettings::of_request(&request, &presets), Ok(RoomSettings::new(9, 5, 2, "hello")));
    let mut claims = signaling_token::Claims {
        room_preset: "small".into(),
        room_config: Some(serde_json::json!({ "metadata": "own" })),
        ..claims("a", grant())
    };
    assert_eq!(RoomSettings::of_claims(&claims, &presets), Ok(RoomSettings::new(77, 5, 0, "own")));
    claims.room_preset = "large".into();
    assert_eq!(RoomSettings::of_claims(&claims, &presets), Err(UnknownPreset));
}
