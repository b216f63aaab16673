//! The HTTP routes, their statuses and texts, as clients and SDKs rely on them.

use serde_json::json;
use tools_interop::{Answer, Scene, get, post, request};

const JOIN: &str = "a valid grant";

/// Statuses and texts of `/rtc/validate`, in the order in which the checks are made.
#[test]
fn validate_says_why_a_join_would_be_refused() {
    let scene = Scene::new();
    let (key, secret, room) = (&scene.node.key, &scene.node.secret, &scene.room);
    let sign = |key: &str, secret: &str, identity: &str, ttl: u64, grant: serde_json::Value| {
        scene.sign_claims(secret, json!({ "iss": key, "sub": identity, "exp": now() + ttl, "video": grant }))
    };
    let grant = json!({ "roomJoin": true, "room": room });
    let good = sign(key, secret, "alice", 600, grant.clone());
    let cases = [
        (JOIN, good.clone(), 200, "success"),
        ("an unparsable token", "not.a.token".to_owned(), 401, "invalid authorization token"),
        ("an unknown key", sign("nokey", secret, "alice", 600, grant.clone()), 401, "invalid API key: nokey"),
        ("another secret", sign(key, "wrong", "alice", 600, grant.clone()), 401, "invalid token"),
        (
            "an expired token",
            scene.sign_claims(secret, json!({ "iss": key, "sub": "alice", "exp": now() - 120, "video": grant })),
            401,
            "invalid token",
        ),
        ("no roomJoin", sign(key, secret, "alice", 600, json!({ "room": room })), 401, "permissions denied"),
        ("no room", sign(key, secret, "alice", 600, json!({ "roomJoin": true })), 400, "no room name"),
        ("no identity", sign(key, secret, "", 600, grant), 400, "identity cannot be empty"),
    ];
    for (what, token, status, text) in cases {
        let answer = validate(&scene, &token);
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        assert!(answer.body.contains(text), "{what}: {answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{what}: {answer:?}");
    }
    let base = &scene.node.http_url;
    let by_query = get(base, &format!("/rtc/validate?access_token={good}"), &[]);
    assert_eq!(by_query.status, 200, "{by_query:?}");
    let none = get(base, "/rtc/validate", &[]);
    assert_eq!((none.status, none.body.trim()), (401, "no permissions to access the room"));
    let basic = get(base, "/rtc/validate", &[("authorization", "Basic abc")]);
    assert_eq!(basic.status, 401);
    assert!(basic.body.contains("invalid authorization header"), "{basic:?}");
}

#[test]
fn the_leeway_of_a_token_is_a_minute() {
    let scene = Scene::new();
    let status = |begins: u64, ends: u64| {
        let grant = json!({ "roomJoin": true, "room": scene.room });
        let claims = json!({ "iss": scene.node.key, "sub": "alice", "nbf": begins, "exp": ends, "video": grant });
        validate(&scene, &scene.sign_claims(&scene.node.secret, claims)).status
    };
    let (now, later) = (now(), now() + 600);
    assert_eq!(status(now - 600, now - 30), 200, "expired half a minute ago");
    assert_eq!(status(now - 600, now - 120), 401, "expired two minutes ago");
    assert_eq!(status(now + 30, later), 200, "valid in half a minute");
    assert_eq!(status(now + 120, later), 401, "valid in two minutes");
}

#[test]
fn v1_needs_a_good_join_request() {
    let scene = Scene::new();
    let token = scene.token("alice", json!({ "roomJoin": true, "room": scene.room }));
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let base = &scene.node.http_url;
    let without = get(base, "/rtc/v1/validate", &headers);
    assert_eq!(without.status, 400, "{without:?}");
    assert!(without.body.contains("join_request is required"), "{without:?}");
    for bad in ["%21%21%21", "AAAA", "//8="] {
        let answer = get(base, &format!("/rtc/v1/validate?join_request={bad}"), &headers);
        assert_eq!(answer.status, 400, "{bad}: {answer:?}");
    }
}

#[test]
fn routes_that_are_not_upgrades() {
    let scene = Scene::new();
    let base = &scene.node.http_url;
    let root = get(base, "/", &[]);
    assert_eq!((root.status, root.body.as_str()), (200, "OK"));
    assert_eq!(request(base, "HEAD", "/", &[], "").status, 200);
    assert_eq!(get(base, "/settings/regions", &[]).status, 404);
    let token = scene.token("alice", json!({ "roomJoin": true, "room": scene.room }));
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    assert_eq!(get(base, "/rtc", &headers).status, 404, "a GET of /rtc without upgrade");
    assert_eq!(get(base, "//rtc/validate", &headers).status, 200, "a doubled slash");
}

#[test]
fn any_origin_may_ask() {
    let scene = Scene::new();
    let headers = [
        ("origin", "https://somewhere.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type"),
    ];
    let answer = request(&scene.node.http_url, "OPTIONS", "/twirp/livekit.RoomService/ListRooms", &headers, "");
    assert!(matches!(answer.status, 200 | 204), "{answer:?}");
    let origin = answer.header("access-control-allow-origin");
    assert!(matches!(origin, Some("*" | "https://somewhere.example")), "{answer:?}");
    let allowed = answer.header("access-control-allow-headers").unwrap_or_default().to_ascii_lowercase();
    assert!(allowed.contains("authorization") || allowed == "*", "{answer:?}");
}

#[test]
fn twirp_answers_in_its_own_words() {
    let scene = Scene::new();
    let base = &scene.node.http_url;
    let admin =
        scene.token("admin", json!({ "roomCreate": true, "roomList": true, "roomAdmin": true, "room": scene.room }));
    let route = |method: &str| format!("/twirp/livekit.RoomService/{method}");

    let listed = post(base, &route("ListRooms"), &admin, &json!({ "names": [scene.room] }));
    assert_eq!((listed.status, listed.body.as_str()), (200, "{\"rooms\":[]}"));
    let made =
        post(base, &route("CreateRoom"), &admin, &json!({ "name": scene.room, "emptyTimeout": 9, "unknown": 1 }));
    assert_eq!(made.status, 200, "{made:?}");
    let room = made.json();
    assert_eq!(room["empty_timeout"], 9, "camelCase is read, snake_case is written: {room}");
    assert!(room["creation_time"].is_string(), "64-bit numbers are text: {room}");
    assert_eq!(room["metadata"], "", "default values are written: {room}");
    assert!(room["enabled_codecs"][0]["mime"].is_string(), "{room}");

    assert_twirp(&post(base, &route("NoSuchMethod"), &admin, &json!({})), 404, "bad_route");
    assert_eq!(post(base, "/twirp/livekit.NoService/ListRooms", &admin, &json!({})).status, 404);
    assert_twirp(&get(base, &route("ListRooms"), &[]), 404, "bad_route");
    let bearer = format!("Bearer {admin}");
    let of_type = |kind: &str, body: &str| {
        request(base, "POST", &route("ListRooms"), &[("authorization", &bearer), ("content-type", kind)], body)
    };
    assert_twirp(&of_type("text/plain", "{}"), 404, "bad_route");
    assert_eq!(of_type("application/json; charset=utf-8", "{}").status, 200);
    assert_twirp(&of_type("application/json", "{not json"), 400, "malformed");
    assert_eq!(of_type("application/protobuf", "").header("content-type"), Some("application/protobuf"));

    let stranger = scene.token("x", json!({ "roomJoin": true, "room": scene.room }));
    for (method, body) in [
        ("ListRooms", json!({})),
        ("CreateRoom", json!({ "name": "x" })),
        ("DeleteRoom", json!({ "room": scene.room })),
        ("ListParticipants", json!({ "room": scene.room })),
        ("RemoveParticipant", json!({ "room": scene.room, "identity": "x" })),
        ("SendData", json!({ "room": scene.room })),
    ] {
        assert_twirp(&post(base, &route(method), &stranger, &body), 401, "unauthenticated");
    }
    let other = json!({ "room": "another room" });
    assert_twirp(&post(base, &route("ListParticipants"), &admin, &other), 401, "unauthenticated");
    let without = request(base, "POST", &route("ListRooms"), &[("content-type", "application/json")], "{}");
    assert_twirp(&without, 401, "unauthenticated");
}

#[test]
fn known_methods_of_absent_services_are_no_bad_routes() {
    let scene = Scene::new();
    let base = &scene.node.http_url;
    let token = scene
        .token("admin", json!({ "roomAdmin": true, "roomRecord": true, "ingressAdmin": true, "room": scene.room }));
    for method in [
        "Egress/ListEgress",
        "Egress/StopEgress",
        "Ingress/ListIngress",
        "AgentDispatchService/ListDispatch",
        "RoomService/ForwardParticipant",
        "RoomService/MoveParticipant",
        "RoomService/PerformRpc",
    ] {
        let body = json!({ "room": scene.room, "identity": "x", "destination_room": "y", "egress_id": "EG_x" });
        let answer = post(base, &format!("/twirp/livekit.{method}"), &token, &body);
        assert!(answer.status >= 400, "{method}: {answer:?}");
        assert_ne!(answer.json()["code"], "bad_route", "{method}: {answer:?}");
    }
}

/// Unix seconds.
fn now() -> u64 {
    tools_interop::wall_ms() / 1000
}

fn validate(scene: &Scene, token: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    get(&scene.node.http_url, "/rtc/validate", &[("authorization", &bearer)])
}

#[track_caller]
fn assert_twirp(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.json()["code"], code, "{answer:?}");
    let kind = answer.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("application/json"), "an error is always JSON: {answer:?}");
}
