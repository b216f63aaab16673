//! Sessions over real WebSockets.

use std::sync::atomic::Ordering;
use std::time::Duration;

use engine_table::SignalingFigure;
use futures_util::SinkExt;
use signaling_config::Config;
use signaling_protocol::proto::{self, signal_request, signal_response::Message};
use signaling_token::TokenBuilder;
use tokio_tungstenite::tungstenite;

use crate::node::{Memory, PATIENCE, admin_token, join_token, sign};

const OFFER: &str = include_str!("../../../sdp/tests/fixtures/chromium-dual-publisher-offer.sdp");

fn offer() -> signal_request::Message {
    signal_request::Message::Offer(proto::SessionDescription {
        r#type: "offer".into(),
        sdp: OFFER.into(),
        id: 1,
        ..proto::SessionDescription::default()
    })
}

#[tokio::test]
async fn the_first_frame_is_join_and_pings_are_answered_in_both_ways() {
    let server = Memory::new(Config::dev()).start();
    let mut client = server.join("a", "").await;
    assert!(client.joined().await.starts_with("PA_"));
    client.send(signal_request::Message::Ping(1)).await;
    client.send(signal_request::Message::PingReq(proto::Ping { timestamp: 42, rtt: 0 })).await;
    let pong = client.until(|message| matches!(message, Message::Pong(_))).await;
    assert!(matches!(pong, Message::Pong(ms) if ms > 1_700_000_000_000));
    let pong = client.until(|message| matches!(message, Message::PongResp(_))).await;
    assert!(matches!(pong, Message::PongResp(pong) if pong.last_ping_timestamp == 42 && pong.timestamp > 0));
}

#[tokio::test]
async fn a_refused_handshake_is_an_http_status() {
    let server = Memory::new(Config::dev()).start();
    assert_eq!(server.connect("/rtc").await.err(), Some(401));
    assert_eq!(server.connect("/rtc/v1").await.err(), Some(401));
    let token = join_token("a");
    assert_eq!(server.connect(&format!("/rtc/v1?access_token={token}")).await.err(), Some(400));
}

#[tokio::test]
async fn a_full_room_refuses_before_the_upgrade_and_lets_who_is_in_come_back() {
    let mut config = Config::dev();
    config.room.max_participants = 1;
    let memory = Memory::new(config);
    let server = memory.start();
    let mut first = server.join("a", "").await;
    first.joined().await;
    let path = format!("/rtc?access_token={}", join_token("b"));
    let headers = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")];
    let headers = [&headers[..], &[("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")]].concat();
    let refused = server.request("GET", &path, &headers, b"").await;
    assert_eq!((refused.status, refused.body.as_str()), (500, "connection closed by media"));
    assert_eq!(server.get(&path.replace("/rtc", "/rtc/validate")).await.status, 200, "validate does not count");
    let mut again = server.join("a", "").await;
    again.joined().await;
    let refused = || memory.regions.signaling.figure(SignalingFigure::RefusedJoins).load(Ordering::Relaxed);
    let counted = async {
        while refused() != 1 {
            tokio::time::sleep(Duration::from_millis(10)).await
        }
    };
    tokio::time::timeout(PATIENCE, counted).await.expect("the refusal is counted");
}

#[tokio::test]
async fn attributes_that_cannot_be_read_are_overlooked_by_a_join() {
    let server = Memory::new(Config::dev()).start();
    let mut client = server.join("a", "&attributes=!").await;
    client.joined().await;
}

#[tokio::test]
async fn a_publish_only_session_needs_the_right_to_publish() {
    let server = Memory::new(Config::dev()).start();
    let silent = sign(TokenBuilder::new("a").join("r").grant(|video| video.can_publish = Some(false)));
    assert_eq!(server.connect(&format!("/rtc?access_token={silent}&publish=cam")).await.err(), Some(401));
    let mut client = server.join("a", "&publish=cam").await;
    let Message::Join(join) = client.signal().await else { panic!("join is the first message") };
    let participant = join.participant.unwrap();
    assert_eq!(participant.identity, "a#cam");
    assert!(!participant.permission.unwrap().can_subscribe);
}

#[tokio::test]
async fn messages_of_every_length_form_arrive_whole_and_in_order() {
    let server = Memory::new(Config::dev()).start();
    let mut client = server.join("a", "").await;
    client.joined().await;
    for bytes in [1, 100, 1_000, 20_000, 70_000, 300_000] {
        let json = format!(r#"{{"room":"r","metadata":"{}"}}"#, "m".repeat(bytes));
        assert_eq!(server.twirp("RoomService/UpdateRoomMetadata", &admin_token(), &json).await.status, 200);
        client.send(signal_request::Message::Ping(1)).await;
        let told = |message: &Message| matches!(message, Message::RoomUpdate(update) if update.room.as_ref().unwrap().metadata.len() == bytes);
        client.until(told).await;
    }
}

#[tokio::test]
async fn an_answer_waits_until_the_engine_has_its_rows_but_not_for_ever() {
    let memory = Memory::new(Config::dev());
    let late = || memory.regions.signaling.figure(SignalingFigure::LateMessages).load(Ordering::Relaxed);
    let server = memory.start_without_engine();
    let mut client = server.join("a", "").await;
    client.joined().await;
    client.send(offer()).await;
    let begun = std::time::Instant::now();
    client.until(|message| matches!(message, Message::Answer(_))).await;
    assert!(begun.elapsed() >= Duration::from_millis(90), "the engine is dead: {:?}", begun.elapsed());
    let late_before = late();
    assert!(late_before > 0);
    drop(server);
    let server = memory.start();
    let mut other = server.join("b", "").await;
    other.joined().await;
    other.send(offer()).await;
    other.until(|message| matches!(message, Message::Answer(_))).await;
    assert_eq!(late(), late_before, "the engine adopts");
}

#[tokio::test]
async fn a_text_frame_makes_replies_json_until_a_binary_one_comes() {
    let server = Memory::new(Config::dev()).start();
    let mut client = server.join("a", "").await;
    client.joined().await;
    client.socket.send(tungstenite::Message::Text(r#"{"pingReq":{"timestamp":"7"}}"#.into())).await.unwrap();
    let json = loop {
        if let Some(tungstenite::Message::Text(text)) = client.next().await
            && text.contains("pongResp")
        {
            break text;
        }
    };
    assert!(json.contains(r#""lastPingTimestamp":"7""#), "{json}");
    client.send(signal_request::Message::Ping(1)).await;
    client.until(|message| matches!(message, Message::Pong(_))).await;
}

#[tokio::test]
async fn a_resume_of_nobody_is_sent_away_and_makes_no_room() {
    let server = Memory::new(Config::dev()).start();
    let mut client = server.join("a", "&reconnect=1&sid=PA_gone").await;
    let Message::Leave(leave) = client.signal().await else { panic!("leave is the first message") };
    assert_eq!(leave.action(), proto::leave_request::Action::Reconnect);
    assert_eq!(leave.reason(), proto::DisconnectReason::StateMismatch);
    assert_eq!(client.close_code().await, Some(1_000));
    let rooms = server.twirp("RoomService/ListRooms", &admin_token(), "{}").await;
    assert_eq!(rooms.body, r#"{"rooms":[]}"#);
}

#[tokio::test]
async fn a_duplicate_identity_ends_the_old_socket_after_leave() {
    let server = Memory::new(Config::dev()).start();
    let mut old = server.join("a", "").await;
    old.joined().await;
    let mut new = server.join("a", "").await;
    new.joined().await;
    let Message::Leave(leave) = old.until(|message| matches!(message, Message::Leave(_))).await else { unreachable!() };
    assert_eq!(leave.reason(), proto::DisconnectReason::DuplicateIdentity);
    assert_eq!(old.close_code().await, Some(1_000));
}

#[tokio::test]
async fn a_shutdown_says_leave_to_everybody_before_it_returns() {
    let server = Memory::new(Config::dev()).start();
    let mut client = server.join("a", "").await;
    client.joined().await;
    let (handle, reading) = (server.handle.clone(), async {
        let Message::Leave(leave) = client.until(|message| matches!(message, Message::Leave(_))).await else {
            unreachable!()
        };
        (leave.reason(), client.close_code().await)
    });
    let (result, ()) = tokio::join!(reading, handle.shut_down(Duration::from_secs(2)));
    assert_eq!(result.0, proto::DisconnectReason::ServerShutdown);
    assert!(result.1.is_some());
    assert_eq!(server.connect(&format!("/rtc?access_token={}", join_token("b"))).await.err(), Some(500));
}

#[tokio::test]
async fn a_leave_counts_although_the_client_closed_while_an_answer_was_written() {
    let server = Memory::new(Config::dev()).start();
    let mut other = server.join("b", "").await;
    other.joined().await;
    let mut client = server.join("a", "").await;
    client.joined().await;
    // The answers to the pings find a closed socket while the leave still lies behind them.
    for timestamp in 0..200 {
        client.feed(signal_request::Message::PingReq(proto::Ping { timestamp, rtt: 0 })).await;
    }
    client.feed(signal_request::Message::Leave(proto::LeaveRequest::default())).await;
    client.socket.flush().await.unwrap();
    client.reset();
    let gone =
        |message: &Message| matches!(message, Message::Update(update) if update.participants.iter().any(is_gone));
    let Message::Update(update) = other.until(gone).await else { unreachable!() };
    let reasons: Vec<_> =
        update.participants.iter().filter(|info| is_gone(info)).map(|info| info.disconnect_reason()).collect();
    assert_eq!(reasons, [proto::DisconnectReason::ClientInitiated]);
}

fn is_gone(info: &proto::ParticipantInfo) -> bool {
    info.state() == proto::participant_info::State::Disconnected
}
