//! A node in memory, and clients of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine_base::{Limits, WallOffset};
use engine_table::{
    CourierRegion, EngineRegion, Journal, NodeRow, Region, SessionRow, SignalingRegion, SocketAddress, TableId, Text,
    TransportObserved, dtls_state, transport_state,
};
use futures_util::{SinkExt, StreamExt};
use rustix::event::{EventfdFlags, eventfd};
use signaling_config::Config;
use signaling_protocol::Message as _;
use signaling_protocol::proto::{SignalRequest, SignalResponse, signal_request, signal_response};
use signaling_server::{HttpService, Listeners, Node, NodeParts, Regions, ServerSettings, Wakes, wake};
use signaling_token::TokenBuilder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use zerocopy::FromZeros;

pub const LIMITS: Limits = Limits { workers: 2, transports: 64, ingresses: 64, egresses: 128, datas: 64 };
const JOURNAL_BYTES: usize = 4 << 20;
/// Longer than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What outlives the signaling process.
pub struct Memory {
    pub regions: Regions,
    journal: Region,
    pub config: Config,
    dev: bool,
}

impl Memory {
    pub fn new(config: Config) -> Self {
        let regions = Regions {
            signaling: SignalingRegion::anonymous(&LIMITS),
            courier: CourierRegion::anonymous(&LIMITS),
            engine: EngineRegion::anonymous(&LIMITS),
        };
        Self { regions, journal: Region::anonymous(Journal::region_bytes(JOURNAL_BYTES)), config, dev: true }
    }

    pub fn journal(&self) -> Journal {
        Journal::adopt(self.journal.clone(), JOURNAL_BYTES)
    }

    /// A signaling process with an engine that adopts at once.
    pub fn start(&self) -> Server {
        let server = self.start_without_engine();
        server.engine_adopts.store(true, Ordering::Relaxed);
        server
    }

    pub fn start_without_engine(&self) -> Server {
        let eventfd = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
        let own = eventfd();
        let signaling_wake = own.try_clone().unwrap();
        let wakes = Wakes { workers: vec![eventfd(), eventfd()], courier: eventfd(), own };
        let (regions, journal) = (self.regions.clone(), self.journal());
        let parts = NodeParts { regions, journal, wakes, row: node_row(), config: &self.config };
        let (node, handle) = Node::adopt(parts);
        let node = tokio::spawn(node.run());
        let settings = Arc::new(ServerSettings::new(&self.config, self.dev));
        let service = HttpService::new(settings, handle.clone());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let listeners = Listeners::start(vec![listener], &service).unwrap();
        let engine_adopts = Arc::new(AtomicBool::new(false));
        let engine = tokio::spawn(adopt(self.regions.clone(), Arc::clone(&engine_adopts)));
        Server {
            address,
            handle,
            signaling_wake,
            engine_adopts,
            regions: self.regions.clone(),
            node,
            engine,
            _listeners: listeners,
        }
    }
}

/// Workers and courier that take every row at once.
async fn adopt(regions: Regions, adopts: Arc<AtomicBool>) {
    loop {
        tokio::time::sleep(Duration::from_millis(1)).await;
        if adopts.load(Ordering::Relaxed) {
            let head = regions.signaling.log().head();
            (0..LIMITS.workers)
                .for_each(|worker| regions.engine.adopted_signaling(worker).store(head, Ordering::Release));
            regions.courier.adopted().store(head, Ordering::Release);
        }
    }
}

fn node_row() -> NodeRow {
    let mut row = NodeRow::new_zeroed();
    row.wall_offset = WallOffset(1_790_000_000_000_000_000);
    row.limits = LIMITS;
    row.node_tag = 0x1_2345;
    row.fingerprint = [7; 32];
    row.address_count = 1;
    row.addresses[0] = SocketAddress::new("127.0.0.1:7882".parse().unwrap());
    row.node_id = Text::cut("ND_test");
    row.version = Text::cut("0.1.0");
    row
}

/// A signaling process. Dropping it is `kill -9`: nothing is told to anybody.
pub struct Server {
    pub address: SocketAddr,
    pub handle: signaling_server::NodeHandle,
    pub engine_adopts: Arc<AtomicBool>,
    regions: Regions,
    signaling_wake: std::os::fd::OwnedFd,
    node: JoinHandle<std::io::Result<()>>,
    engine: JoinHandle<()>,
    _listeners: Listeners,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.node.abort();
        self.engine.abort();
    }
}

impl Server {
    /// The engine and courier connect every transport that has a row.
    pub fn connect_transports(&self) {
        for index in 0..LIMITS.transports {
            let Some((_, row)) = self.regions.signaling.transports().read(index) else { continue };
            if row.state == engine_table::ROW_FREE {
                continue;
            }
            let mut observed = TransportObserved::new_zeroed();
            (observed.generation, observed.state, observed.has_keys) = (row.generation, transport_state::CONNECTED, 1);
            self.regions.engine.transports().publish(index, &observed);
            self.regions.engine.log(0).push(TableId::TransportObserved, index);
            let mut session = SessionRow::new_zeroed();
            (session.generation, session.dtls, session.channels) = (row.generation, dtls_state::CONNECTED, 3);
            self.regions.courier.sessions().publish(index, &session);
            self.regions.courier.log().push(TableId::Session, index);
        }
        wake(&self.signaling_wake);
    }

    /// Status, head and body of one request on a connection of its own.
    pub async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n");
        headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
        head += &format!("Content-Length: {}\r\n\r\n", body.len());
        self.raw(&[head.as_bytes(), body].concat()).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.request("GET", path, &[], b"").await
    }

    pub async fn raw(&self, bytes: &[u8]) -> Reply {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(bytes).await;
        let mut reply = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut reply)).await.expect("an answer in time");
        Reply::parse(&reply)
    }

    pub async fn twirp(&self, method: &str, token: &str, json: &str) -> Reply {
        let authorization = format!("Bearer {token}");
        let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
        self.request("POST", &format!("/twirp/livekit.{method}"), &headers, json.as_bytes()).await
    }

    pub async fn join(&self, identity: &str, parameters: &str) -> Client {
        let path = format!("/rtc?access_token={}&protocol=16&sdk=js{parameters}", join_token(identity));
        self.connect(&path).await.expect("an upgrade")
    }

    /// The status when the handshake fails.
    pub async fn connect(&self, path: &str) -> Result<Client, u16> {
        match connect_async(format!("ws://{}{path}", self.address)).await {
            Ok((socket, _)) => Ok(Client { socket }),
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }
}

pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {} {}", self.status, self.body))
    }
}

pub struct Client {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Client {
    pub async fn next(&mut self) -> Option<Message> {
        timeout(PATIENCE, self.socket.next()).await.expect("a frame in time")?.ok()
    }

    /// The next signal message.
    pub async fn signal(&mut self) -> signal_response::Message {
        loop {
            match self.next().await {
                Some(Message::Binary(bytes)) => return SignalResponse::decode(bytes).unwrap().message.unwrap(),
                Some(Message::Ping(_)) => {}
                other => panic!("no signal message but {other:?}"),
            }
        }
    }

    pub async fn until(&mut self, wanted: impl Fn(&signal_response::Message) -> bool) -> signal_response::Message {
        loop {
            let message = self.signal().await;
            if wanted(&message) {
                return message;
            }
        }
    }

    pub async fn send(&mut self, message: signal_request::Message) {
        let bytes = SignalRequest { message: Some(message) }.encode_to_vec();
        self.socket.send(Message::Binary(bytes.into())).await.unwrap();
    }

    /// Queues a message until the next flush.
    pub async fn feed(&mut self, message: signal_request::Message) {
        let bytes = SignalRequest { message: Some(message) }.encode_to_vec();
        self.socket.feed(Message::Binary(bytes.into())).await.unwrap();
    }

    /// Closes by RST, as a process that is gone does with unread bytes.
    pub fn reset(self) {
        let MaybeTlsStream::Plain(stream) = self.socket.get_ref() else { panic!("no TLS here") };
        stream.set_zero_linger().unwrap();
    }

    /// The close code, after any other frames; `None` when the connection was dropped.
    pub async fn close_code(&mut self) -> Option<u16> {
        loop {
            if let Message::Close(frame) = self.next().await? {
                return frame.map(|frame| frame.code.into());
            }
        }
    }

    /// Sid of the participant: the first frame must be `join`.
    pub async fn joined(&mut self) -> String {
        match self.signal().await {
            signal_response::Message::Join(join) => join.participant.unwrap().sid,
            other => panic!("no join but {other:?}"),
        }
    }
}

pub fn now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64
}

pub fn sign(builder: TokenBuilder) -> String {
    builder.sign("devkey", "secret", now())
}

pub fn join_token(identity: &str) -> String {
    sign(TokenBuilder::new(identity).join("r"))
}

pub fn admin_token() -> String {
    sign(TokenBuilder::new("").admin("r").manage_rooms())
}
