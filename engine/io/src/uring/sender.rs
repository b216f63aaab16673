//! The sending half: slots, their message headers, and the queue, because a full set of slots is emptied by submitting.
//!
//! ```text
//! slot (odd multiple of 64 B): msghdr:56 iovec:16 sockaddr:28 pad:4 cmsg UDP_SEGMENT:24 | payload
//! ```

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use engine_base::Limits;
use engine_table::SocketAddress;
use io_uring::{opcode, squeue, types};

use super::queue::{Completion, Queue, Token};
use crate::address::{NAME_BYTES, write_name};
use crate::connections::{Connection, Connections, Unconnected};
use crate::port::{Outgoing, PortCounters, SendFailure, SendSlot, Sender};
use crate::send_slots::{SegmentControl, SendSlots};

/// What a SENDMSG request points to. Everything but lengths, name and segment size is written once.
#[repr(C, align(64))]
struct Message {
    header: libc::msghdr,
    payload: libc::iovec,
    name: [u8; NAME_BYTES],
    control: SegmentControl,
}

const MESSAGE_BYTES: usize = size_of::<Message>();
const _: () = assert!(MESSAGE_BYTES == 128);

pub struct UringSender {
    pub(super) queue: Queue,
    /// Receive completions that came while something else was waited for; at most one per buffer and socket.
    pub(super) backlog: VecDeque<Completion>,
    pub(super) counters: PortCounters,
    /// The eventfd's poll has ended and must be armed again.
    pub(super) event_ended: bool,
    /// Sockets of the pool that got an address since the port looked, and whose.
    pub(super) newly_bound: Vec<(usize, u32)>,
    pub(super) connections: Connections,
    slots: SendSlots,
    in_flight: u32,
    sockets: u32,
    peers: Vec<OwnedFd>,
}

// SAFETY: the raw pointers are inside the slots' memory and point into it; it moves with the sender.
unsafe impl Send for UringSender {}

impl UringSender {
    pub(super) fn new(
        queue: Queue,
        backlog: usize,
        (slots, slot_bytes): (u32, usize),
        sockets: u32,
        connections: Connections,
    ) -> io::Result<Self> {
        let sender = Self {
            queue,
            backlog: VecDeque::with_capacity(backlog),
            counters: PortCounters::default(),
            event_ended: false,
            slots: SendSlots::new(slots, MESSAGE_BYTES, slot_bytes)?,
            newly_bound: Vec::with_capacity(connections.sockets().count()),
            connections,
            in_flight: 0,
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
        self.slots.head(slot).cast()
    }

    /// Writes what stays the same in a slot's message.
    fn prepare(&self, slot: u32) {
        let message = self.message(slot);
        let payload = self.slots.payload(slot);
        // SAFETY: zero is a value of every field; in bounds and aligned (a stride is a multiple of 64); the slot is free (3).
        let message = unsafe {
            message.write_bytes(0, 1);
            &mut *message
        };
        message.payload.iov_base = payload.cast();
        message.control.prepare();
        message.header.msg_name = (&raw mut message.name).cast();
        message.header.msg_iov = &raw mut message.payload;
        message.header.msg_iovlen = 1;
        message.header.msg_control = (&raw mut message.control).cast();
    }

    /// Takes every completion: frees send slots, keeps receives for later.
    pub(super) fn reap(&mut self) {
        let Self { queue, backlog, counters, event_ended, slots, in_flight, .. } = self;
        queue.drain(|completion| match completion.token {
            Token::Receive(_) => backlog.push_back(completion),
            Token::Send(slot) => {
                *in_flight -= 1;
                counters.sends += 1;
                if completion.result < 0 {
                    slots.note_failure(counters, slot, -completion.result);
                }
                slots.release(slot);
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
        self.slots.reserve()
    }
}

impl Sender for UringSender {
    #[inline]
    fn reserve(&mut self) -> Option<SendSlot> {
        match self.slots.reserve() {
            None => self.reserve_after_submit(),
            slot => slot,
        }
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
        assert!(outgoing.socket < self.sockets, "a send of another port");
        let index = self.slots.commit(slot, outgoing);
        // SAFETY: in bounds, aligned, written by `prepare`; the slot is reserved until it is pushed below (invariant 3).
        let message = unsafe { &mut *self.message(index) };
        let (socket, name_bytes) = match outgoing.connection {
            Some(connection) => (self.sockets + connection.position() as u32, 0),
            None => (outgoing.socket, write_name(&mut message.name, &outgoing.destination) as u32),
        };
        let socket = types::Fixed(socket);
        let entry = if outgoing.segment_bytes == 0 {
            // Without a control message a plain send does, which spares the kernel the message header: 5 % of the call.
            let name = if name_bytes == 0 { std::ptr::null() } else { message.name.as_ptr().cast() };
            opcode::Send::new(socket, message.payload.iov_base.cast(), outgoing.bytes)
                .dest_addr(name)
                .dest_addr_len(name_bytes)
                .flags(libc::MSG_DONTWAIT)
                .build()
        } else {
            message.header.msg_namelen = name_bytes;
            message.payload.iov_len = outgoing.bytes as usize;
            message.header.msg_controllen = message.control.set(&outgoing);
            opcode::SendMsg::new(socket, &raw const message.header).flags(libc::MSG_DONTWAIT as u32).build()
        };
        let entry = entry.user_data(Token::Send(index).user_data());
        // SAFETY: message and payload are in the slot and stay unwritten until the completion (invariants 3 and 4).
        if unsafe { self.queue.push(entry) } {
            self.in_flight += 1;
        } else {
            self.slots.note_failure(&mut self.counters, index, libc::ENOMEM);
            self.slots.release(index);
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

    fn connect(&mut self, socket: u32, destination: &SocketAddress) -> Result<Connection, Unconnected> {
        if !self.connections.has_free(socket) {
            return Err(Unconnected::NoneFree);
        }
        // What is queued for the socket's former peer must not go to the next one.
        self.flush();
        let connection = self.connections.connect(socket, destination)?;
        self.newly_bound.push((connection.position(), socket));
        self.counters.connected += 1;
        Ok(connection)
    }

    fn disconnect(&mut self, connection: Connection) {
        self.flush();
        self.connections.release(connection);
        self.counters.connected -= 1;
    }

    fn poll_failure(&mut self) -> Option<SendFailure> {
        if !self.slots.has_failures() && self.in_flight > 0 {
            self.reap();
        }
        self.slots.poll_failure()
    }
}

impl std::fmt::Debug for UringSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UringSender")
            .field("free", &self.slots.free_count())
            .field("in_flight", &self.in_flight)
            .field("backlog", &self.backlog.len())
            .finish_non_exhaustive()
    }
}
