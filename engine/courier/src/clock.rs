//! Our monotonic nanoseconds as the `Instant` that the DTLS and SCTP crates want. It reads the clock once, when it is made.

use std::time::{Duration, Instant};

use engine_base::TimeNs;

/// A pair of readings of one clock; conversions are exact to a nanosecond.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    instant: Instant,
    time: TimeNs,
}

impl Clock {
    /// **Input**: `now` as the caller's clock shows it at this moment. Earlier times are taken as this one.
    pub fn starting_at(now: TimeNs) -> Self {
        Self { instant: Instant::now(), time: now }
    }

    pub fn instant(&self, time: TimeNs) -> Instant {
        self.instant + Duration::from_nanos(time.since(self.time))
    }

    /// The time of `instant`; far future when it does not fit.
    pub fn time(&self, instant: Instant) -> TimeNs {
        let after = instant.saturating_duration_since(self.instant).as_nanos();
        self.time.add_ns(u64::try_from(after).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back_and_never_precede_the_start() {
        let clock = Clock::starting_at(TimeNs(1_000));
        assert_eq!(clock.time(clock.instant(TimeNs(5_123_456_789))), TimeNs(5_123_456_789));
        assert_eq!(clock.time(clock.instant(TimeNs(10))), TimeNs(1_000));
    }
}
