//! One client's WebSocket: the upgrade after the session has begun, then frames both ways (PROTOCOL §2.1, §2.11).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message as WsMessage, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Extension, extract::ws::close_code};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use signaling_protocol::Message;
use signaling_protocol::proto::{self, SignalRequest, SignalResponse, signal_request, signal_response};
use tokio::sync::mpsc;
use tokio::time::{interval, sleep, timeout};

use crate::admission::{Version, admit};
use crate::http::{App, Peer};
use crate::node::Connection;
use crate::outgoing::{Frame, Frames};
use crate::query::Parameters;
use crate::refusal::Refusal;

/// The first message of a session; LiveKit gives up after three tries of 3 s.
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// Without a frame, pongs included, for this long the socket is lost: four pings.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// One message to a client that takes nothing.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// For the closing handshake and what was queued before it.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(250);
/// Answers to pings waiting for the writer; more pings get none.
const PONGS_MAX: usize = 16;
/// Written together before a flush.
const WRITE_BUFFER_BYTES: usize = 32 << 10;
/// Allocated per connection for its life; signal messages are small, and larger ones are read in parts. The default is 128 KiB.
const READ_BUFFER_BYTES: usize = 4 << 10;

type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

pub(crate) async fn v0(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    uri: Uri,
    upgrade: Upgrade,
) -> Response {
    open(app, peer, &headers, &uri, upgrade, Version::V0).await
}

pub(crate) async fn v1(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    uri: Uri,
    upgrade: Upgrade,
) -> Response {
    open(app, peer, &headers, &uri, upgrade, Version::V1).await
}

async fn open(app: App, peer: Peer, headers: &HeaderMap, uri: &Uri, upgrade: Upgrade, version: Version) -> Response {
    let Ok(upgrade) = upgrade else { return StatusCode::NOT_FOUND.into_response() };
    let session = match begin(&app, peer, headers, uri, version).await {
        Ok(session) => session,
        Err(refusal) => return refusal.into_response(),
    };
    let bytes_max = app.settings.limit.signal_message_size_limit;
    let bytes_max = if bytes_max == 0 { usize::MAX } else { bytes_max as usize };
    upgrade
        .max_message_size(bytes_max)
        .max_frame_size(bytes_max)
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .on_upgrade(move |socket| run(socket, session))
}

/// A session whose first message is there.
struct Session {
    connection: Connection,
    frames: Frames,
    first: Frame,
}

async fn begin(app: &App, peer: Peer, headers: &HeaderMap, uri: &Uri, version: Version) -> Result<Session, Refusal> {
    let mut admitted = admit(app, headers, &Parameters::of(uri), version).await?;
    admitted.request.client.address = peer.0.ip().to_string();
    let (connection, mut frames) = app.node.join(admitted.room, admitted.request).await?;
    match timeout(SESSION_TIMEOUT, frames.next()).await {
        Ok(Some(first @ Frame::Message(_))) => Ok(Session { connection, frames, first }),
        _ => Err(Refusal::no_session()),
    }
}

async fn run(socket: WebSocket, session: Session) {
    let Session { connection, frames, first } = session;
    let (sink, stream) = socket.split();
    let (pongs, waiting_pongs) = mpsc::channel(PONGS_MAX);
    let json = AtomicBool::new(false);
    let reader = Reader { stream, connection: &connection, pongs, json: &json };
    let writer = Writer { sink, frames, pongs: waiting_pongs, json: &json, left: false };
    tokio::select! {
        () = reader.run() => {}
        () = writer.run(first) => {}
    }
}

struct Reader<'a> {
    stream: SplitStream<WebSocket>,
    connection: &'a Connection,
    pongs: mpsc::Sender<SignalResponse>,
    json: &'a AtomicBool,
}

impl Reader<'_> {
    async fn run(mut self) {
        while let Ok(Some(Ok(message))) = timeout(SILENCE_MAX, self.stream.next()).await {
            let request = match message {
                WsMessage::Binary(bytes) => {
                    self.json.store(false, Ordering::Relaxed);
                    SignalRequest::decode(bytes).ok()
                }
                WsMessage::Text(text) => {
                    self.json.store(true, Ordering::Relaxed);
                    serde_json::from_str(text.as_str()).ok()
                }
                WsMessage::Ping(_) | WsMessage::Pong(_) => continue,
                WsMessage::Close(_) => break,
            };
            let Some(request) = request else {
                tracing::debug!(connection = self.connection.id(), "unreadable signal message");
                return;
            };
            if !self.take(request).await {
                return;
            }
        }
        // The stream goes on until the closing handshake is done; what still comes has no meaning.
        let _ = timeout(CLOSE_TIMEOUT, async { while let Some(Ok(_)) = self.stream.next().await {} }).await;
    }

    /// `false` once the node is gone.
    async fn take(&mut self, request: SignalRequest) -> bool {
        let now = unix_ms();
        let pong = match &request.message {
            // A message of a later protocol.
            None => return true,
            Some(signal_request::Message::Ping(_)) => signal_response::Message::Pong(now),
            Some(signal_request::Message::PingReq(ping)) => {
                signal_response::Message::PongResp(proto::Pong { last_ping_timestamp: ping.timestamp, timestamp: now })
            }
            Some(_) => return self.connection.signal(request).await,
        };
        let _ = self.pongs.try_send(SignalResponse { message: Some(pong) });
        true
    }
}

struct Writer<'a> {
    sink: SplitSink<WebSocket, WsMessage>,
    frames: Frames,
    pongs: mpsc::Receiver<SignalResponse>,
    json: &'a AtomicBool,
    /// The last message was `leave`: a normal close is right.
    left: bool,
}

impl Writer<'_> {
    async fn run(mut self, first: Frame) {
        let overrun = std::sync::Arc::clone(&self.frames.overrun);
        tokio::select! {
            biased;
            () = overrun.notified() => {}
            () = self.write_all(first) => {}
        }
    }

    async fn write_all(&mut self, first: Frame) {
        let mut pings = interval(PING_INTERVAL);
        pings.reset();
        if !self.write_frame(first).await {
            return;
        }
        loop {
            let alive = tokio::select! {
                biased;
                Some(pong) = self.pongs.recv() => self.write_message(&pong).await,
                frame = self.frames.next() => match frame {
                    Some(frame) => self.write_frame(frame).await,
                    None => return,
                },
                _ = pings.tick() => self.write(WsMessage::Ping(Vec::new().into())).await,
            };
            if !alive {
                return;
            }
        }
    }

    async fn write_frame(&mut self, frame: Frame) -> bool {
        match frame {
            Frame::Message(message) => {
                self.left = matches!(message.message, Some(signal_response::Message::Leave(_)));
                self.write_message(&message).await
            }
            Frame::Encoded(bytes) => {
                self.left = false;
                self.write_encoded(bytes).await
            }
            Frame::Close(code) => {
                self.close(code).await;
                false
            }
        }
    }

    async fn write_message(&mut self, message: &SignalResponse) -> bool {
        let message = if self.json.load(Ordering::Relaxed) {
            match serde_json::to_string(message) {
                Ok(text) => WsMessage::Text(Utf8Bytes::from(text)),
                Err(_) => return true,
            }
        } else {
            WsMessage::Binary(message.encode_to_vec().into())
        };
        self.write(message).await
    }

    async fn write_encoded(&mut self, bytes: Bytes) -> bool {
        if !self.json.load(Ordering::Relaxed) {
            return self.write(WsMessage::Binary(bytes)).await;
        }
        match SignalResponse::decode(bytes) {
            Ok(message) => self.write_message(&message).await,
            Err(_) => true,
        }
    }

    /// Flushes when nothing else waits, so that a join's messages share a segment.
    async fn write(&mut self, message: WsMessage) -> bool {
        let write = async {
            self.sink.feed(message).await?;
            if self.frames.is_empty() { self.sink.flush().await } else { Ok(()) }
        };
        matches!(timeout(SEND_TIMEOUT, write).await, Ok(Ok(())))
    }

    /// JavaScript clients come back at once after any code but 1000 (PROTOCOL §2.1). The reader sees the peer's answer.
    async fn close(&mut self, code: u16) {
        let code = if code == close_code::NORMAL && !self.left { close_code::AWAY } else { code };
        let frame = CloseFrame { code, reason: Utf8Bytes::from_static("") };
        let sent = timeout(CLOSE_TIMEOUT, self.sink.send(WsMessage::Close(Some(frame)))).await;
        if matches!(sent, Ok(Ok(()))) {
            sleep(CLOSE_TIMEOUT).await;
        }
    }
}

fn unix_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
