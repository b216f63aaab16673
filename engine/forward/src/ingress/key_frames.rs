//! When to ask a publisher for a key frame of one layer: demands of all subscribers together, throttled.

use engine_base::TimeNs;

const INTERVAL_LOWEST_MS: u64 = 500;
const INTERVAL_MS: u64 = 1_000;

/// Joins the demand words of a layer into PLIs: one at once, then one per interval while demand is newer than the last key frame.
#[derive(Clone, Copy, Debug)]
pub struct KeyFrameThrottle {
    interval_ms: u64,
    /// Sum of the demand words that the last key frame answered.
    answered: u64,
    /// Sum as last seen.
    demanded: u64,
    next: TimeNs,
}

impl KeyFrameThrottle {
    pub const fn new(layer: u8) -> Self {
        let interval_ms = if layer == 0 { INTERVAL_LOWEST_MS } else { INTERVAL_MS };
        Self { interval_ms, answered: 0, demanded: 0, next: TimeNs::ZERO }
    }

    /// Takes the present demand as answered: words outlive the engine, demands do not.
    pub const fn adopt(&mut self, demand: u64) {
        (self.answered, self.demanded) = (demand, demand);
    }

    /// **Input**: the sum over all workers of `EngineRegion::key_frame_demand` for the layer.
    /// **Output**: `true` when a PLI is to be sent now; it counts as sent.
    pub fn poll(&mut self, demand: u64, now: TimeNs) -> bool {
        self.demanded = demand;
        if demand == self.answered || now < self.next {
            return false;
        }
        self.next = now.add_ms(self.interval_ms);
        true
    }

    /// A key frame of the layer began to arrive: it answers every demand seen so far.
    pub const fn handle_key_frame(&mut self) {
        self.answered = self.demanded;
    }

    /// When `poll` may send next; `None` while nothing seen is unanswered.
    pub fn poll_timeout(&self) -> Option<TimeNs> {
        (self.demanded != self.answered).then_some(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demand_is_joined_and_repeated_until_the_key_frame() {
        let mut throttle = KeyFrameThrottle::new(0);
        let sent = |throttle: &mut KeyFrameThrottle, demand: u64, from: u64, to: u64| {
            (from..to).filter(|&ms| throttle.poll(demand, TimeNs::from_ms(ms))).collect::<Vec<_>>()
        };
        assert_eq!(sent(&mut throttle, 0, 0, 100), []);
        assert_eq!(sent(&mut throttle, 3, 100, 1_200), [100, 600, 1_100]);
        assert_eq!(throttle.poll_timeout(), Some(TimeNs::from_ms(1_600)));
        throttle.handle_key_frame();
        assert_eq!(sent(&mut throttle, 3, 1_200, 3_000), []);
        assert_eq!(sent(&mut throttle, 4, 3_000, 3_400), [3_000]);
    }

    #[test]
    fn upper_layers_are_asked_once_a_second() {
        let mut throttle = KeyFrameThrottle::new(1);
        let sent: Vec<_> = (0..2_500).filter(|&ms| throttle.poll(1, TimeNs::from_ms(ms))).collect();
        assert_eq!(sent, [0, 1_000, 2_000]);
    }
}
