use engine_base::{ExtensionIds, Kind, RtpTimestamp, TimeNs};
use engine_table::IngressRow;
use engine_wire::extension::ExtensionWriter;
use engine_wire::rtp::{RtpHeader, RtpPacket};
use engine_wire::vp8::{Descriptor, PictureId};
use proptest::prelude::*;

use super::*;
use crate::egress::{EgressState, Verdict, Vp8Fields};
use crate::fixtures::{EXTENSIONS, egress_row, ingress_row, plan};
use crate::parse;

const NOW: TimeNs = TimeNs(0);

/// A packet of the publisher, whose extension ids are other than the subscriber's, in its parsed form.
fn source(payload_type: u8, elements: &[(u8, &[u8])], payload: &[u8]) -> (PacketHeader, Vec<u8>) {
    let row = IngressRow { extensions: publisher_ids(), ..ingress_row(Kind::Video, 1) };
    let rtp = RtpHeader { payload_type, marker: true, sequence: SequenceNumber(500), ..RtpHeader::default() };
    let mut out = [0; 400];
    let fill = |block: &mut ExtensionWriter<'_>| elements.iter().try_for_each(|(id, data)| block.put(*id, data));
    let len = rtp.write_with(&mut out, None, fill).unwrap();
    let packet = [&out[..len], payload].concat();
    let inspected = parse::inspect(&RtpPacket::parse(&packet).unwrap(), &row, Ssrc(1), false, NOW).unwrap();
    (PacketHeader { sequence: ExtendedSequence(0x1_01f4), ..inspected.header }, packet)
}

const fn publisher_ids() -> ExtensionIds {
    ExtensionIds { dependency_descriptor: 12, audio_level: 11, transport_cc: 7, ..ExtensionIds::NONE }
}

fn rewrite() -> Rewrite {
    let header = PacketHeader { sequence: ExtendedSequence(0x1_01f4), ..crate::fixtures::audio(1) };
    let mut state = EgressState::new(1, 198 | 0xffff_fffe << 32);
    match state.verdict(&plan(Kind::Audio), 0, &header, &Default::default()) {
        Verdict::Forward(rewrite) => rewrite,
        Verdict::Drop(drop) => panic!("{drop:?}"),
    }
}

/// The whole packet as it will be sealed.
fn assemble(out: &[u8], written: &Written, packet: &[u8]) -> Vec<u8> {
    [&out[..written.header_bytes + written.prefix_bytes], &packet[written.payload.clone()]].concat()
}

#[test]
fn the_publishers_extensions_are_replaced_by_the_subscribers() {
    let (header, source) = source(111, &[(11, &[0x80 | 30]), (7, &[9, 9])], &[1, 2, 3]);
    let (plan, mut out) = (plan(Kind::Audio), [0; 200]);
    let written = packet(&mut out, &plan, &rewrite(), &header, &source).unwrap();
    out[written.abs_send_time.unwrap()..][..3].copy_from_slice(&[7, 8, 9]);
    out[written.transport_sequence.unwrap()..][..2].copy_from_slice(&[3, 4]);
    let sent = assemble(&out, &written, &source);
    let sent = RtpPacket::parse(&sent).unwrap();
    assert_eq!((sent.ssrc(), sent.payload_type(), sent.sequence()), (Ssrc(0xabcd), 111, SequenceNumber(100)));
    assert_eq!((sent.timestamp(), sent.marker(), sent.payload()), (RtpTimestamp(0xffff_fffe), true, &[1, 2, 3][..]));
    let elements: Vec<_> = sent.extension().unwrap().iter().map(|element| (element.id, element.data)).collect();
    assert_eq!(elements, [(5, &[7, 8, 9][..]), (4, &[3, 4]), (6, &[0x80 | 30]), (1, b"7")]);
    assert_eq!(written.header_bytes, 12 + plan.extension_block_bytes(true));
}

#[test]
fn a_packet_without_a_level_has_padding_in_its_place_in_both_forms() {
    let (header, source) = source(111, &[], &[1, 2, 3]);
    for audio_level in [6, 200] {
        let mut row = egress_row(Kind::Audio);
        row.extensions.audio_level = audio_level;
        let plan = EgressPlan::compile(&row).unwrap();
        let mut out = [0xff; 200];
        let written = packet(&mut out, &plan, &rewrite(), &header, &source).unwrap();
        let sent = assemble(&out, &written, &source);
        let sent = RtpPacket::parse(&sent).unwrap();
        let elements: Vec<_> = sent.extension().unwrap().iter().map(|element| (element.id, element.data)).collect();
        assert_eq!(elements, [(5, &[0; 3][..]), (4, &[0; 2]), (1, b"7")]);
    }
}

#[test]
fn a_long_dependency_descriptor_takes_the_two_byte_form_and_a_larger_block() {
    let long: Vec<u8> = (0..40).collect();
    for (descriptor, two_byte) in [(&[0xc0, 0, 1][..], false), (&long[..], true)] {
        // A descriptor that is no descriptor is only refused where it is read.
        let (mut header, packet_bytes) = source(102, &[], &[0x41, 1, 2]);
        let stored = [&packet_bytes[..], descriptor].concat();
        header.descriptor_offset = packet_bytes.len() as u16;
        header.descriptor_bytes = descriptor.len() as u8;
        let (plan, mut out) = (plan(Kind::Video), [0; 200]);
        let rewrite = Rewrite { with_mid: false, ..rewrite() };
        let written = packet(&mut out, &plan, &rewrite, &header, &stored).unwrap();
        out[written.abs_send_time.unwrap()..][..3].copy_from_slice(&[7, 8, 9]);
        let sent = assemble(&out, &written, &stored);
        let sent = RtpPacket::parse(&sent).unwrap();
        assert_eq!(sent.find_extension(EXTENSIONS.dependency_descriptor), Some(descriptor));
        assert_eq!(sent.find_extension(EXTENSIONS.abs_send_time), Some(&[7, 8, 9][..]));
        assert_eq!(sent.find_extension(EXTENSIONS.mid), None);
        assert_eq!(sent.extension().unwrap().profile != 0xbede, two_byte);
        assert_eq!(written.header_bytes > 12 + plan.extension_block_bytes(false), two_byte);
    }
}

#[test]
fn the_vp8_descriptor_is_rewritten_with_a_picture_id_of_15_bits() {
    let source_descriptor = Descriptor {
        partition_start: true,
        picture_id: Some(PictureId::Short(5)),
        tl0_picture_index: Some(6),
        ..Descriptor::default()
    };
    let mut payload = [0x55; 20];
    let len = source_descriptor.write(&mut payload).unwrap();
    let (header, source) = source(96, &[], &payload);
    let fields = Vp8Fields { picture_id: 0x1234, tl0_picture_index: 99, key_index: 3 };
    let rewrite = Rewrite { vp8: Some(fields), ..rewrite() };
    let mut out = [0; 200];
    let written = packet(&mut out, &plan(Kind::Video), &rewrite, &header, &source).unwrap();
    let sent = assemble(&out, &written, &source);
    let sent = RtpPacket::parse(&sent).unwrap();
    let (descriptor, frame) = Descriptor::parse(sent.payload()).unwrap();
    let expected =
        Descriptor { picture_id: Some(PictureId::Long(0x1234)), tl0_picture_index: Some(99), ..source_descriptor };
    assert_eq!((descriptor, frame), (expected, &payload[len..]));
}

#[test]
fn red_is_sent_whole_with_the_subscribers_types_or_as_its_primary() {
    let red = [0x80 | 111, 0x0f, 0x00, 0x02, 111, 1, 2, 3, 4, 5];
    let (header, source) = source(63, &[], &red);
    let payload = |plan: &EgressPlan, part| {
        let mut out = [0; 200];
        let rewrite = Rewrite { payload: part, ..rewrite() };
        let written = packet(&mut out, plan, &rewrite, &header, &source).unwrap();
        RtpPacket::parse(&assemble(&out, &written, &source)).unwrap().payload().to_vec()
    };
    assert_eq!(payload(&plan(Kind::Audio), Payload::Whole), red);
    assert_eq!(payload(&plan(Kind::Audio), Payload::Primary), [3, 4, 5]);
    let mut row = egress_row(Kind::Audio);
    row.payload_types[4].payload_type = 100;
    let other = EgressPlan::compile(&row).unwrap();
    assert_eq!(payload(&other, Payload::Whole), [0x80 | 100, 0x0f, 0x00, 0x02, 100, 1, 2, 3, 4, 5]);
}

#[test]
fn a_fill_is_padding_alone() {
    let (header, source) = source(96, &[], &[0x10, 1, 2]);
    let mut out = [0; 200];
    let rewrite = Rewrite { payload: Payload::Fill, ..rewrite() };
    let written = packet(&mut out, &plan(Kind::Video), &rewrite, &header, &source).unwrap();
    let sent = assemble(&out, &written, &source);
    let sent = RtpPacket::parse(&sent).unwrap();
    assert_eq!((sent.payload().len(), sent.padding_len()), (0, 1));
}

#[test]
fn too_little_room_or_a_record_of_another_packet_is_an_error() {
    let (header, source) = source(111, &[], &[1, 2, 3]);
    let plan = plan(Kind::Audio);
    assert_eq!(packet(&mut [0; 20], &plan, &rewrite(), &header, &source), Err(Drop::SendTooLarge));
    assert_eq!(packet(&mut [0; 99], &plan, &rewrite(), &header, &source[..13]), Err(Drop::RtpMalformed));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_record_and_any_bytes_are_survived(
        record in any::<[u8; 32]>(), offsets in any::<[u8; 6]>(), packet_bytes in prop::collection::vec(any::<u8>(), 0..120),
        codec in 0u8..10, part in 0u8..3, vp8 in any::<bool>(), room in 0usize..300,
    ) {
        let header = PacketHeader {
            payload_offset: u16::from(offsets[0]) / 2,
            payload_bytes: u16::from(offsets[1]) / 2,
            descriptor_offset: u16::from(offsets[2]) / 2,
            descriptor_bytes: offsets[3] / 2,
            codec_header_bytes: offsets[4] / 4,
            primary_offset: u16::from(offsets[5]) / 2,
            flags: u16::from_be_bytes([record[0], record[1]]),
            codec,
            ..PacketHeader::default()
        };
        let payload = [Payload::Whole, Payload::Primary, Payload::Fill][usize::from(part)];
        let fields = Vp8Fields { picture_id: 5, tl0_picture_index: 5, key_index: 5 };
        let rewrite = Rewrite { payload, vp8: vp8.then_some(fields), ..rewrite() };
        let mut out = vec![0; room];
        if let Ok(written) = packet(&mut out, &plan(Kind::Audio), &rewrite, &header, &packet_bytes) {
            let sent = assemble(&out, &written, &packet_bytes);
            prop_assert!(RtpPacket::parse(&sent).is_ok());
        }
    }
}
