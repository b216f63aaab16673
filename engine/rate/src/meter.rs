//! A sliding sum over one second.

use engine_base::TimeNs;

const BUCKETS: usize = 8;
const BUCKET_NS: u64 = 125_000_000;

/// Sums amounts (bytes, frames, packets) over the last second in eight buckets of 125 ms.
///
/// **Cost**: 48 B; O(buckets that passed since the last call), at most 8.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meter {
    buckets: [u32; BUCKETS],
    sum: u64,
    /// Number of the newest bucket since the clock's origin.
    newest: u64,
}

impl Meter {
    pub const fn new() -> Self {
        Self { buckets: [0; BUCKETS], sum: 0, newest: 0 }
    }

    pub fn record(&mut self, amount: u32, now: TimeNs) {
        self.advance(now);
        let bucket = &mut self.buckets[self.newest as usize % BUCKETS];
        let before = *bucket;
        *bucket = bucket.saturating_add(amount);
        self.sum += u64::from(*bucket - before);
    }

    /// What was recorded in the second before `now`, to a bucket.
    pub fn per_second(&mut self, now: TimeNs) -> u64 {
        self.advance(now);
        self.sum
    }

    fn advance(&mut self, now: TimeNs) {
        let number = now.0 / BUCKET_NS;
        let steps = number.saturating_sub(self.newest);
        for step in 1..=steps.min(BUCKETS as u64) {
            let bucket = &mut self.buckets[(self.newest + step) as usize % BUCKETS];
            self.sum -= u64::from(std::mem::take(bucket));
        }
        self.newest = self.newest.max(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_is_measured_and_forgotten() {
        let mut meter = Meter::new();
        for i in 0..300 {
            meter.record(1_000, TimeNs::from_ms(i * 10));
        }
        let rate = meter.per_second(TimeNs::from_ms(2_999));
        assert!((87_000..=100_000).contains(&rate), "{rate}");
        assert_eq!(meter.per_second(TimeNs::from_ms(4_100)), 0);
        assert_eq!(meter.per_second(TimeNs::from_ms(900_000)), 0);
    }

    #[test]
    fn an_earlier_time_counts_in_the_newest_bucket() {
        let mut meter = Meter::new();
        meter.record(1, TimeNs::from_ms(500));
        meter.record(1, TimeNs::from_ms(100));
        assert_eq!(meter.per_second(TimeNs::from_ms(500)), 2);
    }
}
