//! The rate that a subscriber says it can receive (REMB). A holder, not an estimator.

use engine_base::TimeNs;

/// Age at which an estimate says nothing any more: libwebrtc repeats REMB every second, or sooner when it falls.
const STALE_AFTER_MS: u64 = 10_000;

/// The last REMB of one transport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiverEstimate {
    bits_per_second: u64,
    at: TimeNs,
}

impl ReceiverEstimate {
    pub const fn new() -> Self {
        Self { bits_per_second: 0, at: TimeNs::ZERO }
    }

    /// Takes a REMB's value in bit/s.
    pub fn handle_remb(&mut self, bits_per_second: u64, now: TimeNs) {
        *self = Self { bits_per_second, at: now };
    }

    /// bit/s, or `None` before the first report and once the last one is older than 10 s.
    pub fn bits_per_second(&self, now: TimeNs) -> Option<u64> {
        let fresh = now.since(self.at) <= STALE_AFTER_MS * 1_000_000;
        (self.bits_per_second != 0 && fresh).then_some(self.bits_per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_estimate_says_nothing() {
        let mut estimate = ReceiverEstimate::new();
        assert_eq!(estimate.bits_per_second(TimeNs::ZERO), None);
        estimate.handle_remb(300_000, TimeNs::from_ms(50));
        assert_eq!(estimate.bits_per_second(TimeNs::from_ms(10_050)), Some(300_000));
        assert_eq!(estimate.bits_per_second(TimeNs::from_ms(10_051)), None);
    }
}
