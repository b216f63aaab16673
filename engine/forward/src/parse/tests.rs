use engine_base::{ExtensionIds, Kind};
use engine_table::slots::packet_flags::*;
use engine_wire::extension::ExtensionWriter;
use engine_wire::rtp::RtpHeader;
use proptest::prelude::*;

use super::*;
use crate::fixtures::{EXTENSIONS, ingress_row, mapping};

const MEDIA: Ssrc = Ssrc(77);
const NOW: TimeNs = TimeNs(5);

fn bytes(payload_type: u8, elements: &[(u8, &[u8])], payload: &[u8]) -> Vec<u8> {
    let sequence = SequenceNumber(500);
    let header = RtpHeader {
        payload_type,
        marker: true,
        sequence,
        timestamp: RtpTimestamp(9),
        ssrc: MEDIA,
        ..Default::default()
    };
    let mut out = [0; 128];
    let fill = |block: &mut ExtensionWriter<'_>| elements.iter().try_for_each(|(id, data)| block.put(*id, data));
    let len = header.write_with(&mut out, None, fill).unwrap();
    [&out[..len], payload].concat()
}

fn inspected(kind: Kind, bytes: &[u8], rtx: bool) -> Result<Inspected, Drop> {
    inspect(&RtpPacket::parse(bytes).unwrap(), &ingress_row(kind, 1), MEDIA, rtx, NOW)
}

/// X; I, L, T; 15-bit id 0x102; TL0 7; layer 1 with sync; then the start of a key frame of 640×480.
const VP8_KEY: [u8; 16] = [0x90, 0xe0, 0x81, 0x02, 7, 0x60, 0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0xe0, 0x01];

#[test]
fn a_vp8_packet_is_described() {
    let packet = bytes(96, &[(4, &[1, 2]), (7, &[0xc0, 0, 1])], &VP8_KEY);
    let Inspected { header, sequence, size } = inspected(Kind::Video, &packet, false).unwrap();
    assert_eq!((sequence, size), (SequenceNumber(500), Some((640, 480))));
    let start = usize::from(header.payload_offset);
    assert_eq!(packet[start..start + usize::from(header.payload_bytes)], VP8_KEY);
    let descriptor = usize::from(header.descriptor_offset);
    assert_eq!(packet[descriptor..descriptor + usize::from(header.descriptor_bytes)], [0xc0, 0, 1]);
    let expected = PacketHeader {
        arrival: NOW,
        timestamp: RtpTimestamp(9),
        ssrc: MEDIA,
        flags: MARKER | FRAME_START | FRAME_END | HAS_PICTURE_ID | PICTURE_ID_15 | HAS_TL0,
        codec_header_bytes: 6,
        payload_type: 96,
        codec: Codec::Vp8 as u8,
        picture: PictureNumbers { id: 0x102, tl0_index: 7, key_index: 0 },
        ..header
    };
    // The dependency descriptor without a structure says that this is no key frame.
    assert_eq!(PacketHeader { flags: header.flags & !(SWITCH_UP | KEY_FRAME), ..header }, expected);
    let plain = inspected(Kind::Video, &bytes(96, &[], &VP8_KEY), false).unwrap().header;
    assert_eq!((plain.flags & KEY_FRAME, plain.temporal, plain.descriptor_bytes), (KEY_FRAME, 1, 0));
}

#[test]
fn a_retransmission_is_the_packet_that_it_repeats() {
    let original = inspected(Kind::Video, &bytes(96, &[], &VP8_KEY), false).unwrap();
    let packet = bytes(97, &[], &[&[0x12, 0x34], &VP8_KEY[..]].concat());
    let resent = inspected(Kind::Video, &packet, true).unwrap();
    assert_eq!(resent.sequence, SequenceNumber(0x1234));
    let expected = PacketHeader {
        payload_offset: original.header.payload_offset + 2,
        flags: original.header.flags | RECOVERED,
        ..original.header
    };
    assert_eq!(resent.header, expected);
}

#[test]
fn probes_are_told_from_media() {
    for payload in [&[][..], &[1], &[1, 2]] {
        assert_eq!(inspected(Kind::Video, &bytes(97, &[], payload), true), Err(Drop::RtpPaddingOnly));
    }
    let mut padding = bytes(96, &[], &[0, 0, 3]);
    padding[0] |= 0x20;
    assert_eq!(inspected(Kind::Video, &padding, false).unwrap().header.payload_bytes, 0);
    let probe = RtpPacket::parse(&padding).map(|packet| transport_sequence(&packet, EXTENSIONS.transport_cc));
    assert_eq!(probe, Ok(None));
    let packet = bytes(97, &[(4, &[1, 2])], &[]);
    let sequence = transport_sequence(&RtpPacket::parse(&packet).unwrap(), EXTENSIONS.transport_cc);
    assert_eq!(sequence, Some(SequenceNumber(0x102)));
}

#[test]
fn types_that_were_not_negotiated_are_refused() {
    for (payload_type, rtx) in [(95, false), (97, false), (96, true), (111, true)] {
        let error = inspected(Kind::Video, &bytes(payload_type, &[], &[0, 0, 0, 0]), rtx).unwrap_err();
        assert_eq!(error, Drop::RtpUnknownPayloadType, "{payload_type}");
    }
    assert_eq!(inspected(Kind::Video, &bytes(96, &[], &[0x80]), false), Err(Drop::DescriptorMalformed));
}

#[test]
fn the_audio_level_is_read() {
    let header = inspected(Kind::Audio, &bytes(111, &[(6, &[0x80 | 20])], &[1, 2, 3]), false).unwrap().header;
    assert_eq!((header.audio_level, header.flags & HAS_AUDIO_LEVEL), (0x94, HAS_AUDIO_LEVEL));
    let header = inspected(Kind::Audio, &bytes(111, &[], &[1, 2, 3]), false).unwrap().header;
    assert_eq!((header.audio_level, header.flags & HAS_AUDIO_LEVEL), (0, 0));
}

#[test]
fn the_primary_encoding_of_red_is_found_unless_the_payload_is_opaque() {
    let offset = |payload: &[u8]| {
        let header = inspected(Kind::Audio, &bytes(63, &[], payload), false).unwrap().header;
        (header.primary_offset, header.codec_header_bytes)
    };
    assert_eq!(offset(&[0x80 | 111, 0x0f, 0x00, 0x02, 111, 1, 2, 3, 4, 5]), (7, 5));
    assert_eq!(offset(&[111, 3, 4, 5]), (1, 1));
    assert_eq!(offset(&[0x80 | 112, 0x0f, 0x00, 0x02, 111, 1, 2, 3]), (0, 0));
    assert_eq!(offset(&[111]), (0, 0));
    assert_eq!(offset(&[0xff; 30]), (0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_packets_are_described_within_their_bytes(
        mut packet in prop::collection::vec(any::<u8>(), 12..100), codec in 1u8..10, rtx in any::<bool>(), extended in any::<bool>(),
    ) {
        packet[0] = if extended { 0x90 } else { packet[0] & 0x3f | 0x80 };
        packet[1] = packet[1] & 0x80 | if rtx { 97 } else { 96 };
        if extended {
            packet.splice(12..12, [0xbe, 0xde, 0, 2, 0x72, 0xc0, 0, 1, 0x60, 0x85, 0, 0]);
        }
        let mut row = ingress_row(Kind::Video, 1);
        row.payload_types[0] = mapping(96, 97, Codec::from_u8(codec).unwrap(), 0);
        row.extensions = ExtensionIds { dependency_descriptor: 7, audio_level: 6, ..ExtensionIds::NONE };
        if let Ok(parsed) = RtpPacket::parse(&packet)
            && let Ok(Inspected { header, .. }) = inspect(&parsed, &row, MEDIA, rtx, NOW)
        {
            let end = usize::from(header.payload_offset) + usize::from(header.payload_bytes);
            prop_assert!(end <= packet.len());
            prop_assert!(header.primary_offset <= header.payload_bytes && u16::from(header.codec_header_bytes) <= header.payload_bytes);
            prop_assert!(usize::from(header.descriptor_offset) + usize::from(header.descriptor_bytes) <= packet.len());
        }
    }
}
