//! Which layers of a source run (PROTOCOL §5.10). Publishers stop and resume upper layers without a word, so a layer is measured
//! against the others: one that falls behind was stopped, while all of them together are late when the publisher's processor or
//! network is.

use engine_base::TimeNs;
use engine_base::limits::LAYERS;

const CYCLE_MS: u64 = 500;
/// A cycle goes on until the busiest layer has had these frames: with fewer, one frame more or less would decide.
const CYCLE_FRAMES_MIN: u32 = 4;
/// After this silence of every layer (2 s; a screen share may send once in that time) the source begins anew.
const SILENT_CYCLES: u32 = 4;
const PACKETS_MIN_LOWEST: u32 = 1;
const PACKETS_MIN: u32 = 5;
const GOOD_CYCLES_LOWEST: u32 = 4;
const GOOD_CYCLES: u32 = 20;

/// Activity of all layers: the first packet makes a layer active at once; a cycle in which it falls behind the others stops it;
/// after that only a row of good cycles makes it active again, so that a layer on the edge is not switched to and fro.
#[derive(Clone, Copy, Debug, Default)]
pub struct Activity {
    layers: [Layer; LAYERS],
    /// Unset while nothing comes.
    cycle_ends: Option<TimeNs>,
    /// A packet came since the last timeout.
    heard: bool,
    silent_cycles: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Layer {
    packets: u32,
    frames: u32,
    good_cycles: u32,
    /// A packet came since the source began.
    heard: bool,
    active: bool,
    /// It ran before this cycle began.
    whole: bool,
}

impl Activity {
    /// One bit per layer.
    pub fn active(&self) -> u8 {
        (0u8..).zip(&self.layers).fold(0, |bits, (number, layer)| bits | u8::from(layer.active) << number)
    }

    pub fn is_active(&self, layer: u8) -> bool {
        self.layers.get(usize::from(layer)).is_some_and(|layer| layer.active)
    }

    /// A packet with payload; padding is no sign of life. Returns `true` when it made the layer active.
    pub fn handle_packet(&mut self, layer: u8, ends_frame: bool, now: TimeNs) -> bool {
        let Some(layer) = self.layers.get_mut(usize::from(layer)) else { return false };
        self.heard = true;
        self.cycle_ends.get_or_insert(now.add_ms(CYCLE_MS));
        layer.packets += 1;
        layer.frames += u32::from(ends_frame);
        let first = !std::mem::replace(&mut layer.heard, true);
        layer.active |= first;
        first
    }

    pub const fn poll_timeout(&self) -> Option<TimeNs> {
        self.cycle_ends
    }

    /// `true` when a layer changed.
    pub fn handle_timeout(&mut self, now: TimeNs) -> bool {
        if self.cycle_ends.is_none_or(|ends| ends > now) {
            return false;
        }
        // A caller that is late makes this cycle longer, never the next one shorter.
        self.cycle_ends = Some(now.add_ms(CYCLE_MS));
        self.silent_cycles = if std::mem::take(&mut self.heard) { 0 } else { self.silent_cycles + 1 };
        let before = self.active();
        if self.silent_cycles >= SILENT_CYCLES {
            *self = Self::default();
        } else if self.frames().into_iter().max() >= Some(CYCLE_FRAMES_MIN) {
            self.end_cycle();
        }
        before != self.active()
    }

    fn frames(&self) -> [u32; LAYERS] {
        self.layers.map(|layer| layer.frames)
    }

    fn end_cycle(&mut self) {
        let frames = self.frames();
        for (number, layer) in self.layers.iter_mut().enumerate() {
            let others = frames.iter().enumerate().filter(|(other, _)| *other != number);
            let busiest = others.map(|(_, frames)| *frames).max().unwrap_or(0);
            layer.end_cycle(number, busiest);
        }
    }
}

impl Layer {
    /// `busiest`: most frames that another layer had. Half of them as packets are enough.
    fn end_cycle(&mut self, number: usize, busiest: u32) {
        let (packets_min, good_cycles_min) =
            if number == 0 { (PACKETS_MIN_LOWEST, GOOD_CYCLES_LOWEST) } else { (PACKETS_MIN, GOOD_CYCLES) };
        let packets = std::mem::take(&mut self.packets);
        self.frames = 0;
        if !std::mem::replace(&mut self.whole, self.heard) {
            return;
        }
        if packets < packets_min.min(busiest / 2) {
            (self.active, self.good_cycles) = (false, 0);
        } else if packets > 0 {
            self.good_cycles = self.good_cycles.saturating_add(1);
            self.active |= self.good_cycles >= good_cycles_min;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs cycles in each of which the layers have the given frames, of one packet each; returns what was active after each.
    fn run(activity: &mut Activity, from_ms: u64, cycles: &[[u32; LAYERS]]) -> Vec<u8> {
        let mut states = Vec::new();
        for (cycle, frames) in (0u64..).zip(cycles) {
            let start = from_ms + cycle * CYCLE_MS;
            for (layer, count) in (0u8..).zip(frames) {
                for _ in 0..*count {
                    activity.handle_packet(layer, true, TimeNs::from_ms(start));
                }
            }
            activity.handle_timeout(TimeNs::from_ms(start + CYCLE_MS));
            states.push(activity.active());
        }
        states
    }

    #[test]
    fn the_first_packet_makes_a_layer_active_and_falling_behind_stops_it() {
        let mut activity = Activity::default();
        assert!(activity.active() == 0 && activity.poll_timeout().is_none());
        assert!(activity.handle_packet(2, false, TimeNs::ZERO));
        assert!(activity.is_active(2));
        let states = run(&mut activity, 0, &[[7, 7, 7], [7, 7, 5], [7, 7, 2], [7, 7, 7]]);
        assert_eq!(states, [0b111, 0b111, 0b011, 0b011]);
    }

    #[test]
    fn a_stopped_upper_layer_needs_twenty_good_cycles_and_the_lowest_four() {
        for (layer, needed) in [(1, 20), (0, 4)] {
            let mut activity = Activity::default();
            let mut without = [7; LAYERS];
            without[layer] = 0;
            run(&mut activity, 0, &[[7; LAYERS], without]);
            let states = run(&mut activity, 1_000, &[[7; LAYERS]; 21]);
            assert_eq!(states.iter().position(|active| *active == 0b111), Some(needed - 1));
        }
    }

    #[test]
    fn a_publisher_that_stalls_stops_no_layer() {
        let mut activity = Activity::default();
        let states = run(&mut activity, 0, &[[7, 7, 7], [1, 1, 0], [0, 0, 0], [0, 1, 1], [2, 2, 1], [7, 7, 7]]);
        assert_eq!(states, [0b111; 6]);
    }

    #[test]
    fn a_layer_that_stops_at_a_low_frame_rate_is_noticed_after_some_frames() {
        let mut activity = Activity::default();
        let states = run(&mut activity, 0, &[[4, 0, 4], [1, 0, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0]]);
        assert_eq!(states, [0b101, 0b101, 0b101, 0b101, 0b001]);
    }

    #[test]
    fn the_cycle_in_which_a_layer_begins_does_not_judge_it() {
        let mut activity = Activity::default();
        assert_eq!(run(&mut activity, 0, &[[7, 7, 0], [7, 7, 1], [7, 7, 1]]), [0b011, 0b111, 0b011]);
    }

    #[test]
    fn a_source_that_was_silent_begins_anew() {
        let mut activity = Activity::default();
        run(&mut activity, 0, &[[7, 7, 7], [7, 7, 0]]);
        assert_eq!(run(&mut activity, 1_000, &[[0; LAYERS]; 4]), [0b011, 0b011, 0b011, 0]);
        assert!(activity.poll_timeout().is_none());
        assert_eq!(run(&mut activity, 60_000, &[[1, 1, 1]]), [0b111]);
    }

    #[test]
    fn a_late_caller_does_not_stop_a_layer() {
        let mut activity = Activity::default();
        for ms in 0..5_000 {
            if ms % 40 == 0 {
                activity.handle_packet(0, true, TimeNs::from_ms(ms));
                activity.handle_packet(1, true, TimeNs::from_ms(ms));
            }
            if ms % 730 == 729 {
                activity.handle_timeout(TimeNs::from_ms(ms));
                activity.handle_timeout(TimeNs::from_ms(ms));
                assert_eq!(activity.active(), 0b011);
            }
        }
    }

    #[test]
    fn a_single_stream_may_send_once_in_two_seconds() {
        let mut activity = Activity::default();
        for half_second in 0..40 {
            if half_second % 4 == 0 {
                activity.handle_packet(0, true, TimeNs::from_ms(half_second * 500));
            }
            activity.handle_timeout(TimeNs::from_ms(half_second * 500 + 499));
            assert!(activity.is_active(0));
        }
    }
}
