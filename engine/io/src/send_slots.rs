//! The send slots of a port: their memory, which of them are free, where each committed one goes, and the sends that failed. How
//! they are sent is the port's.

use std::collections::VecDeque;
use std::io;

use crate::arena::Arena;
use crate::port::{Outgoing, PortCounters, SendFailure, SendSlot};

/// The control message UDP_SEGMENT, which says how a train is cut.
#[repr(C, align(8))]
pub(crate) struct SegmentControl {
    header: libc::cmsghdr,
    pub segment_bytes: u16,
    pad: [u8; 6],
}

impl SegmentControl {
    /// `CMSG_SPACE(2)`: a 16 B header and the segment size, padded to 8.
    pub const BYTES: usize = 24;
    /// `CMSG_LEN(2)`.
    const LENGTH: usize = 18;
    /// From linux/udp.h.
    const UDP_SEGMENT: i32 = 103;

    /// Writes what stays the same.
    pub fn prepare(&mut self) {
        self.header.cmsg_len = Self::LENGTH;
        self.header.cmsg_level = libc::SOL_UDP;
        self.header.cmsg_type = Self::UDP_SEGMENT;
    }

    /// **Output**: `msg_controllen`; a single datagram has none.
    pub fn set(&mut self, outgoing: &Outgoing) -> usize {
        self.segment_bytes = outgoing.segment_bytes;
        if outgoing.segment_bytes == 0 { 0 } else { Self::BYTES }
    }
}

const _: () = assert!(size_of::<SegmentControl>() == SegmentControl::BYTES);

/// ```text
/// slot (odd multiple of 64 B): head, the port's own | payload
/// ```
#[derive(Debug)]
pub(crate) struct SendSlots {
    memory: Arena,
    stride: usize,
    head_bytes: usize,
    slot_bytes: usize,
    /// The one freed last is used first: its bytes are in the cache.
    free: Vec<u32>,
    outgoing: Vec<Outgoing>,
    failures: VecDeque<SendFailure>,
}

impl SendSlots {
    /// **Input**: `head_bytes` a multiple of the head's alignment.
    pub fn new(slots: u32, head_bytes: usize, slot_bytes: usize) -> io::Result<Self> {
        // An odd multiple of 64, so that slots spread over the sets of the L1 cache.
        let stride = ((head_bytes + slot_bytes).div_ceil(64) | 1) * 64;
        let nothing =
            Outgoing { socket: 0, destination: Default::default(), bytes: 0, segment_bytes: 0, connection: None };
        Ok(Self {
            memory: Arena::new(stride * slots as usize)?,
            stride,
            head_bytes,
            slot_bytes,
            free: (0..slots).rev().collect(),
            outgoing: vec![nothing; slots as usize],
            failures: VecDeque::with_capacity(slots as usize),
        })
    }

    #[inline]
    pub fn reserve(&mut self) -> Option<SendSlot> {
        self.free.pop().map(|index| SendSlot { index })
    }

    #[inline]
    pub fn bytes<'a>(&'a mut self, slot: &'a mut SendSlot) -> &'a mut [u8] {
        // SAFETY: the slot is reserved and borrowed (invariant 3), so nobody else touches its payload.
        unsafe { self.memory.slice(slot.index as usize * self.stride + self.head_bytes, self.slot_bytes) }
    }

    #[inline]
    pub fn bytes_of<'a>(&'a mut self, slots: &'a mut [SendSlot]) -> impl Iterator<Item = &'a mut [u8]> {
        let Self { memory, stride, head_bytes, slot_bytes, .. } = self;
        slots.iter_mut().map(|slot| {
            // SAFETY: each slot is reserved, exists once and is borrowed (invariant 3), so the payloads are disjoint.
            unsafe { memory.slice(slot.index as usize * *stride + *head_bytes, *slot_bytes) }
        })
    }

    #[inline]
    pub fn slot_bytes(&self) -> usize {
        self.slot_bytes
    }

    /// Start of a slot's head.
    #[inline]
    pub fn head(&self, index: u32) -> *mut u8 {
        self.memory.pointer(index as usize * self.stride, self.head_bytes)
    }

    #[inline]
    pub fn payload(&self, index: u32) -> *mut u8 {
        self.memory.pointer(index as usize * self.stride + self.head_bytes, self.slot_bytes)
    }

    /// Notes where a slot goes; from now on it is the port's. **Output**: its index.
    #[inline]
    pub fn commit(&mut self, slot: SendSlot, outgoing: Outgoing) -> u32 {
        assert!(outgoing.bytes as usize <= self.slot_bytes, "longer than a slot");
        self.outgoing[slot.index as usize] = outgoing;
        slot.index
    }

    #[inline]
    pub fn outgoing(&self, index: u32) -> Outgoing {
        self.outgoing[index as usize]
    }

    /// The slot was given back, or its send is done.
    #[inline]
    pub fn release(&mut self, index: u32) {
        self.free.push(index);
    }

    pub fn free_count(&self) -> usize {
        self.free.len()
    }

    /// The send of a slot failed; `errno` is positive. As many failures as slots are kept, more are only counted.
    #[cold]
    pub fn note_failure(&mut self, counters: &mut PortCounters, index: u32, errno: i32) {
        counters.send_failures += 1;
        if self.failures.len() < self.failures.capacity() {
            self.failures.push_back(SendFailure { outgoing: self.outgoing(index), errno });
        } else {
            counters.send_failures_unseen += 1;
        }
    }

    pub fn poll_failure(&mut self) -> Option<SendFailure> {
        self.failures.pop_front()
    }

    pub fn has_failures(&self) -> bool {
        !self.failures.is_empty()
    }
}
