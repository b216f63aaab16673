//! The subscriber's media time: continuous over layers whose clocks have nothing in common, never backwards.

use engine_base::{RtpTimestamp, TimeNs};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A mapping by sender reports that is further than this from what the time of arrival says is not believed.
const TOLERANCE_MS: u64 = 500;
/// Backwards by more than this within one stream: its clock was restarted. Frames that are sent out of display order go back less.
const BACKWARD_MS: u64 = 1_000;
/// Ahead of the time that passed by more than this: likewise. (A jitter buffer would keep the delay for ever.)
const FORWARD_MS: u64 = 10_000;

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub(crate) struct Timeline {
    /// Arrival of the first packet with `newest`.
    newest_arrival: TimeNs,
    /// Newest time sent.
    newest: RtpTimestamp,
    /// Ticks by which the present offset is later than the mapping asks for, because a switch may not go back. The next switch
    /// that comes forward takes them out again: otherwise they would add up to a delay.
    skew: u32,
}

impl Timeline {
    pub(crate) const fn beginning_at(timestamp: RtpTimestamp) -> Self {
        Self { newest_arrival: TimeNs::ZERO, newest: timestamp, skew: 0 }
    }

    /// The time to send for the first packet of a run. `mapped` is the time at which the present run would show this packet, if
    /// that can be told.
    pub(crate) fn resume(&mut self, mapped: Option<RtpTimestamp>, arrival: TimeNs, clock_rate: u32) -> RtpTimestamp {
        let expected = self.newest.add(self.elapsed(arrival, clock_rate).max(1) as u32);
        let mapped = mapped
            .map(|mapped| mapped.add(self.skew.wrapping_neg()))
            .filter(|mapped| u64::from(mapped.distance(expected).unsigned_abs()) <= ms(TOLERANCE_MS, clock_rate));
        let wanted = mapped.unwrap_or(expected);
        let sent = if wanted.distance(self.newest) > 0 { wanted } else { self.newest.add(1) };
        self.skew = sent.0.wrapping_sub(wanted.0);
        sent
    }

    /// A time that no continuous stream would show next.
    pub(crate) fn is_discontinuous(&self, timestamp: RtpTimestamp, arrival: TimeNs, clock_rate: u32) -> bool {
        let step = i64::from(timestamp.distance(self.newest));
        let latest = self.elapsed(arrival, clock_rate) + ms(FORWARD_MS, clock_rate);
        step < -(ms(BACKWARD_MS, clock_rate).cast_signed()) || step > latest.cast_signed()
    }

    /// The first packet of all: its time is the one that the timeline was made with.
    pub(crate) fn start(&mut self, arrival: TimeNs) -> RtpTimestamp {
        self.newest_arrival = arrival;
        self.newest
    }

    pub(crate) fn sent(&mut self, timestamp: RtpTimestamp, arrival: TimeNs) {
        if timestamp.distance(self.newest) > 0 {
            (self.newest, self.newest_arrival) = (timestamp, arrival);
        }
    }

    /// Ticks since the newest time was sent, at most 2^30: a longer pause cannot be shown in 32 bits.
    fn elapsed(&self, arrival: TimeNs, clock_rate: u32) -> u64 {
        let ns = u128::from(arrival.since(self.newest_arrival));
        ((ns * u128::from(clock_rate) / 1_000_000_000) as u64).min(1 << 30)
    }
}

const fn ms(ms: u64, clock_rate: u32) -> u64 {
    ms * clock_rate as u64 / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 90_000;

    fn at(timestamp: u32, ms: u64) -> Timeline {
        let mut timeline = Timeline::beginning_at(RtpTimestamp(timestamp.wrapping_sub(1)));
        timeline.sent(RtpTimestamp(timestamp), TimeNs::from_ms(ms));
        timeline
    }

    #[test]
    fn a_plausible_mapping_is_taken_and_others_are_not() {
        let resume = |mapped: u32| at(1_000, 50).resume(Some(RtpTimestamp(mapped)), TimeNs::from_ms(150), RATE).0;
        assert_eq!(resume(1_000 + 12_000), 13_000);
        assert_eq!(resume(1_000 + 9_000 + 45_001), 10_000);
        assert_eq!(resume(0), 1_001);
        assert_eq!(at(1_000, 50).resume(None, TimeNs::from_ms(150), RATE).0, 10_000);
        assert_eq!(at(1_000, 50).resume(None, TimeNs::from_ms(50), RATE).0, 1_001);
    }

    #[test]
    fn what_a_switch_held_back_is_taken_out_by_the_next_one() {
        let mut timeline = at(100_000, 1_000);
        let behind = timeline.resume(Some(RtpTimestamp(97_000)), TimeNs::from_ms(1_010), RATE);
        assert_eq!(behind, RtpTimestamp(100_001));
        timeline.sent(behind, TimeNs::from_ms(1_010));
        let offset = behind.0 - 97_000;
        let forward = timeline.resume(Some(RtpTimestamp(106_000 + offset)), TimeNs::from_ms(1_100), RATE);
        assert_eq!((forward, timeline.skew), (RtpTimestamp(106_000), 0));
    }

    #[test]
    fn a_restarted_clock_is_noticed_and_reordered_frames_are_not() {
        let timeline = at(0, 1_000);
        let discontinuous =
            |step: i64| timeline.is_discontinuous(RtpTimestamp(step as u32), TimeNs::from_ms(1_020), RATE);
        assert!(!discontinuous(1_800) && !discontinuous(-9_000) && !discontinuous(90_000));
        assert!(discontinuous(-90_001) && discontinuous(901_801));
    }
}
