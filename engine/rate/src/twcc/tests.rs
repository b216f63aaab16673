use engine_wire::rtcp::{Compound, Rtcp};
use proptest::prelude::*;

use super::*;

const MEDIA: Ssrc = Ssrc(7);

fn feedback(log: &mut ArrivalLog, now: TimeNs) -> Vec<(u8, Vec<(u16, Option<i64>)>)> {
    let mut messages = Vec::new();
    let mut out = [0; 1_200];
    while let Some(len) = log.poll_transmit(&mut out, Ssrc(1), now).unwrap() {
        let Some(Ok(Rtcp::Twcc(twcc))) = Compound::new(&out[..len]).next() else { panic!("not feedback") };
        assert_eq!((twcc.sender, twcc.media), (Ssrc(1), MEDIA));
        messages.push((twcc.feedback_count, twcc.arrivals().map(|(sequence, ticks)| (sequence.0, ticks)).collect()));
    }
    messages
}

fn record(log: &mut ArrivalLog, sequence: u16, ms: u64) {
    log.record(SequenceNumber(sequence), MEDIA, TimeNs::from_ms(ms), false);
}

#[test]
fn arrivals_and_gaps_are_reported_over_the_wrap() {
    let mut log = ArrivalLog::new();
    for (sequence, ms) in [(65_534, 1_000), (65_535, 1_001), (1, 1_005)] {
        record(&mut log, sequence, ms);
    }
    assert_eq!(log.poll_timeout(), Some(TimeNs::from_ms(1_100)));
    assert!(feedback(&mut log, TimeNs::from_ms(1_099)).is_empty());
    let expected = vec![(65_534, Some(4_000)), (65_535, Some(4_004)), (0, None), (1, Some(4_020))];
    assert_eq!(feedback(&mut log, TimeNs::from_ms(1_100)), [(0, expected)]);
    assert_eq!(log.poll_timeout(), None);
}

#[test]
fn a_late_packet_is_reported_again_with_its_time() {
    let mut log = ArrivalLog::new();
    record(&mut log, 1, 0);
    record(&mut log, 3, 2);
    assert_eq!(feedback(&mut log, TimeNs::from_ms(100)).len(), 1);
    record(&mut log, 2, 110);
    let messages = feedback(&mut log, TimeNs::from_ms(200));
    assert_eq!(messages[0].0, 1);
    assert_eq!(messages[0].1[0], (2, Some(440)));
}

#[test]
fn a_repeated_number_counts_once() {
    let mut log = ArrivalLog::new();
    record(&mut log, 1, 0);
    record(&mut log, 1, 5);
    assert_eq!(feedback(&mut log, TimeNs::from_ms(100)), [(0, vec![(1, Some(0))])]);
}

#[test]
fn the_end_of_a_frame_shortens_the_wait_only_with_enough_packets() {
    let mut log = ArrivalLog::new();
    for sequence in 0..20 {
        log.record(SequenceNumber(sequence), MEDIA, TimeNs::from_ms(1_000), true);
    }
    assert_eq!(log.poll_timeout(), Some(TimeNs::from_ms(1_100)));
    record(&mut log, 20, 1_001);
    assert_eq!(log.poll_timeout(), Some(TimeNs::from_ms(1_050)));
    for sequence in 21..100 {
        record(&mut log, sequence, 1_002);
    }
    assert_eq!(log.poll_timeout(), Some(TimeNs::ZERO));
}

#[test]
fn a_jump_beyond_the_window_forgets_what_was_pending() {
    let mut log = ArrivalLog::new();
    record(&mut log, 0, 0);
    record(&mut log, 5_000, 10);
    let messages = feedback(&mut log, TimeNs::from_ms(200));
    let received: Vec<_> = messages.iter().flat_map(|message| &message.1).filter(|item| item.1.is_some()).collect();
    assert_eq!(received, [&(5_000, Some(40))]);
    record(&mut log, 3_000, 210);
    assert_eq!(log.poll_timeout(), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_packet_is_reported_with_its_arrival(seed in any::<u64>(), start in any::<u16>(), count in 1usize..400) {
        let mut random = seed | 1;
        let mut next = |bound: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % bound
        };
        let mut log = ArrivalLog::new();
        let (mut now, mut sent, mut reported) = (1_000u64, Vec::new(), Vec::new());
        let mut order: Vec<u16> = (0..count as u16).collect();
        for i in 1..count {
            if next(4) == 0 {
                order.swap(i - 1, i);
            }
        }
        for offset in order {
            now += next(12);
            if next(10) != 0 {
                let sequence = start.wrapping_add(offset);
                record(&mut log, sequence, now);
                sent.push((sequence, (now * 4) as i64));
            }
            for (_, packets) in feedback(&mut log, TimeNs::from_ms(now)) {
                reported.extend(packets.into_iter().filter_map(|(sequence, ticks)| ticks.map(|ticks| (sequence, ticks))));
            }
        }
        for (_, packets) in feedback(&mut log, TimeNs::from_ms(now + 1_000)) {
            reported.extend(packets.into_iter().filter_map(|(sequence, ticks)| ticks.map(|ticks| (sequence, ticks))));
        }
        for packet in &sent {
            prop_assert!(reported.contains(packet), "{packet:?} of {} was not reported", sent.len());
        }
        for packet in &reported {
            prop_assert!(sent.contains(packet), "{packet:?} was never sent");
        }
    }
}
