//! `kill -9` of the signaling process while media flows: nobody loses a packet, everybody resumes, nothing is forgotten.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use tools_interop::{Layout, Mark, Participant, Scene, Stats, Take, Video, flows, show_each_other, wall_ms};

const ROUNDS: usize = 5;

/// From the kill to the server's `reconnect`, and to the client's own Reconnected event.
const ANSWERED_MS: u64 = 1000;
const RECONNECTED: Duration = Duration::from_secs(5);

/// No picture may be held for longer.
const GAP_MS_MAX: f64 = 500.0;

#[test]
fn clients_of_the_single_layout_resume_five_times() {
    survive(Layout::Single);
}

#[test]
fn clients_of_the_dual_layout_resume_five_times() {
    survive(Layout::Dual);
}

/// A room in which everything that a kill could touch is going on.
struct Room<'a> {
    scene: &'a Scene,
    layout: Layout,
    alice: Participant,
    bob: Participant,
    carol: Participant,
    /// Participant and track sids that must not change.
    sids: Vec<String>,
    microphone: String,
}

fn survive(layout: Layout) {
    let scene = Scene::own();
    let room = Room::enter(&scene, layout);
    let established = transports(&scene, &room.sids);
    let mut expected = scene.node.handshakes();
    for round in 0..ROUNDS {
        let mid_join = round == ROUNDS / 2;
        expected += room.round(round, mid_join);
        println!("{layout:?}, round {round}: resumed");
    }
    assert_versions_only_grow(&room.alice);
    assert_eq!(transports(&scene, &room.sids), established, "someone resumed on another transport");
    // The join that the kill cut in two may have been made again by the SDK, after its first handshake.
    let after = scene.node.handshakes();
    let again = room.handshakes_per_client();
    assert!(after == expected || after == expected + again, "DTLS handshakes: {after} instead of {expected}");
}

impl<'a> Room<'a> {
    fn enter(scene: &'a Scene, layout: Layout) -> Room<'a> {
        let options = scene.options().layout(layout).grant(json!({ "canUpdateOwnMetadata": true }));
        let (alice, bob, carol) = (scene.chromium("alice"), scene.python("bob"), scene.python("carol"));
        let mut sids: Vec<String> = [&alice, &bob, &carol].map(|each| each.join(&options).sid).into();
        let microphone = alice.publish_audio().sid;
        let cameras = show_each_other([&alice, &bob], &Video::small("vp8"));
        sids.extend(cameras.map(|camera| camera.sid));
        sids.push(microphone.clone());
        Room { scene, layout, alice, bob, carol, sids, microphone }
    }

    /// One kill, with changes just before it; gives how many new DTLS sessions the round itself made.
    fn round(&self, round: usize, mid_join: bool) -> u64 {
        let Room { scene, alice, bob, carol, .. } = self;
        let guest = scene.python(&format!("guest-{round}"));
        guest.join(&scene.options().layout(self.layout));
        alice.until_view("sight", &guest.identity, |_| true);
        for each in [alice, bob] {
            each.call("resetGaps", json!([]));
        }
        let before = [Take::now(alice, bob), Take::now(bob, alice)];
        let own_before = [alice.stats(), bob.stats()];
        let marks = [alice.mark(), bob.mark()];

        let joiner = mid_join.then(|| {
            let joiner = scene.python("joiner");
            let options = scene.options().layout(self.layout);
            let token = joiner.token(&options);
            let single = self.layout == Layout::Single;
            joiner.begin("join", json!([{ "url": scene.node.url, "token": token, "singlePeerConnection": single }]));
            joiner.wait(marks[1], "joining", |_| true);
            joiner
        });
        let muted = round.is_multiple_of(2);
        let metadata = format!("before kill {round}");
        alice.set_muted(&self.microphone, muted);
        carol.call("setMetadata", json!([metadata]));
        guest.leave();
        let killed_at = wall_ms();
        let old = scene.node.kill("signaling");

        self.everyone_reconnects(marks, killed_at);
        scene.node.wait_restarted("signaling", old, Duration::from_secs(1));
        if let Some(joiner) = &joiner {
            self.joiner_gets_in(joiner, marks[1]);
        }
        self.media_was_untouched(&before, &own_before);
        self.everyone_agrees(muted, &metadata, &guest.identity, joiner.as_ref());
        self.handshakes_per_client() * (1 + u64::from(mid_join))
    }

    fn handshakes_per_client(&self) -> u64 {
        if self.layout == Layout::Single { 1 } else { 2 }
    }

    fn everyone_reconnects(&self, marks: [Mark; 2], killed_at: u64) {
        let first = self.alice.wait_within(marks[0], "signal_first", RECONNECTED, |_| true);
        assert_eq!(first["kind"], "reconnect", "alice was answered by something else: {first}");
        let took = first["at"].as_u64().unwrap_or(u64::MAX).saturating_sub(killed_at);
        assert!(took <= ANSWERED_MS, "`reconnect` came {took} ms after the kill");
        self.alice.wait_within(marks[0], "reconnected", RECONNECTED, |_| true);
        for each in [&self.bob, &self.carol] {
            each.wait_within(marks[1], "reconnected", RECONNECTED, |_| true);
        }
        let joins =
            self.alice.named_since(marks[0], "signal_first").into_iter().filter(|event| event["kind"] == "join");
        assert_eq!(joins.count(), 0, "alice had to join anew");
        let restarts: Vec<Value> = self.alice.named_since(marks[0], "reconnecting");
        assert!(restarts.is_empty(), "alice's media was restarted: {restarts:?}");
    }

    /// A join that the kill cut in two ends well by the client's own means, or is made again.
    fn joiner_gets_in(&self, joiner: &Participant, mark: Mark) {
        let joined =
            |wait: Duration| tools_interop::within(wait, || joiner.named_since(mark, "joined").first().cloned());
        if joined(RECONNECTED).is_none() {
            joiner.join(&self.scene.options().layout(self.layout));
        }
        let sid = joiner.participants()[0]["sid"].clone();
        self.alice.until_view("the joiner's session", "joiner", |view| view["sid"] == sid);
        let alone = self.alice.participants().iter().filter(|each| each["identity"] == "joiner").count();
        assert_eq!(alone, 1, "the joiner is there twice");
    }

    fn media_was_untouched(&self, before: &[Take; 2], own_before: &[Stats; 2]) {
        let after =
            [before[0].after_frames(45, &self.alice, &self.bob), before[1].after_frames(45, &self.bob, &self.alice)];
        for flow in [0, 1].into_iter().flat_map(|side| flows(&before[side], &after[side])) {
            assert_eq!(flow.packets_lost, 0, "RTP packets were lost: {flow:?}");
            if flow.kind == "video" {
                flow.assert_arrived(95);
            }
        }
        for (each, own_before) in [&self.alice, &self.bob].into_iter().zip(own_before) {
            let now = each.stats();
            for track in now.received.iter().filter(|track| track.kind == "video") {
                let old = own_before.received(&track.sid).expect("received before the kill");
                assert_eq!(track.ssrc, old.ssrc, "the stream was replaced at {}", each.identity);
                let gap_ms = track.shown.as_ref().map_or(0.0, |shown| shown.gap_ms_max);
                assert!(gap_ms <= GAP_MS_MAX, "no picture for {gap_ms:.0} ms at {}", each.identity);
            }
        }
    }

    /// What was changed just before the kill is right for everyone, and nobody has another sid.
    fn everyone_agrees(&self, muted: bool, metadata: &str, guest: &str, joiner: Option<&Participant>) {
        let Room { alice, bob, carol, .. } = self;
        for each in [alice, bob, carol].into_iter().chain(joiner) {
            each.until_gone(guest);
            each.until_view("the metadata", "carol", |view| view["metadata"] == metadata);
            each.until_view("the mute", "alice", |view| {
                let tracks = view["tracks"].as_array().into_iter().flatten();
                tracks.into_iter().any(|track| track["sid"] == *self.microphone && track["muted"] == muted)
            });
            let seen = each.participants();
            let known: Vec<&Value> =
                seen.iter().flat_map(|view| view["tracks"].as_array().into_iter().flatten().chain([view])).collect();
            for sid in &self.sids {
                assert!(
                    known.iter().any(|view| view["sid"] == **sid),
                    "{} does not know {sid} any more",
                    each.identity
                );
            }
        }
        if let Some(joiner) = joiner {
            joiner.leave();
            alice.until_gone("joiner");
        }
    }
}

/// Index, generation and DTLS state of every transport of these participants.
fn transports(scene: &Scene, sids: &[String]) -> Vec<(u64, u64, String)> {
    let status = scene.node.status();
    let rows = status["transports"].as_array().cloned().unwrap_or_default();
    let theirs = rows.iter().filter(|row| sids.iter().any(|sid| row["participant"] == **sid));
    let of = |row: &Value| {
        (row["index"].as_u64().unwrap_or(0), row["generation"].as_u64().unwrap_or(0), row["dtls"].to_string())
    };
    let found: Vec<_> = theirs.map(of).collect();
    assert!(!found.is_empty(), "no transports of {sids:?} in {status}");
    found
}

/// `ParticipantInfo.version` of every participant, in the order in which alice was told.
fn assert_versions_only_grow(alice: &Participant) {
    let signals = alice.command("signals", json!({ "direction": "in" }));
    let mut last: HashMap<String, u64> = HashMap::new();
    for signal in signals.as_array().into_iter().flatten() {
        let message = &signal["message"];
        let infos = match signal["kind"].as_str() {
            Some("join") => {
                message["otherParticipants"].as_array().into_iter().flatten().chain([&message["participant"]])
            }
            Some("update") => message["participants"].as_array().into_iter().flatten().chain([&Value::Null]),
            _ => continue,
        };
        for info in infos.filter(|info| info.is_object()) {
            let sid = info["sid"].as_str().unwrap_or_default().to_owned();
            let version = info["version"].as_u64().unwrap_or(0);
            let before = last.insert(sid.clone(), version).unwrap_or(0);
            assert!(version >= before, "the version of {sid} went back from {before} to {version}: {info}");
        }
    }
    assert!(!last.is_empty(), "alice was told of nobody");
}
