//! Clients that stop in the middle: what they hold is given back in time. Time is tokio's, and jumps when nothing happens.

use std::time::Duration;

use signaling_config::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::node::{Memory, Server, admin_token};

/// From the last byte that was sent until the server closed.
async fn closed_after(server: &Server, sent: &[u8]) -> (Duration, String) {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(sent).await.unwrap();
    tokio::time::pause();
    let (begun, mut reply) = (Instant::now(), Vec::new());
    let _ = stream.read_to_end(&mut reply).await;
    tokio::time::resume();
    (begun.elapsed(), String::from_utf8_lossy(&reply).into_owned())
}

fn about(seconds: u64) -> impl Fn(Duration) -> bool {
    move |elapsed| (Duration::from_secs(seconds)..Duration::from_secs(seconds + 2)).contains(&elapsed)
}

#[tokio::test]
async fn headers_must_be_whole_within_fifteen_seconds_and_so_must_the_next_request_begin() {
    let server = Memory::new(Config::dev()).start();
    for sent in [&b""[..], b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "] {
        let (elapsed, _) = closed_after(&server, sent).await;
        assert!(about(15)(elapsed), "{elapsed:?} after {}", String::from_utf8_lossy(sent));
    }
    let (elapsed, reply) = closed_after(&server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(about(15)(elapsed) && reply.starts_with("HTTP/1.1 200"), "{elapsed:?} {reply}");
}

#[tokio::test]
async fn a_body_must_be_whole_within_ten_seconds() {
    let server = Memory::new(Config::dev()).start();
    let head = "POST /twirp/livekit.RoomService/ListRooms HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    let token = admin_token();
    let head =
        format!("{head}Content-Type: application/json\r\nAuthorization: Bearer {token}\r\nContent-Length: 9\r\n\r\n{{");
    let (elapsed, reply) = closed_after(&server, head.as_bytes()).await;
    assert!(about(10)(elapsed) && reply.starts_with("HTTP/1.1 408"), "{elapsed:?} {reply}");
}

#[tokio::test]
async fn requests_without_end_whose_answers_nobody_reads_end_with_the_connection() {
    let server = Memory::new(Config::dev()).start();
    let stream = TcpStream::connect(server.address).await.unwrap();
    let requests = b"GET /demo/livekit-client.esm.min.mjs HTTP/1.1\r\nHost: x\r\n\r\n".repeat(64);
    let mut sent = 0;
    tokio::time::pause();
    let begun = Instant::now();
    // Until the server has shut its end for writing: then the socket is reset.
    let ended = loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        match stream.try_write(&requests[sent % 60..]) {
            Ok(bytes) => sent += bytes,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => break begun.elapsed(),
        }
        assert!(begun.elapsed() < Duration::from_secs(200), "the connection lives on");
    };
    tokio::time::resume();
    assert!(ended >= Duration::from_secs(60), "{ended:?}");
}
