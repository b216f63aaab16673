//! Plain packets: STUN, RTP and its payloads, RTCP, and what forwarding makes of RTP.

use engine_base::{Codec, ExtendedSequence, ExtensionIds, Kind, Ssrc, TimeNs};
use engine_forward::{EgressPlan, EgressState, PacketHeader, SourceClocks, Verdict, parse, write};
use engine_table::{
    EgressRow, IngressRow, NO_PAYLOAD_TYPE, PayloadMapping, ROW_ACTIVE, Text, egress_flags, ingress_flags,
};
use engine_wire::dependency_descriptor::{Descriptor, Head, Structure};
use engine_wire::rtcp::xr::Block;
use engine_wire::{Compound, Rtcp, RtpPacket, StunMessage, frame, opus, red, rtcp, rtp};
use zerocopy::FromZeros;

use super::{Outcome, Target};

pub fn targets() -> Vec<Target> {
    vec![
        Target { name: "stun", what: "STUN messages of anybody", seeds: stun_seeds, run: stun },
        Target { name: "rtp", what: "RTP headers and header extensions", seeds: rtp_seeds, run: rtp_header },
        Target { name: "rtcp", what: "compound RTCP of a client", seeds: rtcp_seeds, run: rtcp_compound },
        Target {
            name: "payload",
            what: "payload descriptors; byte 0 is the codec",
            seeds: payload_seeds,
            run: payload,
        },
        Target {
            name: "descriptor",
            what: "dependency descriptors, two in a row",
            seeds: descriptor_seeds,
            run: descriptor,
        },
        Target { name: "forward", what: "RTP from the slot to what a subscriber gets", seeds: rtp_seeds, run: forward },
    ]
}

pub fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|two| two.iter().fold(0, |byte, digit| byte * 16 + *digit as u8)).collect()
}

/// RFC 5769 §2.1, §2.2 and §2.3.
fn stun_seeds() -> Vec<Vec<u8>> {
    let request = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74002400046e0001ff\
        80290008932ff9b151263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2\
        80280004e57a3bcf";
    let ipv4 = "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f722000200008\
        0001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";
    let ipv6 = "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f722000200014\
        0002a1470113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c";
    [request, ipv4, ipv6].map(hex).into()
}

fn stun(bytes: &[u8]) -> u64 {
    let mut outcome = Outcome::new();
    outcome.named(&engine_wire::classify(bytes));
    match StunMessage::parse(bytes) {
        Ok(message) => {
            outcome.add(u64::from(message.is_binding_request()) << 1 | u64::from(message.use_candidate));
            outcome.count(message.username.map_or(0, <[u8]>::len));
            outcome.count(message.unknown.as_slice().len());
            outcome
                .add(u64::from(message.verify_fingerprint()) << 1 | u64::from(message.verify_integrity(|_| [0; 20])));
        }
        Err(error) => outcome.named(&error),
    }
    outcome.0
}

/// Head, one-byte extensions (mid, transport-wide number, audio level) or two-byte ones, and a payload.
fn rtp_packet(payload_type: u8, extensions: &str, payload: &str) -> Vec<u8> {
    let mut bytes = vec![0x90, payload_type, 0x12, 0x34, 0, 0, 0, 9, 0, 0, 0, 7];
    bytes.extend(hex(extensions));
    bytes.extend(hex(payload));
    bytes
}

const ONE_BYTE: &str = "bede0002 1030 41 0102 60 85 0000";
const TWO_BYTE: &str = "10000002 01 01 30 07 03 80 0001";

fn rtp_seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = payload_seeds()
        .iter()
        .filter_map(|seed| {
            let (codec, payload) = seed.split_first()?;
            let mapping = mappings().into_iter().find(|mapping| mapping.codec == *codec)?;
            let mut packet = rtp_packet(mapping.payload_type, ONE_BYTE, "");
            packet.extend_from_slice(payload);
            Some(packet)
        })
        .collect();
    seeds.push(rtp_packet(45, TWO_BYTE, "30 0a0b0000"));
    // RTX of VP8: the original number first. Padding only, of 4 bytes.
    seeds.push(rtp_packet(97, ONE_BYTE, "1233 90 80 8123 05 9d012a 8002 6801"));
    let mut padding = rtp_packet(96, ONE_BYTE, "00000004");
    padding[0] |= 0x20;
    seeds.push(padding);
    seeds
}

fn rtp_header(bytes: &[u8]) -> u64 {
    let mut outcome = Outcome::new();
    outcome.add(u64::from(RtpPacket::parse_sealed(bytes).is_ok()));
    match RtpPacket::parse(bytes) {
        Ok(packet) => {
            outcome.count(packet.csrcs().count());
            outcome.count(packet.padding_len());
            outcome.add(u64::from(packet.marker()) << 1 | u64::from(packet.extension().is_some()));
            let found = (0..=255).filter_map(|id| packet.find_extension(id));
            outcome.count(found.map(<[u8]>::len).sum());
            outcome.add(u64::from(rtp::split_retransmission(packet.payload()).is_some()));
            assert_eq!(packet.payload(), &bytes[packet.payload_range()]);
        }
        Err(error) => outcome.named(&error),
    }
    outcome.0
}

fn rtcp_seeds() -> Vec<Vec<u8>> {
    let report = "00000001 0a 000002 00000010 00000003 00000000 00000000";
    let list = [
        format!("81c9 0007 00000005 {report} 81ca 0003 00000005 01 02 6162 00 000000"),
        format!("81c8 000c 00000005 e1e2e3e4e5e6e7e8 00000009 0000000a 0000000b {report}"),
        // NACK, PLI, FIR, REMB.
        "81cd 0003 00000001 00000002 0010 8001 81ce 0002 00000001 00000002".to_owned(),
        "84ce 0004 00000001 00000000 00000002 07000000".to_owned(),
        "8fce 0005 00000001 00000000 52454d42 01 0bffff 00000002".to_owned(),
        // TWCC: a run, a one-bit vector, deltas.
        "8fcd 0007 00000001 00000002 0001 0010 000003 05 2009 a540 01 02 03 04 05 06 07 08 09 0a 0b 0c".to_owned(),
        // XR: receiver reference time, delay since the last one. BYE.
        "80cf 0007 00000001 0400 0002 e1e2e3e4e5e6e7e8 0500 0003 00000002 00000003 00000004 81cb 0001 00000001"
            .to_owned(),
    ];
    list.iter().map(|text| hex(text)).collect()
}

fn rtcp_compound(bytes: &[u8]) -> u64 {
    let mut outcome = Outcome::new();
    outcome.add(u64::from(rtcp::sender_ssrc(bytes).is_ok()));
    for message in Compound::new(bytes) {
        match message {
            Ok(message) => read_message(message, &mut outcome),
            Err(error) => outcome.named(&error),
        }
    }
    outcome.0
}

fn read_message(message: Rtcp<'_>, outcome: &mut Outcome) {
    let (kind, count) = match message {
        Rtcp::SenderReport(report) => (1u8, report.blocks().count()),
        Rtcp::ReceiverReport(report) => (2, report.blocks().count()),
        Rtcp::SourceDescription(description) => (3, description.chunks().count()),
        Rtcp::Goodbye(goodbye) => (4, goodbye.sources().count()),
        Rtcp::Nack(nack) => (5, nack.lost().count()),
        Rtcp::Pli(_) => (6, 0),
        Rtcp::Fir(fir) => (7, fir.entries().count()),
        Rtcp::Twcc(twcc) => (8, twcc.arrivals().filter(|(_, at)| at.is_some()).count()),
        Rtcp::Remb(remb) => (9, remb.sources().count()),
        Rtcp::ExtendedReport(report) => {
            let entries = report.blocks().map(|block| match block {
                Block::LastReceiverReports(reports) => reports.iter().count(),
                Block::ReceiverReferenceTime(_) | Block::Other { .. } => 1,
            });
            (10, entries.sum())
        }
        Rtcp::Other(_) => (11, 0),
    };
    outcome.add(kind);
    outcome.count(count);
}

/// One packet of each codec, behind the codec's number.
fn payload_seeds() -> Vec<Vec<u8>> {
    let list = [
        (Codec::Opus, "78 0102030405"),
        // Two blocks of older packets, then the primary.
        (Codec::Red, "ef 0780 03 ef 03c0 02 6f 010203 0405 060708"),
        (Codec::Vp8, "90 e0 8123 04 25 10 0200 9d012a 8002 6801 00"),
        (Codec::Vp8, "90 80 11 01 0000"),
        // Key frame with scalability structure: two layers, a picture group.
        (Codec::Vp9, "8a 8123 38 0140 00b4 0280 0168 02 54 01 60 01 02 83 4982"),
        (Codec::Vp9, "ec 8124 21 01 02 86 00"),
        // SPS and PPS in a STAP-A, an IDR fragment, a plain slice.
        (Codec::H264, "18 000a 6742c01f8c8d40501e90 0004 68ce3c80"),
        (Codec::H264, "7c 85 888040ff"),
        (Codec::H264, "41 9a00"),
        (Codec::H265, "6001 0006 4001 0c01ffff 0006 4201 01016000"),
        (Codec::H265, "6201 93 00ff"),
        // A sequence header, a frame of several elements.
        (Codec::Av1, "18 0a0b00000024c4ffdf3f 3210"),
        (Codec::Av1, "20 03 120000 3200"),
    ];
    list.iter().map(|(codec, payload)| std::iter::once(*codec as u8).chain(hex(payload)).collect()).collect()
}

fn payload(bytes: &[u8]) -> u64 {
    let mut outcome = Outcome::new();
    let Some((&codec, payload)) = bytes.split_first() else { return 0 };
    let codec = Codec::from_u8(codec % 16).unwrap_or_default();
    outcome.add(codec as u8);
    match frame::inspect(codec, payload, None) {
        Ok(info) => {
            outcome.named(&(info.key_frame, info.frame_start, info.frame_end, info.switching_up, info.discardable));
            outcome.add(info.spatial);
            outcome.add(info.temporal);
            outcome.add(u64::from(info.size.is_some()) << 1 | u64::from(info.picture_id.is_some()));
        }
        Err(error) => outcome.named(&error),
    }
    if codec == Codec::Red
        && let Ok(parsed) = red::Red::parse(payload)
    {
        outcome.count(parsed.blocks().count());
        outcome.add(u64::from(parsed.primary().is_some()));
        let _ = red::renumber(&mut payload.to_vec(), 111, 109);
    }
    if let Ok(toc) = opus::Toc::parse(payload) {
        outcome.count(toc.samples() as usize);
    }
    outcome.0
}

/// A structure of three temporal layers as libwebrtc writes it for L1T3 (RTP payload format for AV1, appendix A), then a frame.
fn descriptor_seeds() -> Vec<Vec<u8>> {
    let structure = hex("c0 0001 80 02 14 ea a8 60 41 4d 14 10 20 84 26");
    let with_length = |first: &[u8], second: &[u8]| [&[first.len() as u8], first, second].concat();
    vec![with_length(&structure, &hex("410002")), with_length(&structure, &hex("c30003 08"))]
}

/// Byte 0 is the length of the first descriptor, whose structure serves the second.
fn descriptor(bytes: &[u8]) -> u64 {
    let mut outcome = Outcome::new();
    let Some((&length, rest)) = bytes.split_first() else { return 0 };
    let (first, second) = rest.split_at(usize::from(length).min(rest.len()));
    outcome.add(u64::from(Head::parse(first).is_ok()));
    let structure = Structure::parse(first);
    match &structure {
        Ok(Some(structure)) => {
            outcome.add(structure.spatial_layers());
            outcome.count(structure.templates().len());
            for target in 0..usize::from(structure.decode_targets()) {
                outcome.add(structure.chain_of(target).unwrap_or(255));
                outcome.add(structure.decode_target_layers(target).0);
            }
        }
        Ok(None) => outcome.add(1u8),
        Err(error) => outcome.named(error),
    }
    let structure = structure.ok().flatten();
    for bytes in [first, second] {
        match Descriptor::parse(bytes, structure.as_ref()) {
            Ok(descriptor) => {
                outcome.add(descriptor.spatial << 4 | descriptor.temporal);
                outcome.add(u64::from(descriptor.is_discardable()) << 1 | u64::from(descriptor.is_switching_up()));
            }
            Err(error) => outcome.named(&error),
        }
        let _ = engine_wire::dependency_descriptor::set_frame_number(&mut bytes.to_vec(), 1);
    }
    outcome.0
}

fn mappings() -> Vec<PayloadMapping> {
    let of = |payload_type: u8, rtx_payload_type: u8, codec: Codec| PayloadMapping {
        payload_type,
        rtx_payload_type,
        codec: codec as u8,
        format: 0,
    };
    vec![
        of(96, 97, Codec::Vp8),
        of(98, 99, Codec::Vp9),
        of(102, 103, Codec::H264),
        of(45, 46, Codec::Av1),
        of(49, 50, Codec::H265),
        of(111, NO_PAYLOAD_TYPE, Codec::Opus),
        of(63, NO_PAYLOAD_TYPE, Codec::Red),
    ]
}

const EXTENSIONS: ExtensionIds = ExtensionIds {
    mid: 1,
    rid: 2,
    repaired_rid: 3,
    transport_cc: 4,
    abs_send_time: 5,
    audio_level: 6,
    dependency_descriptor: 7,
    ..ExtensionIds::NONE
};

fn rows(kind: Kind) -> (IngressRow, EgressRow) {
    let (mut ingress, mut egress) = (IngressRow::new_zeroed(), EgressRow::new_zeroed());
    (ingress.state, ingress.kind, ingress.layer_count, ingress.generation) = (ROW_ACTIVE, kind as u8, 1, 1);
    (ingress.flags, ingress.extensions) = (ingress_flags::NACK, EXTENSIONS);
    (egress.state, egress.kind, egress.generation) = (ROW_ACTIVE, kind as u8, 1);
    (egress.flags, egress.extensions) = (egress_flags::ENABLED | egress_flags::NACK, EXTENSIONS);
    (egress.ssrc, egress.rtx_ssrc, egress.layer_max, egress.temporal_max) = (Ssrc(0xabcd), Ssrc(0xabce), 2, 3);
    egress.mid = Text::cut("7");
    for (at, mapping) in mappings().into_iter().enumerate() {
        (ingress.payload_types[at], egress.payload_types[at]) = (mapping, mapping);
    }
    (ingress, egress)
}

fn forward(bytes: &[u8]) -> u64 {
    let mut outcome = Outcome::new();
    let Ok(packet) = RtpPacket::parse(bytes) else { return 0 };
    let audio = matches!(packet.payload_type(), 111 | 63);
    let (ingress, egress) = rows(if audio { Kind::Audio } else { Kind::Video });
    let rtx = matches!(packet.payload_type(), 97 | 99 | 103 | 46 | 50);
    let now = TimeNs::from_ms(1_000);
    let inspected = match parse::inspect(&packet, &ingress, Ssrc(7), rtx, now) {
        Ok(inspected) => inspected,
        Err(reason) => {
            outcome.named(&reason);
            return outcome.0;
        }
    };
    let Some(plan) = EgressPlan::compile(&egress) else { return 1 };
    let (mut state, clocks) = (EgressState::new(1, 5), SourceClocks { active: 1, ..SourceClocks::default() });
    // The same again as its successor, which meets the state that the first one made.
    for number in 1..3 {
        let header = PacketHeader { sequence: ExtendedSequence(number), ..inspected.header };
        match state.verdict(&plan, 0, &header, &clocks) {
            Verdict::Forward(rewrite) => match write::packet(&mut [0; 1_600], &plan, &rewrite, &header, bytes) {
                Ok(written) => outcome.count(written.prefix_bytes + written.payload.len()),
                Err(reason) => outcome.named(&reason),
            },
            Verdict::Drop(reason) => outcome.named(&reason),
        }
    }
    outcome.0
}
