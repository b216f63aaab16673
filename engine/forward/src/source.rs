//! Clocks of a published track: which layers run, and how their RTP time relates to the publisher's NTP time and to ours. The
//! owner of the ingress keeps it; workers with egresses of the track read copies.

use engine_base::limits::LAYERS;
use engine_base::{NtpTime, RtpTimestamp, TimeNs, WallOffset};

/// Clocks of different machines drift apart by up to 100 ppm.
const DRIFT_PPM: u64 = 100;

/// A publisher's sender report of one layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderReport {
    /// On the publisher's clock.
    pub ntp: NtpTime,
    /// The same instant on the layer's media clock.
    pub timestamp: RtpTimestamp,
    pub arrival: TimeNs,
}

impl SenderReport {
    /// The media time that the layer's clock shows at `ntp`.
    pub fn timestamp_at(&self, ntp: NtpTime, clock_rate: u32) -> RtpTimestamp {
        self.timestamp.add(ticks(ntp.0.wrapping_sub(self.ntp.0).cast_signed(), clock_rate) as u32)
    }

    /// The publisher's NTP time at which the layer's clock shows `timestamp`.
    pub fn ntp_at(&self, timestamp: RtpTimestamp, clock_rate: u32) -> NtpTime {
        let ticks = i128::from(timestamp.distance(self.timestamp));
        NtpTime(self.ntp.0.wrapping_add_signed(((ticks << 32) / i128::from(clock_rate.max(1))) as i64))
    }
}

/// Ticks in a difference of NTP times, rounded to nearest.
const fn ticks(ntp_difference: i64, clock_rate: u32) -> i64 {
    ((ntp_difference as i128 * clock_rate as i128 + (1 << 31)) >> 32) as i64
}

/// What the layers of one source show of themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceClocks {
    pub layers: [Option<SenderReport>; LAYERS],
    /// Bit per layer: packets come.
    pub active: u8,
    /// Of the publisher's transport; the same for all its tracks, so that they stay in step (lip-sync).
    pub publisher: Option<PublisherClock>,
}

/// The highest layer of `active` (bit per layer) up to `layer_max`, else the lowest above it; `None` when nothing runs.
pub const fn best_layer(active: u8, layer_max: u8) -> Option<u8> {
    let active = active & ((1 << LAYERS) - 1);
    let wanted = active & ((2u16 << if layer_max > 7 { 7 } else { layer_max }) - 1) as u8;
    if wanted != 0 {
        Some(7 - wanted.leading_zeros() as u8)
    } else if active != 0 {
        Some(active.trailing_zeros() as u8)
    } else {
        None
    }
}

impl SourceClocks {
    pub const fn set_active(&mut self, layer: u8, active: bool) {
        if active { self.active |= 1 << layer } else { self.active &= !(1 << layer) }
    }
}

/// How far a publisher's NTP clock is behind ours, transit time included: the least seen, which may rise with the drift of
/// clocks only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublisherClock {
    /// Our wall clock minus the publisher's in 2^-32 s.
    offset: i64,
    at: TimeNs,
}

impl PublisherClock {
    /// Takes a sender report of any stream of the transport.
    pub fn observe(clock: &mut Option<Self>, ntp: NtpTime, arrival: TimeNs, wall: WallOffset) {
        let sample = wall.ntp(arrival).0.wrapping_sub(ntp.0).cast_signed();
        let offset = clock.map_or(sample, |clock| {
            let drift_ns = arrival.since(clock.at) / 1_000_000 * DRIFT_PPM;
            let drift = (u128::from(drift_ns) << 32) / 1_000_000_000;
            sample.min(clock.offset.saturating_add(drift as i64))
        });
        *clock = Some(Self { offset, at: arrival });
    }

    pub const fn from_parts(offset: i64, at: TimeNs) -> Self {
        Self { offset, at }
    }

    /// Offset in 2^-32 s and time of the last report, for [`Self::from_parts`].
    pub const fn parts(self) -> (i64, TimeNs) {
        (self.offset, self.at)
    }

    /// What the publisher's clock showed when it sent what arrives at `now` at the best.
    pub fn ntp_at(self, now: TimeNs, wall: WallOffset) -> NtpTime {
        NtpTime(wall.ntp(now).0.wrapping_add_signed(-self.offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_layer_is_the_highest_wanted_that_runs() {
        assert_eq!(best_layer(0b111, 2), Some(2));
        assert_eq!(best_layer(0b111, 0), Some(0));
        assert_eq!(best_layer(0b011, 2), Some(1));
        assert_eq!(best_layer(0b100, 1), Some(2));
        assert_eq!(best_layer(0, 255), None);
    }

    #[test]
    fn media_time_and_ntp_time_map_onto_each_other() {
        let report = SenderReport {
            ntp: NtpTime::from_unix_ns(1_000_000_000_000_000_000),
            timestamp: RtpTimestamp(u32::MAX - 100),
            arrival: TimeNs::ZERO,
        };
        let later = NtpTime::from_unix_ns(1_000_000_001_500_000_000);
        let timestamp = report.timestamp_at(later, 90_000);
        assert_eq!(timestamp, report.timestamp.add(135_000));
        assert!(report.ntp_at(timestamp, 90_000).unix_ns().abs_diff(later.unix_ns()) < 12_000);
        let earlier = report.timestamp.add(90_000u32.wrapping_neg());
        assert_eq!(report.timestamp_at(report.ntp_at(earlier, 90_000), 90_000), earlier);
    }

    #[test]
    fn the_publishers_clock_follows_the_fastest_report_and_the_drift() {
        let wall = WallOffset(1_700_000_000_000_000_000);
        let mut clock = None;
        let ntp = |ms: u64| wall.ntp(TimeNs::from_ms(ms));
        for (sent, arrived) in [(1_000, 1_090), (2_000, 2_020), (3_000, 3_400)] {
            PublisherClock::observe(&mut clock, ntp(sent), TimeNs::from_ms(arrived), wall);
        }
        let shown = clock.unwrap().ntp_at(TimeNs::from_ms(4_020), wall);
        assert!(shown.unix_ns().abs_diff(ntp(4_000).unix_ns()) < 200_000);
    }
}
