//! Which rows changed: a ring of row names with one writer and any number of readers.
//!
//! It is a hint. A reader that fell behind by more than the ring is told so and looks at every row instead, and a reader that
//! has looked at every row needs no log. Readers store the position they have adopted, so a writer can wait until all have
//! ("level before wire").
//!
//! ```text
//! +0   head: names written so far
//! +64  names: table << 56 | index, `capacity` words
//! ```

use crate::sync::{Ordering, fence};

use crate::map::Region;

/// Names in a log; a power of two.
pub const CAPACITY: u64 = if cfg!(feature = "loom") { 4 } else { 1 << 14 };
pub(crate) const BYTES: usize = 64 + 8 * CAPACITY as usize;

#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableId {
    Transport = 1,
    Ingress = 2,
    Egress = 3,
    Data = 4,
    Key = 5,
    Session = 6,
    TransportObserved = 7,
    IngressObserved = 8,
    EgressObserved = 9,
}

impl TableId {
    fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::Transport,
            2 => Self::Ingress,
            3 => Self::Egress,
            4 => Self::Data,
            5 => Self::Key,
            6 => Self::Session,
            7 => Self::TransportObserved,
            8 => Self::IngressObserved,
            9 => Self::EgressObserved,
            _ => return None,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub table: TableId,
    pub index: u32,
}

#[derive(Clone, Debug)]
pub struct ChangeLog {
    region: Region,
    offset: usize,
}

impl ChangeLog {
    pub(crate) fn new(region: &Region, offset: usize) -> Self {
        assert!(offset + BYTES <= region.bytes(), "log outside its region");
        Self { region: region.clone(), offset }
    }

    /// Names written so far: what a reader must have adopted to know every change until now.
    pub fn head(&self) -> u64 {
        self.region.word(self.offset).load(Ordering::Acquire)
    }

    /// Writer only. Call after the row was published.
    pub fn push(&self, table: TableId, index: u32) {
        assert!(self.region.is_writable(), "a reader cannot announce changes");
        let head = self.head();
        let name = (table as u64) << 56 | u64::from(index);
        // A reader that sees this name instead of the one it replaces must also see a head that tells it so.
        fence(Ordering::Release);
        self.word(head).store(name, Ordering::Relaxed);
        self.region.word(self.offset).store(head.wrapping_add(1), Ordering::Release);
    }

    /// Makes every reader look at every row. A new writer begins with it: its predecessor may have died after a publication and
    /// before the row's name.
    pub(crate) fn push_all(&self) {
        assert!(self.region.is_writable(), "a reader cannot announce changes");
        self.region.word(self.offset).store(self.head().wrapping_add(CAPACITY), Ordering::Release);
    }

    /// A reader that has adopted everything up to `position`. Take `head()` before the full look, then start here.
    pub fn reader(&self, position: u64) -> ChangeReader {
        ChangeReader { log: self.clone(), position }
    }

    fn word(&self, position: u64) -> &crate::sync::AtomicU64 {
        self.region.word(self.offset + 64 + 8 * (position % CAPACITY) as usize)
    }
}

/// What a reader learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changes {
    /// Nothing new.
    None,
    One(Change),
    /// Names were lost: look at every row. The reader now stands at the head as it was before that look.
    All,
}

#[derive(Clone, Debug)]
pub struct ChangeReader {
    log: ChangeLog,
    position: u64,
}

impl ChangeReader {
    /// Everything before this position has been returned.
    pub fn position(&self) -> u64 {
        self.position
    }

    pub fn is_behind(&self) -> bool {
        self.log.head() != self.position
    }

    /// The next change. Bounded: one name, or one answer of `All`.
    pub fn next_change(&mut self) -> Changes {
        let head = self.log.head();
        if head == self.position {
            return Changes::None;
        }
        if head.wrapping_sub(self.position) > CAPACITY / 2 {
            self.position = head;
            return Changes::All;
        }
        let name = self.log.word(self.position).load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        let overtaken = self.log.head().wrapping_sub(self.position) >= CAPACITY;
        match TableId::from_u8((name >> 56) as u8) {
            Some(table) if !overtaken => {
                self.position += 1;
                Changes::One(Change { table, index: name as u32 })
            }
            _ => {
                self.position = self.log.head();
                Changes::All
            }
        }
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_fell_behind_is_told_to_look_at_everything() {
        let log = ChangeLog::new(&Region::anonymous(BYTES), 0);
        let mut reader = log.reader(0);
        log.push(TableId::Egress, 7);
        assert_eq!(reader.next_change(), Changes::One(Change { table: TableId::Egress, index: 7 }));
        assert_eq!(reader.next_change(), Changes::None);
        for i in 0..CAPACITY as u32 {
            log.push(TableId::Ingress, i);
        }
        assert_eq!(reader.next_change(), Changes::All);
        assert_eq!(reader.position(), log.head());
        assert_eq!(reader.next_change(), Changes::None);
    }
}
