use engine_base::NtpTime;
use proptest::prelude::*;

use super::*;
use crate::fixtures::Random;
use crate::source::{PublisherClock, SourceClocks};

fn stream() -> ReceiveStream {
    ReceiveStream::new(Ssrc(1), Kind::Video, 90_000, true)
}

fn packet(sequence: u16, ms: u64) -> Received {
    Received {
        sequence: SequenceNumber(sequence),
        timestamp: RtpTimestamp((ms * 90) as u32),
        arrival: TimeNs::from_ms(ms),
        bytes: 1_000,
        recovered: false,
    }
}

fn nacks(stream: &mut ReceiveStream, ms: u64) -> Vec<u16> {
    let mut out = [SequenceNumber(0); MISSING_MAX];
    stream.poll_nack(TimeNs::from_ms(ms), 0, &mut out).iter().map(|sequence| sequence.0).collect()
}

fn fresh(number: u64) -> Arrival {
    Arrival::Fresh(ExtendedSequence(number))
}

#[test]
fn numbers_are_extended_over_the_wrap_in_both_directions() {
    let mut stream = stream();
    assert_eq!(stream.receive(&packet(65_534, 0)), fresh(0x1_fffe));
    assert_eq!(stream.receive(&packet(1, 1)), fresh(0x2_0001));
    assert_eq!(stream.receive(&packet(65_535, 2)), fresh(0x1_ffff));
    assert_eq!(stream.receive(&packet(65_535, 3)), Arrival::Duplicate);
}

#[test]
fn packets_behind_the_window_are_too_old() {
    let mut stream = stream();
    stream.receive(&packet(0, 0));
    stream.receive(&packet(1_024, 1));
    assert_eq!(stream.receive(&packet(0, 2)), Arrival::TooOld);
    assert_eq!(stream.receive(&packet(1, 2)), fresh(0x1_0001));
}

#[test]
fn a_gap_is_asked_for_until_it_is_filled() {
    let mut stream = stream();
    stream.receive(&packet(10, 0));
    stream.receive(&packet(14, 1));
    assert_eq!(stream.poll_timeout(), Some(TimeNs::from_ms(1)));
    assert_eq!(nacks(&mut stream, 1), [11, 12, 13]);
    stream.receive(&Received { recovered: true, ..packet(12, 50) });
    assert_eq!(nacks(&mut stream, 71), [11, 13]);
    assert_eq!(stream.totals().recovered, 1);
}

#[test]
fn audio_is_never_asked_for() {
    let mut stream = ReceiveStream::new(Ssrc(1), Kind::Audio, 48_000, true);
    stream.receive(&packet(10, 0));
    stream.receive(&packet(14, 1));
    assert_eq!((nacks(&mut stream, 1), stream.poll_timeout()), (vec![], None));
}

#[test]
fn a_report_says_what_was_lost_since_the_last_one() {
    let mut stream = stream();
    assert_eq!(stream.report_block(TimeNs::ZERO), None);
    for sequence in [65_530, 65_531, 65_533, 65_535, 2] {
        stream.receive(&packet(sequence, 0));
    }
    let report = stream.report_block(TimeNs::ZERO).unwrap();
    // 5 of 9 came: 4 · 256 / 9.
    assert_eq!((report.fraction_lost, report.cumulative_lost, report.highest_sequence), (113, 4, 0x1_0002));
    stream.receive(&packet(65_532, 1));
    stream.receive(&packet(3, 1));
    let report = stream.report_block(TimeNs::ZERO).unwrap();
    assert_eq!((report.fraction_lost, report.cumulative_lost, report.highest_sequence), (0, 3, 0x1_0003));
    assert_eq!(stream.lost(), 3);
}

#[test]
fn a_report_refers_to_the_last_sender_report() {
    let mut stream = stream();
    stream.receive(&packet(1, 0));
    let info = SenderInfo { ntp: NtpTime(0x1122_3344_5566_7788), ..SenderInfo::default() };
    stream.handle_sender_report(&info, TimeNs::from_ms(1_000));
    let report = stream.report_block(TimeNs::from_ms(2_500)).unwrap();
    assert_eq!((report.last_sender_report, report.delay), (0x3344_5566, 98_304));
}

#[test]
fn jitter_is_the_mean_change_of_transit_time() {
    let mut stream = stream();
    for n in 0..2_000u16 {
        let late = u64::from(n % 2) * 4;
        let sent = u64::from(n) * 20;
        let timestamp = RtpTimestamp((sent * 90) as u32);
        stream.receive(&Received { timestamp, ..packet(n, sent + late) });
    }
    assert!(stream.jitter().abs_diff(360) <= 1, "{}", stream.jitter());
}

#[test]
fn another_ssrc_continues_above_all_numbers_used() {
    let mut stream = stream();
    stream.receive(&packet(65_000, 0));
    stream.receive(&packet(65_010, 0));
    stream.change_ssrc(Ssrc(2));
    stream.change_ssrc(Ssrc(3));
    assert_eq!(nacks(&mut stream, 1), []);
    assert_eq!(stream.receive(&packet(5, 2)), fresh(0x3_0005));
    assert_eq!(stream.receive(&packet(65_535, 2)), fresh(0x2_ffff));
    let report = stream.report_block(TimeNs::ZERO).unwrap();
    assert_eq!((report.ssrc, report.cumulative_lost, report.fraction_lost), (Ssrc(3), 5, 182));
}

#[test]
fn rates_count_bytes_and_frames_of_the_last_second() {
    let mut stream = stream();
    for n in 0..300u16 {
        let frame = u64::from(n / 3) * 40;
        stream.receive(&packet(n, frame));
    }
    let (bits, frames) = stream.rates(TimeNs::from_ms(3_999));
    assert!((22..=25).contains(&frames) && (22 * 24_000..=25 * 24_000).contains(&bits), "{bits} {frames}");
    assert_eq!(stream.totals().frames, 100);
}

#[test]
fn a_successor_knows_what_came_and_other_workers_the_clocks() {
    let mut stream = stream();
    for sequence in [10, 11, 14] {
        stream.receive(&packet(sequence, 0));
    }
    stream.handle_sender_report(&SenderInfo { ntp: NtpTime(5 << 32), ..SenderInfo::default() }, TimeNs::from_ms(7));
    let publisher = Some(PublisherClock::from_parts(-9, TimeNs::from_ms(7)));
    let row = LayerCheckpoint::new(3, &stream, (Ssrc(2), 0x1_0002), true, publisher, 0x7_000e).to_row();
    assert_eq!(LayerCheckpoint::from_row(&row, 4), None);
    let checkpoint = LayerCheckpoint::from_row(&row, 3).unwrap();
    let mut successor = checkpoint.restore(Kind::Video, 90_000, true);
    assert_eq!((checkpoint.srtp_index(), checkpoint.rtx_srtp_index), (0x7_000e, 0x1_0002));
    assert_eq!((checkpoint.ssrc, checkpoint.rtx_ssrc, successor.ssrc()), (Ssrc(1), Ssrc(2), Ssrc(1)));
    assert_eq!(successor.receive(&packet(11, 9)), Arrival::Duplicate);
    assert_eq!(successor.receive(&packet(12, 9)), fresh(0x1_000c));
    assert_eq!(successor.receive(&packet(15, 9)), fresh(0x1_000f));
    assert_eq!(successor.lost(), 1);

    let clocks = SourceClocks::from_checkpoints([None, Some(checkpoint), None]);
    assert_eq!((clocks.active, clocks.publisher), (0b010, publisher));
    assert_eq!(clocks.layers, [None, stream.sender_report(), None]);
}

#[test]
fn an_empty_checkpoint_begins_a_stream() {
    let row = LayerCheckpoint::new(1, &stream(), (Ssrc(2), 0), false, None, 0).to_row();
    let mut successor = LayerCheckpoint::from_row(&row, 1).unwrap().restore(Kind::Video, 90_000, true);
    assert_eq!(successor.receive(&packet(7, 0)), fresh(0x1_0007));
    assert_eq!(LayerCheckpoint::from_row(&engine_table::StateRow { words: [0; 28] }, 0), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_packet_is_fresh_once_and_never_again(seed in 1u64.., start in any::<u16>(), count in 1u64..3_000) {
        let mut random = Random(seed);
        let mut stream = stream();
        let mut seen = std::collections::BTreeSet::new();
        let mut first = None;
        for n in 0..count {
            let number = n.saturating_sub(random.below(40) * random.below(2));
            let arrival = stream.receive(&packet(start.wrapping_add(number as u16), n));
            let extended = 0x1_0000 + u64::from(start) + number;
            first.get_or_insert(extended);
            prop_assert_eq!(arrival, if seen.insert(extended) { fresh(extended) } else { Arrival::Duplicate });
        }
        let highest = *seen.last().unwrap();
        prop_assert_eq!(stream.lost(), highest + 1 - seen.first().unwrap() - seen.len() as u64);
    }

    #[test]
    fn arbitrary_sequences_never_panic(sequences in prop::collection::vec(any::<u16>(), 0..300)) {
        let mut stream = stream();
        for (ms, sequence) in (0u64..).zip(sequences) {
            stream.receive(&packet(sequence, ms));
            nacks(&mut stream, ms);
            let _ = stream.report_block(TimeNs::from_ms(ms));
        }
    }
}
