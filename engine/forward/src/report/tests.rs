use engine_base::{Kind, RtpTimestamp, Ssrc};
use engine_wire::rtcp::{Compound, Rtcp};

use super::*;
use crate::egress::Verdict;
use crate::fixtures::{audio, key, plan};
use crate::source::{PublisherClock, SenderReport};

const WALL: WallOffset = WallOffset(1_700_000_000_000_000_000);

/// A publisher whose clock is an hour behind ours, and whose packets take 30 ms.
fn publisher_ntp(sent_ms: u64) -> NtpTime {
    WallOffset(WALL.0 - 3_600_000_000_000).ntp(TimeNs::from_ms(sent_ms))
}

fn report(sent_ms: u64, timestamp: RtpTimestamp, clock: &mut Option<PublisherClock>) -> Option<SenderReport> {
    let arrival = TimeNs::from_ms(sent_ms + 30);
    PublisherClock::observe(clock, publisher_ntp(sent_ms), arrival, WALL);
    Some(SenderReport { ntp: publisher_ntp(sent_ms), timestamp, arrival })
}

#[test]
fn reports_of_one_publishers_tracks_are_in_step_on_the_subscribers_timelines() {
    let mut publisher = None;
    // Both reports show the instant 10 s; the packets were captured at 9.5 s.
    let (sound, picture) = (audio(100), key(200));
    let clocks = |header: &engine_table::PacketHeader, rate: u32, publisher: &mut Option<PublisherClock>, sent_ms| {
        let ticks = rate / 2 + rate / 1_000 * (sent_ms - 10_000) as u32;
        let layer = report(sent_ms, header.timestamp.add(ticks), publisher);
        SourceClocks { active: 1, layers: [layer, None, None], publisher: None }
    };
    let mut sound_clocks = clocks(&sound, 48_000, &mut publisher, 10_000);
    let mut picture_clocks = clocks(&picture, 90_000, &mut publisher, 11_700);
    (sound_clocks.publisher, picture_clocks.publisher) = (publisher, publisher);

    let mut instants = Vec::new();
    for (kind, header, clocks) in [(Kind::Audio, sound, sound_clocks), (Kind::Video, picture, picture_clocks)] {
        let (plan, mut state) = (plan(kind), EgressState::new(1, 0xfeed_beef_0000_0001 >> kind as u64));
        assert_eq!(sender_info(&state, &plan, &clocks, TimeNs::from_ms(12_000), WALL), None);
        let Verdict::Forward(rewrite) = state.verdict(&plan, 0, &header, &clocks) else { panic!("dropped") };
        let info = sender_info(&state, &plan, &clocks, TimeNs::from_ms(12_000), WALL).unwrap();
        assert_eq!((info.ssrc, info.packets, info.payload_bytes), (plan.ssrc, 1, 100));
        assert_eq!(info.ntp, WALL.ntp(TimeNs::from_ms(12_000)));
        let rate = state.codec().clock_rate();
        instants.push(i64::from(rewrite.timestamp.distance(info.timestamp)) * 1_000_000 / i64::from(rate));
    }
    // Captured at 9.5 s, 30 ms on the way: 2.47 s before 12 s.
    for instant in &instants {
        assert!((instant + 2_470_000).abs() < 300, "{instants:?}");
    }
}

#[test]
fn a_report_and_its_name_are_one_compound() {
    let info = SenderInfo { ssrc: Ssrc(9), packets: 3, ..SenderInfo::default() };
    let mut out = [0; 64];
    let len = write(&mut out, &info, b"name").unwrap();
    let messages: Vec<_> = Compound::new(&out[..len]).map(Result::unwrap).collect();
    let [Rtcp::SenderReport(report), Rtcp::SourceDescription(names)] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!(report.info, info);
    assert_eq!(names.chunks().next().unwrap().cname, Some(&b"name"[..]));
    assert_eq!(write(&mut out[..30], &info, b"name"), Err(WireError::Capacity));
}

#[test]
fn the_round_trip_is_what_passed_less_the_receivers_delay() {
    let block = |last_sender_report, delay| ReportBlock { last_sender_report, delay, ..ReportBlock::default() };
    // RFC 3550 §6.4.1, figure 2: 6.125 s.
    let now = NtpTime(0xb710_8000_u64 << 16);
    assert_eq!(round_trip_us(&block(0xb705_2000, 0x0005_4000), now), Some(6_125_000));
    assert_eq!(round_trip_us(&block(0, 0), now), None);
    assert_eq!(round_trip_us(&block(0xb710_8000, 1), now), Some(1));
    assert_eq!(round_trip_us(&block(0xb710_8000, 0x1_0000), now), None);
}
