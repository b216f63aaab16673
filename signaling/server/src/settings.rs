//! What the configuration comes to for HTTP and for rooms.

use engine_table::NodeRow;
use signaling_config::{Config, LimitConfig, RoomPreset};
use signaling_protocol::proto;
use signaling_room::{NodeFacts, RoomDefaults, RoomPresets, RoomSettings};
use signaling_sdp::EnabledCodecs;
use signaling_token::KeyStore;

/// For the HTTP side.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    pub keys: KeyStore,
    /// A join creates its room.
    pub auto_create: bool,
    pub limit: LimitConfig,
    /// Serves the demo page and tokens for it.
    pub dev: bool,
}

impl ServerSettings {
    pub fn new(config: &Config, dev: bool) -> Self {
        Self {
            keys: KeyStore::new(config.keys.clone()),
            auto_create: config.room.auto_create,
            limit: config.limit.clone(),
            dev,
        }
    }
}

/// Longest text that `maximum` allows; 0 is "no limit".
pub(crate) fn exceeds(bytes: usize, maximum: u32) -> bool {
    maximum > 0 && bytes > maximum as usize
}

pub(crate) fn node_facts(row: &NodeRow, config: &Config) -> NodeFacts {
    let count = row.address_count as usize;
    let addresses = row.addresses.iter().zip(&row.advertised).take(count);
    let mut candidates = Vec::with_capacity(count);
    for address in addresses.filter_map(|(local, advertised)| advertised.get().or_else(|| local.get())) {
        // `rtc.node_ip` stands for every local address.
        if !candidates.contains(&address) {
            candidates.push(address);
        }
    }
    let urls: Vec<String> = config.rtc.stun_servers.iter().map(|server| format!("stun:{server}")).collect();
    let ice_servers =
        if urls.is_empty() { Vec::new() } else { vec![proto::IceServer { urls, ..proto::IceServer::default() }] };
    NodeFacts {
        node_id: row.node_id.as_str().to_owned(),
        node_tag: row.node_tag,
        region: config.region.clone(),
        version: row.version.as_str().to_owned(),
        fingerprint: row.fingerprint,
        candidates,
        ice_servers,
    }
}

pub(crate) fn room_presets(config: &Config) -> RoomPresets {
    let settings = |preset: &RoomPreset| {
        let RoomPreset { empty_timeout, departure_timeout, max_participants, metadata } = preset;
        RoomSettings::new(*empty_timeout, *departure_timeout, *max_participants, metadata)
    };
    config.room.room_configurations.iter().map(|(name, preset)| (name.clone(), settings(preset))).collect()
}

pub(crate) fn room_defaults(config: &Config) -> RoomDefaults {
    let unlimited = |bytes: u32| if bytes == 0 { usize::MAX } else { bytes as usize };
    RoomDefaults {
        empty_timeout_s: config.room.empty_timeout,
        departure_timeout_s: config.room.departure_timeout,
        max_participants: config.room.max_participants,
        enabled_codecs: EnabledCodecs::from_mimes(config.room.enabled_codecs.iter().map(|codec| codec.mime.as_str())),
        enable_remote_unmute: config.room.enable_remote_unmute,
        codec_regression_threshold: config.video.codec_regression_threshold,
        max_metadata_bytes: unlimited(config.limit.max_metadata_size),
        max_attributes_bytes: unlimited(config.limit.max_attributes_size),
    }
}
