//! LiveKit's keys that Millrace knows and does not serve yet (livekit-server 1.13), and guesses at mistyped ones.

/// Sections and keys of the top level.
pub(crate) const TOP: &[&str] = &[
    "prometheus_port",
    "prometheus",
    "debug_handler",
    "environment",
    "redis",
    "turn",
    "ingress",
    "sip",
    "webhook",
    "node_selector",
    "signal_relay",
    "psrpc",
    "agents",
    "metric",
    "trace",
    "node_stats",
    "enable_data_tracks",
    "enable_participant_data_blob",
    "api",
];

pub(crate) const RTC: &[&str] = &[
    "use_stun_port_as_ice",
    "interfaces",
    "ips",
    "use_mdns",
    "external_ip_only",
    "batch_io",
    "sctp_min_cwnd",
    "sctp_fast_rtx_wnd",
    "sctp_cwnd_ca_step",
    "force_tcp",
    "turn_servers",
    "enable_warp",
    "strict_acks",
    "packet_buffer_size",
    "packet_buffer_size_video",
    "packet_buffer_size_audio",
    "pli_throttle",
    "congestion_control",
    "allow_tcp_fallback",
    "tcp_fallback_rtt_threshold",
    "allow_udp_unstable_fallback",
    "reconnect_on_publication_error",
    "reconnect_on_subscription_error",
    "reconnect_on_data_channel_error",
    "data_channel_max_buffered_amount",
    "datachannel_slow_threshold",
    "datachannel_lossy_target_latency",
    "datachannel_data_track_target_latency",
    "forward_stats",
    "enable_rtp_stream_restart_detection",
];

pub(crate) const ROOM: &[&str] = &[
    "playout_delay",
    "sync_streams",
    "create_room_timeout",
    "create_room_attempts",
    "enable_full_room_in_webhooks",
    "update_batch_target_size",
    "participant_disconnect_timeout",
];

/// Of one of `room.room_configurations`.
pub(crate) const ROOM_PRESET: &[&str] =
    &["egress", "agents", "min_playout_delay", "max_playout_delay", "sync_streams", "tags"];

pub(crate) const AUDIO: &[&str] = &["active_red_encoding"];

pub(crate) const VIDEO: &[&str] = &["dynacast_pause_delay", "stream_tracker_manager"];

pub(crate) const LIMIT: &[&str] = &[
    "max_data_blob_key_length",
    "max_data_blobs_size",
    "max_data_track_custom_encoding_length",
    "agent_signal_message_size_limit",
];

pub(crate) const LOGGING: &[&str] = &[
    "pion_level",
    "sample",
    "sample_initial",
    "sample_interval",
    "component_levels",
    "item_sample_seconds",
    "item_sample_initial",
    "item_sample_interval",
];

/// The candidate nearest to `key`, if it differs by at most a third of its letters.
pub(crate) fn nearest<'a>(key: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distances = candidates.map(|candidate| (distance(key, candidate), candidate));
    let (distance, candidate) = distances.min_by_key(|&(distance, _)| distance)?;
    (distance <= candidate.len().max(key.len()).div_ceil(3)).then_some(candidate)
}

/// Levenshtein distance in bytes, O(a × b).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistyped_keys_find_their_neighbour() {
        assert_eq!(nearest("udp_prot", ["udp_port", "tcp_port"].into_iter()), Some("udp_port"));
        assert_eq!(nearest("completely_else", ["port", "keys"].into_iter()), None);
        assert_eq!((distance("kitten", "sitting"), distance("", "abc")), (3, 3));
    }
}
