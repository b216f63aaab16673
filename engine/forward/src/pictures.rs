//! VP8 picture ids of the source → the subscriber's: continuous over layer switches and over pictures that are dropped.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Pictures behind the newest that still have a place: 2 s at 30 frames/s.
const WINDOW: u32 = 64;

/// Source ids are extended to 32 bits; `own = source − offset`, of which 15 bits are sent.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub(crate) struct PictureMap {
    /// Bit 0: the newest picture was dropped; bit n: the one n before it.
    dropped: u64,
    highest: u32,
    offset: u32,
    /// Newest values sent.
    pub(crate) tl0_picture_index: u8,
    pub(crate) key_index: u8,
    reserved: [u8; 6],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Picture {
    New,
    /// Seen before, or missing so far.
    Known,
    Dropped,
    TooOld,
}

impl PictureMap {
    /// Begins a run with the key frame `id`. The first run of an egress keeps the source's ids.
    pub(crate) fn begin(&mut self, id: u16, first: bool) {
        let own = self.highest.wrapping_sub(self.offset).wrapping_add(1);
        // A base that leaves room below for late pictures.
        let source = 0x1_0000 | u32::from(id);
        self.offset = if first { 0 } else { source.wrapping_sub(own) };
        self.highest = source - 1;
        self.dropped = 0;
    }

    /// The extended number of `id`, which has 15 or 7 bits.
    pub(crate) fn extend(&self, id: u16, long: bool) -> u32 {
        let unused_bits = if long { 17 } else { 25 };
        let distance = (u32::from(id).wrapping_sub(self.highest) << unused_bits).cast_signed() >> unused_bits;
        self.highest.wrapping_add_signed(distance)
    }

    pub(crate) fn place(&self, picture: u32) -> Picture {
        let behind = self.highest.wrapping_sub(picture).cast_signed();
        match behind {
            ..0 => Picture::New,
            0..64 if self.dropped >> behind & 1 != 0 => Picture::Dropped,
            0..64 => Picture::Known,
            _ => Picture::TooOld,
        }
    }

    /// The id that a forwarded picture has at the subscriber. `place` must have said `New` or `Known`.
    pub(crate) fn forward(&mut self, picture: u32) -> u16 {
        if self.place(picture) == Picture::New {
            self.advance(picture);
        }
        let behind = self.highest.wrapping_sub(picture).min(WINDOW - 1);
        let dropped_after = (self.dropped & ((1 << behind) - 1)).count_ones();
        (picture.wrapping_sub(self.offset).wrapping_add(dropped_after) & 0x7fff) as u16
    }

    /// Closes the gap of a new picture that is dropped.
    pub(crate) fn close(&mut self, picture: u32) {
        self.advance(picture);
        self.dropped |= 1;
        self.offset = self.offset.wrapping_add(1);
    }

    fn advance(&mut self, picture: u32) {
        self.dropped = self.dropped.checked_shl(picture.wrapping_sub(self.highest)).unwrap_or(0);
        self.highest = picture;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_pictures_lower_the_ids_that_follow_and_lost_ones_do_not() {
        let mut map = PictureMap::default();
        map.begin(0x7ffe, true);
        let own = |map: &mut PictureMap, id: u16| {
            let picture = map.extend(id, true);
            map.forward(picture)
        };
        assert_eq!(own(&mut map, 0x7ffe), 0x7ffe);
        let dropped = map.extend(0x7fff, true);
        assert_eq!(map.place(dropped), Picture::New);
        map.close(dropped);
        assert_eq!(map.place(dropped), Picture::Dropped);
        assert_eq!(own(&mut map, 0), 0x7fff);
        assert_eq!(own(&mut map, 2), 1);
        assert_eq!(own(&mut map, 1), 0);
        assert_eq!(own(&mut map, 0x7ffe), 0x7ffe);
    }

    #[test]
    fn a_new_run_continues_the_ids_at_whatever_width() {
        let mut map = PictureMap::default();
        map.begin(10, true);
        let first = map.extend(10, true);
        assert_eq!(map.forward(first), 10);
        map.begin(126, false);
        for (id, own) in [(126, 11), (127, 12), (0, 13), (127, 12)] {
            let picture = map.extend(id, false);
            assert_eq!(map.forward(picture), own);
        }
    }

    #[test]
    fn pictures_older_than_the_window_are_refused() {
        let mut map = PictureMap::default();
        map.begin(100, true);
        let new = map.extend(100 + 64, true);
        map.forward(new);
        assert_eq!(map.place(map.extend(100, true)), Picture::TooOld);
        assert_eq!(map.place(map.extend(101, true)), Picture::Known);
    }
}
