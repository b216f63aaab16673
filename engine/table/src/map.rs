//! Memfds and mappings. A region is created once by the holder, sealed, and mapped by every process that inherited its fd:
//! read-write by its one writer, read-only by the others.

use crate::sync::{AtomicU64, Ordering};
use std::ffi::c_void;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

/// "MILLRACE" as the first word of every region.
const MAGIC: u64 = u64::from_le_bytes(*b"MILLRACE");
/// Version of the layout: raise it with every change of a row, section or rule.
pub const ABI_VERSION: u64 = 5;
/// Magic, version, layout hash, region kind; the rest of the first 64 bytes is spare.
pub const HEADER_BYTES: usize = 64;
/// Largest page of any machine this runs on.
pub(crate) const PAGE_BYTES_MAX: usize = 64 << 10;

#[derive(Debug)]
pub enum MapError {
    Io(rustix::io::Errno),
    /// The region was made by another build: its first words differ.
    Mismatch {
        expected: [u64; 4],
        found: [u64; 4],
    },
    /// The fd is smaller than the layout.
    TooSmall {
        expected: usize,
        found: usize,
    },
}

impl std::fmt::Display for MapError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(errno) => write!(f, "cannot map shared memory: {errno}"),
            Self::Mismatch { expected, found } => write!(
                f,
                "shared memory of another build (magic, version, layout, kind: expected {expected:x?}, found {found:x?}); \
                 start all processes from one executable"
            ),
            Self::TooSmall { expected, found } => {
                write!(
                    f,
                    "shared memory has {found} bytes, the layout needs {expected}; start all processes with the same limits"
                )
            }
        }
    }
}

impl std::error::Error for MapError {}

impl From<rustix::io::Errno> for MapError {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Io(errno)
    }
}

#[derive(Debug)]
struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: invariant 3: the mapping is only reached through atomics and the protocols of rings and slots.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: base and bytes are those of the mmap that made this value, and no Region refers to it any more (invariant 1).
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast::<c_void>(), self.bytes) };
    }
}

/// A mapped memfd. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Region {
    mapping: Arc<Mapping>,
    writable: bool,
}

/// Makes a sealed memfd of `bytes` zero bytes.
///
/// **Errors**: the kernel's, e.g. ENOMEM. **Cost**: address space only; pages appear when touched.
pub fn create_memfd(name: &str, bytes: usize) -> Result<OwnedFd, MapError> {
    let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::ftruncate(&fd, bytes as u64)?;
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(fd)
}

/// A second description of a memfd that cannot be mapped writable: what non-writers get.
pub fn read_only(fd: impl AsFd) -> Result<OwnedFd, MapError> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

impl Region {
    /// Maps `fd`. With `writable` the header is written if the region is new (all zero) and checked otherwise.
    ///
    /// **Input**: `layout_hash` of the expected content, `kind` as a small number, `bytes` as the layout needs.
    /// **Errors**: [`MapError::Mismatch`] when another build made the region.
    pub fn map(fd: impl AsFd, bytes: usize, kind: u64, layout_hash: u64, writable: bool) -> Result<Self, MapError> {
        let found = rustix::fs::fstat(&fd)?.st_size as usize;
        if found < bytes {
            return Err(MapError::TooSmall { expected: bytes, found });
        }
        let protection = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        let flags = MapFlags::SHARED | MapFlags::NORESERVE;
        // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing of ours.
        let base = unsafe { rustix::mm::mmap(std::ptr::null_mut(), bytes, protection, flags, fd, 0)? };
        let base = NonNull::new(base.cast::<u8>()).ok_or(rustix::io::Errno::NOMEM)?;
        let region = Self { mapping: Arc::new(Mapping { base, bytes }), writable };
        region.check_header([MAGIC, ABI_VERSION, layout_hash, kind])?;
        Ok(region)
    }

    fn check_header(&self, expected: [u64; 4]) -> Result<(), MapError> {
        let found = [0, 8, 16, 24].map(|offset| self.word(offset).load(Ordering::Acquire));
        if found == expected {
            return Ok(());
        }
        if !self.writable || found != [0; 4] {
            return Err(MapError::Mismatch { expected, found });
        }
        for (i, word) in expected.into_iter().enumerate().rev() {
            self.word(i * 8).store(word, Ordering::Release);
        }
        Ok(())
    }

    /// An anonymous region for tests and simulations: no fd, shared by clones.
    pub fn anonymous(bytes: usize) -> Self {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::NORESERVE;
        // SAFETY: a fresh anonymous mapping aliases nothing.
        let base = unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), bytes, protection, flags) };
        let base = base.ok().and_then(|base| NonNull::new(base.cast::<u8>())).expect("address space for a test region");
        Self { mapping: Arc::new(Mapping { base, bytes }), writable: true }
    }

    pub fn is_writable(&self) -> bool {
        self.writable
    }

    pub fn bytes(&self) -> usize {
        self.mapping.bytes
    }

    /// The shared word at `offset` bytes (a multiple of 8 inside the region: asserted).
    #[inline]
    pub fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.mapping.bytes, "word outside its region");
        // SAFETY: in bounds and aligned (asserted; mmap is page aligned), and shared words are only touched as atomics (3).
        unsafe { AtomicU64::from_ptr(self.mapping.base.as_ptr().add(offset).cast::<u64>()) }
    }

    /// Gives the whole [`PAGE_BYTES_MAX`] blocks of `bytes` bytes at `offset` back to the system; they read as zero from then on.
    pub(crate) fn release(&self, offset: usize, bytes: usize) {
        let start = offset.next_multiple_of(PAGE_BYTES_MAX);
        let end = (offset + bytes) / PAGE_BYTES_MAX * PAGE_BYTES_MAX;
        if start >= end {
            return;
        }
        let pages = self.pointer(start, end - start);
        // SAFETY: in bounds as asserted; the pages stay mapped, and their words, touched as atomics only (3), may be zero.
        // A kernel that refuses keeps them as they are.
        let _ = unsafe { rustix::mm::madvise(pages.cast::<c_void>(), end - start, rustix::mm::Advice::LinuxRemove) };
    }

    /// Start of `bytes` shared bytes at `offset`, asserted to lie inside the region.
    #[inline]
    pub(crate) fn pointer(&self, offset: usize, bytes: usize) -> *mut u8 {
        assert!(offset.checked_add(bytes).is_some_and(|end| end <= self.mapping.bytes), "bytes outside their region");
        // SAFETY: in bounds as asserted.
        unsafe { self.mapping.base.as_ptr().add(offset) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_of_another_layout_is_refused() {
        let fd = create_memfd("test", 4096).unwrap();
        let writer = Region::map(&fd, 4096, 1, 7, true).unwrap();
        writer.word(64).store(5, Ordering::Relaxed);
        let reader = Region::map(read_only(&fd).unwrap(), 4096, 1, 7, false).unwrap();
        assert_eq!(reader.word(64).load(Ordering::Relaxed), 5);
        assert!(matches!(Region::map(&fd, 4096, 1, 8, true), Err(MapError::Mismatch { .. })));
        assert!(matches!(Region::map(&fd, 8192, 1, 7, true), Err(MapError::TooSmall { .. })));
    }

    #[test]
    fn a_read_only_fd_cannot_be_mapped_writable() {
        let fd = create_memfd("test", 4096).unwrap();
        Region::map(&fd, 4096, 1, 7, true).unwrap();
        assert!(Region::map(read_only(&fd).unwrap(), 4096, 1, 7, true).is_err());
    }
}
