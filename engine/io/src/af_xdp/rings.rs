//! One AF_XDP socket that only sends: frames in shared memory, and the two rings through which they go to the kernel and come back.
//!
//! ```text
//! free → (write) → transmit ring: address:8 length:4 options:4 → kick (sendto) → skb → completion ring: address:8 → free
//! ```
//!
//! Invariants, beside those of the crate: X1. A frame is free, being written (its [`Frame`] exists), or with the kernel from `push`
//! until its completion. X2. Ring indices are masked, and the rings' memory stays mapped as long as the socket.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::arena::Arena;
use crate::socket::SOCKET_BUFFER_BYTES;

/// Frames of a worker, and entries of each ring: 32 trains of 64.
const FRAMES: u32 = 2_048;
/// The smallest chunk that the kernel takes is a power of two ≥ 2,048.
const CHUNK_BYTES: usize = 2_048;
/// Room for a frame: 1,500 B of IP and 14 B of Ethernet, and whole lines.
pub(super) const FRAME_BYTES: usize = 1_536;
/// Frames begin at different lines of their chunks: at a stride of 2 KiB all would fall into the same sets of the L1 cache.
const PLACES: usize = (CHUNK_BYTES - FRAME_BYTES) / 64;
/// linux/if_xdp.h, 6.17: skbs made in one kick; the default is 32.
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;
const KICK_FRAMES: u32 = 256;
/// A crashed predecessor's queue is free again some milliseconds after it.
const BUSY_TRIES: usize = 100;
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// A frame that is being written.
#[must_use = "push or give it back"]
#[derive(Debug)]
pub(super) struct Frame(u32);

pub(super) struct Transmitter {
    /// Closed first: the kernel then reads no frame any more.
    socket: OwnedFd,
    transmit: Ring<libc::xdp_desc>,
    completion: Ring<u64>,
    frames: Arena,
    free: Vec<u32>,
    /// Pushed since the last kick.
    queued: u32,
}

impl Transmitter {
    /// **Errors**: the step that failed; EINVAL at [`BIND`] when the interface has no such queue.
    pub(super) fn new(interface: u32, queue: u32) -> Result<Self, (&'static str, io::Error)> {
        let memory = |error| ("give frames to an AF_XDP socket", error);
        // SAFETY: a new descriptor that nothing else owns.
        let socket = unsafe {
            let number = libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
            if number < 0 {
                return Err((OPEN, io::Error::last_os_error()));
            }
            OwnedFd::from_raw_fd(number)
        };
        let frames = Arena::new(FRAMES as usize * CHUNK_BYTES).map_err(memory)?;
        let area = libc::xdp_umem_reg {
            addr: frames.pointer(0, FRAMES as usize * CHUNK_BYTES) as u64,
            len: u64::from(FRAMES) * CHUNK_BYTES as u64,
            chunk_size: CHUNK_BYTES as u32,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        set_option(&socket, libc::XDP_UMEM_REG, &area).map_err(memory)?;
        // Nothing is received, but the kernel wants a fill ring.
        for ring in [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_TX_RING] {
            set_option(&socket, ring, &FRAMES).map_err(memory)?;
        }
        // Older kernels keep their 32.
        let _ = set_option(&socket, XDP_MAX_TX_SKB_BUDGET, &KICK_FRAMES);
        let send_buffer = SOCKET_BUFFER_BYTES as libc::c_int;
        let _ = set(&socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &send_buffer);
        let offsets = offsets(&socket).map_err(memory)?;
        let transmit = Ring::map(&socket, &offsets.tx, libc::XDP_PGOFF_TX_RING).map_err(memory)?;
        let page = libc::XDP_UMEM_PGOFF_COMPLETION_RING as libc::off_t;
        let completion = Ring::map(&socket, &offsets.cr, page).map_err(memory)?;
        bind(&socket, interface, queue).map_err(|error| (BIND, error))?;
        Ok(Self { socket, transmit, completion, frames, free: (0..FRAMES).rev().collect(), queued: 0 })
    }

    /// Frames that can be reserved and pushed.
    #[inline]
    pub(super) fn room(&self) -> usize {
        // Both rings hold every frame, so that a free frame has its entry.
        self.free.len()
    }

    pub(super) fn queued(&self) -> u32 {
        self.queued
    }

    /// Frames that the kernel has not given back.
    pub(super) fn in_flight(&self) -> u32 {
        FRAMES - self.free.len() as u32
    }

    #[inline]
    pub(super) fn reserve(&mut self) -> Option<Frame> {
        self.free.pop().map(Frame)
    }

    #[inline]
    pub(super) fn bytes<'a>(&'a mut self, frame: &'a mut Frame) -> &'a mut [u8] {
        // SAFETY: the frame is being written (X1) and borrowed.
        unsafe { self.frames.slice(place(frame.0), FRAME_BYTES) }
    }

    /// Queues the frame's first `length` bytes.
    #[inline]
    pub(super) fn push(&mut self, frame: Frame, length: usize) {
        assert!(length <= FRAME_BYTES, "longer than a frame");
        self.transmit.push(libc::xdp_desc { addr: place(frame.0) as u64, len: length as u32, options: 0 });
        self.queued += 1;
    }

    /// Lets the kernel send what is queued, as far as it does without waiting; the rest goes with a later kick.
    ///
    /// **Errors**: the interface is down or gone: what is queued stays queued.
    pub(super) fn kick(&mut self) -> io::Result<()> {
        self.transmit.publish();
        let mut left = self.transmit.waiting();
        while left > 0 {
            // SAFETY: no bytes are passed: the call only starts the transmission.
            let sent = unsafe {
                let flags = libc::MSG_DONTWAIT;
                libc::sendto(self.socket.as_raw_fd(), std::ptr::null(), 0, flags, std::ptr::null(), 0)
            };
            let error = (sent < 0).then(io::Error::last_os_error);
            let now = self.transmit.waiting();
            match error.as_ref().and_then(io::Error::raw_os_error) {
                // More than one kick's frames, or the device is busy: again while it helps.
                None | Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS | libc::EINTR) if now < left => left = now,
                None | Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS | libc::EINTR) => break,
                _ => return Err(error.unwrap_or_else(|| io::ErrorKind::Other.into())),
            }
        }
        self.queued = self.transmit.waiting();
        self.reap();
        Ok(())
    }

    /// Takes back the frames that were sent.
    pub(super) fn reap(&mut self) {
        let Self { completion, free, .. } = self;
        // LIFO: the frame written last lies in the cache.
        completion.drain(|address| free.push((address as usize / CHUNK_BYTES) as u32 % FRAMES));
    }
}

/// Where a frame lies in the memory.
#[inline]
fn place(frame: u32) -> usize {
    frame as usize * CHUNK_BYTES + frame as usize % PLACES * 64
}

/// Steps of [`Transmitter::new`] that an operator can mend.
pub(super) const OPEN: &str = "open an AF_XDP socket";
pub(super) const BIND: &str = "bind an AF_XDP socket";

fn bind(socket: &OwnedFd, interface: u32, queue: u32) -> io::Result<()> {
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: libc::XDP_COPY,
        sxdp_ifindex: interface,
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: 0,
    };
    let bytes = size_of_val(&address) as libc::socklen_t;
    for _ in 0..BUSY_TRIES {
        // SAFETY: the address outlives the call.
        if unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), bytes) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EBUSY) {
            return Err(error);
        }
        std::thread::sleep(BUSY_PAUSE);
    }
    Err(io::Error::from_raw_os_error(libc::EBUSY))
}

fn set_option<T>(socket: &OwnedFd, option: libc::c_int, value: &T) -> io::Result<()> {
    set(socket, libc::SOL_XDP, option, value)
}

fn set<T>(socket: &OwnedFd, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the kernel reads at most the value's bytes during the call.
    let result = unsafe {
        let bytes = size_of::<T>() as libc::socklen_t;
        libc::setsockopt(socket.as_raw_fd(), level, option, std::ptr::from_ref(value).cast(), bytes)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn offsets(socket: &OwnedFd) -> io::Result<libc::xdp_mmap_offsets> {
    // SAFETY: zero is a value of every field.
    let mut offsets: libc::xdp_mmap_offsets = unsafe { std::mem::zeroed() };
    let mut bytes = size_of_val(&offsets) as libc::socklen_t;
    // SAFETY: the kernel writes at most `bytes` bytes to a local that outlives the call.
    let result = unsafe {
        let fd = socket.as_raw_fd();
        libc::getsockopt(fd, libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, (&raw mut offsets).cast(), &raw mut bytes)
    };
    match result {
        0 if bytes as usize == size_of_val(&offsets) => Ok(offsets),
        0 => Err(io::ErrorKind::Unsupported.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A ring of [`FRAMES`] entries, shared with the kernel.
struct Ring<T> {
    base: NonNull<u8>,
    bytes: usize,
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    entries: NonNull<T>,
    /// Ours: of the producer for a ring that is filled here, of the consumer otherwise.
    cursor: u32,
}

// SAFETY: the mapping belongs to the ring alone and moves with it.
unsafe impl<T: Copy + Send> Send for Ring<T> {}

impl<T: Copy> Ring<T> {
    fn map(socket: &OwnedFd, offsets: &libc::xdp_ring_offset, page: libc::off_t) -> io::Result<Self> {
        let bytes = offsets.desc as usize + FRAMES as usize * size_of::<T>();
        // SAFETY: a new mapping of the socket's ring, whose length is that of its entries.
        let base = unsafe {
            let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_POPULATE);
            libc::mmap(std::ptr::null_mut(), bytes, protection, flags, socket.as_raw_fd(), page)
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: the offsets are the kernel's own, inside the mapping and aligned for their types.
        let (producer, consumer, entries) = unsafe {
            let at = |offset: u64| base.add(offset as usize);
            (at(offsets.producer).cast(), at(offsets.consumer).cast(), at(offsets.desc).cast())
        };
        Ok(Self { base, bytes, producer, consumer, entries, cursor: 0 })
    }

    /// Writes an entry; the kernel sees it after `publish`. No more than all frames are in the ring (X1), so none is overwritten.
    #[inline]
    fn push(&mut self, entry: T) {
        // SAFETY: masked (X2); the kernel reads only published entries.
        unsafe { self.entries.add((self.cursor & (FRAMES - 1)) as usize).write(entry) };
        self.cursor = self.cursor.wrapping_add(1);
    }

    #[inline]
    fn publish(&self) {
        // SAFETY: mapped as long as the ring (X2); the kernel only reads it.
        unsafe { self.producer.as_ref() }.store(self.cursor, Ordering::Release);
    }

    /// Entries that the kernel has not taken.
    #[inline]
    fn waiting(&self) -> u32 {
        // SAFETY: mapped as long as the ring (X2).
        self.cursor.wrapping_sub(unsafe { self.consumer.as_ref() }.load(Ordering::Acquire)).min(FRAMES)
    }

    #[inline]
    fn drain(&mut self, mut each: impl FnMut(T)) {
        // SAFETY: mapped as long as the ring (X2).
        let end = unsafe { self.producer.as_ref() }.load(Ordering::Acquire);
        while self.cursor != end {
            // SAFETY: masked (X2); the kernel writes only entries that were given back.
            each(unsafe { self.entries.add((self.cursor & (FRAMES - 1)) as usize).read() });
            self.cursor = self.cursor.wrapping_add(1);
        }
        // SAFETY: mapped as long as the ring (X2); the kernel only reads it.
        unsafe { self.consumer.as_ref() }.store(self.cursor, Ordering::Release);
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        // SAFETY: base and bytes are those of the mmap that made this value.
        let _ = unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}
