//! The session journal: what a restarted signaling process must know, as an append-only log of keyed records in two halves.
//!
//! ```text
//! +64  word: compaction count << 1 | active half
//! +128 tail of half 0    +192 tail of half 1
//! +256 half 0            +256+half half 1
//! record: key bytes u32 | value bytes u32 | crc32 u32 | flags u32 (1 = removed) | key | value, padded to 8
//! ```
//! The latest record of a key counts. A record is visible once the tail, stored after its bytes, includes it: a kill at any
//! instruction leaves whole records. When a half is full, or mostly dead, the living records are copied to the other, which then
//! becomes active; the pages of the former are given back.

use crate::sync::Ordering;
use std::collections::BTreeMap;

use crate::map::{MapError, Region};

const RECORD_HEADER: usize = 16;
const REMOVED: u32 = 1;
const ACTIVE_WORD: usize = 64;
const DATA_OFFSET: usize = 256;
const KIND: u64 = 7;
/// Dead records are memory: at most as many bytes as live ones, beyond this.
const DEAD_BYTES_MIN: usize = 1 << 20;

#[derive(Debug, PartialEq, Eq)]
pub enum JournalError {
    /// The living records do not fit: raise `millrace.limits.journal_bytes`.
    Full { needed: usize, half: usize },
}

impl std::fmt::Display for JournalError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::Full { needed, half } = self;
        write!(
            f,
            "the session journal is full ({needed} bytes needed, {half} there); raise millrace.limits.journal_bytes"
        )
    }
}

impl std::error::Error for JournalError {}

/// The writer's end. Keeps where each key's latest record lies.
#[derive(Debug)]
pub struct Journal {
    region: Region,
    half: usize,
    index: BTreeMap<Vec<u8>, (usize, usize)>,
    living: usize,
    /// Records that could not be read at adoption.
    pub damaged: u64,
}

impl Journal {
    pub fn region_bytes(half: usize) -> usize {
        DATA_OFFSET + 2 * half.next_multiple_of(4096)
    }

    /// Adopts what a predecessor left in the memfd, or begins.
    pub fn open(fd: impl std::os::fd::AsFd, half: usize) -> Result<Self, MapError> {
        let half = half.next_multiple_of(4096);
        Ok(Self::adopt(Region::map(fd, Self::region_bytes(half), KIND, half as u64, true)?, half))
    }

    /// For tests: a journal in memory that clones share.
    pub fn adopt(region: Region, half: usize) -> Self {
        let mut journal = Self { region, half, index: BTreeMap::new(), living: 0, damaged: 0 };
        journal.replay();
        if journal.damaged > 0 {
            // A record of broken length hides whatever comes after it, what this process appends included.
            journal.compact();
        }
        journal
    }

    /// The latest value of every living key.
    pub fn records(&self) -> impl Iterator<Item = (&[u8], Vec<u8>)> {
        self.index.iter().map(|(key, (offset, bytes))| (key.as_slice(), self.read_bytes(*offset, *bytes)))
    }

    pub fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.index.get(key).map(|(offset, bytes)| self.read_bytes(*offset, *bytes))
    }

    /// Bytes of living records, and of a half.
    pub fn usage(&self) -> (usize, usize) {
        (self.living, self.half)
    }

    /// Makes `value` the latest of `key`. **Cost**: one copy of the value; now and then a compaction.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), JournalError> {
        let offset = self.append(key, value, 0)?;
        self.note(key, offset, value.len());
        Ok(())
    }

    /// Never fails: where the note of the removal does not fit, what lives is copied without the key.
    pub fn remove(&mut self, key: &[u8]) {
        if !self.index.contains_key(key) {
            return;
        }
        self.forget(key);
        match self.has_room(record_bytes(key.len(), 0)) {
            true => drop(self.append(key, &[], REMOVED)),
            false => self.compact(),
        }
    }

    fn has_room(&self, size: usize) -> bool {
        self.tail() + size <= self.half
    }

    fn append(&mut self, key: &[u8], value: &[u8], flags: u32) -> Result<usize, JournalError> {
        let size = record_bytes(key.len(), value.len());
        if !self.has_room(size) {
            if self.living + size > self.half {
                return Err(JournalError::Full { needed: self.living + size, half: self.half });
            }
            self.compact();
        } else if self.tail() + size > 2 * self.living + DEAD_BYTES_MIN {
            self.compact();
        }
        let tail = self.tail();
        self.write_record(self.active(), tail, key, value, flags);
        self.tail_word(self.active()).store((tail + size) as u64, Ordering::Release);
        Ok(self.half_offset(self.active()) + tail + RECORD_HEADER + key.len())
    }

    /// Copies what lives to the other half and makes it the active one.
    fn compact(&mut self) {
        let former = self.active();
        let target = former ^ 1;
        let mut tail = 0;
        let mut moved = BTreeMap::new();
        for (key, (offset, bytes)) in &self.index {
            let value = self.read_bytes(*offset, *bytes);
            self.write_record(target, tail, key, &value, 0);
            moved.insert(key.clone(), (self.half_offset(target) + tail + RECORD_HEADER + key.len(), *bytes));
            tail += record_bytes(key.len(), *bytes);
        }
        self.tail_word(target).store(tail as u64, Ordering::Release);
        let word = self.region.word(ACTIVE_WORD);
        let count = word.load(Ordering::Relaxed) >> 1;
        word.store((count + 1) << 1 | target as u64, Ordering::Release);
        self.index = moved;
        self.region.release(self.half_offset(former), self.half);
    }

    fn replay(&mut self) {
        let (start, tail) = (self.half_offset(self.active()), self.tail());
        let mut at = 0;
        while at + RECORD_HEADER <= tail {
            let head = self.read_bytes(start + at, RECORD_HEADER);
            let number =
                |i: usize| u32::from_le_bytes([head[4 * i], head[4 * i + 1], head[4 * i + 2], head[4 * i + 3]]);
            let (key_bytes, value_bytes) = (number(0) as usize, number(1) as usize);
            let size = record_bytes(key_bytes, value_bytes);
            if at + size > tail {
                self.damaged += 1;
                return;
            }
            let key = self.read_bytes(start + at + RECORD_HEADER, key_bytes);
            let value_offset = start + at + RECORD_HEADER + key_bytes;
            if checksum(&key, &self.read_bytes(value_offset, value_bytes), number(3)) != number(2) {
                self.damaged += 1;
            } else if number(3) & REMOVED != 0 {
                self.forget(&key);
            } else {
                self.note(&key, value_offset, value_bytes);
            }
            at += size;
        }
    }

    fn note(&mut self, key: &[u8], offset: usize, bytes: usize) {
        self.forget(key);
        self.index.insert(key.to_vec(), (offset, bytes));
        self.living += record_bytes(key.len(), bytes);
    }

    fn forget(&mut self, key: &[u8]) {
        if let Some((_, bytes)) = self.index.remove(key) {
            self.living -= record_bytes(key.len(), bytes);
        }
    }

    fn write_record(&self, half: usize, tail: usize, key: &[u8], value: &[u8], flags: u32) {
        let head = [key.len() as u32, value.len() as u32, checksum(key, value, flags), flags];
        let mut bytes = Vec::with_capacity(record_bytes(key.len(), value.len()));
        head.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value);
        bytes.resize(record_bytes(key.len(), value.len()), 0);
        let offset = self.half_offset(half) + tail;
        for (i, chunk) in bytes.chunks_exact(8).enumerate() {
            let word =
                u64::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3], chunk[4], chunk[5], chunk[6], chunk[7]]);
            self.region.word(offset + 8 * i).store(word, Ordering::Relaxed);
        }
    }

    fn read_bytes(&self, offset: usize, bytes: usize) -> Vec<u8> {
        let first = offset & !7;
        let mut out = Vec::with_capacity(bytes + 16);
        let mut at = first;
        while at < offset + bytes {
            out.extend_from_slice(&self.region.word(at).load(Ordering::Relaxed).to_le_bytes());
            at += 8;
        }
        out.drain(..offset - first);
        out.truncate(bytes);
        out
    }

    fn active(&self) -> usize {
        (self.region.word(ACTIVE_WORD).load(Ordering::Acquire) & 1) as usize
    }

    fn tail_word(&self, half: usize) -> &crate::sync::AtomicU64 {
        self.region.word(128 + 64 * half)
    }

    fn tail(&self) -> usize {
        (self.tail_word(self.active()).load(Ordering::Acquire) as usize).min(self.half) & !7
    }

    fn half_offset(&self, half: usize) -> usize {
        DATA_OFFSET + half * self.half
    }
}

fn record_bytes(key: usize, value: usize) -> usize {
    (RECORD_HEADER + key + value).next_multiple_of(8)
}

fn checksum(key: &[u8], value: &[u8], flags: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(value);
    hasher.update(&flags.to_le_bytes());
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::PAGE_BYTES_MAX;

    const HALF: usize = 4096;

    fn region() -> Region {
        Region::anonymous(Journal::region_bytes(HALF))
    }

    #[test]
    fn dead_records_are_given_back_before_a_half_is_full() {
        const LARGE: usize = 8 << 20;
        let region = Region::anonymous(Journal::region_bytes(LARGE));
        let mut journal = Journal::adopt(region.clone(), LARGE);
        journal.put(b"kept", &[7; 5_000]).unwrap();
        for n in 0..5_000_u32 {
            journal.put(b"rewritten", &vec![n as u8; 1_000]).unwrap();
            assert!(journal.tail() <= DEAD_BYTES_MIN + 4 * journal.living, "after {n}");
        }
        let former = journal.half_offset(journal.active() ^ 1);
        let page = former.next_multiple_of(PAGE_BYTES_MAX);
        assert_eq!(region.word(page).load(Ordering::Relaxed), 0);
        let successor = Journal::adopt(region, LARGE);
        assert_eq!(successor.get(b"kept"), Some(vec![7; 5_000]));
        assert_eq!(successor.get(b"rewritten"), Some(vec![4_999_u32 as u8; 1_000]));
    }

    #[test]
    fn a_successor_finds_the_latest_of_every_living_key() {
        let region = region();
        let mut journal = Journal::adopt(region.clone(), HALF);
        for n in 0..500u32 {
            journal.put(b"counter", &n.to_le_bytes()).unwrap();
            journal.put(format!("key {}", n % 7).as_bytes(), &vec![n as u8; (n % 100) as usize]).unwrap();
        }
        journal.remove(b"key 3");
        let successor = Journal::adopt(region, HALF);
        assert_eq!(successor.get(b"counter"), Some(499u32.to_le_bytes().to_vec()));
        assert_eq!(successor.get(b"key 3"), None);
        assert_eq!(successor.records().count(), 7);
        assert_eq!(successor.usage(), journal.usage());
        assert_eq!(successor.damaged, 0);
    }

    #[test]
    fn a_record_without_its_tail_does_not_exist() {
        let region = region();
        let mut journal = Journal::adopt(region.clone(), HALF);
        journal.put(b"a", b"1").unwrap();
        journal.write_record(0, journal.tail(), b"a", b"2", 0);
        assert_eq!(Journal::adopt(region, HALF).get(b"a"), Some(b"1".to_vec()));
    }

    #[test]
    fn a_damaged_record_is_counted_and_the_others_live() {
        let region = region();
        let mut journal = Journal::adopt(region.clone(), HALF);
        journal.put(b"a", b"first").unwrap();
        journal.put(b"b", b"second").unwrap();
        let word = region.word(DATA_OFFSET + RECORD_HEADER);
        word.store(word.load(Ordering::Relaxed) ^ 0xff00, Ordering::Relaxed);
        let successor = Journal::adopt(region, HALF);
        assert_eq!((successor.damaged, successor.get(b"b")), (1, Some(b"second".to_vec())));
    }

    #[test]
    fn what_is_written_behind_damage_is_found_again() {
        let region = region();
        let mut journal = Journal::adopt(region.clone(), HALF);
        journal.put(b"a", b"first").unwrap();
        journal.put(b"b", b"second").unwrap();
        // The length of the first record: nothing behind it can be found.
        region.word(DATA_OFFSET).store(u64::MAX, Ordering::Relaxed);
        let mut successor = Journal::adopt(region.clone(), HALF);
        assert_eq!((successor.damaged, successor.records().count()), (1, 0));
        successor.put(b"c", b"third").unwrap();
        let next = Journal::adopt(region, HALF);
        assert_eq!((next.damaged, next.get(b"c")), (0, Some(b"third".to_vec())));
    }

    #[test]
    fn any_tail_is_adopted_without_a_panic() {
        for tail in [1, 7, HALF as u64 - 3, HALF as u64 + 1, u64::MAX] {
            let region = region();
            Journal::adopt(region.clone(), HALF).put(b"a", b"first").unwrap();
            region.word(128).store(tail, Ordering::Relaxed);
            let mut journal = Journal::adopt(region.clone(), HALF);
            journal.put(b"b", b"second").unwrap();
            assert_eq!(Journal::adopt(region, HALF).get(b"b"), Some(b"second".to_vec()), "{tail}");
        }
    }

    #[test]
    fn a_full_journal_can_still_forget() {
        let region = region();
        let mut journal = Journal::adopt(region.clone(), HALF);
        let whole = HALF - 2 * (RECORD_HEADER + 8);
        journal.put(b"a       ", b"").unwrap();
        journal.put(b"b       ", &vec![1; whole]).unwrap();
        assert_eq!(journal.usage(), (HALF, HALF));
        journal.remove(b"b       ");
        let mut successor = Journal::adopt(region.clone(), HALF);
        assert_eq!((successor.records().count(), successor.damaged), (1, 0));
        successor.put(b"c       ", &vec![2; whole]).unwrap();
        successor.remove(b"a       ");
        assert_eq!(Journal::adopt(region, HALF).get(b"c       "), Some(vec![2; whole]));
    }

    #[test]
    fn what_does_not_fit_is_refused_and_nothing_is_lost() {
        let region = region();
        let mut journal = Journal::adopt(region.clone(), HALF);
        journal.put(b"a", &[1; 3000]).unwrap();
        assert!(matches!(journal.put(b"b", &[2; 2000]), Err(JournalError::Full { .. })));
        assert_eq!(Journal::adopt(region, HALF).get(b"a"), Some(vec![1; 3000]));
    }
}
