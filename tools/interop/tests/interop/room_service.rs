//! RoomService by the official server SDKs: `livekit-api` (protobuf) and `livekit-server-sdk` (JSON).

use serde_json::{Value, json};
use tools_interop::{Scene, Video, until};

#[test]
fn rooms_are_made_found_changed_and_deleted_by_python() {
    let scene = Scene::new();
    let call = |method: &str, request: Value| scene.python_service(method, request);
    let request = json!({ "name": scene.room, "metadata": "first", "empty_timeout": 77, "max_participants": 5 });
    let made = call("create_room", request).expect("a room can be created");
    assert_eq!((&made["name"], &made["metadata"]), (&json!(scene.room), &json!("first")), "{made}");
    assert_eq!((&made["empty_timeout"], &made["max_participants"]), (&json!(77), &json!(5)), "{made}");
    assert!(made["sid"].as_str().is_some_and(|sid| sid.starts_with("RM_")), "{made}");

    let again = call("create_room", json!({ "name": scene.room })).expect("the same room");
    assert_eq!(again["sid"], made["sid"], "creating a room twice makes one room");

    let listed = call("list_rooms", json!({ "names": [scene.room] })).expect("rooms can be listed");
    assert_eq!(listed["rooms"].as_array().map(Vec::len), Some(1), "{listed}");
    let changed = call("update_room_metadata", json!({ "room": scene.room, "metadata": "third" }));
    assert_eq!(changed.expect("the room is there")["metadata"], "third");

    call("delete_room", json!({ "room": scene.room })).expect("the room is there");
    let listed = call("list_rooms", json!({ "names": [scene.room] })).expect("rooms can be listed");
    assert_eq!(listed["rooms"], json!([]));
}

#[test]
fn rooms_are_made_found_changed_and_deleted_by_node() {
    let scene = Scene::new();
    let call = |method: &str, arguments: Value| scene.node_service(method, arguments);
    let made = call("createRoom", json!([{ "name": scene.room, "metadata": "first", "emptyTimeout": 77 }]));
    let made = made.expect("a room can be created");
    assert_eq!(
        (&made["name"], &made["metadata"], &made["emptyTimeout"]),
        (&json!(scene.room), &json!("first"), &json!(77))
    );
    let listed = call("listRooms", json!([[scene.room]])).expect("rooms can be listed");
    assert_eq!(listed[0]["sid"], made["sid"], "{listed}");
    let changed = call("updateRoomMetadata", json!([scene.room, "third"])).expect("the room is there");
    assert_eq!(changed["metadata"], "third");
    call("deleteRoom", json!([scene.room])).expect("the room is there");
    assert_eq!(call("listRooms", json!([[scene.room]])).expect("rooms can be listed"), json!([]));
}

#[test]
fn participants_are_listed_changed_and_removed() {
    let scene = Scene::new();
    let (alice, bob) = (scene.chromium("alice"), scene.python("bob"));
    for each in [&alice, &bob] {
        each.join(&scene.options());
    }
    let (room, call) = (&scene.room, |method: &str, request: Value| scene.python_service(method, request));
    let ghost = scene.python("ghost");
    ghost.join(&scene.options().grant(json!({ "hidden": true })));
    let listed = call("list_participants", json!({ "room": room })).expect("the room is there");
    let mut names: Vec<&str> =
        listed["participants"].as_array().into_iter().flatten().filter_map(|each| each["identity"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["alice", "bob", "ghost"], "hidden ones are listed too");
    let one = call("get_participant", json!({ "room": room, "identity": "bob" })).expect("bob is there");
    assert_eq!((&one["identity"], &one["state"]), (&json!("bob"), &json!("ACTIVE")), "{one}");

    let change = json!({
        "room": room, "identity": "bob", "metadata": "by the server", "name": "Bob", "attributes": { "k": "v" },
    });
    let changed = call("update_participant", change).expect("bob is there");
    assert_eq!((&changed["metadata"], &changed["name"]), (&json!("by the server"), &json!("Bob")), "{changed}");
    alice.until_view("the change", "bob", |view| {
        view["metadata"] == "by the server" && view["name"] == "Bob" && view["attributes"]["k"] == "v"
    });
    let by_node = json!([room, "bob", { "metadata": "by node" }]);
    scene.node_service("updateParticipant", by_node).expect("bob is there");
    alice.until_view("the change by node", "bob", |view| view["metadata"] == "by node");

    let mark = (alice.mark(), bob.mark());
    call("remove_participant", json!({ "room": room, "identity": "bob" })).expect("bob is there");
    bob.wait(mark.1, "disconnected", |_| true);
    alice.wait(mark.0, "participant_disconnected", |event| event["identity"] == "bob");
    let missing = call("get_participant", json!({ "room": room, "identity": "bob" }));
    assert_error(missing, 404, "not_found");
}

#[test]
fn a_track_is_muted_but_not_unmuted_by_the_server() {
    let scene = Scene::new();
    let (alice, bob) = (scene.chromium("alice"), scene.python("bob"));
    for each in [&alice, &bob] {
        each.join(&scene.options());
    }
    let microphone = alice.publish_audio();
    bob.until_view("the microphone", "alice", |view| view["tracks"][0]["sid"] == *microphone.sid);
    let mark = (alice.mark(), bob.mark());
    let mute = |muted: bool| {
        let request = json!({ "room": scene.room, "identity": "alice", "track_sid": microphone.sid, "muted": muted });
        scene.python_service("mute_published_track", request)
    };
    let answer = mute(true).expect("the track is there");
    assert_eq!(answer["track"]["sid"], *microphone.sid, "{answer}");
    alice.wait(mark.0, "track_muted", |event| event["sid"] == *microphone.sid);
    bob.wait(mark.1, "track_muted", |event| event["sid"] == *microphone.sid);
    assert_error(mute(false), 412, "failed_precondition");
    let unknown = json!({ "room": scene.room, "identity": "alice", "track_sid": "TR_unknown", "muted": true });
    let answer = scene.python_service("mute_published_track", unknown).expect("an unknown track is no error");
    assert!(answer["track"].is_null(), "{answer}");
}

#[test]
fn subscriptions_are_changed_by_the_server() {
    let scene = Scene::new();
    let (alice, bob) = (scene.chromium("alice"), scene.python("bob"));
    bob.join(&scene.options());
    let video = bob.publish_video(&Video::small("vp8"));
    let mark = alice.mark();
    alice.join(&scene.options().auto_subscribe(false));
    let change = |subscribe: bool| {
        let request =
            json!({ "room": scene.room, "identity": "alice", "track_sids": [video.sid], "subscribe": subscribe });
        scene.python_service("update_subscriptions", request).expect("alice is there");
    };
    change(true);
    alice.wait(mark, "first_frame", |event| event["sid"] == *video.sid);
    change(false);
    alice.wait(mark, "track_unsubscribed", |event| event["sid"] == *video.sid);
}

#[test]
fn the_server_sends_data() {
    let scene = Scene::new();
    let (alice, bob) = (scene.chromium("alice"), scene.python("bob"));
    for each in [&alice, &bob] {
        each.join(&scene.options());
    }
    let mark = (alice.mark(), bob.mark());
    // Bytes are base64 in JSON: "to all".
    let request = json!({ "room": scene.room, "data": "dG8gYWxs", "kind": "RELIABLE", "topic": "news" });
    scene.python_service("send_data", request).expect("the room is there");
    for (each, mark) in [(&alice, mark.0), (&bob, mark.1)] {
        let event = each.wait(mark, "data", |event| event["text"] == "to all");
        assert_eq!((&event["identity"], &event["topic"]), (&Value::Null, &json!("news")), "{event}");
    }
    let mark = (alice.mark(), bob.mark());
    let to_alice = json!([scene.room, "to alice", 1, { "destinationIdentities": ["alice"] }]);
    scene.node_service("sendData", to_alice).expect("the room is there");
    alice.wait(mark.0, "data", |event| event["text"] == "to alice");
    scene.node_service("sendData", json!([scene.room, "to everyone", 0, {}])).expect("the room is there");
    bob.wait(mark.1, "data", |event| event["text"] == "to everyone");
    let bobs = bob.named_since(mark.1, "data");
    assert!(bobs.iter().all(|event| event["text"] != "to alice"), "bob heard what was for alice: {bobs:?}");
}

#[test]
fn room_metadata_reaches_everyone() {
    let scene = Scene::new();
    let (alice, bob) = (scene.chromium("alice"), scene.python("bob"));
    for each in [&alice, &bob] {
        each.join(&scene.options());
    }
    let mark = (alice.mark(), bob.mark());
    let request = json!({ "room": scene.room, "metadata": "for everyone" });
    scene.python_service("update_room_metadata", request).expect("the room is there");
    alice.wait(mark.0, "room_metadata", |event| event["metadata"] == "for everyone");
    bob.wait(mark.1, "room_metadata", |event| event["metadata"] == "for everyone");
}

#[test]
fn a_deleted_room_sends_everyone_away() {
    let scene = Scene::new();
    let (alice, bob) = (scene.chromium("alice"), scene.python("bob"));
    for each in [&alice, &bob] {
        each.join(&scene.options());
    }
    let mark = (alice.mark(), bob.mark());
    scene.python_service("delete_room", json!({ "room": scene.room })).expect("the room is there");
    // LiveKit's DisconnectReason ROOM_DELETED.
    alice.wait(mark.0, "disconnected", |event| event["reason"] == 5);
    bob.wait(mark.1, "disconnected", |_| true);
    let listed = scene.python_service("list_rooms", json!({ "names": [scene.room] })).expect("rooms can be listed");
    until("the room is gone", tools_interop::PATIENCE, || {
        if listed["rooms"] == json!([]) { Ok(()) } else { Err(listed.to_string()) }
    });
}

#[test]
fn what_is_missing_is_said_in_the_same_way_to_both_sdks() {
    let scene = Scene::new();
    let room = &scene.room;
    let python = |method: &str, request: Value| scene.python_service(method, request);
    let node = |method: &str, arguments: Value| scene.node_service(method, arguments);
    assert_error(python("delete_room", json!({ "room": room })), 404, "not_found");
    assert_error(node("deleteRoom", json!([room])), 404, "not_found");
    assert_error(python("update_room_metadata", json!({ "room": room, "metadata": "x" })), 404, "not_found");
    assert_error(python("get_participant", json!({ "room": room, "identity": "nobody" })), 404, "not_found");
    assert_error(node("getParticipant", json!([room, "nobody"])), 404, "not_found");
    assert_error(python("remove_participant", json!({ "room": room, "identity": "nobody" })), 404, "not_found");
    assert_error(node("removeParticipant", json!([room, "nobody"])), 404, "not_found");
    let update = json!({ "room": room, "identity": "nobody", "metadata": "x" });
    assert_error(python("update_participant", update), 404, "not_found");
    let listed = python("list_participants", json!({ "room": room })).expect("an unknown room has no participants");
    assert_eq!(listed["participants"], json!([]));
    assert_error(python("send_data", json!({ "room": room, "data": "eA==" })), 503, "unavailable");
    let subscriptions = json!({ "room": room, "identity": "x", "track_sids": ["TR_x"], "subscribe": true });
    assert_error(python("update_subscriptions", subscriptions), 503, "unavailable");
}

#[test]
fn too_long_a_name_is_refused() {
    let scene = Scene::new();
    let name = "x".repeat(257);
    assert_error(scene.python_service("create_room", json!({ "name": name })), 400, "invalid_argument");
    assert_error(scene.node_service("createRoom", json!([{ "name": name }])), 400, "invalid_argument");
}

#[track_caller]
fn assert_error(answer: Result<Value, Value>, status: u64, code: &str) {
    let error = answer.expect_err("an error was expected");
    assert_eq!((&error["status"], &error["code"]), (&json!(status), &json!(code)), "{error}");
}
