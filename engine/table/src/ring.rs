//! Bytes from one process or worker to another: one producer, one consumer, bounded. Full means refused, and the caller counts.
//!
//! ```text
//! producer's region  +0 head: bytes written so far      +64 data, `capacity` bytes
//! consumer's region     tail: bytes read so far (one word)
//! record: bytes u32 | kind u32 | payload, padded to 8. Kind 0 skips to the end of the data.
//! ```

use crate::sync::{Ordering, fence};

use crate::map::Region;

const RECORD_HEADER: u64 = 8;
/// Kind of a record that only fills the rest of the data before the wrap.
const SKIP: u32 = 0;

pub(crate) const fn ring_bytes(capacity: usize) -> usize {
    64 + capacity
}

/// Where a ring lies. Make the end that this process has.
#[derive(Clone, Debug)]
pub struct ByteRing {
    data: Region,
    data_offset: usize,
    capacity: u64,
    cursor: Region,
    cursor_offset: usize,
}

impl ByteRing {
    /// **Input**: `capacity` bytes, a power of two; the data lies at `data_offset`, the consumer's word at `cursor_offset`.
    pub(crate) fn new(
        data: &Region,
        data_offset: usize,
        capacity: usize,
        cursor: &Region,
        cursor_offset: usize,
    ) -> Self {
        assert!(
            capacity.is_power_of_two() && data_offset + ring_bytes(capacity) <= data.bytes(),
            "ring outside its region"
        );
        Self { data: data.clone(), data_offset, capacity: capacity as u64, cursor: cursor.clone(), cursor_offset }
    }

    /// The writing end, standing where its predecessor stood.
    pub fn producer(&self) -> RingProducer {
        assert!(self.data.is_writable(), "the producer's process writes the data");
        RingProducer { ring: self.clone(), head: Self::load(self.head()), tail: Self::load(self.tail()) }
    }

    /// The reading end, standing where its predecessor stood.
    pub fn consumer(&self) -> RingConsumer {
        assert!(self.cursor.is_writable(), "the consumer's process writes the cursor");
        RingConsumer { tail: Self::load(self.tail()), ring: self.clone() }
    }

    /// Bytes waiting, for ctl.
    pub fn waiting_bytes(&self) -> u64 {
        self.head().load(Ordering::Acquire).wrapping_sub(self.tail().load(Ordering::Acquire))
    }

    fn head(&self) -> &crate::sync::AtomicU64 {
        self.data.word(self.data_offset)
    }

    fn tail(&self) -> &crate::sync::AtomicU64 {
        self.cursor.word(self.cursor_offset)
    }

    /// A cursor as it may be used: a record begins at a multiple of 8, whatever another process wrote.
    fn load(cursor: &crate::sync::AtomicU64) -> u64 {
        cursor.load(Ordering::Acquire) & !(RECORD_HEADER - 1)
    }

    fn pointer(&self, position: u64, bytes: usize) -> *mut u8 {
        self.data.pointer(self.data_offset + 64 + (position % self.capacity) as usize, bytes)
    }

    fn header_word(&self, position: u64) -> &crate::sync::AtomicU64 {
        self.data.word(self.data_offset + 64 + (position % self.capacity) as usize)
    }
}

#[derive(Debug)]
pub struct RingProducer {
    ring: ByteRing,
    head: u64,
    tail: u64,
}

impl RingProducer {
    /// Appends one record made of `parts` in a row. `false` when the ring is full (nothing is written; the caller counts).
    ///
    /// **Input**: `kind` > 0. **Cost**: one copy, no syscall. The consumer is not woken: that is the caller's turn's end.
    #[must_use]
    pub fn push(&mut self, kind: u32, parts: &[&[u8]]) -> bool {
        assert!(kind != SKIP);
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        let size = RECORD_HEADER + (bytes as u64).next_multiple_of(8);
        let to_end = self.ring.capacity - self.head % self.ring.capacity;
        let skip = if to_end < size { to_end } else { 0 };
        if size > self.ring.capacity / 2 || !self.has_room(skip + size) {
            return false;
        }
        if skip > 0 {
            self.write_header(self.head, skip - RECORD_HEADER, SKIP);
        }
        let start = self.head.wrapping_add(skip);
        self.write_header(start, bytes as u64, kind);
        let mut at = start.wrapping_add(RECORD_HEADER);
        for part in parts {
            let target = self.ring.pointer(at, part.len());
            // SAFETY: invariant 4: [start, start + size) lies between tail and tail + capacity (has_room) and does not wrap (skip).
            unsafe { std::ptr::copy_nonoverlapping(part.as_ptr(), target, part.len()) };
            at = at.wrapping_add(part.len() as u64);
        }
        self.head = start.wrapping_add(size);
        self.ring.head().store(self.head, Ordering::Release);
        true
    }

    fn has_room(&mut self, bytes: u64) -> bool {
        let fits = |head: u64, tail: u64| {
            head.wrapping_sub(tail) <= self.ring.capacity && head.wrapping_sub(tail) + bytes <= self.ring.capacity
        };
        if fits(self.head, self.tail) {
            return true;
        }
        self.tail = ByteRing::load(self.ring.tail());
        fits(self.head, self.tail)
    }

    fn write_header(&self, position: u64, bytes: u64, kind: u32) {
        self.ring.header_word(position).store(bytes | u64::from(kind) << 32, Ordering::Relaxed);
    }
}

#[derive(Debug)]
pub struct RingConsumer {
    ring: ByteRing,
    tail: u64,
}

impl RingConsumer {
    pub fn is_empty(&self) -> bool {
        ByteRing::load(self.ring.head()) == self.tail
    }

    /// Copies the next record into `out` and returns its kind and length. A record longer than `out` is cut to it.
    ///
    /// A producer's broken header empties the ring: `None`, and the next record written is read again.
    pub fn pop(&mut self, out: &mut [u8]) -> Option<(u32, usize)> {
        loop {
            let head = ByteRing::load(self.ring.head());
            let waiting = head.wrapping_sub(self.tail);
            if waiting == 0 {
                return None;
            }
            let header = self.ring.header_word(self.tail).load(Ordering::Relaxed);
            let (bytes, kind) = (header & 0xffff_ffff, (header >> 32) as u32);
            let size = RECORD_HEADER + bytes.next_multiple_of(8);
            let to_end = self.ring.capacity - self.tail % self.ring.capacity;
            if waiting > self.ring.capacity || size > waiting || size > to_end {
                self.advance(head);
                return None;
            }
            if kind != SKIP {
                let length = (bytes as usize).min(out.len());
                let source = self.ring.pointer(self.tail.wrapping_add(RECORD_HEADER), length);
                // SAFETY: invariant 4: the record lies between tail and head (checked), so the producer does not write it now.
                unsafe { std::ptr::copy_nonoverlapping(source, out.as_mut_ptr(), length) };
                self.advance(self.tail.wrapping_add(size));
                return Some((kind, length));
            }
            self.advance(self.tail.wrapping_add(size));
        }
    }

    fn advance(&mut self, tail: u64) {
        fence(Ordering::Acquire);
        self.tail = tail;
        self.ring.tail().store(tail, Ordering::Release);
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    fn ring(capacity: usize) -> ByteRing {
        let data = Region::anonymous(ring_bytes(capacity));
        let cursor = Region::anonymous(64);
        ByteRing::new(&data, 0, capacity, &cursor, 0)
    }

    #[test]
    fn records_come_out_in_order_across_the_wrap() {
        let ring = ring(256);
        let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
        let mut out = [0; 256];
        for n in 0..1_000u32 {
            let payload = vec![n as u8; (n % 70) as usize];
            assert!(producer.push(n + 1, &[&payload[..payload.len() / 2], &payload[payload.len() / 2..]]));
            let (kind, length) = consumer.pop(&mut out).unwrap();
            assert_eq!((kind, &out[..length]), (n + 1, &payload[..]));
        }
    }

    #[test]
    fn a_full_ring_refuses_and_keeps_what_it_has() {
        let ring = ring(128);
        let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
        assert!(producer.push(1, &[&[1; 40]]));
        assert!(producer.push(2, &[&[2; 40]]));
        assert!(!producer.push(3, &[&[3; 40]]));
        let mut out = [0; 64];
        assert_eq!(consumer.pop(&mut out), Some((1, 40)));
        assert!(!producer.push(4, &[&[4; 80]]), "more than half of the ring");
        assert_eq!(consumer.pop(&mut out), Some((2, 40)));
        assert_eq!(consumer.pop(&mut out), None);
    }

    #[test]
    fn a_broken_header_empties_the_ring_and_nothing_else() {
        let ring = ring(256);
        let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
        assert!(producer.push(1, &[&[1; 8]]));
        ring.header_word(0).store(u64::MAX, Ordering::Relaxed);
        assert_eq!(consumer.pop(&mut [0; 64]), None);
        assert!(producer.push(2, &[&[2; 8]]));
        assert_eq!(consumer.pop(&mut [0; 64]), Some((2, 8)));
    }

    #[test]
    fn cursors_that_another_process_broke_harm_nobody() {
        for garbage in [1, 3, 7, 13, 255, u64::MAX, u64::MAX - 6, 1 << 63 | 5] {
            let ring = ring(256);
            let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
            ring.head().store(garbage, Ordering::Relaxed);
            for _ in 0..4 {
                let _ = consumer.pop(&mut [0; 64]);
            }
            assert!(consumer.is_empty(), "a head of {garbage} keeps the consumer awake");
            assert_eq!(ring.consumer().pop(&mut [0; 64]), None);
            ring.tail().store(garbage, Ordering::Relaxed);
            for _ in 0..64 {
                let _ = producer.push(1, &[&[1; 20]]);
            }
            let mut successor = ring.producer();
            let _ = successor.push(1, &[&[1; 20]]);
        }
    }

    #[test]
    fn a_restarted_end_goes_on_where_it_stood() {
        let ring = ring(256);
        assert!(ring.producer().push(1, &[b"one"]));
        assert!(ring.producer().push(2, &[b"two"]));
        let mut out = [0; 8];
        assert_eq!(ring.consumer().pop(&mut out), Some((1, 3)));
        assert_eq!(ring.consumer().pop(&mut out), Some((2, 3)));
    }

    #[test]
    fn two_threads_pass_every_record() {
        let ring = ring(1 << 12);
        let mut producer = ring.producer();
        let thread = std::thread::spawn(move || {
            for n in 0..100_000u32 {
                while !producer.push(1, &[&n.to_le_bytes(), &vec![7; (n % 50) as usize]]) {
                    std::hint::spin_loop();
                }
            }
        });
        let (mut consumer, mut expected, mut out) = (ring.consumer(), 0u32, [0; 64]);
        while expected < 100_000 {
            if let Some((_, length)) = consumer.pop(&mut out) {
                assert_eq!(u32::from_le_bytes([out[0], out[1], out[2], out[3]]), expected);
                assert_eq!(length, 4 + (expected % 50) as usize);
                expected += 1;
            }
        }
        thread.join().unwrap();
    }
}
