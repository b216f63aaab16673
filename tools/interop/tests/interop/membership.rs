//! Who is in the room, and who is told.

use std::time::Duration;

use serde_json::json;
use tools_interop::{Layout, Scene, until};

#[test]
fn the_newer_of_two_equal_identities_stays() {
    let scene = Scene::new();
    let (old, watcher) = (scene.chromium("twin"), scene.python("watcher"));
    watcher.join(&scene.options());
    let first = old.join(&scene.options());
    watcher.until_view("the first session", "twin", |view| view["sid"] == *first.sid);
    let mark = old.mark();
    let newer = scene.python("twin");
    let second = newer.join(&scene.options());
    old.wait(mark, "disconnected", |event| event["reason"] == 2);
    assert_ne!(first.sid, second.sid);
    watcher.until_view("the second session", "twin", |view| view["sid"] == *second.sid);
    let own = newer.participants();
    assert_eq!(own[0]["sid"], *second.sid, "the new session lives on");
}

#[test]
fn a_hidden_participant_is_seen_by_nobody_and_sees_all() {
    let scene = Scene::new();
    let (ghost, alice) = (scene.python("ghost"), scene.chromium("alice"));
    ghost.join(&scene.options().grant(json!({ "hidden": true })));
    let mark = alice.mark();
    alice.join(&scene.options());
    let bob = scene.python("bob");
    bob.join(&scene.options());
    alice.until_view("sight", "bob", |_| true);
    ghost.until_view("sight", "alice", |_| true);
    ghost.until_view("sight", "bob", |_| true);
    for other in [&alice, &bob] {
        assert!(other.view_of("ghost").is_none(), "{} sees the ghost", other.identity);
    }
    ghost.leave();
    bob.leave();
    alice.wait(mark, "participant_disconnected", |event| event["identity"] == "bob");
    let about = alice.since(mark).into_iter().filter(|event| event["identity"] == "ghost").count();
    assert_eq!(about, 0, "something about the ghost was told");
}

#[test]
fn a_leave_is_told_to_the_others_at_once() {
    let scene = Scene::new();
    let (alice, bob) = (scene.chromium("alice"), scene.python("bob"));
    alice.join(&scene.options());
    let mark = alice.mark();
    bob.join(&scene.options());
    alice.wait(mark, "participant_connected", |event| event["identity"] == "bob");
    bob.leave();
    let told = Duration::from_secs(3);
    alice.wait_within(mark, "participant_disconnected", told, |event| event["identity"] == "bob");
}

#[test]
fn metadata_name_and_attributes_reach_everyone() {
    let scene = Scene::new();
    let (alice, bob) = (scene.chromium("alice"), scene.python("bob"));
    let options = scene.options().grant(json!({ "canUpdateOwnMetadata": true }));
    alice.join(&options.clone().claims(json!({ "name": "Alice", "metadata": "at first" })));
    bob.join(&options);
    let first = bob.until_view("what the token says", "alice", |view| view["name"] == "Alice");
    assert_eq!(first["metadata"], "at first");

    alice.call("setMetadata", json!(["later"]));
    alice.call("setName", json!(["Alice B."]));
    alice.call("setAttributes", json!([{ "colour": "green", "size": "small" }]));
    bob.until_view("metadata", "alice", |view| view["metadata"] == "later");
    bob.until_view("name", "alice", |view| view["name"] == "Alice B.");
    bob.until_view("attributes", "alice", |view| view["attributes"] == json!({ "colour": "green", "size": "small" }));

    alice.call("setAttributes", json!([{ "size": "" }]));
    bob.until_view("a removed attribute", "alice", |view| view["attributes"] == json!({ "colour": "green" }));
    bob.call("setMetadata", json!(["from Python"]));
    alice.until_view("metadata", "bob", |view| view["metadata"] == "from Python");
}

#[test]
fn own_metadata_needs_the_permission() {
    let scene = Scene::new();
    let alice = scene.chromium("alice");
    alice.join(&scene.options());
    let refused = alice.try_call("setMetadata", json!(["mine"]));
    assert!(refused.is_err(), "metadata was changed without canUpdateOwnMetadata: {refused:?}");
}

#[test]
fn a_mute_is_seen_by_everyone_and_media_comes_back() {
    let scene = Scene::new();
    let (alice, bob) = (scene.chromium("alice"), scene.python("bob"));
    for each in [&alice, &bob] {
        each.join(&scene.options());
    }
    let microphone = bob.publish_audio();
    let heard = |more: u64| {
        let packets = || alice.stats().received(&microphone.sid).map_or(0, |track| track.packets_received);
        let before = packets();
        until("audio packets arrive", Duration::from_secs(10), || {
            let now = packets();
            if now >= before + more { Ok(()) } else { Err(format!("{now} after {before}")) }
        });
    };
    heard(25);
    let mark = alice.mark();
    bob.set_muted(&microphone.sid, true);
    alice.wait(mark, "track_muted", |event| event["sid"] == *microphone.sid);
    bob.set_muted(&microphone.sid, false);
    alice.wait(mark, "track_unmuted", |event| event["sid"] == *microphone.sid);
    heard(25);
    assert!(alice.named_since(mark, "track_unpublished").is_empty(), "a mute is not an unpublish");
}

#[test]
fn a_room_ends_with_its_last_participant_after_the_departure_timeout() {
    let scene = Scene::new();
    let request = json!({ "name": scene.room, "departure_timeout": 1, "empty_timeout": 1 });
    scene.python_service("create_room", request).expect("a room can be created");
    let bob = scene.python("bob");
    bob.join(&scene.options().layout(Layout::Single));
    bob.leave();
    until("the room ends", Duration::from_secs(20), || {
        let listed = scene.python_service("list_rooms", json!({ "names": [scene.room] })).expect("rooms can be listed");
        if listed["rooms"] == json!([]) { Ok(()) } else { Err(listed.to_string()) }
    });
}

#[test]
fn an_expired_token_is_refused() {
    let scene = Scene::new();
    let alice = scene.chromium("alice");
    let options = scene.options();
    let expired = scene.sign(json!({
        "key": scene.node.key, "secret": scene.node.secret, "identity": "alice", "ttlSeconds": -120,
        "grant": { "roomJoin": true, "room": scene.room },
    }));
    let mark = alice.mark();
    assert!(alice.join_with_token(&options, &expired).is_err(), "an expired token let alice in");
    let failed = alice.wait(mark, "join_failed", |_| true);
    assert_eq!(failed["status"], 401, "{failed}");
    let bob = scene.python("bob");
    assert!(bob.join_with_token(&options, &expired).is_err(), "an expired token let bob in");
}

#[test]
fn a_full_room_lets_nobody_more_in() {
    let scene = Scene::new();
    let request = json!({ "name": scene.room, "max_participants": 1 });
    scene.python_service("create_room", request).expect("a room can be created");
    let (bob, alice) = (scene.python("bob"), scene.chromium("alice"));
    bob.join(&scene.options());
    assert!(alice.try_join(&scene.options()).is_err(), "a second participant came into a room for one");
}
