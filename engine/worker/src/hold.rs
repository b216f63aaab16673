//! How long video may wait for more packets to the same subscribers: not at all while the worker is idle, a configured time when it
//! is loaded, because a train of nine costs a fifth of nine sends. Audio never waits.
//!
//! All or nothing: libwebrtc paces a frame in ticks of 5 ms, so that a shorter wait delays one camera's packets and joins none.

use engine_base::TimeNs;

/// From this share of a core on packets are held, below the other no longer. On a core of 2020 the first is about 80 subscribers of
/// one 2.5 Mbit/s camera.
const LOAD_BEGIN: f64 = 0.06;
const LOAD_END: f64 = 0.03;
/// The load is measured over windows of this length, each of which counts one quarter.
const WINDOW_NS: u64 = 50_000_000;
const NEW_SHARE: f64 = 0.25;
/// A source with this many packets waits no longer.
pub const PACKETS_ENOUGH: usize = 32;

#[derive(Debug)]
pub struct Hold {
    max_ns: u64,
    window_begin: TimeNs,
    busy_ns: u64,
    /// Share of a core.
    load: f64,
    now_ns: u64,
}

impl Hold {
    pub fn new(max_ns: u64, now: TimeNs) -> Self {
        Self { max_ns, window_begin: now, busy_ns: 0, load: 0.0, now_ns: 0 }
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
        if self.load >= LOAD_BEGIN {
            self.now_ns = self.max_ns;
        } else if self.load < LOAD_END {
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
    fn an_idle_worker_holds_nothing_and_a_loaded_one_everything() {
        let mut hold = Hold::new(5_000_000, TimeNs::ZERO);
        assert_eq!(run(&mut hold, 0, 2_000, 0.04), 0);
        assert_eq!(run(&mut hold, 2_000, 2_000, 0.9), 5_000_000);
        assert_eq!(run(&mut hold, 4_000, 2_000, 0.04), 5_000_000, "between the two it stays as it was");
        assert_eq!(run(&mut hold, 6_000, 2_000, 0.01), 0);
    }

    #[test]
    fn no_hold_is_configured() {
        let mut hold = Hold::new(0, TimeNs::ZERO);
        assert_eq!(run(&mut hold, 0, 1_000, 1.0), 0);
    }
}
