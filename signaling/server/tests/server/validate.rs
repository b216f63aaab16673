//! Status tables of PROTOCOL §1.1 and §1.4.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use signaling_config::Config;
use signaling_protocol::Message;
use signaling_protocol::proto::{JoinRequest, WrappedJoinRequest};
use signaling_token::TokenBuilder;

use crate::node::{Memory, join_token, now, sign};

fn join_request(request: &JoinRequest) -> String {
    let wrapped = WrappedJoinRequest { compression: 0, join_request: request.encode_to_vec() };
    URL_SAFE.encode(wrapped.encode_to_vec()).replace('=', "%3D")
}

#[tokio::test]
async fn validate_answers_with_the_statuses_and_texts_that_clients_know() {
    let server = Memory::new(Config::dev()).start();
    let good = join_token("a");
    let unknown_key = TokenBuilder::new("a").join("r").sign("other", "secret", now());
    let forged = TokenBuilder::new("a").join("r").sign("devkey", "wrong", now());
    let expired = TokenBuilder::new("a").join("r").ttl_seconds(-120).sign("devkey", "secret", now());
    let no_join = sign(TokenBuilder::new("a").grant(|video| video.room = "r".into()));
    let no_identity = sign(TokenBuilder::new("").join("r"));
    let no_room = sign(TokenBuilder::new("a").join(""));
    let long = "x".repeat(257);
    let long_room = sign(TokenBuilder::new("a").join(&long));
    let long_identity = sign(TokenBuilder::new(&long).join("r"));
    let long_name = sign(TokenBuilder::new("a").join("r").name(&long));
    let attributes = URL_SAFE.encode(r#"{"k":"v"}"#);
    for (query, status, text) in [
        (format!("access_token={good}"), 200, "success"),
        (String::new(), 401, "no permissions to access the room"),
        ("access_token=x".into(), 401, "invalid authorization token"),
        (format!("access_token={unknown_key}"), 401, "invalid API key: other"),
        (format!("access_token={forged}"), 401, "invalid token: "),
        (format!("access_token={expired}"), 401, "token is expired"),
        (format!("access_token={no_join}"), 401, "permissions denied"),
        (format!("access_token={no_identity}"), 400, "identity cannot be empty"),
        (format!("access_token={no_room}&room=r"), 400, "no room name"),
        (format!("access_token={long_room}"), 400, "room name length exceeds limits"),
        (format!("access_token={long_identity}"), 400, "participant identity length exceeds limits"),
        (format!("access_token={long_name}"), 200, "success"),
        (format!("access_token={good}&attributes={attributes}"), 401, "does not have permission"),
        (format!("access_token={good}&attributes=!"), 400, "cannot base64 decode"),
    ] {
        let reply = server.get(&format!("/rtc/validate?{query}")).await;
        assert_eq!(reply.status, status, "{query}: {}", reply.body);
        assert!(reply.body.contains(text), "{query}: {}", reply.body);
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    }
}

#[tokio::test]
async fn v1_never_answers_404_but_refuses_bad_join_requests() {
    let server = Memory::new(Config::dev()).start();
    let token = join_token("a");
    let good = join_request(&JoinRequest { participant_sid: "PA_x".into(), ..JoinRequest::default() });
    let metadata = join_request(&JoinRequest { metadata: "m".into(), ..JoinRequest::default() });
    for (parameter, status, text) in [
        (format!("&join_request={good}"), 200, "success"),
        (String::new(), 400, "join_request is required"),
        ("&join_request=%21".into(), 400, "cannot base64 decode"),
        ("&join_request=_____w".into(), 400, "cannot unmarshal"),
        (format!("&join_request={metadata}"), 401, "does not have permission"),
    ] {
        let reply = server.get(&format!("/rtc/v1/validate?access_token={token}{parameter}")).await;
        assert_eq!((reply.status, reply.body.contains(text)), (status, true), "{parameter}: {}", reply.body);
    }
}

#[tokio::test]
async fn the_header_goes_before_the_parameter_and_must_be_a_bearer() {
    let server = Memory::new(Config::dev()).start();
    let token = join_token("a");
    let path = format!("/rtc/validate?access_token={token}");
    let basic = server.request("GET", &path, &[("Authorization", "Basic x")], b"").await;
    assert_eq!((basic.status, basic.body.as_str()), (401, "invalid authorization header. Must start with Bearer "));
    let bearer = format!("Bearer {token}");
    assert_eq!(server.request("GET", "/rtc/validate", &[("Authorization", &bearer)], b"").await.status, 200);
}

#[tokio::test]
async fn a_missing_room_is_404_with_the_one_text_when_joins_do_not_create_it() {
    let mut config = Config::dev();
    config.room.auto_create = false;
    let server = Memory::new(config).start();
    for path in ["/rtc/validate", "/rtc/v1/validate"] {
        let request = join_request(&JoinRequest { participant_sid: "PA_x".into(), ..JoinRequest::default() });
        let reply = server.get(&format!("{path}?access_token={}&join_request={request}", join_token("a"))).await;
        assert_eq!((reply.status, reply.body.as_str()), (404, "requested room does not exist"));
    }
    let creator = sign(TokenBuilder::new("a").join("r").grant(|video| video.room_create = true));
    assert_eq!(server.get(&format!("/rtc/validate?access_token={creator}")).await.status, 200);
}

#[tokio::test]
async fn other_routes_are_as_in_the_reference() {
    let server = Memory::new(Config::dev()).start();
    for (method, path, status, body) in [
        ("GET", "/", 200, "OK"),
        ("HEAD", "/", 200, ""),
        ("GET", "//", 200, "OK"),
        ("GET", "/rtc", 401, "no permissions"),
        ("GET", "/settings/regions", 404, ""),
        ("GET", "/agent", 404, ""),
        ("POST", "/whip/v1", 404, ""),
        ("GET", "//rtc/validate", 401, "no permissions"),
        ("GET", "/demo", 200, "<!doctype html>"),
        ("GET", "/demo/nothing.js", 404, ""),
    ] {
        let reply = server.request(method, path, &[], b"").await;
        if path == "/rtc" {
            assert_eq!((reply.status, reply.body.as_str()), (404, ""), "a plain GET is no upgrade");
            continue;
        }
        assert_eq!(reply.status, status, "{method} {path}");
        assert!(reply.body.to_lowercase().contains(body) || reply.body.contains(body), "{path}: {}", reply.body);
    }
}

#[tokio::test]
async fn any_origin_may_ask_and_a_preflight_is_echoed() {
    let server = Memory::new(Config::dev()).start();
    let headers = [
        ("Origin", "https://a.example"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization,content-type"),
    ];
    let reply = server.request("OPTIONS", "/twirp/livekit.RoomService/ListRooms", &headers, b"").await;
    assert_eq!(reply.status, 204);
    for (name, value) in [
        ("access-control-allow-origin", "https://a.example"),
        ("access-control-allow-methods", "POST"),
        ("access-control-allow-headers", "authorization,content-type"),
        ("access-control-max-age", "86400"),
        ("vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
    ] {
        assert_eq!(reply.header(name), Some(value), "{name}");
    }
    let plain = server.request("GET", "/", &headers[..1], b"").await;
    assert_eq!(plain.header("access-control-allow-origin"), Some("https://a.example"));
    assert_eq!(plain.header("access-control-expose-headers"), Some("*"));
}

#[tokio::test]
async fn the_demo_page_and_its_tokens_are_served() {
    let server = Memory::new(Config::dev()).start();
    let reply = server.get("/demo/token?room=r&identity=a").await;
    let token = reply.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(server.get(&format!("/rtc/validate?access_token={token}")).await.status, 200);
    assert_eq!(server.get("/demo/token?room=r").await.status, 400);
    let script = server.get("/demo/demo.js").await;
    assert_eq!(script.header("content-type"), Some("text/javascript; charset=utf-8"));
}

#[tokio::test]
async fn a_request_line_of_sixty_kilobytes_is_read() {
    let server = Memory::new(Config::dev()).start();
    let filler = "x".repeat(60_000);
    let reply = server.get(&format!("/rtc/validate?access_token={}&filler={filler}", join_token("a"))).await;
    assert_eq!(reply.status, 200, "{}", reply.head);
}

#[tokio::test]
async fn the_configuration_bounds_names_and_tracks() {
    let mut config = Config::dev();
    (config.limit.max_room_name_length, config.limit.max_participant_identity_length) = (300, 3);
    config.limit.num_tracks = 0;
    let server = Memory::new(config).start();
    let status = async |identity: &str, room: &str| {
        let token = sign(TokenBuilder::new(identity).join(room));
        server.get(&format!("/rtc/validate?access_token={token}")).await.status
    };
    assert_eq!(status("abc", &"r".repeat(300)).await, 200, "no tracks are no limit of tracks");
    assert_eq!((status("abcd", "r").await, status("abc", &"r".repeat(301)).await), (400, 400));
}
