//! The sending half: slots, their message headers, and the queue, because a full set of slots is emptied by submitting.
//!
//! ```text
//! slot (odd multiple of 64 B): msghdr:56 iovec:16 sockaddr:28 pad:4 cmsg UDP_SEGMENT:24 | payload
//! ```

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use engine_base::Limits;
use io_uring::{opcode, squeue, types};

use super::queue::{Completion, Queue, Token};
use crate::address::{NAME_BYTES, write_name};
use crate::arena::Arena;
use crate::port::{Outgoing, PortCounters, SendFailure, SendSlot, Sender};

/// `CMSG_SPACE(2)`: a 16 B header and the segment size, padded to 8.
const CONTROL_BYTES: usize = 24;
/// `CMSG_LEN(2)`.
const CONTROL_LENGTH: usize = 18;
/// From linux/udp.h.
const UDP_SEGMENT: i32 = 103;

/// What a SENDMSG request points to. Everything but lengths, name and segment size is written once.
#[repr(C, align(64))]
struct Message {
    header: libc::msghdr,
    payload: libc::iovec,
    name: [u8; NAME_BYTES],
    control: Control,
}

#[repr(C, align(8))]
struct Control {
    header: libc::cmsghdr,
    segment_bytes: u16,
    pad: [u8; 6],
}

const MESSAGE_BYTES: usize = size_of::<Message>();
const _: () = assert!(MESSAGE_BYTES == 128 && size_of::<Control>() == CONTROL_BYTES);

pub struct UringSender {
    pub(super) queue: Queue,
    /// Receive completions that came while something else was waited for; at most one per buffer and socket.
    pub(super) backlog: VecDeque<Completion>,
    pub(super) counters: PortCounters,
    /// The eventfd's poll has ended and must be armed again.
    pub(super) event_ended: bool,
    memory: Arena,
    stride: usize,
    slot_bytes: usize,
    free: Vec<u32>,
    outgoing: Vec<Outgoing>,
    in_flight: u32,
    failures: VecDeque<SendFailure>,
    sockets: u32,
    peers: Vec<OwnedFd>,
}

// SAFETY: the raw pointers are inside `memory` and point into it; it moves with the sender.
unsafe impl Send for UringSender {}

impl UringSender {
    pub(super) fn new(queue: Queue, backlog: usize, slots: u32, slot_bytes: usize, sockets: u32) -> io::Result<Self> {
        let lines = (MESSAGE_BYTES + slot_bytes).div_ceil(64) | 1;
        let stride = lines * 64;
        let memory = Arena::new(stride * slots as usize)?;
        let nothing = Outgoing { socket: 0, destination: Default::default(), bytes: 0, segment_bytes: 0 };
        let sender = Self {
            queue,
            backlog: VecDeque::with_capacity(backlog),
            counters: PortCounters::default(),
            event_ended: false,
            memory,
            stride,
            slot_bytes,
            free: (0..slots).rev().collect(),
            outgoing: vec![nothing; slots as usize],
            in_flight: 0,
            failures: VecDeque::with_capacity(slots as usize),
            sockets,
            peers: Vec::with_capacity(Limits::WORKERS_MAX as usize),
        };
        for slot in 0..slots {
            sender.prepare(slot);
        }
        Ok(sender)
    }

    pub(super) fn set_peers(&mut self, peers: Vec<OwnedFd>) {
        assert!(peers.len() <= Limits::WORKERS_MAX as usize);
        self.peers = peers;
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    fn message(&self, slot: u32) -> *mut Message {
        self.memory.pointer(slot as usize * self.stride, MESSAGE_BYTES).cast()
    }

    fn payload(&self, slot: u32) -> *mut u8 {
        self.memory.pointer(slot as usize * self.stride + MESSAGE_BYTES, self.slot_bytes)
    }

    /// Writes what stays the same in a slot's message.
    fn prepare(&self, slot: u32) {
        let message = self.message(slot);
        let payload = self.payload(slot);
        // SAFETY: zero is a value of every field; in bounds and aligned (a stride is a multiple of 64); the slot is free (3).
        let message = unsafe {
            message.write_bytes(0, 1);
            &mut *message
        };
        message.payload.iov_base = payload.cast();
        message.control.header.cmsg_len = CONTROL_LENGTH;
        message.control.header.cmsg_level = libc::SOL_UDP;
        message.control.header.cmsg_type = UDP_SEGMENT;
        message.header.msg_name = (&raw mut message.name).cast();
        message.header.msg_iov = &raw mut message.payload;
        message.header.msg_iovlen = 1;
        message.header.msg_control = (&raw mut message.control).cast();
    }

    /// Takes every completion: frees send slots, keeps receives for later.
    pub(super) fn reap(&mut self) {
        let Self { queue, backlog, counters, event_ended, free, outgoing, in_flight, failures, .. } = self;
        queue.drain(|completion| match completion.token {
            Token::Receive(_) => backlog.push_back(completion),
            Token::Send(slot) => {
                *in_flight -= 1;
                free.push(slot);
                counters.sends += 1;
                if completion.result < 0 {
                    let outgoing = outgoing[slot as usize];
                    note_failure(failures, counters, SendFailure { outgoing, errno: -completion.result });
                }
            }
            Token::Event => {
                *event_ended |= !io_uring::cqueue::more(completion.flags);
                counters.wakes += 1;
            }
            Token::WakeReceived => counters.wakes += 1,
            Token::WakeSent(_) => counters.wake_failures += 1,
        });
    }

    #[cold]
    fn reserve_after_submit(&mut self) -> Option<SendSlot> {
        self.flush();
        self.free.pop().map(|index| SendSlot { index })
    }
}

#[cold]
fn note_failure(failures: &mut VecDeque<SendFailure>, counters: &mut PortCounters, failure: SendFailure) {
    counters.send_failures += 1;
    if failures.len() < failures.capacity() {
        failures.push_back(failure);
    } else {
        counters.send_failures_unseen += 1;
    }
}

impl Sender for UringSender {
    #[inline]
    fn reserve(&mut self) -> Option<SendSlot> {
        match self.free.pop() {
            Some(index) => Some(SendSlot { index }),
            None => self.reserve_after_submit(),
        }
    }

    #[inline]
    fn bytes<'a>(&'a mut self, slot: &'a mut SendSlot) -> &'a mut [u8] {
        // SAFETY: the slot is reserved and borrowed (invariant 3), so nobody else touches its payload.
        unsafe { self.memory.slice(slot.index as usize * self.stride + MESSAGE_BYTES, self.slot_bytes) }
    }

    #[inline]
    fn bytes_of<'a>(&'a mut self, slots: &'a mut [SendSlot]) -> impl Iterator<Item = &'a mut [u8]> {
        let Self { memory, stride, slot_bytes, .. } = self;
        slots.iter_mut().map(|slot| {
            // SAFETY: each slot is reserved, exists once and is borrowed (invariant 3), so the payloads are disjoint.
            unsafe { memory.slice(slot.index as usize * *stride + MESSAGE_BYTES, *slot_bytes) }
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
        let index = slot.index;
        assert!(outgoing.socket < self.sockets && outgoing.bytes as usize <= self.slot_bytes, "a send of another port");
        self.outgoing[index as usize] = outgoing;
        // SAFETY: in bounds, aligned, written by `prepare`; the slot is reserved until it is pushed below (invariant 3).
        let message = unsafe { &mut *self.message(index) };
        message.header.msg_namelen = write_name(&mut message.name, &outgoing.destination) as u32;
        message.payload.iov_len = outgoing.bytes as usize;
        message.control.segment_bytes = outgoing.segment_bytes;
        message.header.msg_controllen = if outgoing.segment_bytes == 0 { 0 } else { CONTROL_BYTES };
        let entry = opcode::SendMsg::new(types::Fixed(outgoing.socket), &raw const message.header)
            .flags(libc::MSG_DONTWAIT as u32)
            .build()
            .user_data(Token::Send(index).user_data());
        // SAFETY: message and payload are in `memory` and stay unwritten until the completion (invariants 3 and 4).
        if unsafe { self.queue.push(entry) } {
            self.in_flight += 1;
        } else {
            self.free.push(index);
            note_failure(&mut self.failures, &mut self.counters, SendFailure { outgoing, errno: libc::ENOMEM });
        }
    }

    fn wake(&mut self, worker: u32) {
        let Some(peer) = self.peers.get(worker as usize) else {
            self.counters.wake_failures += 1;
            return;
        };
        let bit = 1 << worker;
        if self.queue.wakes_queued & bit != 0 {
            return;
        }
        let entry = opcode::MsgRingData::new(types::Fd(peer.as_raw_fd()), 0, Token::WakeReceived.user_data(), None)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(Token::WakeSent(worker).user_data());
        // SAFETY: the request points to nothing; the peer's fd stays open with the sender.
        if unsafe { self.queue.push(entry) } {
            self.queue.wakes_queued |= bit;
        } else {
            self.counters.wake_failures += 1;
        }
    }

    fn flush(&mut self) {
        self.queue.submit();
        self.reap();
    }

    fn poll_failure(&mut self) -> Option<SendFailure> {
        if self.failures.is_empty() && self.in_flight > 0 {
            self.reap();
        }
        self.failures.pop_front()
    }
}

impl std::fmt::Debug for UringSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UringSender")
            .field("free", &self.free.len())
            .field("in_flight", &self.in_flight)
            .field("backlog", &self.backlog.len())
            .finish_non_exhaustive()
    }
}
