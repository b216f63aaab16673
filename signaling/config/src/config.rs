//! The configuration with its defaults. Names are LiveKit's where it has one.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use engine_base::Limits;
use serde::{Deserialize, Serialize};

/// Everything that a node reads from its file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// TCP port of signaling and API; 0 lets the system choose.
    pub port: u16,
    /// Empty: every address of the machine.
    pub bind_addresses: Vec<IpAddr>,
    /// Secrets by API key.
    pub keys: BTreeMap<String, String>,
    /// A YAML file with more keys.
    pub key_file: Option<PathBuf>,
    pub region: String,
    pub rtc: RtcConfig,
    pub room: RoomConfig,
    pub audio: AudioConfig,
    pub video: VideoConfig,
    pub limit: LimitConfig,
    pub logging: LoggingConfig,
    pub millrace: MillraceConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            port: 7_880,
            bind_addresses: Vec::new(),
            keys: BTreeMap::new(),
            key_file: None,
            region: String::new(),
            rtc: RtcConfig::default(),
            room: RoomConfig::default(),
            audio: AudioConfig::default(),
            video: VideoConfig::default(),
            limit: LimitConfig::default(),
            logging: LoggingConfig::default(),
            millrace: MillraceConfig::default(),
        }
    }
}

impl Config {
    /// LiveKit's development mode: 127.0.0.1:7880, UDP 7882, key `devkey` with secret `secret`.
    pub fn dev() -> Self {
        Self {
            bind_addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            keys: BTreeMap::from([("devkey".to_owned(), "secret".to_owned())]),
            rtc: RtcConfig { enable_loopback_candidate: true, ..RtcConfig::default() },
            ..Self::default()
        }
    }
}

/// Inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRange {
    pub first: u16,
    pub last: u16,
}

impl PortRange {
    pub const fn one(port: u16) -> Self {
        Self { first: port, last: port }
    }

    pub fn iter(self) -> impl Iterator<Item = u16> {
        self.first..=self.last
    }
}

impl std::fmt::Display for PortRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

/// Addresses that clients are told instead of those found on the interfaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeIp {
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RtcConfig {
    /// All media of all clients, spread over the ports; 0 lets the system choose one.
    pub udp_port: PortRange,
    pub node_ip: NodeIp,
    pub enable_loopback_candidate: bool,
    /// `host:port` for clients; empty for none.
    pub stun_servers: Vec<String>,
}

impl Default for RtcConfig {
    fn default() -> Self {
        Self {
            udp_port: PortRange::one(7_882),
            node_ip: NodeIp::default(),
            enable_loopback_candidate: false,
            stun_servers: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomConfig {
    /// A join creates the room.
    pub auto_create: bool,
    /// Seconds that a room waits for its first participant.
    pub empty_timeout: u32,
    /// Seconds that a room waits after its last participant left.
    pub departure_timeout: u32,
    /// 0 for no limit.
    pub max_participants: u32,
    pub enabled_codecs: Vec<CodecSpec>,
    pub enable_remote_unmute: bool,
    /// By the name that CreateRoom (`room_preset`) and tokens (`roomPreset`) give.
    pub room_configurations: BTreeMap<String, RoomPreset>,
}

/// What a named configuration sets; 0 and an empty text leave the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomPreset {
    pub empty_timeout: u32,
    pub departure_timeout: u32,
    pub max_participants: u32,
    pub metadata: String,
}

impl Default for RoomConfig {
    fn default() -> Self {
        const CODECS: [&str; 10] = [
            "audio/PCMU",
            "audio/PCMA",
            "audio/opus",
            "audio/red",
            "video/VP8",
            "video/H264",
            "video/VP9",
            "video/AV1",
            "video/H265",
            "video/rtx",
        ];
        Self {
            auto_create: true,
            empty_timeout: 300,
            departure_timeout: 20,
            max_participants: 0,
            enabled_codecs: CODECS.map(|mime| CodecSpec { mime: mime.to_owned(), fmtp_line: String::new() }).to_vec(),
            enable_remote_unmute: false,
            room_configurations: BTreeMap::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodecSpec {
    /// For example `video/vp8`.
    pub mime: String,
    pub fmtp_line: String,
}

/// Who counts as speaking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioConfig {
    /// Loudest level that is silence, in −dBov: 0 is loudest, 127 silence.
    pub active_level: u8,
    /// Percent of an interval that must be louder.
    pub min_percentile: u8,
    /// Milliseconds between speaker updates.
    pub update_interval: u32,
    /// Updates over which the level is averaged; 0 for none.
    pub smooth_intervals: u32,
}

impl Default for AudioConfig {
    fn default() -> Self {
        Self { active_level: 35, min_percentile: 40, update_interval: 400, smooth_intervals: 2 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoConfig {
    /// Participants below which a track's backup codec replaces its first one, once it is published and its policy only prefers
    /// that; 0 for any number.
    pub codec_regression_threshold: u32,
}

impl Default for VideoConfig {
    fn default() -> Self {
        Self { codec_regression_threshold: 5 }
    }
}

/// Bounds; 0 is "no limit" for sizes and lengths, a negative number is for counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitConfig {
    /// Tracks in and out of the node; 0 is no limit either.
    pub num_tracks: i32,
    /// Bytes of a room's or participant's metadata.
    pub max_metadata_size: u32,
    /// Bytes of all attributes of a participant.
    pub max_attributes_size: u32,
    pub max_room_name_length: u32,
    /// 1 to 256.
    pub max_participant_identity_length: u32,
    pub max_participant_name_length: u32,
    /// Bytes of one signaling message.
    pub signal_message_size_limit: u32,
    /// Bytes of the body of an API request.
    pub max_api_request_body_size: u32,
}

impl Default for LimitConfig {
    fn default() -> Self {
        Self {
            num_tracks: -1,
            max_metadata_size: 512 << 10,
            max_attributes_size: 64 << 10,
            max_room_name_length: 256,
            max_participant_identity_length: 256,
            max_participant_name_length: 256,
            signal_message_size_limit: 2 << 20,
            max_api_request_body_size: 10 << 20,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

impl LogLevel {
    /// As in tracing's filters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggingConfig {
    pub level: LogLevel,
}

impl Default for LoggingConfig {
    fn default() -> Self {
        Self { level: LogLevel::Info }
    }
}

/// What LiveKit has no key for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MillraceConfig {
    /// Packet workers; `None` for one per core.
    pub workers: Option<u32>,
    /// Sizes of the shared tables. `workers` inside is set by [`MillraceConfig::limits`].
    #[serde(with = "crate::limits")]
    pub table_limits: Limits,
    /// Half of the session journal: everything that a restarted signaling process must know.
    pub journal_bytes: usize,
    /// Lock and socket of the node; `None` for one per signaling port.
    pub runtime_dir: Option<PathBuf>,
    pub packet_io: PacketIo,
    /// Interface through which media is sent as frames (AF_XDP).
    pub xdp_interface: Option<String>,
    /// Longest time, in ms, that a loaded worker keeps video back so that more packets leave in one send; 0 for none.
    pub video_hold_ms: u32,
    /// Percentage of its core from which on a worker counts as loaded; 0 for always.
    pub video_hold_load: u32,
    /// Sockets of each address family that are connected to one subscriber each, over all workers: a send through one costs a fifth less.
    pub connected_sockets: u32,
}

/// The system calls that packets take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PacketIo {
    /// io_uring; where it is forbidden, recvmmsg and sendmmsg.
    #[default]
    Auto,
    IoUring,
    Mmsg,
}

impl PacketIo {
    pub const ALL: [Self; 3] = [Self::Auto, Self::IoUring, Self::Mmsg];

    /// As it is written in a file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::IoUring => "io_uring",
            Self::Mmsg => "mmsg",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|each| each.name() == text)
    }
}

impl MillraceConfig {
    /// One tick of libwebrtc's pacer: what a publisher sends together has come by then, and more delay buys little.
    pub const VIDEO_HOLD_MS_MAX: u32 = 5;
    /// Below it, a send saved is of less use than 5 ms.
    pub const VIDEO_HOLD_LOAD: u32 = 30;
    /// On one port; every datagram of a stranger walks over all of them.
    pub const CONNECTED_SOCKETS_MAX: u32 = 256;

    /// The limits for a machine of `cores`: a worker for each. A second one on the same core would only cost wake-ups.
    pub fn limits(&self, cores: u32) -> Limits {
        let workers = self.workers.unwrap_or_else(|| cores.clamp(1, Limits::WORKERS_MAX));
        Limits { workers, ..self.table_limits }
    }
}

impl Default for MillraceConfig {
    fn default() -> Self {
        Self {
            workers: None,
            table_limits: Limits::DEFAULT,
            journal_bytes: 32 << 20,
            runtime_dir: None,
            packet_io: PacketIo::Auto,
            xdp_interface: None,
            video_hold_ms: Self::VIDEO_HOLD_MS_MAX,
            video_hold_load: Self::VIDEO_HOLD_LOAD,
            connected_sockets: Self::CONNECTED_SOCKETS_MAX,
        }
    }
}
