//! The server API: golden forms, statuses, permissions (PROTOCOL §1.6, §9).

use signaling_config::{Config, RoomPreset};
use signaling_protocol::{Message, proto};
use signaling_token::TokenBuilder;

use crate::node::{Memory, admin_token, join_token, now, sign};

#[tokio::test]
async fn json_answers_have_proto_names_defaults_and_text_for_64_bits() {
    let server = Memory::new(Config::dev()).start();
    let token = admin_token();
    assert_eq!(server.twirp("RoomService/ListRooms", &token, "{}").await.body, r#"{"rooms":[]}"#);
    let request = r#"{"name":"r","emptyTimeout":60,"departure_timeout":30,"metadata":"m","unknown":1}"#;
    let created = server.twirp("RoomService/CreateRoom", &token, request).await;
    assert_eq!((created.status, created.header("content-type")), (200, Some("application/json")));
    let room = created.json();
    assert!(room["sid"].as_str().unwrap().starts_with("RM_"));
    assert!(room["creation_time"].is_string() && room["creation_time_ms"].is_string(), "{room}");
    assert_eq!(
        (&room["empty_timeout"], &room["departure_timeout"], &room["metadata"]),
        (&60.into(), &30.into(), &"m".into())
    );
    assert_eq!(room["active_recording"], false);
    let again = server.twirp("RoomService/CreateRoom", &token, r#"{"name":"r","metadata":"n"}"#).await.json();
    assert_eq!((&again["sid"], &again["metadata"]), (&room["sid"], &"n".into()));
    let listed = server.twirp("RoomService/ListRooms", &token, r#"{"names":["r","s"]}"#).await.json();
    assert_eq!(listed["rooms"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_room_preset_is_applied_and_an_unknown_one_refused() {
    let mut config = Config::dev();
    let small = RoomPreset { empty_timeout: 77, max_participants: 3, metadata: "hello".into(), ..Default::default() };
    config.room.room_configurations.insert("small".into(), small);
    let server = Memory::new(config).start();
    let token = admin_token();
    let create = |body: &'static str| server.twirp("RoomService/CreateRoom", &token, body);
    let room = create(r#"{"name":"r","room_preset":"small","max_participants":9}"#).await.json();
    assert_eq!(
        (&room["empty_timeout"], &room["max_participants"], &room["metadata"]),
        (&77.into(), &9.into(), &"hello".into())
    );
    let refused = create(r#"{"name":"s","room_preset":"large"}"#).await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (400, Some("invalid_argument")));
    assert_eq!(refused.json()["msg"], "unknown room configuration in create room request");

    let existing = create(r#"{"name":"r","room_preset":"large"}"#).await;
    assert_eq!((existing.status, &existing.json()["sid"]), (200, &room["sid"]));

    let path = |preset: &str, room: &str| {
        let mut claims = TokenBuilder::new("bob").join(room).claims(now());
        claims.room_preset = preset.into();
        let token = signaling_token::sign(&claims, "devkey", "secret");
        format!("/rtc?access_token={token}&protocol=16&sdk=js")
    };
    let _client = server.connect(&path("small", "t")).await.expect("an upgrade");
    assert_eq!(server.connect(&path("large", "u")).await.err(), Some(500));
    let listed = server.twirp("RoomService/ListRooms", &token, "{}").await.json();
    let listed: Vec<_> =
        listed["rooms"].as_array().unwrap().iter().map(|room| (&room["name"], &room["metadata"])).collect();
    assert_eq!(listed, [(&"r".into(), &"hello".into()), (&"t".into(), &"hello".into())]);
}

#[tokio::test]
async fn protobuf_is_answered_with_protobuf_and_errors_always_with_json() {
    let server = Memory::new(Config::dev()).start();
    let authorization = format!("Bearer {}", admin_token());
    let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/protobuf")];
    let path = "/twirp/livekit.RoomService/CreateRoom";
    let body = proto::CreateRoomRequest { name: "r".into(), ..Default::default() }.encode_to_vec();
    let reply = server.request("POST", path, &headers, &body).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/protobuf")));
    let reply = server.request("POST", path, &headers, b"\xff\xff").await;
    assert_eq!((reply.status, reply.json()["code"].as_str()), (400, Some("malformed")));
    assert_eq!(reply.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn unknown_routes_are_bad_routes_and_known_ones_never() {
    let server = Memory::new(Config::dev()).start();
    let authorization = format!("Bearer {}", admin_token());
    let json = ("Content-Type", "application/json");
    let path = "/twirp/livekit.RoomService/ListRooms";
    for (method, path, headers) in [
        ("GET", path, vec![json]),
        ("POST", path, vec![("Content-Type", "text/plain")]),
        ("POST", path, vec![]),
        ("POST", "/twirp/livekit.RoomService/Nothing", vec![json]),
        ("POST", "/twirp/livekit.Nothing/ListRooms", vec![json]),
        ("POST", "/twirp/x", vec![json]),
    ] {
        let headers = [&[("Authorization", authorization.as_str())], &headers[..]].concat();
        let reply = server.request(method, path, &headers, b"{}").await;
        assert_eq!((reply.status, reply.json()["code"].as_str()), (404, Some("bad_route")), "{method} {path}");
    }
    let everything = sign(TokenBuilder::new("").admin("r").manage_rooms().grant(|video| {
        (video.room_record, video.ingress_admin) = (true, true);
    }));
    for (method, status, code) in [
        ("Egress/ListEgress", 500, "internal"),
        ("Ingress/ListIngress", 500, "internal"),
        ("SIP/ListSIPTrunk", 401, "unauthenticated"),
        ("RoomService/MoveParticipant", 401, "unauthenticated"),
    ] {
        let reply = server.twirp(method, &everything, "{}").await;
        assert_eq!((reply.status, reply.json()["code"].as_str()), (status, Some(code)), "{method}: {}", reply.body);
    }
    let dispatch = server.twirp("AgentDispatchService/CreateDispatch", &everything, r#"{"room":"r"}"#).await;
    assert_eq!((dispatch.status, dispatch.json()["msg"].as_str()), (503, Some("no response from servers")));
}

#[tokio::test]
async fn permission_is_checked_per_call_and_room() {
    let server = Memory::new(Config::dev()).start();
    let elsewhere = sign(TokenBuilder::new("").admin("other"));
    for (method, body) in [
        ("CreateRoom", r#"{"name":"r"}"#),
        ("ListRooms", "{}"),
        ("DeleteRoom", r#"{"room":"r"}"#),
        ("ListParticipants", r#"{"room":"r"}"#),
        ("GetParticipant", r#"{"room":"r","identity":"a"}"#),
        ("RemoveParticipant", r#"{"room":"r","identity":"a"}"#),
        ("MutePublishedTrack", r#"{"room":"r","identity":"a"}"#),
        ("UpdateParticipant", r#"{"room":"r","identity":"a"}"#),
        ("UpdateSubscriptions", r#"{"room":"r","identity":"a"}"#),
        ("SendData", r#"{"room":"r"}"#),
        ("UpdateRoomMetadata", r#"{"room":"r"}"#),
    ] {
        for token in [join_token("a"), elsewhere.clone()] {
            let reply = server.twirp(&format!("RoomService/{method}"), &token, body).await;
            assert_eq!(reply.body, r#"{"code":"unauthenticated","msg":"permissions denied"}"#, "{method}");
            assert_eq!(reply.status, 401);
        }
    }
    let json = [("Content-Type", "application/json")];
    let nobody = server.request("POST", "/twirp/livekit.RoomService/ListRooms", &json, b"{}").await;
    assert_eq!(nobody.body, r#"{"code":"unauthenticated","msg":"permissions denied"}"#, "no token is no permission");
}

#[tokio::test]
async fn a_bad_token_is_refused_in_plain_text_before_any_route() {
    let server = Memory::new(Config::dev()).start();
    let foreign = TokenBuilder::new("").manage_rooms().sign("other", "secret", now());
    for (token, text) in [("x".to_owned(), "invalid authorization token"), (foreign, "invalid API key: other")] {
        let reply = server.twirp("RoomService/ListRooms", &token, "{}").await;
        assert_eq!((reply.status, reply.body.as_str()), (401, text));
        assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
        for path in ["/", "/rtc", "/rtc/v1/validate", "/twirp/x", "/nothing"] {
            let reply = server.get(&format!("{path}?access_token={token}")).await;
            assert_eq!((reply.status, reply.body.as_str()), (401, text), "{path}");
            let any = reply.header("access-control-allow-origin");
            assert_eq!(any, path.ends_with("validate").then_some("*"), "browsers must read why");
        }
    }
}

#[tokio::test]
async fn a_missing_room_or_participant_answers_as_the_reference_does() {
    let server = Memory::new(Config::dev()).start();
    let token = admin_token();
    for (method, body, status, code) in [
        ("DeleteRoom", r#"{"room":"r"}"#, 404, "not_found"),
        ("GetParticipant", r#"{"room":"r","identity":"a"}"#, 404, "not_found"),
        ("RemoveParticipant", r#"{"room":"r","identity":"a"}"#, 404, "not_found"),
        ("UpdateParticipant", r#"{"room":"r","identity":"a"}"#, 404, "not_found"),
        ("UpdateRoomMetadata", r#"{"room":"r"}"#, 404, "not_found"),
        ("UpdateSubscriptions", r#"{"room":"r","identity":"a"}"#, 503, "unavailable"),
        ("SendData", r#"{"room":"r"}"#, 503, "unavailable"),
        ("SendData", r#"{"room":"r","nonce":"AAAA"}"#, 400, "invalid_argument"),
        ("PerformRpc", r#"{"room":"r"}"#, 400, "invalid_argument"),
        ("PerformRpc", r#"{"room":"r","destination_identity":"a"}"#, 503, "unavailable"),
    ] {
        let reply = server.twirp(&format!("RoomService/{method}"), &token, body).await;
        assert_eq!((reply.status, reply.json()["code"].as_str()), (status, Some(code)), "{method}: {}", reply.body);
    }
    let empty = server.twirp("RoomService/ListParticipants", &token, r#"{"room":"r"}"#).await;
    assert_eq!((empty.status, empty.body.as_str()), (200, r#"{"participants":[]}"#));
}

#[tokio::test]
async fn sizes_are_bounded() {
    let server = Memory::new(Config::dev()).start();
    let token = admin_token();
    let long = "x".repeat(257);
    let reply = server.twirp("RoomService/CreateRoom", &token, &format!(r#"{{"name":"{long}"}}"#)).await;
    assert_eq!((reply.status, reply.json()["code"].as_str()), (400, Some("invalid_argument")));
    let metadata = "x".repeat((512 << 10) + 1);
    let json = format!(r#"{{"name":"r","metadata":"{metadata}"}}"#);
    assert_eq!(server.twirp("RoomService/CreateRoom", &token, &json).await.status, 400);
    let huge = format!(r#"{{"name":"{}"}}"#, "x".repeat(10 << 20));
    assert_eq!(server.twirp("RoomService/CreateRoom", &token, &huge).await.status, 413);
    let mut config = Config::dev();
    config.limit.max_api_request_body_size = 1_000;
    let server = Memory::new(config).start();
    let head = "POST /twirp/livekit.RoomService/CreateRoom HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    let head = format!("{head}Content-Type: application/json\r\nAuthorization: Bearer {token}\r\n");
    for (bytes, status) in [(900, 400), (1_100, 413)] {
        let announced = format!("{head}Content-Length: {bytes}\r\n\r\n{}", "x".repeat(bytes));
        assert_eq!(server.raw(announced.as_bytes()).await.status, status);
        let chunk = format!("{bytes:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(bytes));
        let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}");
        assert_eq!(server.raw(chunked.as_bytes()).await.status, status, "a length that was not announced");
    }
}

#[tokio::test]
async fn a_participant_is_listed_told_and_removed() {
    let server = Memory::new(Config::dev()).start();
    let token = admin_token();
    let mut client = server.join("a", "").await;
    let sid = client.joined().await;
    let listed = server.twirp("RoomService/ListParticipants", &token, r#"{"room":"r"}"#).await.json();
    assert_eq!((&listed["participants"][0]["sid"], &listed["participants"][0]["identity"]), (&sid.into(), &"a".into()));
    let removed = server.twirp("RoomService/RemoveParticipant", &token, r#"{"room":"r","identity":"a"}"#).await;
    assert_eq!((removed.status, removed.body.as_str()), (200, "{}"));
    assert_eq!(client.close_code().await, Some(1_000), "after leave");
    let gone = server.twirp("RoomService/GetParticipant", &token, r#"{"room":"r","identity":"a"}"#).await;
    assert_eq!(gone.status, 404);
}
