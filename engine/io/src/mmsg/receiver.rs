//! The receiving half: which sockets have something, and recvmmsg into the batch's buffers.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::CALL_MESSAGES;
use crate::address::{NAME_BYTES, read_name};
use crate::batch::{Arrived, Batch, RECEIVE_BUFFER_BYTES, RECEIVE_HEADER_BYTES, RECEIVE_PAYLOAD_BYTES};
use crate::port::PortCounters;

/// What is known of a socket's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It has datagrams, or nobody has looked.
    Readable,
    Empty,
    /// The kernel will never receive on it, e.g. not a socket.
    Dead,
}

/// What ended a sleep.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Events {
    /// The eventfd that other processes write.
    pub event: bool,
    /// The eventfd that other workers write.
    pub wake: bool,
}

pub(super) struct Receiver {
    states: Vec<State>,
    /// One entry per socket, then the workers' eventfd, then the other processes'. The port keeps the descriptors open.
    polled: Vec<libc::pollfd>,
    /// Who is asked first, so that one socket's flood does not hold back the others.
    first: usize,
    /// Of the batch.
    buffers: usize,
    messages: Box<[Message; CALL_MESSAGES]>,
    headers: Box<[libc::mmsghdr; CALL_MESSAGES]>,
}

/// What a header points to.
#[derive(Clone, Copy)]
struct Message {
    payload: libc::iovec,
    name: [u8; NAME_BYTES],
}

// SAFETY: the raw pointers lead into the receiver's own boxes and the batch's arena, which move with the port.
unsafe impl Send for Receiver {}

impl Receiver {
    pub(super) fn new(sockets: &[OwnedFd], wake: &OwnedFd, event: Option<&OwnedFd>, buffers: usize) -> Self {
        let polled = |fd: &OwnedFd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let nothing = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        let mut messages = Box::new([Message { payload: nothing, name: [0; NAME_BYTES] }; CALL_MESSAGES]);
        // SAFETY: zero is a value of every field of mmsghdr.
        let mut headers: Box<[libc::mmsghdr; CALL_MESSAGES]> = Box::new(unsafe { std::mem::zeroed() });
        for (header, message) in headers.iter_mut().zip(messages.iter_mut()) {
            header.msg_hdr.msg_name = (&raw mut message.name).cast();
            header.msg_hdr.msg_iov = &raw mut message.payload;
            header.msg_hdr.msg_iovlen = 1;
        }
        Self {
            states: vec![State::Readable; sockets.len()],
            polled: sockets.iter().chain([wake]).chain(event).map(polled).collect(),
            first: 0,
            buffers,
            messages,
            headers,
        }
    }

    /// Sleeps until a socket is readable or an eventfd is written, for at most `timeout_ns`. Every socket's state is known then.
    pub(super) fn poll(&mut self, timeout_ns: Option<u64>, counters: &mut PortCounters) -> Events {
        let timeout = timeout_ns.map(|ns| libc::timespec {
            tv_sec: i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: (ns % 1_000_000_000).cast_signed(),
        });
        let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: the list and the timeout live in this call; the mask may be null.
        let found = unsafe {
            let count = self.polled.len() as libc::nfds_t;
            libc::ppoll(self.polled.as_mut_ptr(), count, timeout, std::ptr::null())
        };
        if found < 0 {
            // A signal or no memory: nothing is known, so that the next receive asks every socket.
            self.forget();
            return Events::default();
        }
        for (state, polled) in self.states.iter_mut().zip(&mut self.polled) {
            if *state == State::Dead {
                continue;
            }
            if polled.revents & libc::POLLNVAL != 0 {
                (*state, polled.fd) = (State::Dead, -1);
                counters.receive_errors += 1;
            } else {
                // An error that is pending is taken by receiving.
                *state = if polled.revents == 0 { State::Empty } else { State::Readable };
            }
        }
        let is_set = |at: usize| self.polled.get(at).is_some_and(|polled| polled.revents & libc::POLLIN != 0);
        Events { wake: is_set(self.states.len()), event: is_set(self.states.len() + 1) }
    }

    /// Fills the empty batch with up to `packets_max` datagrams.
    pub(super) fn receive(
        &mut self,
        sockets: &[OwnedFd],
        batch: &mut Batch,
        packets_max: usize,
        counters: &mut PortCounters,
    ) {
        let packets_max = packets_max.min(self.buffers);
        // A datagram that is thrown away leaves its buffer unused.
        let (mut used, mut asked) = (0, false);
        while used < packets_max && self.states.contains(&State::Readable) {
            for step in 0..sockets.len() {
                let socket = (self.first + step) % sockets.len();
                let room = (packets_max - used).min(CALL_MESSAGES);
                if self.states[socket] != State::Readable || room == 0 {
                    continue;
                }
                asked = true;
                let count = self.call(&sockets[socket], batch, used, room);
                let count = count.unwrap_or_else(|error| self.note_error(socket, &error, counters));
                if count > 0 && count < room {
                    self.states[socket] = State::Empty;
                }
                self.take(socket as u32, batch, used, count, counters);
                used += count;
            }
        }
        self.first = self.first.wrapping_add(1);
        if !asked {
            // Whoever asks again without a wait between gets what has come since.
            self.forget();
        }
    }

    /// One recvmmsg into `room` buffers from `first` on.
    fn call(&mut self, socket: &OwnedFd, batch: &Batch, first: usize, room: usize) -> io::Result<usize> {
        for (index, (header, message)) in self.headers.iter_mut().zip(self.messages.iter_mut()).take(room).enumerate() {
            let offset = (first + index) * RECEIVE_BUFFER_BYTES + RECEIVE_HEADER_BYTES;
            message.payload.iov_base = batch.arena.pointer(offset, RECEIVE_PAYLOAD_BYTES).cast();
            message.payload.iov_len = RECEIVE_PAYLOAD_BYTES;
            header.msg_hdr.msg_namelen = NAME_BYTES as u32;
        }
        // SAFETY: headers, messages and buffers outlive the call; no entry names these buffers (invariant 2).
        let count = unsafe {
            let flags = libc::MSG_DONTWAIT;
            libc::recvmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), room as u32, flags, std::ptr::null_mut())
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    /// Makes entries of what the call has written.
    fn take(&self, socket: u32, batch: &mut Batch, first: usize, count: usize, counters: &mut PortCounters) {
        for (index, (header, message)) in self.headers.iter().zip(self.messages.iter()).take(count).enumerate() {
            let source = read_name(&message.name);
            let (Some(source), false) = (source, header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0) else {
                counters.truncated += 1;
                continue;
            };
            let arrived = Arrived { buffer: (first + index) as u16, bytes: header.msg_len as u16, socket, source };
            counters.received += 1;
            counters.received_bytes += u64::from(arrived.bytes);
            batch.entries.push(arrived);
        }
    }

    /// **Output**: no datagrams.
    #[cold]
    fn note_error(&mut self, socket: usize, error: &io::Error, counters: &mut PortCounters) -> usize {
        self.states[socket] = match error.raw_os_error().unwrap_or(0) {
            libc::EAGAIN => State::Empty,
            libc::EINTR => State::Readable,
            libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP | libc::EFAULT => {
                counters.receive_errors += 1;
                self.polled[socket].fd = -1;
                State::Dead
            }
            libc::ENOBUFS | libc::ENOMEM => {
                counters.no_buffers += 1;
                State::Empty
            }
            // Taken from the socket by this call, e.g. ECONNREFUSED of a connected one: datagrams may lie behind it.
            _ => {
                counters.receive_errors += 1;
                State::Readable
            }
        };
        0
    }

    fn forget(&mut self) {
        for state in self.states.iter_mut().filter(|state| **state == State::Empty) {
            *state = State::Readable;
        }
    }
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("states", &self.states).finish_non_exhaustive()
    }
}
