//! Files as operators write them.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;
use signaling_config::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn parse(text: &str) -> (Config, Vec<String>) {
    let (config, notices) = Config::parse(text).unwrap();
    (config, notices.iter().map(Notice::to_string).collect())
}

fn refused(text: &str) -> String {
    Config::parse(text).unwrap_err().to_string()
}

#[test]
fn an_empty_file_is_the_default() {
    for text in ["", "\n# nothing\n", "---\n", "rtc:\nroom: ~\nkeys: {}\n"] {
        assert_eq!(parse(text), (Config::default(), Vec::new()), "{text:?}");
    }
    let config = Config::default();
    assert_eq!((config.port, config.rtc.udp_port), (7_880, PortRange::one(7_882)));
    assert!(config.require_keys().unwrap_err().to_string().contains("add `keys:`"));
}

#[test]
fn development_mode_is_livekits() {
    let config = Config::dev();
    assert_eq!(config.bind_addresses, ["127.0.0.1".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!((config.port, config.rtc.udp_port.first), (7_880, 7_882));
    assert_eq!(config.keys["devkey"], "secret");
    assert!(config.rtc.enable_loopback_candidate && config.require_keys().is_ok());
}

#[test]
fn every_served_key_is_read() {
    let (config, notices) = parse(&format!(
        "port: 0
bind_addresses: ['::1', 10.0.0.1]
keys:
  one: {SECRET}
  two: 12345678901234567890123456789012
region: north
rtc:
  udp_port: 7882-7885
  node_ip: 192.0.2.1, 2001:db8::1
  enable_loopback_candidate: yes
  stun_servers: [stun.example.net:3478]
room:
  auto_create: false
  empty_timeout: 1
  departure_timeout: 2
  max_participants: 3
  enabled_codecs:
    - mime: audio/opus
    - {{mime: video/vp8, fmtp_line: x}}
  enable_remote_unmute: true
  room_configurations:
    small: {{name: small, empty_timeout: 9, metadata: hello}}
video: {{codec_regression_threshold: 0}}
audio: {{active_level: 35, update_interval: 500}}
limit: {{num_tracks: 1_000, bytes_per_sec: -1, max_metadata_size: 0, max_participant_identity_length: 64}}
logging: {{level: warning, json: false}}
millrace:
  workers: 4
  runtime_dir: run
  packet_io: mmsg
  xdp_interface: eth0
  video_hold_ms: 2
  video_hold_load: 70
  connected_sockets: 40
  limits: {{transports: 10, ingresses: 20, egresses: 30, datas: 40, journal_bytes: 2_000_000}}
"
    ));
    assert_eq!(notices, Vec::<String>::new());
    assert_eq!((config.port, config.bind_addresses.len(), config.region.as_str()), (0, 2, "north"));
    assert_eq!(config.keys["two"], "12345678901234567890123456789012");
    assert_eq!(config.rtc.udp_port.iter().collect::<Vec<_>>(), [7882, 7883, 7884, 7885]);
    assert_eq!(config.rtc.node_ip.v4, Some("192.0.2.1".parse().unwrap()));
    assert_eq!(config.rtc.node_ip.v6, Some("2001:db8::1".parse().unwrap()));
    assert_eq!(config.rtc.stun_servers, ["stun.example.net:3478"]);
    assert_eq!((config.video.codec_regression_threshold, Config::default().video.codec_regression_threshold), (0, 5));
    let room = &config.room;
    let preset = RoomPreset { empty_timeout: 9, metadata: "hello".into(), ..Default::default() };
    assert_eq!(room.room_configurations, BTreeMap::from([("small".to_owned(), preset)]));
    assert_eq!((room.auto_create, room.empty_timeout, room.departure_timeout, room.max_participants), (false, 1, 2, 3));
    assert_eq!((room.enabled_codecs[1].mime.as_str(), room.enabled_codecs[1].fmtp_line.as_str()), ("video/vp8", "x"));
    assert_eq!((config.audio.active_level, config.audio.update_interval), (35, 500));
    let limit = &config.limit;
    assert_eq!((limit.num_tracks, limit.max_metadata_size, limit.max_participant_identity_length), (1_000, 0, 64));
    assert_eq!(config.millrace.journal_bytes, 2_000_000);
    assert_eq!(config.logging.level, LogLevel::Warn);
    assert_eq!((config.millrace.packet_io, config.millrace.xdp_interface.as_deref()), (PacketIo::Mmsg, Some("eth0")));
    let limits = config.millrace.limits(64);
    assert_eq!((limits.workers, limits.transports, limits.datas), (4, 10, 40));
    assert_eq!([1, 3, 1_000].map(|cores| Config::default().millrace.limits(cores).workers), [1, 3, 64]);
    let MillraceConfig { video_hold_ms, video_hold_load, connected_sockets, .. } = config.millrace;
    assert_eq!((video_hold_ms, video_hold_load, connected_sockets), (2, 70, 40));
}

#[test]
fn wrong_values_are_all_refused_with_line_and_remedy() {
    let text = refused("port: 70000\nrtc:\n  udp_port: many\n  node_ip: example.net\nroom:\n  auto_create: maybe\n");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "line 1: port cannot be \"70000\"; write a port from 0 to 65535");
    assert!(lines[1].starts_with("line 3: rtc.udp_port cannot be \"many\"; write a port such as 7882, or a range"));
    assert!(lines[2].starts_with("line 4: rtc.node_ip"));
    assert_eq!(lines[3], "line 6: room.auto_create cannot be \"maybe\"; write true or false");
    for (wrong, start) in [
        ("port: [1]", "line 1: port must be one value"),
        ("rtc: 5", "line 1: rtc must hold keys"),
        ("- a", "line 1: the file must hold keys"),
        ("keys: [a]", "line 1: keys must hold pairs"),
        ("keys:\n  a:", "line 2: keys.a has no secret"),
        ("rtc:\n  udp_port: 9000-8000", "line 2: rtc.udp_port cannot be"),
        ("rtc:\n  udp_port: 50000-60000", "line 2: rtc.udp_port cannot be"),
        ("room:\n  room_configurations: [small]", "line 2: room.room_configurations must hold configurations by name"),
        (
            "room:\n  room_configurations:\n    a: {empty_timeout: -1}",
            "line 3: room.room_configurations.a.empty_timeout",
        ),
        (
            "rtc:\n  udp_port: 7882-7946",
            "line 2: rtc.udp_port cannot be \"7882-7946\"; write a port such as 7882, or a range of at most 64 ports",
        ),
        ("video: {codec_regression_threshold: few}", "line 1: video.codec_regression_threshold cannot be"),
        ("rtc:\n  node_ip: 192.0.2.1,192.0.2.2", "line 2: rtc.node_ip cannot be"),
        ("bind_addresses:\n  - 127.0.0.1\n  - here", "line 3: bind_addresses cannot hold \"here\""),
        ("rtc:\n  stun_servers: [x]", "line 2: rtc.stun_servers cannot hold"),
        ("logging:\n  level: loud", "line 2: logging.level cannot be \"loud\"; write debug, info, warn or error"),
        ("millrace:\n  workers: 0", "line 2: millrace.workers cannot be"),
        (
            "millrace:\n  packet_io: epoll",
            "line 2: millrace.packet_io cannot be \"epoll\"; write auto, io_uring or mmsg",
        ),
        ("millrace:\n  connected_sockets: 257", "line 2: millrace.connected_sockets cannot be"),
        ("millrace:\n  video_hold_ms: 6", "line 2: millrace.video_hold_ms cannot be"),
        ("millrace:\n  video_hold_load: 101", "line 2: millrace.video_hold_load cannot be"),
        ("millrace:\n  xdp_interface: a-name-that-is-long", "line 2: millrace.xdp_interface cannot be"),
        ("millrace:\n  limits:\n    datas: -1", "line 3: millrace.limits.datas cannot be"),
        ("millrace:\n  limits:\n    journal_bytes: 1", "line 3: millrace.limits.journal_bytes cannot be"),
        ("limit:\n  subscription_limit_video: many", "line 2: limit.subscription_limit_video cannot be"),
        ("a: b: c", "line 1: not YAML"),
    ] {
        assert!(refused(wrong).starts_with(start), "{wrong:?} gave {}", refused(wrong));
    }
}

#[test]
fn a_port_range_becomes_its_first_port_with_a_notice() {
    let (config, notices) = parse("rtc:\n  port_range_start: 50000\n  port_range_end: 60000\n");
    assert_eq!(config.rtc.udp_port, PortRange::one(50_000));
    assert!(notices.len() == 1 && notices[0].starts_with("line 2: all media uses UDP port 50000"), "{notices:?}");
    let (config, notices) = parse("rtc: {port_range_start: 50000, port_range_end: 60000, udp_port: 7000}");
    assert_eq!((config.rtc.udp_port, notices.len()), (PortRange::one(7_000), 1));
    assert!(refused("rtc: {port_range_start: 2, port_range_end: 1}").contains("below"));
}

#[test]
fn known_keys_that_are_not_served_are_warned_about_once_they_ask_for_something() {
    let (_, notices) = parse(
        "redis:\n  address: localhost:6379\nturn:\n  enabled: true\nwebhook:\n  urls: [x]\nrtc:\n  tcp_port: 7881\n  use_external_ip: true\n",
    );
    assert_eq!(notices.len(), 5, "{notices:?}");
    assert!(notices.contains(&"line 1: redis is not served yet and has no effect".to_owned()), "{notices:?}");
    assert!(notices.iter().any(|notice| notice.contains("set rtc.node_ip")));
    let (_, notices) = parse(
        "redis:\nturn: {enabled: false, domain: x}\nrtc: {tcp_port: 0, use_external_ip: false, force_tcp: false}\ningress: {}",
    );
    assert_eq!(notices, Vec::<String>::new());
}

#[test]
fn unknown_keys_are_warned_about_with_line_and_guess() {
    let (_, notices) = parse("prot: 1\nrtc:\n  udp_prot: 2\nmillrace:\n  limits: {transport: 1}\nzzzzzzzzzz: 1\n");
    assert_eq!(notices.len(), 4);
    assert!(
        notices.contains(&"line 1: prot is unknown and has no effect; did you mean port?".to_owned()),
        "{notices:?}"
    );
    assert!(
        notices.contains(&"line 3: rtc.udp_prot is unknown and has no effect; did you mean rtc.udp_port?".to_owned())
    );
    assert!(notices.contains(&"line 6: zzzzzzzzzz is unknown and has no effect".to_owned()));
}

#[test]
fn limits_are_taken_from_their_old_place_too() {
    let (config, notices) = parse("room: {max_metadata_size: 7, max_room_name_length: 8}");
    assert_eq!((config.limit.max_metadata_size, config.limit.max_room_name_length, notices.len()), (7, 8, 0));
    assert!(refused("room: {max_metadata_size: x}").contains("room.max_metadata_size"));
    assert_eq!(parse("log_level: debug").0.logging.level, LogLevel::Debug);
}

#[test]
fn limits_that_limit_nothing_here_are_warned_about() {
    let (_, notices) = parse("limit:\n  bytes_per_sec: 1_000_000_000\n  subscription_limit_audio: 9\n");
    assert_eq!(notices.len(), 2, "{notices:?}");
    assert_eq!(notices[0], "line 2: limit.bytes_per_sec is not served yet: nothing is limited by it");
    assert_eq!(parse("limit: {bytes_per_sec: -1, subscription_limit_video: 0}").1, Vec::<String>::new());
    let (config, notices) = parse("audio: {active_level: 30}\nlogging: {json: true}");
    assert_eq!(config.audio.active_level, 35, "what the engine counts by");
    assert!(notices.iter().any(|notice| notice.starts_with("line 1: audio: only update_interval")), "{notices:?}");
    assert!(notices.contains(&"line 2: logging.json is not served yet: lines are plain text".to_owned()));
    for longest in [0, 1_000] {
        let (config, notices) = parse(&format!("limit: {{max_participant_identity_length: {longest}}}"));
        assert_eq!(config.limit.max_participant_identity_length, 256);
        assert!(notices.len() == 1 && notices[0].starts_with("line 1: identities have at most 256"), "{notices:?}");
    }
}

#[test]
fn short_secrets_are_warned_about_without_being_shown() {
    let (_, notices) = parse("keys: {a: tiny}");
    assert!(notices.len() == 1 && !notices[0].contains("tiny"), "{notices:?}");
}

#[test]
fn files_are_loaded_with_their_key_file() {
    let dir = std::env::temp_dir().join(format!("millrace-config-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (file, keys) = (dir.join("config.yaml"), dir.join("keys.yaml"));
    std::fs::write(&file, format!("key_file: {}\n", keys.display())).unwrap();
    std::fs::write(&keys, format!("k: {SECRET}\n")).unwrap();
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(Config::load(&file).unwrap_err().to_string().contains("chmod o="));
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(Config::load(&file).unwrap().0.keys["k"], SECRET);
    std::fs::write(&file, "port: x\n").unwrap();
    let error = Config::load(&file).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: line 1: port", file.display())), "{error}");
    std::fs::write(&file, "port: 1\n").unwrap();
    assert!(Config::load(&file).unwrap_err().to_string().contains("no API key"));
    assert!(Config::load(&dir.join("none.yaml")).unwrap_err().to_string().contains("check the path"));
    std::fs::remove_dir_all(&dir).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,200}", yaml in "[a-z:{}\\[\\],&*!|>'\" \n#-]{0,120}") {
        let _ = Config::parse(&text);
        let _ = Config::parse(&yaml);
        let _ = Config::parse(&format!("rtc:\n  {yaml}"));
    }
}

#[test]
fn a_configuration_comes_back_from_the_json_that_the_holder_hands_over() {
    let mut config = Config::dev();
    config.millrace.workers = Some(3);
    config.rtc.node_ip.v4 = Some("192.0.2.1".parse().unwrap());
    let json = serde_json::to_vec(&config).unwrap();
    assert_eq!(serde_json::from_slice::<Config>(&json).unwrap(), config);
}
