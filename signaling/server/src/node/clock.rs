//! The one clock of all processes (DESIGN §2).

use engine_base::{TimeNs, WallOffset};
use rustix::time::{ClockId, clock_gettime};

pub(crate) fn now() -> TimeNs {
    let now = clock_gettime(ClockId::Monotonic);
    TimeNs(now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned())
}

pub(crate) fn unix_ms(offset: WallOffset, now: TimeNs) -> u64 {
    offset.wall_ns(now) / 1_000_000
}
