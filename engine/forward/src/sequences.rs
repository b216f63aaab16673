//! Source sequence numbers → own ones: gaps of lost packets stay, gaps of packets dropped on purpose are closed.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Source packets behind the newest that still have a place: 0.5 s of a 5 Mbit/s layer in 1,200 B packets.
pub(crate) const WINDOW: u64 = 256;

/// One run of a source stream on an egress. `own = source − offset` at the newest packet; an older packet had a smaller offset, by
/// the packets dropped since.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub(crate) struct SequenceMap {
    offset: u64,
    /// Newest source number that was forwarded or dropped.
    highest: u64,
    /// Where the run began: older packets belong to something else.
    floor: u64,
    /// Bit `source % 256`: dropped on purpose. Meaningful for `highest − 256 < source ≤ highest`.
    dropped: [u64; WINDOW as usize / 64],
}

/// Where a source number falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The newest so far.
    Newest,
    /// Late, and its own number was left free for it.
    Late,
    /// Before the run began.
    BeforeRun,
    /// Too late, or its number was closed.
    Gone,
}

impl SequenceMap {
    /// A map whose first run will begin at `own`.
    pub(crate) const fn beginning_at(own: u64) -> Self {
        Self { offset: 1u64.wrapping_sub(own), highest: 0, floor: 0, dropped: [0; 4] }
    }

    /// Newest source number that was forwarded or dropped.
    pub(crate) const fn newest(&self) -> u64 {
        self.highest
    }

    /// Own number of the next new packet.
    pub(crate) const fn next_own(&self) -> u64 {
        self.highest.wrapping_sub(self.offset).wrapping_add(1)
    }

    /// Begins a run in which `source` becomes `own`.
    pub(crate) fn begin(&mut self, source: u64, own: u64) {
        let highest = source.saturating_sub(1);
        *self = Self { offset: source.wrapping_sub(own), highest, floor: source, dropped: [0; 4] };
    }

    /// Numbers that SRTP can count (48 bits): what another process wrote is checked before it is believed.
    pub(crate) const fn is_sane(&self) -> bool {
        self.highest < 1 << 48 && self.next_own() < 1 << 48
    }

    /// What was last forwarded became `own`, and nothing was dropped on purpose meanwhile: goes on behind it. Nothing older comes
    /// late any more: should a drop have been missed after all, no number is given twice.
    pub(crate) const fn advance_to_own(&mut self, own: u64) {
        self.highest = own.wrapping_add(self.offset);
        self.floor = self.highest.wrapping_add(1);
    }

    /// Changes when a packet is dropped on purpose and when a run begins.
    pub(crate) const fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn place(&self, source: u64) -> Place {
        if source > self.highest {
            Place::Newest
        } else if source < self.floor {
            Place::BeforeRun
        } else if source + WINDOW <= self.highest || self.is_dropped(source) {
            Place::Gone
        } else {
            Place::Late
        }
    }

    /// The own number of a packet that is forwarded. `place` must have said `Newest` or `Late`.
    pub(crate) fn forward(&mut self, source: u64) -> u64 {
        if source > self.highest {
            self.advance(source);
        }
        source.wrapping_sub(self.offset).wrapping_add(self.dropped_after(source))
    }

    /// Closes the gap of a packet that is dropped on purpose; its `place` must be `Newest`.
    pub(crate) fn close(&mut self, source: u64) {
        self.advance(source);
        self.dropped[(source % WINDOW / 64) as usize] |= 1 << (source % 64);
        self.offset = self.offset.wrapping_add(1);
    }

    fn advance(&mut self, source: u64) {
        for passed in self.highest.max(source.saturating_sub(WINDOW)) + 1..=source {
            self.dropped[(passed % WINDOW / 64) as usize] &= !(1 << (passed % 64));
        }
        self.highest = source;
    }

    fn is_dropped(&self, source: u64) -> bool {
        self.dropped[(source % WINDOW / 64) as usize] >> (source % 64) & 1 != 0
    }

    /// Dropped packets newer than `source`, which lies in the window.
    fn dropped_after(&self, source: u64) -> u64 {
        if self.dropped == [0; 4] {
            return 0;
        }
        (source + 1..=self.highest).filter(|&later| self.is_dropped(later)).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_packets_keep_their_gap_and_dropped_ones_do_not() {
        let mut map = SequenceMap::beginning_at(500);
        map.begin(1_000, map.next_own());
        assert_eq!(map.forward(1_000), 500);
        map.close(1_001);
        assert_eq!(map.forward(1_002), 501);
        assert_eq!(map.forward(1_004), 503);
        map.close(1_005);
        assert_eq!(map.next_own(), 504);
        assert_eq!((map.place(1_003), map.forward(1_003)), (Place::Late, 502));
        assert_eq!(map.place(1_001), Place::Gone);
        assert_eq!(map.place(999), Place::BeforeRun);
        assert_eq!(map.forward(1_006), 504);
    }

    #[test]
    fn what_left_the_window_is_gone_and_its_drops_are_forgotten() {
        let mut map = SequenceMap::beginning_at(1);
        map.begin(1_000, 1);
        map.close(1_000);
        map.close(1_001);
        let own = map.forward(1_001 + WINDOW);
        assert_eq!(own, WINDOW);
        assert_eq!(map.place(1_001), Place::Gone);
        assert_eq!((map.place(1_002), map.forward(1_002)), (Place::Late, 1));
        assert_eq!(map.forward(1_000 + 9 * WINDOW), 9 * WINDOW - 1);
    }
}
