//! Rows in two copies: a writer killed at any instruction leaves a whole row, a reader never waits.
//!
//! ```text
//! table   +0 used: rows below this have been written; +64 the rows
//! row, stride = round_up(8 + 2 × size, 64)
//! +0  word: publication count << 1 | active copy     0 = never written
//! +8  copy 0 (size bytes)
//! +8+size  copy 1
//! ```
//! The writer fills the idle copy and then stores the word. A reader copies the active copy between two loads of the word; a
//! copy is torn only if a second publication began meanwhile, and then the word differs.

use crate::sync::{Ordering, fence};
use std::marker::PhantomData;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::map::Region;

/// What can be a row: plain bytes, a multiple of 8 of them. Every bit pattern is a value: readers check enums and lengths.
pub trait Row: FromBytes + IntoBytes + Immutable + Copy {
    /// Part of the layout hash.
    const NAME: &'static str;
}

/// In front of the rows.
const HEAD_BYTES: usize = 64;
/// Tries of a reader before it keeps its last snapshot.
const RETRIES: usize = if cfg!(feature = "loom") { 2 } else { 16 };

/// One table inside a region. The writer's process publishes, all others read.
#[derive(Clone, Debug)]
pub struct Table<R> {
    region: Region,
    offset: usize,
    rows: u32,
    row: PhantomData<fn() -> R>,
}

impl<R: Row> Table<R> {
    pub const STRIDE: usize = {
        assert!(size_of::<R>().is_multiple_of(8), "a row is a multiple of 8 bytes");
        (8 + 2 * size_of::<R>()).next_multiple_of(64)
    };

    /// Bytes of a table of `rows`.
    pub(crate) const fn bytes(rows: u32) -> usize {
        HEAD_BYTES + Self::STRIDE * rows as usize
    }

    pub(crate) fn new(region: &Region, offset: usize, rows: u32) -> Self {
        assert!(offset + Self::bytes(rows) <= region.bytes(), "table outside its region");
        Self { region: region.clone(), offset, rows, row: PhantomData }
    }

    /// Rows in the table.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Rows below this have been written: what a look at every row need not go beyond, so that it costs no pages of rows that
    /// were never used.
    pub fn used(&self) -> u32 {
        (self.region.word(self.offset).load(Ordering::Acquire) as u32).min(self.rows)
    }

    /// Publication word of a row: changes with every publication; 0 if it was never written. `None` when out of range.
    pub fn version(&self, index: u32) -> Option<u64> {
        (index < self.rows).then(|| self.region.word(self.row_offset(index)).load(Ordering::Acquire))
    }

    /// A whole copy of row `index` with its version; `None` when the index is out of range, the row was never written, or the
    /// writer published again in each of the bounded tries. **Cost**: no allocation, no syscall, one copy of the row.
    pub fn read(&self, index: u32) -> Option<(u64, R)> {
        if index >= self.rows {
            return None;
        }
        let word = self.region.word(self.row_offset(index));
        for _ in 0..RETRIES {
            let before = word.load(Ordering::Acquire);
            if before == 0 {
                return None;
            }
            let row = self.copy_out(self.copy_offset(index, before & 1));
            fence(Ordering::Acquire);
            if word.load(Ordering::Relaxed) == before {
                return Some((before, row));
            }
        }
        None
    }

    /// Publishes `row` (the region's one writer only: asserted by its mapping). Returns the new version.
    pub fn publish(&self, index: u32, row: &R) -> u64 {
        assert!(self.region.is_writable() && index < self.rows, "publish by a non-writer or outside the table");
        let word = self.region.word(self.row_offset(index));
        let old = word.load(Ordering::Relaxed);
        let idle = (old & 1) ^ 1;
        // Orders this publication's stores after the previous flip, so that a reader that sees one of them sees the flip.
        fence(Ordering::Release);
        let offset = self.copy_offset(index, idle);
        for (i, chunk) in row.as_bytes().chunks_exact(8).enumerate() {
            let value =
                u64::from_ne_bytes([chunk[0], chunk[1], chunk[2], chunk[3], chunk[4], chunk[5], chunk[6], chunk[7]]);
            self.region.word(offset + 8 * i).store(value, Ordering::Relaxed);
        }
        let new = ((old >> 1) + 1) << 1 | idle;
        let used = self.region.word(self.offset);
        if used.load(Ordering::Relaxed) <= u64::from(index) {
            used.store(u64::from(index) + 1, Ordering::Release);
        }
        word.store(new, Ordering::Release);
        new
    }

    /// The row as its own writer wrote it, zeroes if never.
    pub fn own(&self, index: u32) -> R {
        self.read(index).map_or_else(R::new_zeroed, |(_, row)| row)
    }

    fn row_offset(&self, index: u32) -> usize {
        self.offset + HEAD_BYTES + Self::STRIDE * index as usize
    }

    fn copy_offset(&self, index: u32, copy: u64) -> usize {
        self.row_offset(index) + 8 + copy as usize * size_of::<R>()
    }

    fn copy_out(&self, offset: usize) -> R {
        let mut row = R::new_zeroed();
        for (i, chunk) in row_bytes(&mut row).chunks_exact_mut(8).enumerate() {
            chunk.copy_from_slice(&self.region.word(offset + 8 * i).load(Ordering::Relaxed).to_ne_bytes());
        }
        row
    }
}

fn row_bytes<R: Row>(row: &mut R) -> &mut [u8] {
    // SAFETY: R is IntoBytes (no padding) and FromBytes (any bytes are a value), so its bytes may be read and written freely
    // for the lifetime of the exclusive borrow.
    unsafe { std::slice::from_raw_parts_mut(std::ptr::from_mut(row).cast::<u8>(), size_of::<R>()) }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
    struct Pair {
        numbers: [u64; 24],
    }
    impl Row for Pair {
        const NAME: &'static str = "pair";
    }

    #[test]
    fn readers_see_whole_rows_while_the_writer_publishes() {
        let region = Region::anonymous(Table::<Pair>::bytes(2));
        let table = Table::<Pair>::new(&region, 0, 2);
        assert!(table.read(1).is_none() && table.used() == 0);
        let writer = table.clone();
        let thread = std::thread::spawn(move || {
            for n in 1..200_000 {
                writer.publish(1, &Pair { numbers: [n; 24] });
            }
        });
        let mut seen = 0;
        while !thread.is_finished() {
            if let Some((_, row)) = table.read(1) {
                assert!(row.numbers.iter().all(|n| *n == row.numbers[0]), "torn: {:?}", row.numbers);
                assert!(row.numbers[0] >= seen);
                seen = row.numbers[0];
            }
        }
        thread.join().unwrap();
        assert_eq!(table.read(1).unwrap().1.numbers[0], 199_999);
        assert_eq!(table.used(), 2);
    }

    #[test]
    fn a_kill_between_copy_and_flip_leaves_the_old_row() {
        let region = Region::anonymous(Table::<Pair>::bytes(1));
        let table = Table::<Pair>::new(&region, 0, 1);
        table.publish(0, &Pair { numbers: [1; 24] });
        let idle = (table.version(0).unwrap() & 1) ^ 1;
        region.word(table.copy_offset(0, idle)).store(99, Ordering::Relaxed);
        assert_eq!(table.read(0).unwrap().1.numbers, [1; 24]);
        table.publish(0, &Pair { numbers: [2; 24] });
        assert_eq!(table.read(0).unwrap().1.numbers, [2; 24]);
    }
}
