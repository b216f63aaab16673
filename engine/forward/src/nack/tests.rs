use engine_base::{Codec, Kind, RtpTimestamp, Ssrc};
use engine_table::NO_PAYLOAD_TYPE;
use engine_wire::rtp::{RtpHeader, RtpPacket};
use engine_wire::vp8;

use super::*;
use crate::egress::Verdict;
use crate::fixtures::{INGRESS, delta, egress_row, ingress_row, key, mapping, picture, plan};
use crate::source::SourceClocks;
use crate::{parse, write};

type Words = [[AtomicU64; NACK_WORDS]; NACK_ENTRIES];

fn words() -> Box<Words> {
    Box::new(std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))))
}

/// An egress with its last packets, and the numbers that the slots of layer 0 have.
struct Subscriber {
    state: EgressState,
    plan: EgressPlan,
    sent: Retransmissions<Words>,
}

impl Subscriber {
    fn new() -> Box<Self> {
        let (state, plan) = (EgressState::new(1, 0xffff), plan(Kind::Video));
        Box::new(Self { state, plan, sent: Retransmissions(*words()) })
    }

    fn forward(&mut self, header: &PacketHeader) -> Rewrite {
        let clocks = SourceClocks { active: 1, ..Default::default() };
        let Verdict::Forward(rewrite) = self.state.verdict(&self.plan, 0, header, &clocks) else { panic!("dropped") };
        self.sent.remember(&rewrite, slot(header));
        rewrite
    }

    fn ask(&self, rewrite: &Rewrite, ms: u64) -> Result<Resend, Drop> {
        self.sent.answer(&self.state, INGRESS, rewrite.sequence.sequence(), TimeNs::from_ms(ms))
    }
}

fn slot(header: &PacketHeader) -> SlotRef {
    SlotRef { stream: INGRESS * 3, slot: (header.sequence.0 % 512) as u32, sequence: header.sequence }
}

#[test]
fn a_packet_is_rebuilt_as_it_was_sent() {
    let mut subscriber = Subscriber::new();
    let mut sent = vec![subscriber.forward(&picture(key(100), 0x7ffe, 0, 250))];
    let headers: Vec<_> =
        (101..150u64).map(|n| picture(delta(n), (0x7ffe + n as u16 - 100) & 0x7fff, 0, n as u8)).collect();
    sent.extend(headers.iter().map(|header| subscriber.forward(header)));
    for (rewrite, header) in sent[1..].iter().zip(&headers) {
        let resend = subscriber.ask(rewrite, 0).unwrap();
        assert_eq!(resend.slot, slot(header));
        assert_eq!(resend.rewrite(&subscriber.plan, header), Ok((Rewrite { with_mid: false, ..*rewrite }, 97)));
    }
}

#[test]
fn repetitions_are_limited_by_time_and_number() {
    let mut subscriber = Subscriber::new();
    let rewrite = subscriber.forward(&key(100));
    let answered: Vec<_> = (0..1_000u64).filter(|&ms| subscriber.ask(&rewrite, 65_000 + ms).is_ok()).collect();
    assert_eq!(answered, [0, 100, 200]);
    assert_eq!(subscriber.ask(&rewrite, 70_000).unwrap_err(), Drop::NackRepeated);
    assert_eq!((repeat_ms(0), repeat_ms(20_000), repeat_ms(90_000)), (100, 40, 100));
}

#[test]
fn what_was_overwritten_or_never_sent_is_too_old() {
    let mut subscriber = Subscriber::new();
    let first = subscriber.forward(&key(1_000));
    assert_eq!(
        subscriber.ask(&Rewrite { sequence: ExtendedSequence(first.sequence.0 + 1), ..first }, 0).unwrap_err(),
        Drop::NackTooOld
    );
    for n in 1_001..1_000 + NACK_ENTRIES as u64 {
        subscriber.forward(&delta(n));
    }
    assert!(subscriber.ask(&first, 0).is_ok());
    subscriber.forward(&delta(1_000 + NACK_ENTRIES as u64));
    assert_eq!(subscriber.ask(&first, 200).unwrap_err(), Drop::NackTooOld);
}

#[test]
fn an_entry_torn_by_a_kill_is_no_entry() {
    let mut subscriber = Subscriber::new();
    let rewrite = subscriber.forward(&key(100));
    let [_, second] = subscriber.sent.0.entry(rewrite.sequence.0 as usize % NACK_ENTRIES);
    second.fetch_add(1 << 56, Ordering::Relaxed);
    assert_eq!(subscriber.ask(&rewrite, 0).unwrap_err(), Drop::NackTooOld);
}

#[test]
fn packets_given_up_for_a_key_frame_are_not_resent() {
    let mut subscriber = Subscriber::new();
    let before = subscriber.forward(&key(100));
    subscriber.state.handle_key_frame_request();
    assert_eq!(subscriber.ask(&before, 0).unwrap_err(), Drop::NackTooOld);
    subscriber.forward(&delta(101));
    let after = subscriber.forward(&key(102));
    assert_eq!(subscriber.ask(&before, 0).unwrap_err(), Drop::NackTooOld);
    assert!(subscriber.ask(&after, 0).is_ok());
}

#[test]
fn padding_is_never_resent() {
    let mut subscriber = Subscriber::new();
    subscriber.forward(&key(100));
    subscriber.forward(&delta(102));
    let fill = subscriber.forward(&PacketHeader { payload_bytes: 0, ..delta(101) });
    assert_eq!(fill.payload, Payload::Fill);
    assert_eq!(subscriber.ask(&fill, 0).unwrap_err(), Drop::NackTooOld);
}

#[test]
fn a_codec_without_rtx_is_not_resent() {
    let mut subscriber = Subscriber::new();
    let rewrite = subscriber.forward(&key(100));
    let mut row = egress_row(Kind::Video);
    row.payload_types[0] = mapping(96, NO_PAYLOAD_TYPE, Codec::Vp8, 0);
    let plan = EgressPlan::compile(&row).unwrap();
    let resend = subscriber.ask(&rewrite, 0).unwrap();
    assert_eq!(resend.rewrite(&plan, &key(100)), Err(Drop::EgressCodec));
}

#[test]
fn the_retransmission_carries_the_original_bit_for_bit() {
    let mut subscriber = Subscriber::new();
    subscriber.forward(&picture(key(100), 90, 0, 1));
    let descriptor = vp8::Descriptor {
        partition_start: true,
        picture_id: Some(vp8::PictureId::Short(100)),
        tl0_picture_index: Some(3),
        ..Default::default()
    };
    let mut payload = [0xab; 300];
    descriptor.write(&mut payload).unwrap();
    let rtp = RtpHeader {
        payload_type: 96,
        marker: true,
        sequence: SequenceNumber(101),
        timestamp: RtpTimestamp(delta(101).timestamp.0),
        ..RtpHeader::default()
    };
    let mut packet = vec![0; 12];
    rtp.write(&mut packet).unwrap();
    packet.extend(payload);
    let row = ingress_row(Kind::Video, 1);
    let parsed = RtpPacket::parse(&packet).unwrap();
    let header = parse::inspect(&parsed, &row, Ssrc(1), false, delta(101).arrival).unwrap().header;
    let header = PacketHeader { sequence: ExtendedSequence(101), ..header };

    let rewrite = subscriber.forward(&header);
    let mut out = [0; 500];
    let written = write::packet(&mut out, &subscriber.plan, &rewrite, &header, &packet).unwrap();
    let first = [&out[..written.header_bytes + written.prefix_bytes], &packet[written.payload]].concat();

    let resend = subscriber.ask(&rewrite, 0).unwrap();
    let (rebuilt, payload_type) = resend.rewrite(&subscriber.plan, &header).unwrap();
    let number = subscriber.state.take_rtx_sequence();
    let arguments = (&rebuilt, payload_type);
    let written = write::retransmission(&mut out, &subscriber.plan, arguments, number, &header, &packet).unwrap();
    let second = [&out[..written.header_bytes + written.prefix_bytes], &packet[written.payload]].concat();

    let (first, second) = (RtpPacket::parse(&first).unwrap(), RtpPacket::parse(&second).unwrap());
    assert_eq!((second.ssrc(), second.payload_type()), (Ssrc(0xabce), 97));
    assert_eq!((second.timestamp(), second.marker()), (first.timestamp(), first.marker()));
    assert_eq!(second.payload()[..2], first.sequence().0.to_be_bytes());
    assert_eq!(&second.payload()[2..], first.payload());
    assert_eq!(subscriber.state.take_rtx_sequence().0, number.0 + 1);
}
