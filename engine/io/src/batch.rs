//! The datagrams of one receive, in the buffers they arrived in, so that SRTP is decrypted in place.

use std::io;

use engine_table::SocketAddress;

use crate::arena::Arena;

/// In front of the payload of each buffer: the kernel's 16 B record and 48 B for the source address, so that the payload
/// starts on a cache line.
pub(crate) const RECEIVE_HEADER_BYTES: usize = 64;
/// Longest datagram received; a longer one is dropped and counted. 1,500 B of Ethernet payload fit.
pub const RECEIVE_PAYLOAD_BYTES: usize = 1_536;
/// 1,600 = 25 × 64: an odd multiple of 64, so that buffers spread over the sets of the L1 cache.
pub(crate) const RECEIVE_BUFFER_BYTES: usize = RECEIVE_HEADER_BYTES + RECEIVE_PAYLOAD_BYTES;

/// One received datagram.
#[derive(Debug)]
pub struct Datagram<'a> {
    pub bytes: &'a mut [u8],
    pub source: SocketAddress,
    /// Index of the local socket in the order given at construction.
    pub socket: u32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived {
    pub buffer: u16,
    pub bytes: u16,
    pub socket: u32,
    pub source: SocketAddress,
}

/// What one [`crate::Port::receive`] took. Valid until the next `receive` or `wait`.
#[derive(Debug)]
pub struct Batch {
    pub(crate) arena: Arena,
    pub(crate) entries: Vec<Arrived>,
}

impl Batch {
    /// `buffers` ≤ 32,768.
    pub(crate) fn new(buffers: usize) -> io::Result<Self> {
        assert!(buffers <= 1 << 15);
        let arena = Arena::new(buffers * RECEIVE_BUFFER_BYTES)?;
        Ok(Self { arena, entries: Vec::with_capacity(buffers) })
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The datagram at `index` < `len()`.
    #[inline]
    pub fn get(&mut self, index: usize) -> Option<Datagram<'_>> {
        let arrived = *self.entries.get(index)?;
        let offset = arrived.buffer as usize * RECEIVE_BUFFER_BYTES + RECEIVE_HEADER_BYTES;
        // SAFETY: an entry's buffer is not in the kernel's ring, and `&mut self` excludes another slice (invariant 2).
        let bytes = unsafe { self.arena.slice(offset, arrived.bytes as usize) };
        Some(Datagram { bytes, source: arrived.source, socket: arrived.socket })
    }
}
