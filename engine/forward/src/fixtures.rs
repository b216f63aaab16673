//! Rows and packets for the tests of this crate.

use engine_base::{Codec, ExtendedSequence, ExtensionIds, IngressRef, Kind, RtpTimestamp, Ssrc, TimeNs, TransportRef};
use engine_table::slots::packet_flags::*;
use engine_table::{
    EgressRow, IngressLayer, IngressRow, NO_PAYLOAD_TYPE, PacketHeader, PayloadMapping, PictureNumbers, ROW_ACTIVE,
    Text, egress_flags, ingress_flags,
};

use crate::plan::EgressPlan;

pub const INGRESS: u32 = 5;
pub const EXTENSIONS: ExtensionIds = ExtensionIds {
    mid: 1,
    rid: 2,
    repaired_rid: 3,
    transport_cc: 4,
    abs_send_time: 5,
    audio_level: 6,
    dependency_descriptor: 7,
    ..ExtensionIds::NONE
};

pub const fn mapping(payload_type: u8, rtx_payload_type: u8, codec: Codec, format: u8) -> PayloadMapping {
    PayloadMapping { payload_type, rtx_payload_type, codec: codec as u8, format }
}

/// 96 VP8, 98 VP9, 102 and 104 H264 in two formats, 111 Opus, 63 RED, each video with RTX one above.
pub fn payload_types<const N: usize>() -> [PayloadMapping; N] {
    let mut list = [PayloadMapping::default(); N];
    list[..6].copy_from_slice(&[
        mapping(96, 97, Codec::Vp8, 0),
        mapping(98, 99, Codec::Vp9, 0),
        mapping(102, 103, Codec::H264, 1),
        mapping(104, 105, Codec::H264, 2),
        mapping(111, NO_PAYLOAD_TYPE, Codec::Opus, 0),
        mapping(63, NO_PAYLOAD_TYPE, Codec::Red, 0),
    ]);
    list
}

pub fn ingress_row(kind: Kind, layer_count: u8) -> IngressRow {
    let layer = |rid: &[u8]| IngressLayer { rid: Text::new(rid).unwrap(), ..IngressLayer::default() };
    IngressRow {
        state: ROW_ACTIVE,
        kind: kind as u8,
        layer_count,
        flags: ingress_flags::NACK,
        generation: 1,
        transport: TransportRef::new(1, 1),
        layers: if layer_count == 1 { Default::default() } else { [layer(b"q"), layer(b"h"), layer(b"f")] },
        payload_types: payload_types(),
        extensions: EXTENSIONS,
        mid: Text::new(b"0").unwrap(),
        reserved: [0; 6],
        label: Text::EMPTY,
    }
}

pub fn egress_row(kind: Kind) -> EgressRow {
    EgressRow {
        state: ROW_ACTIVE,
        kind: kind as u8,
        flags: egress_flags::ENABLED | egress_flags::NACK,
        priority: 1,
        generation: 1,
        transport: TransportRef::new(2, 1),
        ingress: IngressRef::new(INGRESS, 1),
        ssrc: Ssrc(0xabcd),
        rtx_ssrc: Ssrc(0xabce),
        layer_max: 2,
        temporal_max: 3,
        reserved: [0; 6],
        payload_types: payload_types(),
        extensions: EXTENSIONS,
        mid: Text::new(b"7").unwrap(),
        cname: Text::new(b"cname").unwrap(),
        label: Text::EMPTY,
    }
}

pub fn plan(kind: Kind) -> EgressPlan {
    EgressPlan::compile(&egress_row(kind)).unwrap()
}

/// A one-packet delta frame of VP8 without a picture id.
pub fn delta(sequence: u64) -> PacketHeader {
    PacketHeader {
        sequence: ExtendedSequence(sequence),
        timestamp: RtpTimestamp((sequence as u32).wrapping_mul(3_000)),
        arrival: TimeNs(sequence.wrapping_mul(33_333_333)),
        ssrc: Ssrc(1),
        payload_offset: 12,
        payload_bytes: 100,
        flags: MARKER | FRAME_START | FRAME_END,
        payload_type: 96,
        codec: Codec::Vp8 as u8,
        codec_header_bytes: 1,
        ..PacketHeader::default()
    }
}

pub fn key(sequence: u64) -> PacketHeader {
    let delta = delta(sequence);
    PacketHeader { flags: delta.flags | KEY_FRAME, ..delta }
}

pub fn audio(sequence: u64) -> PacketHeader {
    PacketHeader {
        timestamp: RtpTimestamp((sequence as u32).wrapping_mul(960)),
        arrival: TimeNs(sequence.wrapping_mul(20_000_000)),
        codec: Codec::Opus as u8,
        payload_type: 111,
        codec_header_bytes: 0,
        flags: MARKER | KEY_FRAME | FRAME_START | FRAME_END,
        ..delta(sequence)
    }
}

/// Adds picture id, temporal layer and TL0PICIDX.
pub fn picture(header: PacketHeader, id: u16, temporal: u8, tl0: u8) -> PacketHeader {
    let flags = header.flags | HAS_PICTURE_ID | PICTURE_ID_15 | HAS_TL0;
    let picture = PictureNumbers { id, tl0_index: tl0, key_index: 0 };
    PacketHeader { picture, temporal, codec_header_bytes: 6, flags, ..header }
}

/// xorshift64*: the same numbers for the same seed everywhere.
#[derive(Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}
