//! `kill -9` of the courier: media goes on, new joins work, sessions with data channels are moved.

use std::time::Duration;

use serde_json::json;
use tools_interop::{Layout, Participant, Scene, Take, Video, flows, show_each_other, wall_ms, within};

/// Joins work again this long after the kill.
const WORKS_AGAIN_MS: u64 = 1000;

/// A join takes this long when nothing is wrong.
const JOIN_MS: u64 = 1000;

#[test]
fn media_is_untouched_and_data_arrives_again() {
    for layout in [Layout::Single, Layout::Dual] {
        let scene = Scene::own();
        let options = scene.options().layout(layout);
        let (alice, bob) = (scene.chromium("alice"), scene.python("bob"));
        for each in [&alice, &bob] {
            each.join(&options);
        }
        show_each_other([&alice, &bob], &Video::small("vp8"));
        says(&alice, &bob, "before the kill");
        says(&bob, &alice, "before the kill");

        // A second of media: the last messages are acknowledged by then (SCTP delays that by 200 ms). One that is not is data that
        // a client has for a lost session, which moves it.
        let settled = [Take::now(&alice, &bob), Take::now(&bob, &alice)];
        let before = [settled[0].after_frames(15, &alice, &bob), settled[1].after_frames(15, &bob, &alice)];
        let old = scene.node.kill("courier");
        scene.node.wait_restarted("courier", old, Duration::from_secs(1));
        // Ten seconds of media: 150 frames.
        let after = [before[0].after_frames(150, &alice, &bob), before[1].after_frames(150, &bob, &alice)];
        for flow in [0, 1].into_iter().flat_map(|side| flows(&before[side], &after[side])) {
            assert_eq!(flow.packets_lost, 0, "media was touched in {layout:?}: {flow:?}");
            flow.assert_arrived(95);
        }
        says_until_heard(&alice, &bob, "ten seconds after the kill");
        says_until_heard(&bob, &alice, "ten seconds after the kill");
    }
}

#[test]
fn new_joins_work_within_a_second() {
    let scene = Scene::own();
    let bob = scene.python("bob");
    bob.join(&scene.options());
    let video = bob.publish_video(&Video::small("vp8"));
    // The browser's own first start of its media stack is not what is measured.
    let alice = scene.chromium("alice");
    alice.join(&scene.options());
    let late = scene.chromium("late");

    let mark = late.mark();
    let killed_at = wall_ms();
    scene.node.kill("courier");
    late.join(&scene.options());
    let joined = late.wait(mark, "joined", |_| true);
    let took = joined["at"].as_u64().unwrap_or(u64::MAX).saturating_sub(killed_at);
    println!("joined {took} ms after the kill");
    assert!(took <= WORKS_AGAIN_MS + JOIN_MS, "the join after the kill took {took} ms");
    late.wait(mark, "first_frame", |event| event["sid"] == *video.sid);
}

#[test]
fn a_join_in_the_middle_of_its_handshake_is_sent_round_again() {
    let scene = Scene::own();
    let bob = scene.python("bob");
    bob.join(&scene.options());
    let video = bob.publish_video(&Video::small("vp8"));
    let alice = scene.chromium("alice");
    let options = scene.options();
    let token = alice.token(&options);
    let mark = alice.mark();
    alice.begin("join", json!([{ "url": scene.node.url, "token": token, "singlePeerConnection": true }]));
    alice.wait(mark, "signal_first", |event| event["kind"] == "join");
    scene.node.kill("courier");
    let seen = |event: &serde_json::Value| event["sid"] == *video.sid;
    alice.wait_within(mark, "first_frame", Duration::from_secs(10), seen);
    says_until_heard(&bob, &alice, "after a join through a kill");
}

#[test]
fn data_for_a_session_that_died_is_kept_until_it_is_made_anew() {
    for layout in [Layout::Single, Layout::Dual] {
        let scene = Scene::own();
        let options = scene.options().layout(layout);
        let (alice, bob) = (scene.chromium("alice"), scene.python("bob"));
        for each in [&alice, &bob] {
            each.join(&options);
        }
        let old = scene.node.kill("courier");
        scene.node.wait_restarted("courier", old, Duration::from_secs(1));
        let late = scene.chromium("late");
        late.join(&options);
        let marks = [alice.mark(), bob.mark()];
        late.send_data("kept", json!({ "reliable": true }));
        for (mark, each) in marks.into_iter().zip([&alice, &bob]) {
            each.wait(mark, "data", |event| event["text"] == "kept" && event["identity"] == *late.identity);
        }
    }
}

fn says(from: &Participant, to: &Participant, text: &str) {
    let mark = to.mark();
    from.send_data(text, json!({ "reliable": true }));
    to.wait(mark, "data", |event| event["text"] == text && event["identity"] == *from.identity);
}

/// Says it again while it is not heard: what a client sends into the association that died with the courier moves its
/// session to a new one, but no client library sends that message again.
fn says_until_heard(from: &Participant, to: &Participant, text: &str) {
    let mark = to.mark();
    let heard = |patience: Duration| {
        within(patience, || {
            let heard = to.named_since(mark, "data").into_iter().find(|event| event["text"] == text);
            heard.filter(|event| event["identity"] == *from.identity)
        })
    };
    for _ in 0..5 {
        // While its session moves, a client refuses to send.
        let _ = from.try_call("sendData", json!([text, { "reliable": true }]));
        if heard(Duration::from_secs(3)).is_some() {
            return;
        }
    }
    panic!("{} did not hear {text:?} of {}: {:?}", to.identity, from.identity, to.since(mark));
}
