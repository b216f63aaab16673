"""Turns the SDK's statistics into the same records that the demo page's stats.js makes, so that one Rust function reads both."""


def _by_kind(stats, kind):
    return [getattr(each, kind) for each in stats if each.WhichOneof("stats") == kind]


def _codec(stats, codec_id):
    for each in _by_kind(stats, "codec"):
        if each.rtc.id == codec_id:
            return each.codec.mime_type.split("/")[-1].lower()
    return ""


def describe_published(stats):
    entries = _by_kind(stats, "outbound_rtp")
    if not entries:
        return None
    layers = [
        {
            "rid": each.outbound.rid,
            "ssrc": each.stream.ssrc,
            "active": each.outbound.active,
            "width": each.outbound.frame_width,
            "height": each.outbound.frame_height,
            "framesPerSecond": each.outbound.frames_per_second,
            "framesEncoded": each.outbound.frames_encoded,
            "framesSent": each.outbound.frames_sent,
            "keyFramesEncoded": each.outbound.key_frames_encoded,
            "packetsSent": each.sent.packets_sent,
            "bytesSent": each.sent.bytes_sent,
            "retransmitted": each.outbound.retransmitted_packets_sent,
            "nackCount": each.outbound.nack_count,
            "pliCount": each.outbound.pli_count,
            "targetBitsPerSecond": each.outbound.target_bitrate,
            "scalability": each.outbound.scalability_mode,
        }
        for each in entries
    ]
    layers.sort(key=lambda each: "qhf".find(each["rid"]))
    remote = _by_kind(stats, "remote_inbound_rtp")
    return {
        "kind": entries[0].stream.kind,
        "codec": _codec(stats, entries[0].stream.codec_id),
        "layers": layers,
        "packetsLost": sum(each.received.packets_lost for each in remote),
    }


def describe_received(stats):
    entries = _by_kind(stats, "inbound_rtp")
    if not entries:
        return None
    entry = entries[0]
    inbound, received = entry.inbound, entry.received
    return {
        "ssrc": entry.stream.ssrc,
        "kind": entry.stream.kind,
        "codec": _codec(stats, entry.stream.codec_id),
        "width": inbound.frame_width,
        "height": inbound.frame_height,
        "framesPerSecond": inbound.frames_per_second,
        "framesDecoded": inbound.frames_decoded,
        "framesReceived": inbound.frames_received,
        "framesDropped": inbound.frames_dropped,
        "keyFramesDecoded": inbound.key_frames_decoded,
        "freezeCount": inbound.freeze_count,
        "freezesMs": inbound.total_freeze_duration * 1000,
        "packetsReceived": received.packets_received,
        "packetsLost": received.packets_lost,
        "packetsDiscarded": inbound.packets_discarded,
        "retransmitted": inbound.retransmitted_packets_received,
        "nackCount": inbound.nack_count,
        "pliCount": inbound.pli_count,
        "bytesReceived": inbound.bytes_received,
        "jitterMs": received.jitter * 1000,
        "audioLevel": inbound.audio_level,
        "audioEnergy": inbound.total_audio_energy,
        "samplesReceived": inbound.total_samples_received,
        "samplesConcealed": inbound.concealed_samples - inbound.silent_concealed_samples,
    }


def describe_transports(name, stats):
    return [
        {
            "name": name,
            "dtlsState": each.transport.dtls_state,
            "srtpCipher": each.transport.srtp_cipher,
            "tlsVersion": each.transport.tls_version,
            "iceUfrag": each.transport.ice_local_username_fragment,
            "pairChanges": each.transport.selected_candidate_pair_changes,
            "packetsReceived": each.transport.packets_received,
        }
        for each in _by_kind(stats, "transport")
    ]
