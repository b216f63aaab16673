//! Which key means what.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use engine_base::Limits;

use crate::config::{
    AudioConfig, CodecSpec, Config, LimitConfig, LogLevel, LoggingConfig, MillraceConfig, NodeIp, PacketIo, PortRange,
    RoomConfig, RoomPreset, RtcConfig, VideoConfig,
};
use crate::document::{Node, Value, parse};
use crate::notice::{ConfigError, Notice, Severity};
use crate::reader::{Reader, Section, boolean, integer};
use crate::schema;

/// A UDP port is a socket per worker and address, and one port carries a node: a worker has at most so many sockets.
const UDP_PORTS_MAX: u16 = 64;
/// LiveKit warns below this.
const SECRET_BYTES_MIN: usize = 32;

/// What the rows of participants hold, and LiveKit's default.
const IDENTITY_BYTES_MAX: u32 = 256;

/// Smaller ones hold no room of a hundred.
const JOURNAL_BYTES_MIN: i64 = 1 << 20;
const JOURNAL_BYTES_MAX: i64 = 8 << 30;

const PORT: &str = "a port from 0 to 65535";
const SECONDS: &str = "a whole number of seconds";
const COUNT: &str = "a whole number of 0 or more";
const SIGNED: &str = "a whole number, -1 for no limit";

impl Config {
    /// Reads YAML.
    ///
    /// Output: the configuration and remarks for the operator. Errors: every wrong value of the file. Keys of `key_file`
    /// are not read here.
    pub fn parse(text: &str) -> Result<(Self, Vec<Notice>), ConfigError> {
        let document = parse(text)?;
        let mut reader = Reader::default();
        let config = read_config(&mut reader, &document);
        if reader.problems.is_empty() {
            return Ok((config, reader.notices));
        }
        reader.problems.sort_by_key(|problem| problem.line);
        // `room` is read in two places.
        reader.problems.dedup();
        Err(ConfigError { file: None, problems: reader.problems })
    }
}

fn read_config(reader: &mut Reader, document: &Node) -> Config {
    let mut config = Config::default();
    let mut top = reader.section("", Some(document));
    reader.number(&mut top, "port", PORT, &mut config.port);
    config.bind_addresses = bind_addresses(reader, &mut top);
    config.key_file = reader.value(&mut top, "key_file", "the path of a YAML file of keys", path);
    reader.set(&mut top, "region", "a name", |text| Some(text.to_owned()), &mut config.region);
    let keys = top.entry("keys").map(|entry| &entry.node);
    config.keys = read_keys(reader, "keys", keys).into_iter().collect();
    config.rtc = rtc(reader, &mut top);
    config.room = room(reader, &mut top);
    config.audio = audio(reader, &mut top);
    config.video = video(reader, &mut top);
    config.limit = limits(reader, &mut top);
    config.logging = logging(reader, &mut top);
    config.millrace = millrace(reader, &mut top);
    if let Some(entry) = top
        .entry("development")
        .filter(|entry| matches!(&entry.node.value, Value::Scalar(text) if boolean(text) != Some(false)))
    {
        reader.notice(Severity::Warning, entry.line, "development has no effect; start `millrace dev` instead");
    }
    reader.finish(&top, schema::TOP);
    config
}

fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| match (text.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(text),
    })
}

fn bind_addresses(reader: &mut Reader, top: &mut Section<'_>) -> Vec<IpAddr> {
    const EXPECTED: &str = "IP addresses such as 127.0.0.1 or \"::1\"";
    let mut addresses = Vec::new();
    for (line, text) in reader.texts(top, "bind_addresses", EXPECTED).unwrap_or_default() {
        match text {
            // LiveKit's way to say "all".
            "" => return Vec::new(),
            "localhost" => addresses.push(IpAddr::from([127, 0, 0, 1])),
            _ => match text.trim_matches(['[', ']']).parse() {
                Ok(address) => addresses.push(address),
                Err(_) => {
                    reader.problem(line, format!("bind_addresses cannot hold {text:?}"), format!("write {EXPECTED}"));
                }
            },
        }
    }
    addresses
}

/// API keys, of the file itself or of a key file.
pub(crate) fn read_keys(reader: &mut Reader, path: &str, node: Option<&Node>) -> Vec<(String, String)> {
    let remedy = "write `<api key>: <secret>`, one pair a line";
    let entries = match node.map(|node| (&node.value, node.line)) {
        None | Some((Value::Null, _)) => return Vec::new(),
        Some((Value::Map(entries), _)) => entries,
        Some((_, line)) => {
            reader.problem(line, format!("{path} must hold pairs"), remedy);
            return Vec::new();
        }
    };
    let mut keys = Vec::with_capacity(entries.len());
    for entry in entries {
        match &entry.node.value {
            Value::Scalar(secret) if !secret.is_empty() => {
                if secret.len() < SECRET_BYTES_MIN {
                    let text =
                        format!("the secret of {path}.{} has fewer than {SECRET_BYTES_MIN} characters", entry.key);
                    reader.notice(Severity::Warning, entry.line, text);
                }
                keys.push((entry.key.clone(), secret.clone()));
            }
            _ => reader.problem(entry.line, format!("{path}.{} has no secret", entry.key), remedy),
        }
    }
    keys
}

fn rtc(reader: &mut Reader, top: &mut Section<'_>) -> RtcConfig {
    let mut rtc = RtcConfig::default();
    let mut section = reader.subsection(top, "rtc");
    udp_port(reader, &mut section, &mut rtc);
    const NODE_IP: &str = "an IP address, or an IPv4 and an IPv6 address with a comma between";
    reader.set(&mut section, "node_ip", NODE_IP, node_ip, &mut rtc.node_ip);
    reader.flag(&mut section, "enable_loopback_candidate", &mut rtc.enable_loopback_candidate);
    const STUN: &str = "a list of host:port";
    for (line, server) in reader.texts(&mut section, "stun_servers", STUN).unwrap_or_default() {
        match server.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                rtc.stun_servers.push(server.to_owned())
            }
            _ => reader.problem(line, format!("rtc.stun_servers cannot hold {server:?}"), format!("write {STUN}")),
        }
    }
    let mut tcp_port = 0_u16;
    reader.number(&mut section, "tcp_port", PORT, &mut tcp_port);
    if let Some(entry) = section.entry("tcp_port").filter(|_| tcp_port != 0) {
        let text = "rtc.tcp_port is not served yet: clients reach this node by UDP only";
        reader.notice(Severity::Warning, entry.line, text);
    }
    let mut external = false;
    reader.flag(&mut section, "use_external_ip", &mut external);
    if let Some(entry) = section.entry("use_external_ip").filter(|_| external) {
        let text = "rtc.use_external_ip is not served yet: set rtc.node_ip to the public address";
        reader.notice(Severity::Warning, entry.line, text);
    }
    let mut lite = true;
    reader.flag(&mut section, "use_ice_lite", &mut lite);
    if let Some(entry) = section.entry("use_ice_lite").filter(|_| !lite) {
        reader.notice(
            Severity::Warning,
            entry.line,
            "rtc.use_ice_lite: full ICE is not served yet; the node stays ICE-lite",
        );
    }
    reader.finish(&section, schema::RTC);
    rtc
}

fn udp_port(reader: &mut Reader, section: &mut Section<'_>, rtc: &mut RtcConfig) {
    const RANGE: &str = "a port such as 7882, or a range of at most 64 ports such as 7882-7890";
    let udp_port = reader.value(section, "udp_port", RANGE, port_range);
    let (mut start, mut end) = (0_u16, 0_u16);
    reader.number(section, "port_range_start", PORT, &mut start);
    reader.number(section, "port_range_end", PORT, &mut end);
    let line = section.entry("port_range_start").map(|entry| entry.line);
    match (udp_port, line.filter(|_| start != 0)) {
        (Some(range), Some(line)) => {
            rtc.udp_port = range;
            reader.notice(Severity::Info, line, "rtc.port_range_start has no effect beside rtc.udp_port");
        }
        (Some(range), None) => rtc.udp_port = range,
        (None, Some(line)) if end != 0 && end < start => {
            reader.problem(
                line,
                format!("rtc.port_range_end {end} is below rtc.port_range_start {start}"),
                "set rtc.udp_port",
            );
        }
        (None, Some(line)) => {
            rtc.udp_port = PortRange::one(start);
            let text = format!(
                "all media uses UDP port {start}, the first of rtc.port_range_start; no port per client is needed: set rtc.udp_port to choose"
            );
            reader.notice(Severity::Info, line, text);
        }
        (None, None) => {}
    }
}

fn port_range(text: &str) -> Option<PortRange> {
    let port = |text: &str| u16::try_from(integer(text.trim())?).ok();
    match text.split_once('-') {
        None => port(text).map(PortRange::one),
        Some((first, last)) => {
            let (first, last) = (port(first)?, port(last)?);
            (first > 0 && first <= last && last - first < UDP_PORTS_MAX).then_some(PortRange { first, last })
        }
    }
}

fn node_ip(text: &str) -> Option<NodeIp> {
    let mut node_ip = NodeIp::default();
    for part in text.split(',') {
        let replaced = match part.trim().parse().ok()? {
            IpAddr::V4(address) => node_ip.v4.replace(address).is_some(),
            IpAddr::V6(address) => node_ip.v6.replace(address).is_some(),
        };
        if replaced {
            return None;
        }
    }
    Some(node_ip)
}

fn room(reader: &mut Reader, top: &mut Section<'_>) -> RoomConfig {
    let mut room = RoomConfig::default();
    let mut section = reader.subsection(top, "room");
    reader.flag(&mut section, "auto_create", &mut room.auto_create);
    reader.number(&mut section, "empty_timeout", SECONDS, &mut room.empty_timeout);
    reader.number(&mut section, "departure_timeout", SECONDS, &mut room.departure_timeout);
    reader.number(&mut section, "max_participants", COUNT, &mut room.max_participants);
    reader.flag(&mut section, "enable_remote_unmute", &mut room.enable_remote_unmute);
    if let Some(codecs) = enabled_codecs(reader, &mut section) {
        room.enabled_codecs = codecs;
    }
    room.room_configurations = room_presets(reader, &mut section);
    // Read by `deprecated_limits`.
    for key in DEPRECATED_LIMITS {
        section.entry(key);
    }
    reader.finish(&section, schema::ROOM);
    room
}

/// `- mime: video/vp8` with an optional `fmtp_line`; an empty list is LiveKit's default.
fn enabled_codecs(reader: &mut Reader, section: &mut Section<'_>) -> Option<Vec<CodecSpec>> {
    const EXPECTED: &str = "a MIME type such as video/vp8";
    let entry = section.entry("enabled_codecs")?;
    let items = match &entry.node.value {
        Value::Null => return None,
        Value::List(items) => items,
        _ => {
            reader.problem(entry.node.line, "room.enabled_codecs must be a list", "write `- mime: video/vp8` lines");
            return None;
        }
    };
    let mut codecs = Vec::with_capacity(items.len());
    for item in items {
        let mut codec = reader.section("room.enabled_codecs", Some(item));
        let mime = reader.value(&mut codec, "mime", EXPECTED, |text| text.contains('/').then(|| text.to_owned()));
        let fmtp_line = reader.value(&mut codec, "fmtp_line", "format parameters", |text| Some(text.to_owned()));
        reader.finish(&codec, &[]);
        codecs.extend(mime.map(|mime| CodecSpec { mime, fmtp_line: fmtp_line.unwrap_or_default() }));
    }
    (!codecs.is_empty()).then_some(codecs)
}

/// Configurations by name.
fn room_presets(reader: &mut Reader, section: &mut Section<'_>) -> BTreeMap<String, RoomPreset> {
    let Some(entry) = section.entry("room_configurations") else { return BTreeMap::new() };
    let named = match &entry.node.value {
        Value::Null => return BTreeMap::new(),
        Value::Map(named) => named,
        _ => {
            let remedy = "write `<name>:` lines, each with its settings under it";
            reader.problem(entry.node.line, "room.room_configurations must hold configurations by name", remedy);
            return BTreeMap::new();
        }
    };
    let mut presets = BTreeMap::new();
    for entry in named {
        let mut preset = RoomPreset::default();
        let path = format!("room.room_configurations.{}", entry.key);
        let mut section = reader.section(&path, Some(&entry.node));
        // In the message, and of no meaning beside the key.
        section.entry("name");
        reader.number(&mut section, "empty_timeout", SECONDS, &mut preset.empty_timeout);
        reader.number(&mut section, "departure_timeout", SECONDS, &mut preset.departure_timeout);
        reader.number(&mut section, "max_participants", COUNT, &mut preset.max_participants);
        reader.set(&mut section, "metadata", "a text", |text| Some(text.to_owned()), &mut preset.metadata);
        reader.finish(&section, schema::ROOM_PRESET);
        presets.insert(entry.key.clone(), preset);
    }
    presets
}

fn audio(reader: &mut Reader, top: &mut Section<'_>) -> AudioConfig {
    let mut audio = AudioConfig::default();
    let mut section = reader.subsection(top, "audio");
    let at_most =
        |max: i64| move |text: &str| integer(text).filter(|n| (0..=max).contains(n)).and_then(|n| u8::try_from(n).ok());
    reader.set(&mut section, "active_level", "a level from 0 (loudest) to 127", at_most(127), &mut audio.active_level);
    reader.set(&mut section, "min_percentile", "percent from 0 to 100", at_most(100), &mut audio.min_percentile);
    let interval = |text: &str| u32::try_from(integer(text)?).ok().filter(|&ms| ms > 0);
    reader.set(&mut section, "update_interval", "milliseconds above 0", interval, &mut audio.update_interval);
    reader.number(&mut section, "smooth_intervals", COUNT, &mut audio.smooth_intervals);
    let fixed = AudioConfig { update_interval: audio.update_interval, ..AudioConfig::default() };
    if let (Some(entry), true) = (top.entry("audio"), audio != fixed) {
        let AudioConfig { active_level, min_percentile, smooth_intervals, .. } = fixed;
        let text = format!(
            "audio: only update_interval can be changed yet; active_level stays {active_level}, min_percentile \
             {min_percentile}, smooth_intervals {smooth_intervals}"
        );
        reader.notice(Severity::Warning, entry.line, text);
        audio = fixed;
    }
    reader.finish(&section, schema::AUDIO);
    audio
}

fn video(reader: &mut Reader, top: &mut Section<'_>) -> VideoConfig {
    let mut video = VideoConfig::default();
    let mut section = reader.subsection(top, "video");
    reader.number(&mut section, "codec_regression_threshold", COUNT, &mut video.codec_regression_threshold);
    reader.finish(&section, schema::VIDEO);
    video
}

fn limits(reader: &mut Reader, top: &mut Section<'_>) -> LimitConfig {
    let mut limit = LimitConfig::default();
    let mut section = reader.subsection(top, "limit");
    reader.number(&mut section, "num_tracks", SIGNED, &mut limit.num_tracks);
    for key in ["bytes_per_sec", "subscription_limit_video", "subscription_limit_audio"] {
        let rate = |text: &str| text.replace('_', "").parse::<f64>().ok().filter(|rate| rate.is_finite());
        let asked = reader.value(&mut section, key, "a number, -1 for no limit", rate);
        if let (Some(entry), true) = (section.entry(key), asked.is_some_and(|asked| asked > 0.0)) {
            let text = format!("limit.{key} is not served yet: nothing is limited by it");
            reader.notice(Severity::Warning, entry.line, text);
        }
    }
    for (key, target) in [
        ("max_metadata_size", &mut limit.max_metadata_size),
        ("max_attributes_size", &mut limit.max_attributes_size),
        ("max_room_name_length", &mut limit.max_room_name_length),
        ("max_participant_identity_length", &mut limit.max_participant_identity_length),
        ("max_participant_name_length", &mut limit.max_participant_name_length),
        ("signal_message_size_limit", &mut limit.signal_message_size_limit),
        ("max_api_request_body_size", &mut limit.max_api_request_body_size),
    ] {
        reader.number(&mut section, key, COUNT, target);
    }
    deprecated_limits(reader, top, &mut limit);
    let longest = &mut limit.max_participant_identity_length;
    if !(1..=IDENTITY_BYTES_MAX).contains(longest) {
        *longest = IDENTITY_BYTES_MAX;
        let line = section.entry("max_participant_identity_length").map(|entry| entry.line);
        let text = format!("identities have at most {IDENTITY_BYTES_MAX} bytes here: the limit stays there");
        reader.notices.push(Notice { severity: Severity::Warning, line, text });
    }
    reader.finish(&section, schema::LIMIT);
    limit
}

/// LiveKit moved these from `room` to `limit`; both places still count.
const DEPRECATED_LIMITS: [&str; 3] = ["max_metadata_size", "max_room_name_length", "max_participant_identity_length"];

fn deprecated_limits(reader: &mut Reader, top: &mut Section<'_>, limit: &mut LimitConfig) {
    let mut section = reader.subsection(top, "room");
    let targets =
        [&mut limit.max_metadata_size, &mut limit.max_room_name_length, &mut limit.max_participant_identity_length];
    for (key, target) in DEPRECATED_LIMITS.into_iter().zip(targets) {
        reader.number(&mut section, key, COUNT, target);
    }
}

fn logging(reader: &mut Reader, top: &mut Section<'_>) -> LoggingConfig {
    const LEVELS: &str = "debug, info, warn or error";
    let mut logging = LoggingConfig::default();
    let mut section = reader.subsection(top, "logging");
    reader.set(top, "log_level", LEVELS, log_level, &mut logging.level);
    reader.set(&mut section, "level", LEVELS, log_level, &mut logging.level);
    let mut json = false;
    reader.flag(&mut section, "json", &mut json);
    if let Some(entry) = section.entry("json").filter(|_| json) {
        reader.notice(Severity::Warning, entry.line, "logging.json is not served yet: lines are plain text");
    }
    reader.finish(&section, schema::LOGGING);
    logging
}

fn log_level(text: &str) -> Option<LogLevel> {
    Some(match text.to_ascii_lowercase().as_str() {
        "debug" => LogLevel::Debug,
        "info" | "" => LogLevel::Info,
        "warn" | "warning" => LogLevel::Warn,
        "error" => LogLevel::Error,
        _ => return None,
    })
}

fn millrace(reader: &mut Reader, top: &mut Section<'_>) -> MillraceConfig {
    let mut millrace = MillraceConfig::default();
    let mut section = reader.subsection(top, "millrace");
    let bounded = |max: u32| move |text: &str| u32::try_from(integer(text)?).ok().filter(|n| (1..=max).contains(n));
    let workers = format!("a number from 1 to {}", Limits::WORKERS_MAX);
    millrace.workers = reader.value(&mut section, "workers", &workers, bounded(Limits::WORKERS_MAX));
    millrace.runtime_dir = reader.value(&mut section, "runtime_dir", "the path of a folder", path);
    const PACKET_IO: &str = "auto, io_uring or mmsg";
    reader.set(&mut section, "packet_io", PACKET_IO, PacketIo::parse, &mut millrace.packet_io);
    let hold_max = MillraceConfig::VIDEO_HOLD_MS_MAX;
    let hold = format!("a number of milliseconds from 0 to {hold_max}");
    let parse = |text: &str| u32::try_from(integer(text)?).ok().filter(|ms| *ms <= hold_max);
    reader.set(&mut section, "video_hold_ms", &hold, parse, &mut millrace.video_hold_ms);
    const PERCENT: &str = "a percentage of a core from 0 to 100";
    let parse = |text: &str| u32::try_from(integer(text)?).ok().filter(|percent| *percent <= 100);
    reader.set(&mut section, "video_hold_load", PERCENT, parse, &mut millrace.video_hold_load);
    let sockets_max = MillraceConfig::CONNECTED_SOCKETS_MAX;
    let sockets = format!("a number of sockets from 0 to {sockets_max}");
    let parse = |text: &str| u32::try_from(integer(text)?).ok().filter(|count| *count <= sockets_max);
    reader.set(&mut section, "connected_sockets", &sockets, parse, &mut millrace.connected_sockets);
    // IFNAMSIZ with its end.
    let name = |text: &str| (1..16).contains(&text.len()).then(|| text.to_owned());
    const NAME: &str = "the name of an interface such as eth0";
    millrace.xdp_interface = reader.value(&mut section, "xdp_interface", NAME, name);
    let mut limits = reader.subsection(&mut section, "limits");
    let rows = format!("a number from 1 to {}", Limits::ROWS_MAX);
    for (key, target) in [
        ("transports", &mut millrace.table_limits.transports),
        ("ingresses", &mut millrace.table_limits.ingresses),
        ("egresses", &mut millrace.table_limits.egresses),
        ("datas", &mut millrace.table_limits.datas),
    ] {
        reader.set(&mut limits, key, &rows, bounded(Limits::ROWS_MAX), target);
    }
    let journal = format!("a number of bytes from {JOURNAL_BYTES_MIN} to {JOURNAL_BYTES_MAX}");
    let bytes = |text: &str| integer(text).filter(|n| (JOURNAL_BYTES_MIN..=JOURNAL_BYTES_MAX).contains(n));
    if let Some(bytes) = reader.value(&mut limits, "journal_bytes", &journal, bytes) {
        millrace.journal_bytes = bytes as usize;
    }
    reader.finish(&limits, &[]);
    reader.finish(&section, &[]);
    millrace
}
