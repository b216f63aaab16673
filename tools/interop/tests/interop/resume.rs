//! The signalling socket is lost; the session, its media and its data go on.

use std::time::Duration;

use serde_json::{Value, json};
use tools_interop::{Layout, Proxy, Scene, Take, Video, flows, show_each_other};

/// From the cut to the client's own Reconnected event.
const RESUMED: Duration = Duration::from_secs(5);

/// LiveKit's `DisconnectReason` and `LeaveRequest.Action`.
const STATE_MISMATCH: &str = "STATE_MISMATCH";
const RECONNECT: &str = "RECONNECT";

#[test]
fn chromium_resumes_over_a_new_socket_in_the_single_layout() {
    chromium_resumes(Layout::Single);
}

#[test]
fn chromium_resumes_over_a_new_socket_in_the_dual_layout() {
    chromium_resumes(Layout::Dual);
}

fn chromium_resumes(layout: Layout) {
    let scene = Scene::new();
    let proxy = Proxy::before(scene.node.port);
    let (alice, bob) = (scene.chromium("alice"), scene.python("bob"));
    let joined = alice.join(&scene.options().layout(layout).url(proxy.url()));
    bob.join(&scene.options());
    show_each_other([&alice, &bob], &Video::small("vp8"));

    let before = (Take::now(&alice, &bob), Take::now(&bob, &alice));
    let mark = (alice.mark(), bob.mark());
    assert_eq!(proxy.cut(), 1, "one signalling connection");
    bob.send_data("sent while the other has no socket", json!({}));
    let first = alice.wait_within(mark.0, "signal_first", RESUMED, |_| true);
    assert_eq!(first["kind"], "reconnect", "a resume, not a new session");
    alice.wait_within(mark.0, "reconnected", RESUMED, |_| true);
    alice.wait(mark.0, "data", |event| event["text"] == "sent while the other has no socket");

    assert_eq!(alice.participants()[0]["sid"], *joined.sid, "the same participant");
    let after = (before.0.after_frames(90, &alice, &bob), before.1.after_frames(90, &bob, &alice));
    for flow in flows(&before.0, &after.0).into_iter().chain(flows(&before.1, &after.1)) {
        assert_eq!(flow.packets_lost, 0, "media was touched by the loss of a socket: {flow:?}");
        flow.assert_arrived(95);
    }
    let gone = bob.named_since(mark.1, "participant_disconnected");
    assert!(gone.is_empty(), "bob was told that alice left: {gone:?}");
    let republished = bob.named_since(mark.1, "track_published");
    assert!(republished.is_empty(), "alice published again: {republished:?}");
}

#[test]
fn python_resumes_over_a_new_socket() {
    for layout in [Layout::Single, Layout::Dual] {
        let scene = Scene::new();
        let proxy = Proxy::before(scene.node.port);
        let (bob, carol) = (scene.python("bob"), scene.python("carol"));
        let joined = bob.join(&scene.options().layout(layout).url(proxy.url()));
        carol.join(&scene.options());
        let mark = carol.mark();
        let video = bob.publish_video(&Video::small("vp8"));
        carol.wait(mark, "first_frame", |event| event["sid"] == *video.sid);
        let before = Take::now(&bob, &carol);
        let mark = bob.mark();
        proxy.cut();
        bob.wait_within(mark, "reconnected", RESUMED, |_| true);
        assert_eq!(bob.participants()[0]["sid"], *joined.sid, "the same participant in {layout:?}");
        let after = before.after_frames(90, &bob, &carol);
        for flow in flows(&before, &after) {
            assert_eq!(flow.packets_lost, 0, "media was touched in {layout:?}: {flow:?}");
        }
        assert!(carol.named_since(mark, "participant_disconnected").is_empty(), "carol was told that bob left");
    }
}

#[test]
fn what_happened_meanwhile_is_told_at_the_resume() {
    let scene = Scene::new();
    let proxy = Proxy::before(scene.node.port);
    let (alice, bob, carol) = (scene.chromium("alice"), scene.python("bob"), scene.python("carol"));
    alice.join(&scene.options().url(proxy.url()));
    bob.join(&scene.options().grant(json!({ "canUpdateOwnMetadata": true })));
    carol.join(&scene.options());
    let microphone = bob.publish_audio();
    let mark = alice.mark();
    alice.until_view("the microphone", "bob", |view| view["tracks"][0]["sid"] == *microphone.sid);
    alice.until_view("sight", "carol", |_| true);

    proxy.refuse(true);
    proxy.cut();
    bob.set_muted(&microphone.sid, true);
    bob.call("setMetadata", json!(["changed meanwhile"]));
    carol.leave();
    let dave = scene.python("dave");
    dave.join(&scene.options());
    proxy.refuse(false);

    alice.wait_within(mark, "reconnected", Duration::from_secs(12), |_| true);
    alice.until_view("the mute", "bob", |view| view["tracks"][0]["muted"] == true);
    alice.until_view("the metadata", "bob", |view| view["metadata"] == "changed meanwhile");
    alice.until_view("sight", "dave", |_| true);
    alice.until_gone("carol");
}

#[test]
fn a_resume_of_an_ended_session_is_told_to_join_anew() {
    let scene = Scene::new();
    let proxy = Proxy::before(scene.node.port);
    let alice = scene.chromium("alice");
    let joined = alice.join(&scene.options().url(proxy.url()));
    let mark = alice.mark();
    proxy.refuse(true);
    proxy.cut();
    let request = json!({ "room": scene.room, "identity": "alice" });
    scene.python_service("remove_participant", request).expect("the participant is there");
    proxy.refuse(false);
    let first = alice.wait_within(mark, "signal_first", Duration::from_secs(12), |event| event["kind"] == "leave");
    let since = first["at"].as_u64().unwrap_or(0) - 50;
    let leaves = alice.command("signals", json!({ "kind": "leave", "direction": "in", "since": since }));
    assert_eq!(leaves[0]["message"]["reason"], STATE_MISMATCH, "{leaves}");
    assert_eq!(leaves[0]["message"]["action"], RECONNECT, "{leaves}");
    let again = alice.wait_within(mark, "signal_first", Duration::from_secs(12), |event| event["kind"] == "join");
    assert!(again["at"].as_u64() >= first["at"].as_u64());
    alice.wait_within(mark, "reconnected", Duration::from_secs(12), |_| true);
    let sid: Value = alice.participants()[0]["sid"].take();
    assert_ne!(sid, *joined.sid, "a new session has a new sid");
}
