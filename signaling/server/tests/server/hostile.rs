//! Malformed HTTP, frames and messages, and clients that take nothing: others do not notice.

use std::time::Duration;

use futures_util::SinkExt;
use signaling_config::Config;
use signaling_protocol::proto::{signal_request, signal_response::Message};
use tokio_tungstenite::tungstenite;

use crate::node::{Memory, admin_token};

#[tokio::test]
async fn malformed_http_is_answered_or_dropped_and_nothing_else_happens() {
    let server = Memory::new(Config::dev()).start();
    for bytes in [
        &b"\x00\x01\x02\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET /rtc HTTP/9.9\r\n\r\n",
        b"GET /rtc?access_token=%zz%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"POST /twirp/livekit.RoomService/ListRooms HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET /rtc HTTP/1.1\r\nHost: x\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 12\r\nSec-WebSocket-Key: x\r\n\r\n",
    ] {
        let reply = server.raw(bytes).await;
        println!("{} {}", String::from_utf8_lossy(bytes), reply.head);
        assert!(reply.status == 0 || (400..500).contains(&reply.status), "{}", reply.head);
    }
    let too_many: String = (0..200).map(|n| format!("X-{n}: y\r\n")).collect();
    let reply = server.raw(format!("GET / HTTP/1.1\r\nHost: x\r\n{too_many}\r\n").as_bytes()).await;
    assert_eq!(reply.status, 431);
    assert_eq!(server.get("/").await.status, 200);
}

#[tokio::test]
async fn an_unreadable_message_drops_its_own_connection_only() {
    let server = Memory::new(Config::dev()).start();
    let mut good = server.join("good", "").await;
    good.joined().await;
    for frame in [
        tungstenite::Message::Binary(vec![0xff; 64].into()),
        tungstenite::Message::Text("{".into()),
        tungstenite::Message::Binary(vec![0; 3 << 20].into()),
    ] {
        let mut bad = server.join("bad", "").await;
        bad.joined().await;
        let _ = bad.socket.send(frame).await;
        assert_ne!(bad.close_code().await, Some(1_000), "a normal close would make clients wait");
    }
    good.send(signal_request::Message::Ping(1)).await;
    good.until(|message| matches!(message, Message::Pong(_))).await;
}

#[tokio::test]
async fn messages_of_later_protocols_are_ignored() {
    let server = Memory::new(Config::dev()).start();
    let mut client = server.join("a", "&future=1").await;
    client.joined().await;
    // Field 99, a message of one byte.
    client.socket.send(tungstenite::Message::Binary(vec![0x9a, 0x06, 0x01, 0x00].into())).await.unwrap();
    client.socket.send(tungstenite::Message::Binary(Vec::new().into())).await.unwrap();
    client.send(signal_request::Message::Ping(1)).await;
    client.until(|message| matches!(message, Message::Pong(_))).await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_dropped_and_others_are_served() {
    let server = Memory::new(Config::dev()).start();
    let mut slow = server.join("slow", "").await;
    slow.joined().await;
    server.connect_transports();
    let mut fast = server.join("fast", "").await;
    fast.joined().await;
    let reads = tokio::spawn(async move {
        fast.until(|message| matches!(message, Message::RoomUpdate(update) if update.room.as_ref().unwrap().metadata.starts_with("last"))).await;
        fast
    });
    let token = admin_token();
    for n in 0..60 {
        let mark = if n == 59 { "last" } else { "x" };
        let metadata = format!("{mark}{}", "y".repeat(500_000));
        let json = format!(r#"{{"room":"r","metadata":"{metadata}"}}"#);
        let reply = server.twirp("RoomService/UpdateRoomMetadata", &token, &json).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
    }
    tokio::time::timeout(Duration::from_secs(20), reads).await.expect("the fast client has everything").unwrap();
    let ended = async { while slow.next().await.is_some_and(|frame| !frame.is_close()) {} };
    tokio::time::timeout(Duration::from_secs(10), ended).await.expect("the slow client was dropped");
}
