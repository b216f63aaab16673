//! Numbers that a stream lacks, and when to ask for each (PROTOCOL §5.7).

use std::ops::Range;

use engine_base::{SequenceNumber, TimeNs};

/// More missing packets than this are better served by a key frame: the oldest are given up.
pub const MISSING_MAX: usize = 100;
const TRIES_MAX: u8 = 5;
const RTT_DEFAULT_US: u64 = 70_000;
const INTERVAL_US_MIN: u64 = 20_000;
const INTERVAL_US_MAX: u64 = 400_000;

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    sequence: u64,
    next: TimeNs,
    tries: u8,
}

/// Missing packets in ascending order. 2.4 KB.
#[derive(Clone, Debug)]
pub struct Missing {
    entries: [Entry; MISSING_MAX],
    len: usize,
    /// Not later than the earliest `next`; `MAX` when there is none.
    due: TimeNs,
}

impl Default for Missing {
    fn default() -> Self {
        Self::new()
    }
}

impl Missing {
    pub const fn new() -> Self {
        const NONE: Entry = Entry { sequence: 0, next: TimeNs::ZERO, tries: 0 };
        Self { entries: [NONE; MISSING_MAX], len: 0, due: TimeNs::MAX }
    }

    pub const fn len(&self) -> usize {
        self.len
    }

    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// `numbers` above all earlier ones did not come.
    pub fn open(&mut self, numbers: Range<u64>, now: TimeNs) {
        let start = numbers.start.max(numbers.end.saturating_sub(MISSING_MAX as u64));
        let count = numbers.end.saturating_sub(start) as usize;
        if count == 0 {
            return;
        }
        self.remove_first((self.len + count).saturating_sub(MISSING_MAX));
        for sequence in start..numbers.end {
            self.entries[self.len] = Entry { sequence, next: now, tries: 0 };
            self.len += 1;
        }
        self.due = now.min(self.due);
    }

    /// `number` came late.
    pub fn fill(&mut self, number: u64) {
        if let Ok(position) = self.entries[..self.len].binary_search_by_key(&number, |entry| entry.sequence) {
            self.entries.copy_within(position + 1..self.len, position);
            self.len -= 1;
        }
    }

    pub const fn clear(&mut self) {
        self.len = 0;
        self.due = TimeNs::MAX;
    }

    pub const fn poll_timeout(&self) -> Option<TimeNs> {
        if self.len == 0 { None } else { Some(self.due) }
    }

    /// Puts what is due into `out` and returns how many. A number asked for five times is given up.
    pub fn poll(&mut self, now: TimeNs, rtt_us: u32, out: &mut [SequenceNumber; MISSING_MAX]) -> usize {
        if now < self.due {
            return 0;
        }
        let (mut asked, mut kept) = (0, 0);
        self.due = TimeNs::MAX;
        for position in 0..self.len {
            let mut entry = self.entries[position];
            if entry.next <= now {
                if entry.tries == TRIES_MAX {
                    continue;
                }
                out[asked] = SequenceNumber(entry.sequence as u16);
                asked += 1;
                entry.next = now.add_ns(interval_us(rtt_us, entry.tries) * 1_000);
                entry.tries += 1;
            }
            self.due = self.due.min(entry.next);
            self.entries[kept] = entry;
            kept += 1;
        }
        self.len = kept;
        asked
    }

    fn remove_first(&mut self, count: usize) {
        let count = count.min(self.len);
        self.entries.copy_within(count..self.len, 0);
        self.len -= count;
    }
}

/// One round trip, a quarter longer with each try.
fn interval_us(rtt_us: u32, tries: u8) -> u64 {
    let mut interval = if rtt_us == 0 { RTT_DEFAULT_US } else { u64::from(rtt_us) };
    interval = interval.clamp(INTERVAL_US_MIN, INTERVAL_US_MAX);
    for _ in 0..tries {
        interval = (interval * 5 / 4).min(INTERVAL_US_MAX);
    }
    interval
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(missing: &mut Missing, ms: u64, rtt_us: u32) -> Vec<u16> {
        let mut out = [SequenceNumber(0); MISSING_MAX];
        let count = missing.poll(TimeNs::from_ms(ms), rtt_us, &mut out);
        out[..count].iter().map(|sequence| sequence.0).collect()
    }

    #[test]
    fn a_number_is_asked_for_five_times_at_growing_intervals() {
        let mut missing = Missing::new();
        missing.open(0x1_ffff..0x2_0001, TimeNs::from_ms(1_000));
        let mut asked = Vec::new();
        for ms in 1_000..3_000 {
            if !poll(&mut missing, ms, 100_000).is_empty() {
                asked.push(ms);
            }
        }
        // 100, 125, 156.25, 195.3 ms.
        assert_eq!(asked, [1_000, 1_100, 1_225, 1_382, 1_578]);
        assert!(missing.is_empty() && missing.poll_timeout().is_none());
    }

    #[test]
    fn what_came_late_is_not_asked_for_again() {
        let mut missing = Missing::new();
        missing.open(5..9, TimeNs::ZERO);
        missing.fill(6);
        missing.fill(100);
        assert_eq!(poll(&mut missing, 0, 0), [5, 7, 8]);
        assert_eq!(missing.poll_timeout(), Some(TimeNs::from_ms(70)));
        for number in [5, 7, 8] {
            missing.fill(number);
        }
        assert_eq!(poll(&mut missing, 70, 0), []);
    }

    #[test]
    fn the_oldest_are_given_up_beyond_a_hundred() {
        let mut missing = Missing::new();
        missing.open(0..60, TimeNs::ZERO);
        missing.open(100..160, TimeNs::ZERO);
        assert_eq!(missing.len(), MISSING_MAX);
        assert_eq!(poll(&mut missing, 0, 0)[..2], [20, 21]);
        missing.open(1_000..40_000, TimeNs::from_ms(1));
        let asked = poll(&mut missing, 1, 0);
        assert_eq!((asked.len(), asked[0]), (MISSING_MAX, 39_900));
    }

    #[test]
    fn intervals_stay_within_their_bounds() {
        assert_eq!(interval_us(1, 0), INTERVAL_US_MIN);
        assert_eq!(interval_us(3_000_000, 4), INTERVAL_US_MAX);
    }
}
