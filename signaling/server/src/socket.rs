//! One client's WebSocket: the upgrade after the session has begun, then frames both ways (PROTOCOL §2.1, §2.11).

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::{SinkExt, StreamExt};
use signaling_protocol::Message;
use signaling_protocol::proto::{self, SignalRequest, SignalResponse, signal_request, signal_response};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, Interval, interval, timeout};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message as WsMessage, Utf8Bytes};

use crate::admission::{Strictness, Version, admit};
use crate::auth::Caller;
use crate::http::App;
use crate::node::Connection;
use crate::outgoing::{Encoded, Frame, Frames, Kind};
use crate::refusal::Refusal;
use crate::upgrade::{Opcode, Stream, Upgrade, put_head};

/// The first message of a session; LiveKit gives up after three tries of 3 s.
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// Without a frame, pongs included, for this long the socket is lost: four pings.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// What is written together, to a client that takes nothing.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// For the closing handshake and what was queued before it.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(250);
/// Messages that are ready together are written together: a join's share a segment.
const WRITE_BYTES: usize = 16 << 10;

pub(crate) async fn v0(
    State(app): State<App>,
    Extension(caller): Extension<Arc<Caller>>,
    request: Request<Body>,
) -> Response {
    open(&app, &caller, request, Version::V0).await
}

pub(crate) async fn v1(
    State(app): State<App>,
    Extension(caller): Extension<Arc<Caller>>,
    request: Request<Body>,
) -> Response {
    open(&app, &caller, request, Version::V1).await
}

async fn open(app: &App, caller: &Caller, mut request: Request<Body>, version: Version) -> Response {
    let Some(upgrade) = Upgrade::of(&mut request) else { return StatusCode::NOT_FOUND.into_response() };
    let session = match begin(app, caller, request.headers(), version).await {
        Ok(session) => session,
        Err(refusal) => return refusal.into_response(),
    };
    let bytes_max = app.settings.limit.signal_message_size_limit;
    let (response, stream) = upgrade.accept(if bytes_max == 0 { usize::MAX } else { bytes_max as usize });
    tokio::spawn(serve(stream, session));
    response
}

/// A session whose first message is there.
struct Session {
    connection: Connection,
    frames: Frames,
    first: Frame,
}

async fn begin(app: &App, caller: &Caller, headers: &HeaderMap, version: Version) -> Result<Session, Refusal> {
    let admitted = admit(app, headers, caller, version, Strictness::Overlooks).await?;
    let (connection, mut frames) = app.node.join(admitted.room, admitted.request).await?;
    match timeout(SESSION_TIMEOUT, frames.next()).await {
        // A refused resume is a session of one message that the client must read; a refused join is none.
        Ok(Some(Frame::Message(first))) if first.kind != (Kind::Leave { ends: true }) => {
            Ok(Session { connection, frames, first: Frame::Message(first) })
        }
        _ => {
            app.node.note_refused();
            Err(Refusal::no_session())
        }
    }
}

/// The task of a socket lives for hours: it holds what it needs then, and what it needs to begin or to end only for so long.
async fn serve(stream: impl Future<Output = Option<Stream>>, session: Session) {
    // A client that went away before the answer drops the session's connection here.
    let Some(stream) = Box::pin(stream).await else { return };
    let Session { connection, frames, first } = session;
    let overrun = frames.overrun();
    let (json, left, broken) = (false, false, false);
    let mut socket = Box::new(Socket { stream, connection, frames, json, left, broken, heard: Instant::now() });
    tokio::select! {
        biased;
        () = overrun => {}
        () = socket.run(first) => {}
    }
}

struct Socket {
    stream: Stream,
    connection: Connection,
    frames: Frames,
    /// The client's last frame was text: it gets JSON.
    json: bool,
    /// The last message was `leave`: a normal close is right.
    left: bool,
    /// A write failed: the client has closed, and may have said why before.
    broken: bool,
    /// When the client's last frame came.
    heard: Instant,
}

impl Socket {
    async fn run(&mut self, first: Frame) {
        let mut pings = interval(PING_INTERVAL);
        pings.reset();
        let mut alive = Box::pin(self.write(first)).await;
        while alive {
            alive = self.turn(&mut pings).await;
        }
        if self.broken {
            let _ = Box::pin(timeout(CLOSE_TIMEOUT, self.take_last())).await;
        }
    }

    /// A client that sends `leave` and closes at once lets the write beside it fail before the `leave` is read.
    async fn take_last(&mut self) {
        while let Some(Ok(WsMessage::Binary(bytes))) = self.stream.next().await {
            let Ok(request) = SignalRequest::decode(bytes) else { return };
            if request.message.is_some() && !self.connection.signal(request).await {
                return;
            }
        }
    }

    /// `false` when the connection has ended.
    async fn turn(&mut self, pings: &mut Interval) -> bool {
        tokio::select! {
            frame = self.frames.next() => match frame {
                Some(frame) => Box::pin(self.write(frame)).await,
                None => false,
            },
            message = self.stream.next() => match message {
                Some(Ok(message)) => Box::pin(self.take(message)).await,
                Some(Err(_)) | None => false,
            },
            _ = pings.tick() => self.heard.elapsed() < SILENCE_MAX && Box::pin(self.ping()).await,
        }
    }

    async fn take(&mut self, message: WsMessage) -> bool {
        self.heard = Instant::now();
        let request = match message {
            WsMessage::Binary(bytes) => {
                self.json = false;
                SignalRequest::decode(bytes).ok()
            }
            WsMessage::Text(text) => {
                self.json = true;
                serde_json::from_str(text.as_str()).ok()
            }
            WsMessage::Ping(_) | WsMessage::Pong(_) | WsMessage::Frame(_) => return true,
            WsMessage::Close(_) => {
                self.drain().await;
                return false;
            }
        };
        let Some(request) = request else {
            tracing::debug!(connection = self.connection.id(), "unreadable signal message");
            return false;
        };
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
        self.write(Frame::Message(Encoded::of(&SignalResponse { message: Some(pong) }))).await
    }

    /// A frame, and those that are ready behind it.
    async fn write(&mut self, first: Frame) -> bool {
        let mut out = Vec::new();
        let mut next = Some(first);
        while let Some(frame) = next {
            match frame {
                Frame::Message(message) => {
                    self.left = matches!(message.kind, Kind::Leave { .. });
                    if !self.put(&mut out, &message).await {
                        return false;
                    }
                }
                Frame::Close(code) => {
                    if self.send(&out, &[]).await {
                        self.close(code).await;
                    }
                    return false;
                }
            }
            next = if out.len() < WRITE_BYTES { self.frames.ready() } else { None };
        }
        self.send(&out, &[]).await
    }

    /// Small messages gather in `out`; a large one goes from where it lies.
    async fn put(&mut self, out: &mut Vec<u8>, message: &Encoded) -> bool {
        if self.json {
            let decoded = SignalResponse::decode(message.whole()).ok();
            if let Some(text) = decoded.and_then(|message| serde_json::to_string(&message).ok()) {
                put_head(out, Opcode::Text, text.len());
                out.extend_from_slice(text.as_bytes());
            }
            return true;
        }
        put_head(out, Opcode::Binary, message.bytes());
        for part in message.parts() {
            let sent = if part.len() < WRITE_BYTES {
                out.extend_from_slice(part);
                if out.len() < WRITE_BYTES {
                    continue;
                }
                self.send(out, &[]).await
            } else {
                self.send(out, part).await
            };
            out.clear();
            if !sent {
                return false;
            }
        }
        true
    }

    async fn ping(&mut self) -> bool {
        let mut out = Vec::new();
        put_head(&mut out, Opcode::Ping, 0);
        self.send(&out, &[]).await
    }

    /// Behind what tungstenite has to write, its pongs, so that frames stay whole.
    async fn send(&mut self, head: &[u8], body: &[u8]) -> bool {
        let write = async {
            self.stream.flush().await.ok()?;
            let socket = self.stream.get_mut();
            socket.write_all(head).await.ok()?;
            socket.write_all(body).await.ok()
        };
        let sent = matches!(timeout(SEND_TIMEOUT, write).await, Ok(Some(())));
        self.broken |= !sent;
        sent
    }

    /// JavaScript clients come back at once after any code but 1000 (PROTOCOL §2.1).
    async fn close(&mut self, code: u16) {
        let code = CloseCode::from(code);
        let code = if code == CloseCode::Normal && !self.left { CloseCode::Away } else { code };
        let frame = CloseFrame { code, reason: Utf8Bytes::from_static("") };
        if matches!(timeout(CLOSE_TIMEOUT, self.stream.close(Some(frame))).await, Ok(Ok(()))) {
            self.drain().await;
        }
    }

    /// The stream goes on until the closing handshake is done; what still comes has no meaning.
    async fn drain(&mut self) {
        let _ = timeout(CLOSE_TIMEOUT, async { while let Some(Ok(_)) = self.stream.next().await {} }).await;
    }
}

fn unix_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
