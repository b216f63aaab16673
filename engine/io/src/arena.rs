//! Anonymous memory at a fixed address: receive buffers and send slots, which the kernel reads and writes.

use std::io;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags};

#[derive(Debug)]
pub(crate) struct Arena {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the memory belongs to the arena alone and moves with it; access is by the invariants of the crate.
unsafe impl Send for Arena {}

impl Arena {
    /// Zeroed, page aligned. **Cost**: address space; pages appear when touched.
    pub(crate) fn new(bytes: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh anonymous mapping aliases nothing.
        let base = unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), bytes, protection, MapFlags::PRIVATE)? };
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, bytes })
    }

    /// Start of `bytes` bytes at `offset`, asserted to lie inside.
    #[inline]
    pub(crate) fn pointer(&self, offset: usize, bytes: usize) -> *mut u8 {
        assert!(offset.checked_add(bytes).is_some_and(|end| end <= self.bytes), "outside the arena");
        // SAFETY: in bounds as asserted (invariant 1).
        unsafe { self.base.as_ptr().add(offset) }
    }

    /// # Safety
    /// Nobody else, the kernel included, reads or writes these bytes while the slice lives.
    #[inline]
    #[allow(clippy::mut_from_ref)] // disjoint parts are lent at the same time
    pub(crate) unsafe fn slice(&self, offset: usize, bytes: usize) -> &mut [u8] {
        // SAFETY: in bounds (asserted), initialised by the kernel's zero pages, exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.pointer(offset, bytes), bytes) }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: base and bytes are those of the mmap that made this value; slices borrow it (invariant 1).
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}
