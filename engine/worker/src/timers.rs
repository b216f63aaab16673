//! One deadline per transport in a wheel of 1 ms slots: O(1) to move, bounded work per turn, no allocation after construction.
//!
//! A deadline beyond the wheel lies in its last slot and is looked at again there.

use engine_base::TimeNs;

const SLOTS: usize = 4_096;
const TICK_NS: u64 = 1_000_000;
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Link {
    previous: u32,
    next: u32,
    /// Slot that holds the entry, [`NONE`] if none does.
    slot: u32,
}

/// Deadlines by index.
#[derive(Debug)]
pub struct Timers {
    heads: Box<[u32; SLOTS]>,
    occupied: [u64; SLOTS / 64],
    links: Box<[Link]>,
    /// The tick that is being served: every entry is due at it or later.
    tick: u64,
}

impl Timers {
    /// **Input**: `count` indices that can have a deadline.
    pub fn new(count: u32, now: TimeNs) -> Self {
        let unlinked = Link { previous: NONE, next: NONE, slot: NONE };
        Self {
            heads: Box::new([NONE; SLOTS]),
            occupied: [0; SLOTS / 64],
            links: vec![unlinked; count as usize].into_boxed_slice(),
            tick: now.0 / TICK_NS,
        }
    }

    /// Replaces the deadline of `index`.
    pub fn set(&mut self, index: u32, due: TimeNs) {
        let tick = due.0.div_ceil(TICK_NS).clamp(self.tick, self.tick + SLOTS as u64 - 1);
        let slot = (tick % SLOTS as u64) as u32;
        match self.links.get(index as usize) {
            Some(link) if link.slot != slot => {}
            _ => return,
        }
        self.cancel(index);
        let head = self.heads[slot as usize];
        self.links[index as usize] = Link { previous: NONE, next: head, slot };
        if head != NONE {
            self.links[head as usize].previous = index;
        }
        self.heads[slot as usize] = index;
        self.occupied[slot as usize / 64] |= 1 << (slot % 64);
    }

    pub fn cancel(&mut self, index: u32) {
        let Some(&Link { previous, next, slot }) = self.links.get(index as usize) else { return };
        if slot == NONE {
            return;
        }
        match previous {
            NONE => self.heads[slot as usize] = next,
            _ => self.links[previous as usize].next = next,
        }
        if next != NONE {
            self.links[next as usize].previous = previous;
        }
        if self.heads[slot as usize] == NONE {
            self.occupied[slot as usize / 64] &= !(1 << (slot % 64));
        }
        self.links[index as usize].slot = NONE;
    }

    /// Takes an index whose deadline has passed, the earliest slot first; call until `None` or until the turn's bound.
    pub fn pop(&mut self, now: TimeNs) -> Option<u32> {
        let last = now.0 / TICK_NS;
        if let Some(tick) = self.next_tick()
            && tick <= last
        {
            self.tick = tick;
            let index = self.heads[(tick % SLOTS as u64) as usize];
            self.cancel(index);
            return Some(index);
        }
        self.tick = self.tick.max(last);
        None
    }

    /// Earliest deadline, to a tick.
    pub fn next(&self) -> Option<TimeNs> {
        self.next_tick().map(|tick| TimeNs(tick * TICK_NS))
    }

    /// The first tick at or after `self.tick` with entries: 65 words at most.
    fn next_tick(&self) -> Option<u64> {
        let start = (self.tick % SLOTS as u64) as usize;
        for step in 0..=SLOTS / 64 {
            let word = (start / 64 + step) % (SLOTS / 64);
            let mut bits = self.occupied[word];
            if step == 0 {
                bits &= !0 << (start % 64);
            } else if step == SLOTS / 64 {
                bits &= !(!0 << (start % 64));
            }
            if bits != 0 {
                let slot = word * 64 + bits.trailing_zeros() as usize;
                let ahead = (slot + SLOTS - start) % SLOTS;
                return Some(self.tick + ahead as u64);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_deadline_can_be_moved_both_ways_and_cancelled() {
        let mut timers = Timers::new(3, TimeNs::ZERO);
        timers.set(0, TimeNs::from_ms(50));
        timers.set(1, TimeNs::from_ms(20));
        timers.set(2, TimeNs::from_ms(30));
        timers.set(0, TimeNs::from_ms(10));
        timers.cancel(1);
        assert_eq!(timers.next(), Some(TimeNs::from_ms(10)));
        assert_eq!(timers.pop(TimeNs::from_ms(9)), None);
        assert_eq!(timers.pop(TimeNs::from_ms(40)), Some(0));
        assert_eq!(timers.pop(TimeNs::from_ms(40)), Some(2));
        assert_eq!(timers.pop(TimeNs::from_ms(40)), None);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_far_deadline_comes_back_at_the_end_of_the_wheel() {
        let mut timers = Timers::new(1, TimeNs::ZERO);
        timers.set(0, TimeNs::from_ms(60_000));
        assert_eq!(timers.pop(TimeNs::from_ms(4_094)), None);
        assert_eq!(timers.pop(TimeNs::from_ms(4_200)), Some(0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn entries_come_out_when_they_are_due(steps in prop::collection::vec((0u32..40, 0u64..3_000, 0u64..40), 1..200)) {
            let mut timers = Timers::new(40, TimeNs::ZERO);
            let (mut model, mut now) = ([None::<u64>; 40], 0u64);
            for (index, delay, pause) in steps {
                timers.set(index, TimeNs::from_ms(now + delay));
                model[index as usize] = Some(now + delay);
                now += pause;
                while let Some(popped) = timers.pop(TimeNs::from_ms(now)) {
                    let due = model[popped as usize].take();
                    prop_assert!(due.is_some_and(|due| due <= now));
                }
                prop_assert!(model.iter().flatten().all(|due| *due > now));
                prop_assert_eq!(timers.next().map(|t| t.0 / TICK_NS), model.iter().flatten().min().copied());
            }
        }
    }
}
