//! Whether a layer runs (PROTOCOL §5.10). Publishers stop and resume upper layers without a word.

use engine_base::TimeNs;

const CYCLE_MS: u64 = 500;
/// A single stream has nothing to switch to, and a screen share may send a packet in two seconds.
const CYCLE_ALONE_MS: u64 = 2_000;
const PACKETS_MIN_LOWEST: u32 = 1;
const PACKETS_MIN: u32 = 5;
const GOOD_CYCLES_LOWEST: u32 = 4;
const GOOD_CYCLES: u32 = 20;

/// Activity of one layer: the first packet makes it active at once; a cycle with too few packets stops it; after that only a row
/// of good cycles makes it active again, so that a layer on the edge is not switched to and fro.
#[derive(Clone, Copy, Debug)]
pub struct Activity {
    cycle_ms: u64,
    packets_min: u32,
    good_cycles_needed: u32,
    packets: u32,
    good_cycles: u32,
    active: bool,
    /// Unset before the first packet.
    cycle_ends: Option<TimeNs>,
}

impl Activity {
    pub const fn new(layer: u8, layer_count: u8) -> Self {
        let (packets_min, good_cycles_needed) =
            if layer == 0 { (PACKETS_MIN_LOWEST, GOOD_CYCLES_LOWEST) } else { (PACKETS_MIN, GOOD_CYCLES) };
        Self {
            cycle_ms: if layer_count == 1 { CYCLE_ALONE_MS } else { CYCLE_MS },
            packets_min,
            good_cycles_needed: if layer_count == 1 { 1 } else { good_cycles_needed },
            packets: 0,
            good_cycles: 0,
            active: false,
            cycle_ends: None,
        }
    }

    pub const fn is_active(&self) -> bool {
        self.active
    }

    /// `true` when the packet made the layer active.
    pub fn handle_packet(&mut self, now: TimeNs) -> bool {
        self.packets += 1;
        let first = self.cycle_ends.is_none();
        if first {
            self.cycle_ends = Some(now.add_ms(self.cycle_ms));
            self.active = true;
        }
        first
    }

    pub const fn poll_timeout(&self) -> Option<TimeNs> {
        self.cycle_ends
    }

    /// `true` when the state changed.
    pub fn handle_timeout(&mut self, now: TimeNs) -> bool {
        if self.cycle_ends.is_none_or(|ends| ends > now) {
            return false;
        }
        // A caller that is late makes this cycle longer, never the next one shorter.
        self.cycle_ends = Some(now.add_ms(self.cycle_ms));
        let good = std::mem::take(&mut self.packets) >= self.packets_min;
        self.good_cycles = if good { self.good_cycles.saturating_add(1) } else { 0 };
        let before = self.active;
        self.active = good && (before || self.good_cycles >= self.good_cycles_needed);
        before != self.active
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs cycles with the given packets each and returns the state after each.
    fn run(activity: &mut Activity, from_ms: u64, packets: &[u32]) -> Vec<bool> {
        let mut states = Vec::new();
        for (cycle, count) in (0u64..).zip(packets) {
            let start = from_ms + cycle * CYCLE_MS;
            for _ in 0..*count {
                activity.handle_packet(TimeNs::from_ms(start));
            }
            activity.handle_timeout(TimeNs::from_ms(start + CYCLE_MS));
            states.push(activity.is_active());
        }
        states
    }

    #[test]
    fn the_first_packet_makes_a_layer_active_and_a_thin_cycle_stops_it() {
        let mut activity = Activity::new(2, 3);
        assert!(!activity.is_active() && activity.poll_timeout().is_none());
        assert!(activity.handle_packet(TimeNs::ZERO));
        assert!(activity.is_active());
        assert_eq!(run(&mut activity, 0, &[5, 4, 9]), [true, false, false]);
    }

    #[test]
    fn a_stopped_upper_layer_needs_twenty_good_cycles_and_the_lowest_four() {
        for (layer, needed) in [(1, 20), (0, 4)] {
            let mut activity = Activity::new(layer, 3);
            run(&mut activity, 0, &[5, 0]);
            let states = run(&mut activity, 1_000, &[5; 21]);
            assert_eq!(states.iter().position(|active| *active), Some(needed - 1));
        }
    }

    #[test]
    fn a_late_caller_does_not_stop_a_layer() {
        let mut activity = Activity::new(1, 3);
        for ms in 0..5_000 {
            if ms % 40 == 0 {
                activity.handle_packet(TimeNs::from_ms(ms));
            }
            if ms % 730 == 729 {
                activity.handle_timeout(TimeNs::from_ms(ms));
                activity.handle_timeout(TimeNs::from_ms(ms));
                assert!(activity.is_active());
            }
        }
    }

    #[test]
    fn a_single_stream_may_send_once_in_two_seconds() {
        let mut activity = Activity::new(0, 1);
        for second in 0..10 {
            activity.handle_packet(TimeNs::from_ms(second * 2_000));
            activity.handle_timeout(TimeNs::from_ms(second * 2_000 + 2_000));
            assert!(activity.is_active());
        }
        assert!(activity.handle_timeout(TimeNs::from_ms(22_000)));
        assert!(!activity.is_active());
    }
}
