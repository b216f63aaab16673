use engine_base::Codec;
use proptest::prelude::*;
use signaling_protocol::proto::{self, signal_request, signal_response::Message};
use signaling_room::*;

use crate::stage::*;

#[test]
fn a_restored_room_wants_the_same_rows_and_its_participants_resume() {
    for layout in [Layout::Dual, Layout::Single] {
        let mut stage = Stage::new();
        let mut publisher = stage.join("p", layout);
        let video = stage.publish(&mut publisher, camera("cam"));
        let audio = stage.publish(&mut publisher, microphone("mic"));
        let mut subscriber = stage.join("s", layout);
        stage.settle_mut(&mut subscriber);
        stage.settle_mut(&mut publisher);
        let ingress = stage.ingress_of(&video).unwrap();
        stage.media(ingress, &[(1, Codec::Vp8), (2, Codec::Vp8), (3, Codec::Vp8)]);
        let before = stage.participant("p").unwrap();

        stage.restart();
        assert_eq!(stage.participant("p").unwrap(), before);
        stage.resume(&mut publisher, |_| {});
        stage.resume(&mut subscriber, |_| {});
        let messages = stage.settle_mut(&mut subscriber);
        let info = last_info(&messages, "p").unwrap();
        assert!(info.version >= before.version && info.sid == before.sid);
        assert_eq!(info.tracks.len(), 2);
        assert!(!names(&messages).contains(&"join"));
        let told = names(&stage.settle_mut(&mut publisher));
        assert!(told.contains(&"subscribed_quality_update") && told.contains(&"track_subscribed"));
        assert_eq!((stage.egresses_of(&video).len(), stage.egresses_of(&audio).len()), (1, 1));
        stage.signal(
            &publisher,
            signal_request::Message::Mute(proto::MuteTrackRequest { sid: audio.clone(), muted: true }),
        );
        assert!(last_info(&stage.take(&subscriber), "p").unwrap().version > before.version);
    }
}

#[test]
fn what_happened_just_before_the_kill_is_right_for_everyone() {
    let mut stage = Stage::new();
    let mut publisher = stage.join("p", Layout::Single);
    let audio = stage.publish(&mut publisher, microphone("mic"));
    let mut watcher = stage.join("w", Layout::Single);
    stage.settle_mut(&mut watcher);
    let gone = stage.join("g", Layout::Single);
    stage.settle(&watcher);
    let seen = stage.participant("p").unwrap().version;
    stage.signal(&publisher, signal_request::Message::Mute(proto::MuteTrackRequest { sid: audio, muted: true }));
    let metadata = proto::UpdateParticipantMetadata { metadata: "new".into(), ..Default::default() };
    stage.signal(&publisher, signal_request::Message::UpdateMetadata(metadata));
    stage.signal(&gone, signal_request::Message::Leave(proto::LeaveRequest::default()));
    stage.restore();
    stage.world.sent.clear();
    stage.resume(&mut watcher, |_| {});
    let messages = stage.take(&watcher);
    let info = last_info(&messages, "p").unwrap();
    assert!(info.tracks[0].muted && info.metadata == "new" && info.version > seen);
    assert_eq!(last_info(&messages, "g").unwrap().state, 3);
    stage.advance(61_000);
    assert!(!stage.world.journal.keys().any(|key| key.starts_with(b"departed/")));
}

#[test]
fn an_interrupted_join_comes_again_or_ends() {
    let mut stage = Stage::new();
    let watcher = stage.join("w", Layout::Dual);
    let client = stage.enter("a", Layout::Dual, |_| {});
    let lost = stage.enter("l", Layout::Single, |_| {});
    let transports = stage.transports_of(&client.sid);
    stage.world.sent.clear();
    let records = stage.world.journal.clone();
    assert!(records.keys().all(|key| journal_room(key) == Some("room")));
    stage.restore();
    for transport in transports {
        stage.observe(transport, engine_table::transport_state::NEW);
    }
    let again = stage.join("a", Layout::Dual);
    assert_ne!(again.sid, client.sid);
    stage.advance(61_000);
    assert!(stage.participant("a").is_some());
    assert_eq!(stage.room.participants().iter().filter(|info| info.sid == client.sid).count(), 0);
    drop((watcher, lost));
}

#[test]
fn a_metadata_of_half_a_megabyte_is_not_written_by_a_mute() {
    let mut stage = Stage::new();
    let mut client = stage.join("a", Layout::Single);
    let track = stage.publish(&mut client, microphone("mic"));
    let metadata = proto::UpdateParticipantMetadata { metadata: "x".repeat(500_000), ..Default::default() };
    stage.signal(&client, signal_request::Message::UpdateMetadata(metadata));
    let before = stage.world.written;
    stage.signal(&client, signal_request::Message::Mute(proto::MuteTrackRequest { sid: track, muted: true }));
    assert!(stage.world.written - before < 4_000, "{} bytes", stage.world.written - before);
}

#[test]
fn a_damaged_record_ends_its_participant_alone() {
    let mut stage = Stage::new();
    let damaged = stage.join("a", Layout::Single);
    stage.join("b", Layout::Single);
    let key = stage
        .world
        .journal
        .keys()
        .find(|key| key.starts_with(b"peer/") && String::from_utf8_lossy(key).ends_with(&damaged.sid));
    let key = key.unwrap().clone();
    stage.world.journal.insert(key, vec![255; 9]);
    stage.restore();
    assert!(stage.participant("a").is_none() && stage.participant("b").is_some());
    assert!(!stage.world.journal.keys().any(|key| String::from_utf8_lossy(key).contains(&damaged.sid)));
}

#[test]
fn records_without_a_room_are_refused() {
    let mut stage = Stage::new();
    stage.join("a", Layout::Single);
    stage.world.journal.retain(|key, _| !key.starts_with(b"room/"));
    assert!(stage.try_restore().is_err());
}

/// What clients of a room may do.
#[derive(Clone, Debug)]
enum Step {
    Join(u8, bool),
    Publish(u8, bool),
    Mute(u8),
    Subscribe(u8, u8, bool),
    Metadata(u8),
    Leave(u8),
    Settle(u8),
    Permission(u8, bool),
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0_u8..4;
    prop_oneof![
        3 => (who.clone(), any::<bool>()).prop_map(|(who, dual)| Step::Join(who, dual)),
        3 => (who.clone(), any::<bool>()).prop_map(|(who, video)| Step::Publish(who, video)),
        1 => who.clone().prop_map(Step::Mute),
        2 => (who.clone(), who.clone(), any::<bool>()).prop_map(|(who, of, on)| Step::Subscribe(who, of, on)),
        1 => who.clone().prop_map(Step::Metadata),
        1 => who.clone().prop_map(Step::Leave),
        3 => who.clone().prop_map(Step::Settle),
        1 => (who, any::<bool>()).prop_map(|(who, on)| Step::Permission(who, on)),
        1 => (0_u16..3_000).prop_map(Step::Wait),
    ]
}

#[derive(Default)]
struct Crowd {
    clients: [Option<Client>; 4],
    cids: u32,
}

impl Crowd {
    fn run(&mut self, stage: &mut Stage, step: &Step) {
        match *step {
            Step::Join(who, dual) => {
                let layout = if dual { Layout::Dual } else { Layout::Single };
                self.clients[usize::from(who)] = Some(stage.join(&format!("p{who}"), layout));
            }
            Step::Wait(ms) => stage.advance(u64::from(ms)),
            Step::Publish(who, _)
            | Step::Mute(who)
            | Step::Subscribe(who, ..)
            | Step::Metadata(who)
            | Step::Leave(who)
            | Step::Settle(who)
            | Step::Permission(who, _) => {
                let Some(mut client) = self.clients[usize::from(who)].take() else { return };
                self.act(stage, &mut client, step);
                let alive = stage.participant(&client.identity).is_some_and(|info| info.sid == client.sid);
                let open = !stage.world.closed.contains_key(&client.connection);
                self.clients[usize::from(who)] = (alive && open).then_some(client);
            }
        }
    }

    fn act(&mut self, stage: &mut Stage, client: &mut Client, step: &Step) {
        let track = |stage: &Stage, identity: &str| {
            stage.participant(identity).and_then(|info| info.tracks.first().map(|track| track.sid.clone()))
        };
        match *step {
            Step::Publish(_, video) => {
                self.cids += 1;
                let cid = format!("cid{}", self.cids);
                let request = if video { camera(&cid) } else { microphone(&cid) };
                if stage.participant(&client.identity).unwrap().permission.unwrap().can_publish {
                    stage.publish(client, request);
                }
            }
            Step::Mute(_) => {
                if let Some(sid) = track(stage, &client.identity) {
                    let mute = proto::MuteTrackRequest { sid, muted: true };
                    stage.signal(client, signal_request::Message::Mute(mute));
                }
            }
            Step::Subscribe(_, of, subscribe) => {
                if let Some(sid) = track(stage, &format!("p{of}")) {
                    let request =
                        proto::UpdateSubscription { track_sids: vec![sid], subscribe, participant_tracks: Vec::new() };
                    stage.signal(client, signal_request::Message::Subscription(request));
                }
            }
            Step::Metadata(_) => {
                let metadata = proto::UpdateParticipantMetadata { metadata: "m".into(), ..Default::default() };
                stage.signal(client, signal_request::Message::UpdateMetadata(metadata));
            }
            Step::Leave(_) => stage.signal(client, signal_request::Message::Leave(proto::LeaveRequest::default())),
            Step::Settle(_) => drop(stage.settle_mut(client)),
            Step::Permission(_, can_publish) => {
                let permission =
                    proto::ParticipantPermission { can_publish, can_subscribe: true, ..Default::default() };
                let request = proto::UpdateParticipantRequest {
                    identity: client.identity.clone(),
                    permission: Some(permission),
                    ..Default::default()
                };
                stage.api(ApiCall::UpdateParticipant(request)).unwrap();
            }
            Step::Join(..) | Step::Wait(_) => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// At any point of any conversation: the same rows, the same infos, and a resume that shows no older version.
    #[test]
    fn a_room_restored_in_the_middle_is_the_room_that_went_on(steps in prop::collection::vec(step(), 1..24)) {
        let mut stage = Stage::new();
        stage.api(ApiCall::GetRoom).unwrap();
        let mut crowd = Crowd::default();
        for step in &steps {
            crowd.run(&mut stage, step);
        }
        let before = stage.room.participants();
        stage.restart_but_closing();
        prop_assert_eq!(stage.room.participants(), before.clone());
        for mut client in crowd.clients.into_iter().flatten() {
            stage.resume(&mut client, |_| {});
            let messages = stage.settle_mut(&mut client);
            prop_assert_eq!(name(&messages[0]), "reconnect");
            for message in &messages {
                let Message::Update(update) = message else { continue };
                for info in &update.participants {
                    let known = before.iter().find(|known| known.sid == info.sid);
                    prop_assert!(known.is_none_or(|known| known.version <= info.version));
                }
            }
            for known in before.iter().filter(|known| known.identity == client.identity) {
                prop_assert_eq!(stage.participant(&client.identity).map(|info| info.sid), Some(known.sid.clone()));
            }
        }
    }

    /// Each key is written by itself: whatever is there must make a room whose rows fit together, and that clients can use.
    #[test]
    fn a_kill_between_two_writes_leaves_a_room_that_holds_together(
        steps in prop::collection::vec(step(), 1..16),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut stage = Stage::new();
        let mut crowd = Crowd::default();
        for step in &steps {
            crowd.run(&mut stage, step);
        }
        let writes = cut.index(stage.world.history.len() + 1);
        if stage.restart_after(writes).is_none() {
            return Ok(());
        }
        let desired = &stage.world.desired;
        for row in desired.egresses.values() {
            prop_assert!(desired.ingresses.contains_key(&row.ingress), "an egress has its ingress");
            prop_assert!(desired.transports.contains_key(&row.transport), "an egress has its transport");
            prop_assert!(row.ssrc.0 != 0, "an egress has a section");
        }
        for row in desired.ingresses.values() {
            prop_assert!(row.payload_types[0].codec != 0, "an ingress has a section");
        }
        let identities: Vec<String> = stage.room.participants().into_iter().map(|info| info.identity).collect();
        for mut client in crowd.clients.into_iter().flatten().filter(|client| identities.contains(&client.identity)) {
            stage.resume(&mut client, |_| {});
            let first = stage.settle_mut(&mut client);
            prop_assert!(["reconnect", "leave"].contains(&name(&first[0])));
            if name(&first[0]) == "reconnect" && client.layout == Layout::Single {
                stage.offer(&mut client);
                let messages = stage.settle_mut(&mut client);
                stage.advance(250);
                let answered = names(&messages).contains(&"answer") || names(&stage.take(&client)).contains(&"answer");
                prop_assert!(answered, "{:?}", names(&messages));
            }
        }
    }
}
