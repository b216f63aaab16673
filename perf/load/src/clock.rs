//! The load's clock: CLOCK_MONOTONIC, and the wall clock's distance from it, read once per load.

use std::time::Duration;

use engine_base::{TimeNs, WallOffset};
use rustix::time::{ClockId, clock_gettime};

pub fn now() -> TimeNs {
    TimeNs(read(ClockId::Monotonic))
}

pub fn wall_offset() -> WallOffset {
    WallOffset(read(ClockId::Realtime).cast_signed() - now().0.cast_signed())
}

/// A wall time, as the kernel stamps arrivals, on the monotonic clock.
pub fn monotonic(wall: Duration, offset: WallOffset) -> TimeNs {
    let wall = u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX);
    TimeNs(wall.saturating_add_signed(offset.0.saturating_neg()))
}

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_comes_back_to_the_monotonic_clock() {
        let offset = wall_offset();
        let time = now();
        assert_eq!(monotonic(Duration::from_nanos(offset.wall_ns(time)), offset), time);
    }
}
