//! The sending half: slots, a chain of committed ones per socket, and sendmmsg, because a full set of slots is emptied by sending.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use engine_base::Limits;

use super::CALL_MESSAGES;
use crate::address::{NAME_BYTES, write_name};
use crate::arena::Arena;
use crate::port::{Outgoing, PortCounters, SendFailure, SendSlot, Sender};

/// `CMSG_SPACE(2)`: a 16 B header and the segment size, padded to 8.
const CONTROL_BYTES: usize = 24;
/// `CMSG_LEN(2)`.
const CONTROL_LENGTH: usize = 18;
/// From linux/udp.h.
const UDP_SEGMENT: i32 = 103;
/// Slots that wait before the port sends by itself: their bytes shall still lie in the cache when the kernel copies them.
const QUEUED_MAX: u32 = CALL_MESSAGES as u32;
/// End of a chain.
const NONE: u32 = u32::MAX;

pub struct MmsgSender {
    pub(super) counters: PortCounters,
    sockets: Arc<[OwnedFd]>,
    memory: Arena,
    stride: usize,
    slot_bytes: usize,
    free: Vec<u32>,
    outgoing: Vec<Outgoing>,
    /// The slot behind each committed one, for the same socket.
    next: Vec<u32>,
    /// First and last committed slot of each socket.
    chains: Vec<(u32, u32)>,
    /// Sockets with a chain, in the order of their first commit.
    busy: Vec<u32>,
    queued: u32,
    call: Call,
    failures: VecDeque<SendFailure>,
    peers: Vec<OwnedFd>,
    /// Bit per worker to be woken when the sends are out.
    wakes: u64,
}

/// The messages of one sendmmsg. Everything but names, lengths, payloads and segment sizes is written once.
struct Call {
    slots: [u32; CALL_MESSAGES],
    messages: Box<[Message; CALL_MESSAGES]>,
    headers: Box<[libc::mmsghdr; CALL_MESSAGES]>,
}

#[repr(C)]
struct Message {
    payload: libc::iovec,
    control: Control,
    name: [u8; NAME_BYTES],
}

#[repr(C, align(8))]
struct Control {
    header: libc::cmsghdr,
    segment_bytes: u16,
    pad: [u8; 6],
}

const _: () = assert!(size_of::<Control>() == CONTROL_BYTES);

// SAFETY: the raw pointers lead into the sender's own boxes and arena, which move with it.
unsafe impl Send for Call {}

impl Call {
    fn new() -> Self {
        // SAFETY: zero is a value of every field of these C structures and arrays.
        let mut messages: Box<[Message; CALL_MESSAGES]> = Box::new(unsafe { std::mem::zeroed() });
        // SAFETY: as above.
        let mut headers: Box<[libc::mmsghdr; CALL_MESSAGES]> = Box::new(unsafe { std::mem::zeroed() });
        for (header, message) in headers.iter_mut().zip(messages.iter_mut()) {
            message.control.header.cmsg_len = CONTROL_LENGTH;
            message.control.header.cmsg_level = libc::SOL_UDP;
            message.control.header.cmsg_type = UDP_SEGMENT;
            header.msg_hdr.msg_name = (&raw mut message.name).cast();
            header.msg_hdr.msg_iov = &raw mut message.payload;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = (&raw mut message.control).cast();
        }
        Self { slots: [NONE; CALL_MESSAGES], messages, headers }
    }

    fn write(&mut self, index: usize, slot: u32, payload: *mut u8, outgoing: &Outgoing) {
        let (message, header) = (&mut self.messages[index], &mut self.headers[index].msg_hdr);
        self.slots[index] = slot;
        message.payload.iov_base = payload.cast();
        message.payload.iov_len = outgoing.bytes as usize;
        message.control.segment_bytes = outgoing.segment_bytes;
        header.msg_namelen = write_name(&mut message.name, &outgoing.destination) as u32;
        header.msg_controllen = if outgoing.segment_bytes == 0 { 0 } else { CONTROL_BYTES };
    }

    /// **Output**: how many of the messages `from..to` the kernel took, at least one; else why it refused the first.
    fn send(&mut self, socket: &OwnedFd, from: usize, to: usize) -> io::Result<usize> {
        let headers = &mut self.headers[from..to];
        // SAFETY: headers and messages outlive the call; their payloads are of committed slots (invariant 3).
        let count = unsafe {
            let flags = libc::MSG_DONTWAIT;
            libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), headers.len() as u32, flags)
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }
}

impl MmsgSender {
    pub(super) fn new(sockets: Arc<[OwnedFd]>, slots: u32, slot_bytes: usize) -> io::Result<Self> {
        // An odd multiple of 64, so that slots spread over the sets of the L1 cache.
        let stride = (slot_bytes.div_ceil(64) | 1) * 64;
        let nothing = Outgoing { socket: 0, destination: Default::default(), bytes: 0, segment_bytes: 0 };
        let (chains, busy) = (vec![(NONE, NONE); sockets.len()], Vec::with_capacity(sockets.len()));
        Ok(Self {
            counters: PortCounters::default(),
            sockets,
            memory: Arena::new(stride * slots as usize)?,
            stride,
            slot_bytes,
            free: (0..slots).rev().collect(),
            outgoing: vec![nothing; slots as usize],
            next: vec![NONE; slots as usize],
            chains,
            busy,
            queued: 0,
            call: Call::new(),
            failures: VecDeque::with_capacity(slots as usize),
            peers: Vec::with_capacity(Limits::WORKERS_MAX as usize),
            wakes: 0,
        })
    }

    pub(super) fn set_peers(&mut self, peers: Vec<OwnedFd>) {
        assert!(peers.len() <= Limits::WORKERS_MAX as usize);
        self.peers = peers;
    }

    /// Sends everything that is committed: the sockets in the order of their first commit, each one's slots in theirs.
    fn send_queued(&mut self) {
        for position in 0..self.busy.len() {
            let socket = self.busy[position];
            let (mut slot, _) = std::mem::replace(&mut self.chains[socket as usize], (NONE, NONE));
            while slot != NONE {
                let mut count = 0;
                while slot != NONE && count < CALL_MESSAGES {
                    let payload = self.memory.pointer(slot as usize * self.stride, self.slot_bytes);
                    self.call.write(count, slot, payload, &self.outgoing[slot as usize]);
                    count += 1;
                    slot = self.next[slot as usize];
                }
                self.send_call(socket, count);
            }
        }
        self.busy.clear();
        self.queued = 0;
    }

    /// A message that is refused is noted, and those behind it are tried.
    fn send_call(&mut self, socket: u32, count: usize) {
        let mut done = 0;
        while done < count {
            match self.call.send(&self.sockets[socket as usize], done, count) {
                Ok(sent) => done += sent.max(1),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let outgoing = self.outgoing[self.call.slots[done] as usize];
                    self.note_failure(SendFailure { outgoing, errno: error.raw_os_error().unwrap_or(libc::EIO) });
                    done += 1;
                }
            }
        }
        self.counters.sends += count as u64;
        self.free.extend_from_slice(&self.call.slots[..count]);
    }

    #[cold]
    fn note_failure(&mut self, failure: SendFailure) {
        self.counters.send_failures += 1;
        if self.failures.len() < self.failures.capacity() {
            self.failures.push_back(failure);
        } else {
            self.counters.send_failures_unseen += 1;
        }
    }

    #[cold]
    fn send_wakes(&mut self) {
        let mut wakes = std::mem::take(&mut self.wakes);
        while wakes != 0 {
            let worker = wakes.trailing_zeros() as usize;
            wakes &= wakes - 1;
            // A counter that is full is a wake-up that is under way.
            let written = rustix::io::write(&self.peers[worker], &1u64.to_ne_bytes());
            if !matches!(written, Ok(_) | Err(rustix::io::Errno::AGAIN)) {
                self.counters.wake_failures += 1;
            }
        }
    }
}

impl Sender for MmsgSender {
    #[inline]
    fn reserve(&mut self) -> Option<SendSlot> {
        if self.free.is_empty() {
            self.send_queued();
        }
        self.free.pop().map(|index| SendSlot { index })
    }

    #[inline]
    fn bytes<'a>(&'a mut self, slot: &'a mut SendSlot) -> &'a mut [u8] {
        // SAFETY: the slot is reserved and borrowed (invariant 3), so nobody else touches its payload.
        unsafe { self.memory.slice(slot.index as usize * self.stride, self.slot_bytes) }
    }

    #[inline]
    fn bytes_of<'a>(&'a mut self, slots: &'a mut [SendSlot]) -> impl Iterator<Item = &'a mut [u8]> {
        let Self { memory, stride, slot_bytes, .. } = self;
        slots.iter_mut().map(|slot| {
            // SAFETY: each slot is reserved, exists once and is borrowed (invariant 3), so the payloads are disjoint.
            unsafe { memory.slice(slot.index as usize * *stride, *slot_bytes) }
        })
    }

    #[inline]
    fn slot_bytes(&self) -> usize {
        self.slot_bytes
    }

    fn release(&mut self, slot: SendSlot) {
        self.free.push(slot.index);
    }

    #[inline]
    fn commit(&mut self, slot: SendSlot, outgoing: Outgoing) {
        let (index, socket) = (slot.index, outgoing.socket as usize);
        assert!(socket < self.sockets.len() && outgoing.bytes as usize <= self.slot_bytes, "a send of another port");
        self.outgoing[index as usize] = outgoing;
        self.next[index as usize] = NONE;
        let chain = &mut self.chains[socket];
        match chain.1 {
            NONE => {
                chain.0 = index;
                self.busy.push(outgoing.socket);
            }
            last => self.next[last as usize] = index,
        }
        chain.1 = index;
        self.queued += 1;
        if self.queued >= QUEUED_MAX {
            self.send_queued();
        }
    }

    fn wake(&mut self, worker: u32) {
        if (worker as usize) < self.peers.len() {
            self.wakes |= 1 << worker;
        } else {
            self.counters.wake_failures += 1;
        }
    }

    fn flush(&mut self) {
        self.send_queued();
        if self.wakes != 0 {
            self.send_wakes();
        }
    }

    fn poll_failure(&mut self) -> Option<SendFailure> {
        self.failures.pop_front()
    }
}

impl std::fmt::Debug for MmsgSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MmsgSender")
            .field("free", &self.free.len())
            .field("queued", &self.queued)
            .finish_non_exhaustive()
    }
}
