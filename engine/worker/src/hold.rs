//! How long video may wait for more packets to the same subscribers: not at all while the worker has time, a configured time when it
//! is loaded, because a train of nine costs a fifth of nine sends. Audio never waits.
//!
//! All or nothing: libwebrtc paces a frame in ticks of 5 ms, so that a shorter wait delays one camera's packets and joins none.

use engine_base::TimeNs;

/// Once packets are held they are until the load is this much lower: holding saves a third of it.
const END_SHARE: f64 = 0.5;
/// The load is measured over windows of this length, each of which counts one quarter.
const WINDOW_NS: u64 = 50_000_000;
const NEW_SHARE: f64 = 0.25;
/// A source with this many packets waits no longer.
pub const PACKETS_ENOUGH: usize = 32;

#[derive(Debug)]
pub struct Hold {
    max_ns: u64,
    /// Share of a core from which on packets are held.
    begin: f64,
    window_begin: TimeNs,
    busy_ns: u64,
    /// Share of a core.
    load: f64,
    now_ns: u64,
}

impl Hold {
    /// **Input**: `begin_percent` of a core; 0 holds always.
    pub fn new(max_ns: u64, begin_percent: u32, now: TimeNs) -> Self {
        Self { max_ns, begin: f64::from(begin_percent) / 100.0, window_begin: now, busy_ns: 0, load: 0.0, now_ns: 0 }
    }

    /// A turn that ended at `now` took `busy_ns`.
    pub fn note_turn(&mut self, now: TimeNs, busy_ns: u64) {
        self.busy_ns += busy_ns;
        let passed = now.since(self.window_begin);
        if passed < WINDOW_NS {
            return;
        }
        let load = (self.busy_ns as f64 / passed as f64).min(1.0);
        // An idle worker sleeps through windows: they count as the one that ends now.
        self.load += NEW_SHARE * (load - self.load);
        (self.window_begin, self.busy_ns) = (now, 0);
        if self.load >= self.begin {
            self.now_ns = self.max_ns;
        } else if self.load < self.begin * END_SHARE {
            self.now_ns = 0;
        }
    }

    /// What video waits at present.
    pub fn ns(&self) -> u64 {
        self.now_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(hold: &mut Hold, from_ms: u64, ms: u64, busy_share: f64) -> u64 {
        for now in from_ms + 1..=from_ms + ms {
            hold.note_turn(TimeNs::from_ms(now), (busy_share * 1e6) as u64);
        }
        hold.ns()
    }

    #[test]
    fn a_worker_with_time_holds_nothing_and_a_loaded_one_everything() {
        let mut hold = Hold::new(5_000_000, 30, TimeNs::ZERO);
        assert_eq!(run(&mut hold, 0, 2_000, 0.29), 0);
        assert_eq!(run(&mut hold, 2_000, 2_000, 0.9), 5_000_000);
        assert_eq!(run(&mut hold, 4_000, 2_000, 0.16), 5_000_000, "between the two it stays as it was");
        assert_eq!(run(&mut hold, 6_000, 2_000, 0.14), 0);
    }

    #[test]
    fn at_0_percent_packets_are_always_held() {
        let mut hold = Hold::new(5_000_000, 0, TimeNs::ZERO);
        assert_eq!(run(&mut hold, 0, 100, 0.0), 5_000_000);
    }

    #[test]
    fn no_hold_is_configured() {
        let mut hold = Hold::new(0, 30, TimeNs::ZERO);
        assert_eq!(run(&mut hold, 0, 1_000, 1.0), 0);
    }
}
