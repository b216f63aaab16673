//! The sending half: slots, a chain of committed ones per socket, and sendmmsg, because a full set of slots is emptied by sending.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use engine_base::Limits;

use super::CALL_MESSAGES;
use crate::address::{NAME_BYTES, write_name};
use crate::port::{Outgoing, PortCounters, SendFailure, SendSlot, Sender};
use crate::send_slots::{SegmentControl, SendSlots};

/// Slots that wait before the port sends by itself: their bytes shall still lie in the cache when the kernel copies them.
const QUEUED_MAX: u32 = CALL_MESSAGES as u32;
/// End of a chain.
const NONE: u32 = u32::MAX;

pub struct MmsgSender {
    pub(super) counters: PortCounters,
    sockets: Arc<[OwnedFd]>,
    slots: SendSlots,
    /// The slot behind each committed one, for the same socket.
    next: Vec<u32>,
    /// First and last committed slot of each socket.
    chains: Vec<(u32, u32)>,
    /// Sockets with a chain, in the order of their first commit.
    busy: Vec<u32>,
    queued: u32,
    call: Call,
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
    control: SegmentControl,
    name: [u8; NAME_BYTES],
}

// SAFETY: the raw pointers lead into the sender's own boxes and arena, which move with it.
unsafe impl Send for Call {}

impl Call {
    fn new() -> Self {
        // SAFETY: zero is a value of every field of these C structures and arrays.
        let mut messages: Box<[Message; CALL_MESSAGES]> = Box::new(unsafe { std::mem::zeroed() });
        // SAFETY: as above.
        let mut headers: Box<[libc::mmsghdr; CALL_MESSAGES]> = Box::new(unsafe { std::mem::zeroed() });
        for (header, message) in headers.iter_mut().zip(messages.iter_mut()) {
            message.control.prepare();
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
        header.msg_namelen = write_name(&mut message.name, &outgoing.destination) as u32;
        header.msg_controllen = message.control.set(outgoing);
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
        let (chains, busy) = (vec![(NONE, NONE); sockets.len()], Vec::with_capacity(sockets.len()));
        Ok(Self {
            counters: PortCounters::default(),
            sockets,
            slots: SendSlots::new(slots, 0, slot_bytes)?,
            next: vec![NONE; slots as usize],
            chains,
            busy,
            queued: 0,
            call: Call::new(),
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
                    self.call.write(count, slot, self.slots.payload(slot), &self.slots.outgoing(slot));
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
                    let errno = error.raw_os_error().unwrap_or(libc::EIO);
                    self.slots.note_failure(&mut self.counters, self.call.slots[done], errno);
                    done += 1;
                }
            }
        }
        self.counters.sends += count as u64;
        self.call.slots[..count].iter().for_each(|slot| self.slots.release(*slot));
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
        if self.slots.free_count() == 0 {
            self.send_queued();
        }
        self.slots.reserve()
    }

    #[inline]
    fn bytes<'a>(&'a mut self, slot: &'a mut SendSlot) -> &'a mut [u8] {
        self.slots.bytes(slot)
    }

    #[inline]
    fn bytes_of<'a>(&'a mut self, slots: &'a mut [SendSlot]) -> impl Iterator<Item = &'a mut [u8]> {
        self.slots.bytes_of(slots)
    }

    #[inline]
    fn slot_bytes(&self) -> usize {
        self.slots.slot_bytes()
    }

    fn release(&mut self, slot: SendSlot) {
        self.slots.release(slot.index);
    }

    #[inline]
    fn commit(&mut self, slot: SendSlot, outgoing: Outgoing) {
        let socket = outgoing.socket as usize;
        assert!(socket < self.sockets.len(), "a send of another port");
        let index = self.slots.commit(slot, outgoing);
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
        self.slots.poll_failure()
    }
}

impl std::fmt::Debug for MmsgSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MmsgSender")
            .field("free", &self.slots.free_count())
            .field("queued", &self.queued)
            .finish_non_exhaustive()
    }
}
