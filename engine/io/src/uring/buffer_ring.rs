//! The ring through which free receive buffers go to the kernel (`IORING_REGISTER_PBUF_RING`). It carries addresses, not bytes.
//!
//! ```text
//! entry (16 B): address:8 length:4 buffer:2 spare:2; the spare of entry 0 is the tail that the kernel reads
//! ```

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

use crate::arena::Arena;
use crate::batch::RECEIVE_BUFFER_BYTES;

pub(crate) const GROUP: u16 = 0;

#[derive(Debug)]
pub(crate) struct BufferRing {
    entries: Arena,
    mask: u16,
    tail: u16,
}

impl BufferRing {
    /// `buffers`: a power of two ≤ 32,768.
    pub(crate) fn new(buffers: u16) -> io::Result<Self> {
        assert!(buffers.is_power_of_two() && buffers <= 1 << 15);
        let entries = Arena::new(usize::from(buffers) * size_of::<BufRingEntry>())?;
        Ok(Self { entries, mask: buffers - 1, tail: 0 })
    }

    /// Registers the ring and gives it every buffer of `buffers`.
    pub(crate) fn register(&mut self, submitter: &Submitter<'_>, buffers: &Arena) -> io::Result<()> {
        let address = self.entries.pointer(0, 0) as u64;
        // SAFETY: the entries stay at their address until the ring is closed (invariants 1 and 4).
        unsafe { submitter.register_buf_ring_with_flags(address, self.mask + 1, GROUP, 0)? };
        for buffer in 0..=self.mask {
            self.give(buffers, buffer);
        }
        self.publish();
        Ok(())
    }

    /// Puts one buffer into the ring; the kernel sees it after [`BufferRing::publish`]. The caller's entry that named the buffer
    /// is gone (invariant 2), so that no more than all buffers can be in the ring.
    #[inline]
    pub(crate) fn give(&mut self, buffers: &Arena, buffer: u16) {
        let address = buffers.pointer(usize::from(buffer) * RECEIVE_BUFFER_BYTES, RECEIVE_BUFFER_BYTES);
        let offset = usize::from(self.tail & self.mask) * size_of::<BufRingEntry>();
        let entry = self.entries.pointer(offset, size_of::<BufRingEntry>()).cast::<BufRingEntry>();
        // SAFETY: in bounds and aligned; the kernel reads only entries before the published tail, and not the tail's bytes here.
        let entry = unsafe { &mut *entry };
        entry.set_addr(address as u64);
        entry.set_len(RECEIVE_BUFFER_BYTES as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    #[inline]
    pub(crate) fn publish(&self) {
        let base = self.entries.pointer(0, size_of::<BufRingEntry>()).cast::<BufRingEntry>();
        // SAFETY: the tail is a 2-aligned word inside entry 0, which only the kernel reads and only this port writes.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(base).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}
