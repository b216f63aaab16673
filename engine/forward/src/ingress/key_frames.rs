//! When to ask a publisher for a key frame of one layer: demands of all subscribers together, throttled.

use engine_base::TimeNs;

/// Between two key frames that were asked for.
const INTERVAL_LOWEST_MS: u64 = 500;
const INTERVAL_MS: u64 = 1_000;
/// Until an unanswered PLI is repeated. libwebrtc ignores a request that comes within 300 ms of one for any layer.
const REPEAT_MS: u64 = 500;

/// Joins the demand words of a layer into PLIs: one at once, repeated until the key frame comes; the next one an interval later.
#[derive(Clone, Copy, Debug)]
pub struct KeyFrameThrottle {
    interval_ms: u64,
    /// Sum of the demand words that the last key frame answered.
    answered: u64,
    /// Sum as last seen.
    demanded: u64,
    /// Of the last PLI.
    asked: Option<TimeNs>,
    next: TimeNs,
}

impl KeyFrameThrottle {
    pub const fn new(layer: u8) -> Self {
        let interval_ms = if layer == 0 { INTERVAL_LOWEST_MS } else { INTERVAL_MS };
        Self { interval_ms, answered: 0, demanded: 0, asked: None, next: TimeNs::ZERO }
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
        self.asked = Some(now);
        self.next = now.add_ms(REPEAT_MS);
        true
    }

    /// A key frame of the layer began to arrive: it answers every demand seen so far.
    pub fn handle_key_frame(&mut self) {
        self.answered = self.demanded;
        if let Some(asked) = self.asked.take() {
            self.next = asked.add_ms(self.interval_ms);
        }
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
    fn upper_layers_are_asked_once_a_second_while_they_answer_and_twice_while_not() {
        let mut throttle = KeyFrameThrottle::new(1);
        let mut sent = Vec::new();
        for ms in 0..3_000 {
            if throttle.poll(1 + ms, TimeNs::from_ms(ms)) {
                sent.push(ms);
            }
            if sent.last().is_some_and(|last| last + 60 == ms && *last >= 500) {
                throttle.handle_key_frame();
            }
        }
        assert_eq!(sent, [0, 500, 1_500, 2_500]);
    }
}
