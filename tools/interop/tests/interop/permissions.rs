//! Who may publish, who receives what, and who decides.

use std::time::Duration;

use serde_json::{Value, json};
use tools_interop::{Layout, Participant, Scene, Video, until};

#[test]
fn without_auto_subscribe_nothing_comes_until_asked_for() {
    for layout in [Layout::Single, Layout::Dual] {
        let scene = Scene::new();
        let (bob, alice) = (scene.python("bob"), scene.chromium("alice"));
        bob.join(&scene.options());
        let video = bob.publish_video(&Video::small("vp8"));
        let mark = alice.mark();
        alice.join(&scene.options().layout(layout).auto_subscribe(false));
        alice.until_view("the publication", "bob", |view| view["tracks"][0]["sid"] == *video.sid);
        assert!(alice.stats().received.is_empty(), "something is received without being asked for");
        alice.call("setSubscribed", json!([video.sid, true]));
        alice.wait(mark, "first_frame", |event| event["sid"] == *video.sid);
        alice.call("setSubscribed", json!([video.sid, false]));
        alice.wait(mark, "track_unsubscribed", |event| event["sid"] == *video.sid);
        let mark = alice.mark();
        alice.call("setSubscribed", json!([video.sid, true]));
        alice.wait(mark, "first_frame", |event| event["sid"] == *video.sid);
    }
}

#[test]
fn the_publisher_decides_who_may_subscribe() {
    let scene = Scene::new();
    let (alice, bob, carol) = (scene.chromium("alice"), scene.python("bob"), scene.chromium("carol"));
    for each in [&alice, &bob, &carol] {
        each.join(&scene.options());
    }
    alice.until_view("sight", "bob", |_| true);
    alice.until_view("sight", "carol", |_| true);
    let only_bob = json!([false, [{ "participantIdentity": "bob", "allowAll": true }]]);
    alice.call("setSubscriptionPermissions", only_bob);
    let mark = (bob.mark(), carol.mark());
    let video = alice.publish_video(&Video::small("vp8"));
    bob.wait(mark.0, "first_frame", |event| event["sid"] == *video.sid);
    carol.until_view("the denial", "alice", |view| view["tracks"][0]["allowed"] == "not_allowed");
    assert!(carol.named_since(mark.1, "first_frame").is_empty(), "carol sees what only bob may");

    alice.call("setSubscriptionPermissions", json!([true, []]));
    carol.wait(mark.1, "first_frame", |event| event["sid"] == *video.sid);

    alice.call("setSubscriptionPermissions", json!([false, [{ "participantIdentity": "carol", "allowAll": true }]]));
    let (mut last, mut still) = (0, 0);
    until("bob's packets stop", Duration::from_secs(10), || {
        let now = bob.stats().received(&video.sid).map_or(last, |track| track.packets_received);
        still = if now == last { still + 1 } else { 0 };
        last = now;
        if still >= 5 { Ok(()) } else { Err(format!("{now} packets")) }
    });
}

#[test]
fn who_may_not_publish_is_refused() {
    let scene = Scene::new();
    let alice = scene.chromium("alice");
    alice.join(&scene.options().grant(json!({ "canPublish": false })));
    let refused = alice.try_call("publishVideo", json!([Video::small("vp8")]));
    assert!(refused.is_err(), "published without permission: {refused:?}");
    let own = alice.participants();
    assert_eq!(own[0]["permissions"]["canPublish"], false);
    assert_eq!(own[0]["permissions"]["canPublishData"], false, "data follows canPublish when the token is silent");
}

#[test]
fn who_may_not_subscribe_receives_nothing() {
    let scene = Scene::new();
    let (deaf, bob) = (scene.chromium("deaf"), scene.python("bob"));
    bob.join(&scene.options());
    bob.publish_audio();
    deaf.join(&scene.options().grant(json!({ "canSubscribe": false })));
    deaf.until_view("the publication", "bob", |view| view["tracks"].as_array().is_some_and(|all| all.len() == 1));
    let carol = scene.chromium("carol");
    carol.join(&scene.options());
    audio_arrives(&carol);
    assert!(deaf.stats().received.iter().all(|track| track.packets_received == 0), "{:?}", deaf.stats().received);
}

#[test]
fn only_the_allowed_sources_are_published() {
    let scene = Scene::new();
    let alice = scene.chromium("alice");
    alice.join(&scene.options().grant(json!({ "canPublishSources": ["microphone"] })));
    alice.publish_audio();
    let refused = alice.try_call("publishVideo", json!([Video::small("vp8")]));
    assert!(refused.is_err(), "the camera was published with permission for the microphone only");
}

#[test]
fn a_revoked_permission_unpublishes() {
    let scene = Scene::new();
    let (alice, bob) = (scene.chromium("alice"), scene.python("bob"));
    for each in [&alice, &bob] {
        each.join(&scene.options());
    }
    let microphone = bob.publish_audio();
    audio_arrives(&alice);
    let mark = (alice.mark(), bob.mark());
    let permission = json!({ "can_publish": false, "can_subscribe": true, "can_publish_data": true });
    let request = json!({ "room": scene.room, "identity": "bob", "permission": permission });
    scene.python_service("update_participant", request).expect("the participant is there");
    alice.wait(mark.0, "track_unpublished", |event| event["sid"] == *microphone.sid);
    bob.wait(mark.1, "permissions", |_| true);
    let refused: Result<Value, String> = bob.try_call("publishAudio", json!([{}]));
    assert!(refused.is_err(), "published after the permission was revoked");
}

fn audio_arrives(listener: &Participant) {
    until("audio packets arrive", Duration::from_secs(10), || {
        let packets: u64 = listener.stats().received.iter().map(|track| track.packets_received).sum();
        if packets >= 10 { Ok(()) } else { Err(format!("{packets} packets")) }
    });
}
