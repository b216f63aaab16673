use engine_base::TransportRef;
use signaling_protocol::proto::{
    self, DisconnectReason, leave_request::Action, signal_request, signal_response::Message,
};
use signaling_room::*;
use signaling_token::VideoGrant;

use crate::stage::*;

fn refused(messages: &[Message]) -> bool {
    matches!(messages, [Message::Leave(leave)]
        if leave.action == Action::Reconnect as i32 && leave.reason == DisconnectReason::StateMismatch as i32)
}

#[test]
fn a_dual_resume_is_answered_in_the_recorded_order_with_an_ice_restart() {
    let mut stage = Stage::new();
    let mut publisher = stage.join("p", Layout::Dual);
    let track = stage.publish(&mut publisher, microphone("mic"));
    let mut client = stage.join("a", Layout::Dual);
    stage.settle_mut(&mut client);
    let gone = stage.join("g", Layout::Dual);
    stage.settle(&client);
    let downlink = stage.egresses_of(&track)[0].transport;
    let before = stage.world.desired.transports[&downlink];
    stage.session(
        stage.world.desired.datas.values().find(|row| row.identity.as_str() == "a").unwrap().uplink,
        |session| {
            session.last_sequence = 41;
        },
    );
    stage.input(Input::SocketLost { connection: client.connection });
    stage.signal(&gone, signal_request::Message::Leave(proto::LeaveRequest::default()));
    let egress = stage.egresses_of(&track)[0];
    stage.resume(&mut client, |_| {});
    let messages = stage.take(&client);
    assert_eq!(
        names(&messages),
        [
            "reconnect",
            "update",
            "update",
            "room_update",
            "refresh_token",
            "offer",
            "trickle",
            "trickle",
            "speakers_changed"
        ],
        "the end of a voice may have been missed, too"
    );
    assert!(matches!(&messages[0], Message::Reconnect(reconnect) if reconnect.last_message_seq == 41));
    assert!(matches!(&messages[1], Message::Update(update)
        if update.participants.len() == 1 && update.participants[0].sid == gone.sid && update.participants[0].state == 3));
    assert!(matches!(&messages[2], Message::Update(update) if update.participants.len() == 2));
    let Message::Offer(offer) = &messages[5] else { panic!() };
    assert!(offer.mid_to_track_id.values().any(|sid| *sid == track));
    let after = stage.world.desired.transports[&downlink];
    assert_ne!(before.credentials_newest, after.credentials_newest);
    assert_eq!(
        before.credentials[usize::from(before.credentials_newest)],
        after.credentials[usize::from(before.credentials_newest)]
    );
    assert_eq!(stage.egresses_of(&track)[0], egress, "media is not touched");
}

#[test]
fn sockets_that_break_during_restarts_leave_the_credentials_in_use() {
    for layout in [Layout::Dual, Layout::Single] {
        let mut stage = Stage::new();
        let mut client = stage.join("a", layout);
        stage.settle_mut(&mut client);
        let credentials = |stage: &Stage| {
            let at = *stage.transports_of(&client.sid).last().unwrap();
            (at, stage.world.desired.transports[&at].credentials)
        };
        let (at, [used, _]) = credentials(&stage);
        stage.observe(at, engine_table::transport_state::CONNECTED);
        let mut client = client.clone();
        for n in 0..3 {
            stage.resume(&mut client, |_| {});
            client.ufrag = format!("again{n}");
            if layout == Layout::Single {
                stage.offer(&mut client);
            }
            let at = *stage.transports_of(&client.sid).last().unwrap();
            let row = stage.world.desired.transports[&at];
            assert_eq!(row.credentials[0], used, "media goes over these");
            assert_eq!(row.credentials_newest, 1);
        }
    }
}

#[test]
fn a_single_resume_leaves_negotiation_to_the_client() {
    let mut stage = Stage::new();
    let mut client = stage.join("a", Layout::Single);
    let track = stage.publish(&mut client, camera("cam"));
    stage.take(&client);
    let old = client.connection;
    stage.resume(&mut client, |_| {});
    assert!(stage.world.closed.contains_key(&old), "the former socket is closed");
    let messages = stage.take(&client);
    assert_eq!(names(&messages), ["reconnect", "update", "room_update", "refresh_token"]);
    assert_eq!(last_info(&messages, "a").unwrap().tracks[0].sid, track);
    stage.input(Input::Signal {
        connection: old,
        message: Box::new(proto::SignalRequest {
            message: Some(signal_request::Message::Leave(proto::LeaveRequest::default())),
        }),
    });
    stage.input(Input::SocketLost { connection: old });
    assert!(stage.participant("a").is_some(), "late frames of the former socket are nobody's");
    client.ufrag = "again".into();
    stage.offer(&mut client);
    assert_eq!(names(&stage.take(&client)), ["answer", "trickle", "trickle"]);
    assert_eq!(stage.participant("a").unwrap().tracks[0].sid, track);
}

#[test]
fn another_sid_layout_or_identity_begins_anew() {
    let mut stage = Stage::new();
    let client = stage.join("a", Layout::Single);
    let mut attempt = |change: &dyn Fn(&mut JoinRequest)| {
        let mut other = client.clone();
        stage.resume(&mut other, |request| change(request));
        let messages = stage.take(&other);
        refused(&messages) && stage.world.closed.contains_key(&other.connection)
    };
    assert!(attempt(&|request| request.resume.as_mut().unwrap().participant_sid = "PA_other".into()));
    assert!(attempt(&|request| request.layout = Layout::Dual));
    assert!(attempt(&|request| request.claims = claims("b", grant())));
    assert!(!attempt(&|request| request.resume.as_mut().unwrap().participant_sid.clear()));
}

#[test]
fn what_was_missed_is_repeated() {
    let mut stage = Stage::new();
    let mut publisher = stage.join("p", Layout::Single);
    let track = stage.publish(&mut publisher, camera("cam"));
    stage.take(&publisher);
    stage.input(Input::SocketLost { connection: publisher.connection });
    let mut subscriber = stage.join("s", Layout::Single);
    stage.settle_mut(&mut subscriber);
    assert_eq!(stage.egresses_of(&track).len(), 1);
    stage.resume(&mut publisher, |_| {});
    let told = names(&stage.take(&publisher));
    assert!(told.contains(&"track_subscribed") && told.contains(&"subscribed_quality_update"), "{told:?}");

    let mut audios = Vec::new();
    stage.input(Input::SocketLost { connection: subscriber.connection });
    for n in 0..5 {
        audios.push(stage.publish(&mut publisher, microphone(&format!("mic{n}"))));
    }
    stage.resume(&mut subscriber, |_| {});
    stage.settle_mut(&mut subscriber);
    stage.offer(&mut subscriber);
    stage.settle_mut(&mut subscriber);
    assert!(audios.iter().all(|audio| stage.egresses_of(audio).len() == 1));
    assert_eq!(subscriber.parts.iter().filter(|part| matches!(part, crate::sdp::Part::Receive("audio"))).count(), 5);
}

#[test]
fn sync_state_applies_what_the_client_believes() {
    let mut stage = Stage::new();
    let mut publisher = stage.join("p", Layout::Single);
    let (audio, video) =
        (stage.publish(&mut publisher, microphone("mic")), stage.publish(&mut publisher, camera("cam")));
    let mut client = stage.join("a", Layout::Single);
    stage.settle_mut(&mut client);
    let state = proto::SyncState {
        subscription: Some(proto::UpdateSubscription { track_sids: vec![audio.clone()], ..Default::default() }),
        track_sids_disabled: vec![video.clone()],
        datachannel_receive_states: vec![proto::DataChannelReceiveState {
            publisher_sid: publisher.sid.clone(),
            last_seq: 8,
        }],
        ..Default::default()
    };
    stage.resume(&mut client, |request| request.resume.as_mut().unwrap().sync_state = Some(state));
    assert_eq!(name(&stage.take(&client)[0]), "reconnect");
    assert!(stage.egresses_of(&audio).is_empty());
    assert_eq!(stage.egresses_of(&video)[0].flags & 1, 0);
    assert!(matches!(&stage.world.data[..], [Effect::ReplayData { sender_sid, last_sequence: 8, .. }]
        if *sender_sid == publisher.sid));

    let state = |track: Option<&String>| {
        let track = track.map(|sid| proto::TrackInfo { sid: sid.clone(), ..Default::default() });
        let known = proto::TrackPublishedResponse { cid: "mic".into(), track };
        signal_request::Message::SyncState(proto::SyncState {
            publish_tracks: vec![known].into_iter().filter(|known| known.track.is_some()).collect(),
            ..Default::default()
        })
    };
    stage.take(&publisher);
    stage.signal(&publisher, state(Some(&audio)));
    let named = stage.take(&publisher);
    assert!(
        matches!(&named[..], [Message::TrackPublished(lost)] if lost.cid == "cam" && lost.track.as_ref().unwrap().sid == video),
        "a track_published that was lost is repeated: {:?}",
        names(&named)
    );
    stage.signal(&publisher, state(None));
    assert_eq!(names(&stage.take(&publisher)), ["track_published", "track_published"]);

    let ghost = proto::TrackPublishedResponse {
        cid: "x".into(),
        track: Some(proto::TrackInfo { sid: "TR_ghost".into(), ..Default::default() }),
    };
    let state = proto::SyncState { publish_tracks: vec![ghost], ..Default::default() };
    stage.signal(&client, signal_request::Message::SyncState(state));
    let messages = stage.take(&client);
    assert!(refused(&messages), "{:?}", names(&messages));
    assert!(stage.participant("a").is_none());
}

#[test]
fn a_denial_is_repeated_and_hidden_participants_stay_unknown() {
    let mut stage = Stage::new();
    let hidden = |request: &mut JoinRequest| request.claims = claims("h", VideoGrant { hidden: true, ..grant() });
    let hidden = stage.join_with("h", Layout::Single, hidden);
    let mut publisher = stage.join("p", Layout::Single);
    let track = stage.publish(&mut publisher, microphone("mic"));
    let mut client = stage.join("a", Layout::Single);
    stage.settle_mut(&mut client);
    stage.input(Input::SocketLost { connection: client.connection });
    let rule = proto::SubscriptionPermission::default();
    stage.signal(&publisher, signal_request::Message::SubscriptionPermission(rule));
    stage.signal(&hidden, signal_request::Message::Leave(proto::LeaveRequest::default()));
    for _ in 0..2 {
        stage.resume(&mut client, |_| {});
        let messages = stage.take(&client);
        assert_eq!(last_info(&messages, "h"), None);
        assert!(messages.iter().any(|message| matches!(
            message,
            Message::SubscriptionPermissionUpdate(update) if !update.allowed && update.track_sid == track
        )));
    }
}

#[test]
fn a_reused_reference_does_not_reach_the_successor() {
    let mut stage = Stage::new();
    let client = stage.join("a", Layout::Single);
    let transport = stage.transports_of(&client.sid)[0];
    let stale = TransportRef::new(transport.index, transport.generation + 1);
    stage.observe(stale, engine_table::transport_state::FAILED);
    stage.advance(10_000);
    assert!(stage.participant("a").is_some());
}
