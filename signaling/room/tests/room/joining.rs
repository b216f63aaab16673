use engine_table::{channel_bits, data_flags, transport_flags, transport_state};
use signaling_protocol::proto::{self, signal_request, signal_response::Message};
use signaling_room::*;
use signaling_token::VideoGrant;

use crate::sdp::Part;
use crate::stage::*;

const CHROMIUM_OFFER: &str = include_str!("../../../sdp/tests/fixtures/chromium-single-offer.sdp");

fn state(info: &proto::ParticipantInfo) -> proto::participant_info::State {
    proto::participant_info::State::try_from(info.state).unwrap()
}

#[test]
fn a_dual_join_is_answered_in_the_recorded_order() {
    let mut stage = Stage::new();
    let client = stage.enter("a", Layout::Dual, |_| {});
    let messages = stage.take(&client);
    assert_eq!(names(&messages), ["join", "refresh_token", "offer", "trickle", "trickle"]);
    let Message::Join(join) = &messages[0] else { panic!() };
    assert!(join.subscriber_primary && join.fast_publish);
    assert_eq!((join.ping_interval, join.ping_timeout), (5, 15));
    assert_eq!(join.enabled_publish_codecs[0].mime, "video/VP8");
    let own = join.participant.as_ref().unwrap();
    assert_eq!((own.state, own.version), (0, 0));
    assert!(own.sid.starts_with("PA_") && own.sid.len() == 15);
    let Message::Offer(offer) = &messages[2] else { panic!() };
    assert!((1..=256).contains(&offer.id));
    assert!(offer.sdp.contains("m=application") && !offer.sdp.contains("m=audio") && offer.sdp.contains("a=ice-lite"));
    let finals: Vec<(i32, bool)> = messages[3..]
        .iter()
        .map(|message| match message {
            Message::Trickle(trickle) => (trickle.target, trickle.r#final),
            _ => panic!(),
        })
        .collect();
    assert_eq!(finals, [(1, false), (1, true)]);
    assert_eq!(stage.transports_of(&client.sid).len(), 2);
}

#[test]
fn a_single_join_is_answered_in_the_recorded_order_and_a_late_joiner_finds_tracks_in_the_first_answer() {
    let mut stage = Stage::new();
    let mut first = stage.join("a", Layout::Single);
    let audio = stage.publish(&mut first, microphone("mic"));
    let video = stage.publish(&mut first, camera("cam"));
    let late = stage.enter("b", Layout::Single, |request| {
        request.publisher_offer = Some(proto::SessionDescription {
            r#type: "offer".into(),
            sdp: CHROMIUM_OFFER.into(),
            id: 1,
            ..Default::default()
        });
    });
    stage.advance(250);
    let messages = stage.take(&late);
    assert_eq!(
        names(&messages),
        [
            "join",
            "refresh_token",
            "subscription_permission_update",
            "subscription_permission_update",
            "answer",
            "trickle",
            "trickle"
        ]
    );
    let Message::Join(join) = &messages[0] else { panic!() };
    assert!(!join.subscriber_primary);
    assert_eq!(join.other_participants.len(), 1);
    assert_eq!(join.other_participants[0].tracks.len(), 2);
    let Message::Answer(answer) = &messages[4] else { panic!() };
    assert_eq!(answer.id, 1);
    assert_eq!(answer.mid_to_track_id.get("0"), Some(&audio));
    assert_eq!(answer.mid_to_track_id.get("3"), Some(&video));
    stage.advance(50);
    let told = names(&stage.take(&first));
    assert!(told.contains(&"track_subscribed") && told.contains(&"subscribed_quality_update"));
}

#[test]
fn a_participant_is_active_when_its_primary_connection_and_its_channels_are_up() {
    let mut stage = Stage::new();
    let client = stage.enter("a", Layout::Single, |_| {});
    let [transport] = stage.transports_of(&client.sid)[..] else { panic!() };
    stage.observe(transport, transport_state::CONNECTED);
    stage.session(transport, |session| session.channels = channel_bits::RELIABLE);
    assert_eq!(state(&stage.participant("a").unwrap()), proto::participant_info::State::Joined);
    stage.take(&client);
    stage.session(transport, |_| {});
    let info = last_info(&stage.take(&client), "a").unwrap();
    assert_eq!(state(&info), proto::participant_info::State::Active);
    assert!(info.version > 1);
}

#[test]
fn without_becoming_active_a_join_fails_after_a_minute() {
    let mut stage = Stage::new();
    let watcher = stage.join("w", Layout::Single);
    let client = stage.enter("a", Layout::Single, |_| {});
    stage.advance(59_000);
    assert!(stage.participant("a").is_some());
    stage.advance(2_000);
    let Some(Message::Leave(leave)) = stage.take(&client).pop() else { panic!() };
    assert_eq!(leave.reason, proto::DisconnectReason::JoinFailure as i32);
    assert_eq!(stage.world.closed.get(&client.connection), Some(&1000));
    let info = last_info(&stage.take(&watcher), "a").unwrap();
    assert_eq!(state(&info), proto::participant_info::State::Disconnected);
    assert_eq!(stage.transports_of(&client.sid).len(), 0);
}

#[test]
fn a_second_session_of_an_identity_replaces_the_first_without_a_disconnect_for_modern_clients() {
    let mut stage = Stage::new();
    let watcher = stage.join("w", Layout::Dual);
    let old = stage.enter("o", Layout::Dual, |request| request.client.protocol = 11);
    let mut first = stage.join("a", Layout::Dual);
    stage.publish(&mut first, microphone("mic"));
    stage.settle(&watcher);
    for client in [&watcher, &old, &first] {
        stage.take(client);
    }
    let second = stage.join("a", Layout::Dual);
    assert_ne!(first.sid, second.sid);
    let Some(Message::Leave(leave)) = stage.take(&first).pop() else { panic!() };
    assert_eq!((leave.action, leave.reason), (0, proto::DisconnectReason::DuplicateIdentity as i32));
    let sids = |messages: &[Message]| -> Vec<(String, i32)> {
        let updates = messages.iter().filter_map(|message| match message {
            Message::Update(update) => Some(update.participants.iter().map(|info| (info.sid.clone(), info.state))),
            _ => None,
        });
        updates.flatten().collect()
    };
    let seen = sids(&stage.take(&watcher));
    assert!(seen.iter().all(|(sid, state)| *sid == second.sid && *state != 3), "{seen:?}");
    assert!(sids(&stage.take(&old)).contains(&(first.sid.clone(), 3)), "old clients need the end of the former sid");
    assert!(stage.world.desired.ingresses.is_empty());
}

#[test]
fn a_full_room_refuses_but_lets_an_identity_replace_itself() {
    let mut stage = Stage::new();
    let settings = RoomSettings { max_participants: Some(1), ..RoomSettings::default() };
    stage.api(ApiCall::UpdateRoom(settings)).unwrap();
    stage.join("a", Layout::Single);
    let refused = stage.enter("b", Layout::Single, |_| {});
    assert_eq!(names(&stage.take(&refused)), ["leave"]);
    assert!(stage.world.closed.contains_key(&refused.connection));
    assert!(!stage.join("a", Layout::Single).sid.is_empty());
}

#[test]
fn agents_and_recorders_neither_fill_nor_keep_a_room_but_hidden_participants_do() {
    let grants = |change: fn(&mut VideoGrant)| {
        let mut grant = grant();
        change(&mut grant);
        move |request: &mut JoinRequest| request.claims = claims(&request.claims.sub.clone(), grant)
    };
    let mut stage = Stage::new();
    let agent = stage.join_with("agent", Layout::Single, grants(|grant| grant.agent = true));
    stage.advance(60_000);
    assert!(!stage.world.ended, "an agent that waits for the first participant does not start the departure timeout");
    let settings = RoomSettings { max_participants: Some(1), ..RoomSettings::default() };
    stage.api(ApiCall::UpdateRoom(settings)).unwrap();
    let hidden = stage.join_with("hidden", Layout::Single, grants(|grant| grant.hidden = true));
    let refused = stage.enter("more", Layout::Single, |_| {});
    assert_eq!(names(&stage.take(&refused)), ["leave"], "a hidden participant takes a place");
    let recorder = stage.join_with("recorder", Layout::Single, grants(|grant| grant.recorder = true));
    assert!(!recorder.sid.is_empty());
    assert_eq!(stage.room.info().num_participants, 0);
    stage.advance(60_000);
    assert!(!stage.world.ended, "a hidden participant keeps the room");
    stage.signal(&hidden, proto::signal_request::Message::Leave(proto::LeaveRequest::default()));
    stage.take(&agent);
    stage.advance(21_000);
    assert!(stage.world.ended);
    assert_eq!(names(&stage.take(&agent)).last(), Some(&"leave"));
}

#[test]
fn a_session_that_a_hidden_one_replaces_is_seen_to_leave() {
    let mut stage = Stage::new();
    let watcher = stage.join("w", Layout::Dual);
    let first = stage.join("a", Layout::Dual);
    stage.take(&watcher);
    let hidden = |request: &mut JoinRequest| request.claims = claims("a", VideoGrant { hidden: true, ..grant() });
    let second = stage.join_with("a", Layout::Dual, hidden);
    let info = last_info(&stage.take(&watcher), "a").unwrap();
    assert_eq!((info.sid, info.state), (first.sid, 3));
    assert_eq!(stage.participant("a").unwrap().sid, second.sid);
}

#[test]
fn hidden_participants_are_seen_by_nobody_but_themselves_and_the_api() {
    let mut stage = Stage::new();
    let watcher = stage.join("w", Layout::Single);
    let hidden = |request: &mut JoinRequest| request.claims = claims("h", VideoGrant { hidden: true, ..grant() });
    let client = stage.enter("h", Layout::Single, hidden);
    for transport in stage.transports_of(&client.sid) {
        stage.connect(transport);
    }
    assert!(last_info(&stage.take(&client), "h").is_some());
    assert!(last_info(&stage.take(&watcher), "h").is_none());
    let late = stage.enter("l", Layout::Single, |_| {});
    let Some(Message::Join(join)) = stage.take(&late).into_iter().next() else { panic!() };
    assert_eq!(join.other_participants.len(), 1);
    assert!(matches!(stage.api(ApiCall::ListParticipants), Ok(ApiReply::Participants(all)) if all.len() == 3));
    assert_eq!(stage.room.info().num_participants, 2);
}

#[test]
fn add_tracks_of_the_join_request_are_answered_and_bound_by_its_offer() {
    let mut stage = Stage::new();
    let client = stage.enter("a", Layout::Single, |request| {
        let mut parts = pool();
        parts.push(Part::audio("mic"));
        let sdp = crate::sdp::offer(&parts, "a0");
        request.publisher_offer = Some(proto::SessionDescription { sdp, id: 1, ..Default::default() });
        request.add_tracks = vec![microphone("mic")];
    });
    let messages = stage.take(&client);
    assert_eq!(
        names(&messages),
        ["join", "refresh_token", "track_published", "update", "answer", "trickle", "trickle"]
    );
    assert_eq!(stage.world.desired.ingresses.len(), 1);
}

#[test]
fn full_tables_refuse_a_join_with_a_leave() {
    let mut stage = Stage::new();
    stage.world.leave_rows(1);
    let refused = stage.enter("a", Layout::Dual, |_| {});
    assert_eq!(names(&stage.take(&refused)), ["leave"]);
    assert!(stage.world.desired.transports.is_empty());
    assert!(!stage.world.has_lost_transports(1), "the first of the two transports is given back");
}

#[test]
fn the_data_row_says_what_the_grant_allows() {
    let mut stage = Stage::new();
    let grant = VideoGrant { can_publish_data: Some(false), can_subscribe: Some(false), ..grant() };
    let client = stage.join_with("a", Layout::Dual, |request| request.claims = claims("a", grant));
    let row = stage.world.desired.datas.values().next().unwrap();
    assert_eq!(row.flags, data_flags::CAN_RECEIVE, "data is received whatever the permission to subscribe");
    assert_eq!((row.sid.as_str(), row.identity.as_str()), (client.sid.as_str(), "a"));
    assert_ne!(row.uplink, row.downlink);
    let opens = stage.world.desired.transports[&row.downlink].flags & transport_flags::OPEN_CHANNELS;
    assert_ne!(opens, 0);
}

#[test]
fn a_crowd_is_told_of_comers_and_leavers_together_and_in_order() {
    let mut stage = Stage::new();
    let watcher = stage.join("w", Layout::Single);
    let come = |stage: &mut Stage, identity: &str| {
        let client = stage.enter(identity, Layout::Single, |_| {});
        for transport in stage.transports_of(&client.sid) {
            stage.connect(transport);
        }
        client
    };
    let clients: Vec<Client> = (0..100).map(|n| come(&mut stage, &format!("p{n}"))).collect();
    // Each join: a fixed greeting and one update to itself; the first ones are told to everybody at once.
    assert!(stage.world.messages <= 101 * 8 + 40 * 40, "{} messages", stage.world.messages);
    assert!(last_info(&stage.take(&watcher), "p99").is_none());
    stage.advance(2);
    let messages = stage.take(&watcher);
    assert_eq!(names(&messages), ["update"]);
    assert_eq!(last_info(&messages, "p99").unwrap().sid, clients[99].sid);
    assert_eq!(stage.room.info().num_participants, 101);

    stage.signal(&clients[98], proto::signal_request::Message::Leave(proto::LeaveRequest::default()));
    stage.signal(&clients[99], proto::signal_request::Message::Leave(proto::LeaveRequest::default()));
    assert!(stage.take(&watcher).is_empty(), "the others were told lately");
    let again = stage.enter("p99", Layout::Single, |_| {});
    let messages = stage.take(&watcher);
    let told: Vec<(&str, i32)> = messages.iter().flat_map(ended).collect();
    assert_eq!(told, [("p98", 3), ("p99", 3)], "that it left is told before it is seen again");
    for transport in stage.transports_of(&again.sid) {
        stage.connect(transport);
    }
    let mut publisher = come(&mut stage, "late");
    assert!(stage.take(&watcher).is_empty());
    stage.publish(&mut publisher, microphone("mic"));
    let messages = stage.take(&watcher);
    assert_eq!(last_info(&messages, "p99").unwrap().sid, again.sid, "what waits goes before what is urgent");
    assert_eq!(last_info(&messages, "late").unwrap().tracks.len(), 1);
    let waiting = stage.room.participants().into_iter().filter(|info| info.state != 2).count();
    assert_eq!(waiting, 0);
}

fn ended(message: &Message) -> Vec<(&str, i32)> {
    let Message::Update(update) = message else { return Vec::new() };
    update.participants.iter().map(|info| (info.identity.as_str(), info.state)).collect()
}

#[test]
fn a_late_joiner_of_a_large_room_sees_everybody_once_and_as_they_are() {
    let mut stage = Stage::new();
    let hidden = |request: &mut JoinRequest| request.claims.video.as_mut().unwrap().hidden = true;
    let mut clients: Vec<Client> = (0..50).map(|n| stage.join(&format!("p{n}"), Layout::Dual)).collect();
    stage.join_with("unseen", Layout::Dual, hidden);
    for client in clients.drain(10..30) {
        stage.signal(&client, signal_request::Message::Leave(proto::LeaveRequest::default()));
    }
    clients.extend((50..60).map(|n| stage.join(&format!("p{n}"), Layout::Dual)));
    let update = proto::UpdateParticipantMetadata { name: "renamed".into(), ..Default::default() };
    stage.signal(&clients[35], signal_request::Message::UpdateMetadata(update));
    for _ in 0..2 {
        let late = stage.enter("late", Layout::Dual, |_| {});
        let messages = stage.take(&late);
        let Message::Join(join) = &messages[0] else { panic!() };
        let mut seen: Vec<&str> = join.other_participants.iter().map(|info| info.identity.as_str()).collect();
        seen.sort_unstable();
        let mut there: Vec<String> = (0..10).chain(30..60).map(|n| format!("p{n}")).collect();
        there.sort_unstable();
        assert_eq!(seen, there);
        for info in &join.other_participants {
            assert_eq!(Some(info), stage.participant(&info.identity).as_ref());
        }
        assert_eq!(join.room.as_ref().unwrap().num_participants, 41);
        stage.advance(1_000);
        stage.restart();
    }
}
