//! When the packets of a frame leave: all at once, or as libwebrtc's pacer lets them: every 5 ms as many as 2.5 times the bitrate
//! allows, the last of which may overdraw.

use std::collections::VecDeque;

use engine_base::TimeNs;

use crate::scenario::Pacing;

const TICK_NS: u64 = 5_000_000;
/// Of the bitrate, percent (libwebrtc's `kDefaultPaceMultiplier`).
const RATE_PERCENT: u64 = 250;

/// A queue of packets of type `T` with their sizes.
#[derive(Clone, Debug)]
pub struct Pacer<T> {
    pacing: Pacing,
    bytes_per_tick: i64,
    queue: VecDeque<(usize, T)>,
    budget: i64,
    tick_at: TimeNs,
}

impl<T> Pacer<T> {
    pub fn new(pacing: Pacing, bits_per_second: u64) -> Self {
        let per_tick = bits_per_second / 8 * RATE_PERCENT / 100 / (1_000_000_000 / TICK_NS);
        let bytes_per_tick = i64::try_from(per_tick).unwrap_or(i64::MAX).max(1);
        Self { pacing, bytes_per_tick, queue: VecDeque::new(), budget: 0, tick_at: TimeNs::ZERO }
    }

    pub fn push(&mut self, bytes: usize, packet: T) {
        self.queue.push_back((bytes, packet));
    }

    pub fn clear(&mut self) {
        self.queue.clear();
    }

    /// The next packet that may leave now.
    pub fn poll(&mut self, now: TimeNs) -> Option<T> {
        if self.queue.is_empty() {
            return None;
        }
        if self.pacing == Pacing::Chrome {
            if self.tick_at <= now {
                let ticks = 1 + now.since(self.tick_at) / TICK_NS;
                let earned = self.bytes_per_tick.saturating_mul(i64::try_from(ticks).unwrap_or(i64::MAX));
                self.budget = self.budget.saturating_add(earned).min(self.bytes_per_tick);
                self.tick_at = now.add_ns(TICK_NS);
            }
            if self.budget <= 0 {
                return None;
            }
        }
        let (bytes, packet) = self.queue.pop_front()?;
        self.budget = self.budget.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
        Some(packet)
    }

    pub fn poll_timeout(&self) -> Option<TimeNs> {
        (!self.queue.is_empty()).then_some(self.tick_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trains(pacing: Pacing, packets: usize) -> Vec<(u64, usize)> {
        let mut pacer = Pacer::new(pacing, 2_500_000);
        let mut now = TimeNs::from_ms(1_000);
        (0..packets).for_each(|n| pacer.push(1_169, n));
        let mut trains = Vec::new();
        loop {
            let count = std::iter::from_fn(|| pacer.poll(now)).count();
            trains.push(((now.0 - 1_000_000_000) / 1_000_000, count));
            match pacer.poll_timeout() {
                Some(at) => now = at,
                None => return trains,
            }
        }
    }

    #[test]
    fn chrome_sends_a_frame_of_nine_in_three_ticks() {
        assert_eq!(trains(Pacing::Chrome, 9), [(0, 4), (5, 3), (10, 2)]);
    }

    #[test]
    fn a_burst_is_one_train() {
        assert_eq!(trains(Pacing::Burst, 9), [(0, 9)]);
    }

    #[test]
    fn an_idle_pacer_saves_no_more_than_a_tick() {
        let mut pacer = Pacer::new(Pacing::Chrome, 2_500_000);
        (0..100).for_each(|n| pacer.push(1_169, n));
        let first = std::iter::from_fn(|| pacer.poll(TimeNs::from_ms(60_000))).count();
        assert_eq!(first, 4);
    }
}
