//! The kernel's port: one io_uring per worker, sockets registered, one multishot receive per socket into shared buffers.
//!
//! ```text
//! network → socket → multishot RECVMSG → buffer → completion → backlog → batch → (next receive or wait) → buffer ring
//! worker → reserve → slot → commit: SENDMSG request → submitted by wait → completion → free
//! ```
//!
//! A turn is one syscall: `wait` submits the sends and sleeps for anything but their completions. Where io_uring is forbidden
//! this port does not start ([`SetupError`]); it needs Linux 6.1.

mod buffer_ring;
mod queue;
mod sender;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering, fence};

use io_uring::{cqueue, opcode, types};

pub use sender::UringSender;

use self::buffer_ring::{BufferRing, GROUP};
use self::queue::{Completion, Queue, Token};
use crate::address::{NAME_BYTES, read_name};
use crate::batch::{Arrived, Batch, RECEIVE_BUFFER_BYTES, RECEIVE_HEADER_BYTES};
use crate::connections::Connections;
use crate::port::{Port, PortCounters, Sender};
use crate::setup::{PortConfig, SetupError};
use engine_base::limits::SEND_BYTES;

/// `struct io_uring_recvmsg_out`: name, control and payload lengths, flags, 4 B each.
const RECORD_BYTES: usize = 16;
/// Datagrams that the kernel gives per socket and pass (`MULTISHOT_MAX_RETRY`).
const PASS_PACKETS: usize = 32;

/// One worker's port. Made on any thread, started and used on the worker's.
#[derive(Debug)]
pub struct UringPort {
    /// Owns the ring: dropped first (invariant 4).
    sender: UringSender,
    batch: Batch,
    buffers: BufferRing,
    template: Template,
    /// The worker's own sockets, then the pool.
    sockets: Vec<Listener>,
    /// Keeps the descriptions open; requests use registered indexes.
    _own: Vec<OwnedFd>,
    wake_fd: Option<OwnedFd>,
    /// Listeners in state `Ended`.
    ended: usize,
    started: bool,
}

/// The message header that every multishot receive shares: only its lengths matter.
#[derive(Debug)]
struct Template(Box<libc::msghdr>);

// SAFETY: its pointers are null.
unsafe impl Send for Template {}

#[derive(Debug)]
struct Listener {
    state: ListenerState,
    /// The worker's own socket as which it counts.
    counts_as: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ListenerState {
    /// Of the pool, and not bound yet.
    Unbound,
    Armed,
    Ended,
    /// The kernel will never receive on it, e.g. not a socket.
    Dead,
}

impl UringPort {
    /// **Errors**: see [`SetupError::remedy`]. **Cost**: all memory that the port will ever use.
    pub fn new(config: PortConfig) -> Result<Self, SetupError> {
        let PortConfig { sockets, pool, pool_per_address, wake, receive_buffers, send_slots, send_slot_bytes } = config;
        assert!(send_slot_bytes >= SEND_BYTES && send_slots > 0, "send slots too small");
        let backlog = usize::from(receive_buffers) + sockets.len() + pool.len();
        let completions = backlog as u32 + send_slots + engine_base::Limits::WORKERS_MAX;
        let queue = Queue::new(completions).map_err(SetupError::at("set up io_uring"))?;
        let memory = SetupError::at("get memory for packets");
        let batch = Batch::new(usize::from(receive_buffers)).map_err(&memory)?;
        let mut buffers = BufferRing::new(receive_buffers).map_err(&memory)?;
        buffers
            .register(&queue.submitter(), &batch.arena)
            .map_err(SetupError::at("register receive buffers with io_uring"))?;
        let files: Vec<RawFd> = sockets.iter().chain(&pool).chain(&wake).map(AsRawFd::as_raw_fd).collect();
        for socket in sockets.iter().chain(&pool) {
            make_blocking(socket).map_err(SetupError::at("set up a UDP socket"))?;
        }
        let connections = Connections::new(&sockets, pool, pool_per_address);
        let connections = connections.map_err(SetupError::at("read the address of a UDP socket"))?;
        if !files.is_empty() {
            let register = SetupError::at("register sockets with io_uring");
            queue.submitter().register_files(&files).map_err(register)?;
        }
        let own = (0..sockets.len() as u32).map(Some);
        let listeners = own.chain(connections.sockets().map(|(_, bound)| bound)).map(Listener::new);
        let listeners: Vec<_> = listeners.collect();
        let sender = UringSender::new(queue, backlog, (send_slots, send_slot_bytes), sockets.len() as u32, connections);
        let sender = sender.map_err(&memory)?;
        let (template, ended) = (Template::new(), listeners.len());
        Ok(Self {
            sender,
            batch,
            buffers,
            template,
            sockets: listeners,
            _own: sockets,
            wake_fd: wake,
            ended,
            started: false,
        })
    }

    /// The ring as others of this process name it to wake this worker.
    pub fn waker(&self) -> io::Result<OwnedFd> {
        self.sender.queue.try_clone_fd()
    }

    /// Binds the port to the calling thread and begins to receive.
    ///
    /// **Input**: the wakers of all workers of this process, by worker; empty when there are no others.
    pub fn start(&mut self, wakers: Vec<OwnedFd>) -> Result<(), SetupError> {
        assert!(!self.started, "started twice");
        self.sender.set_peers(wakers);
        self.sender.queue.enable().map_err(SetupError::at("enable io_uring"))?;
        self.started = true;
        self.sender.event_ended = self.wake_fd.is_some();
        self.arm();
        self.sender.flush();
        Ok(())
    }

    /// Starts the receives and the eventfd's poll that have ended.
    #[inline]
    fn arm(&mut self) {
        while let Some((position, socket)) = self.sender.newly_bound.pop() {
            self.begin_listening(position, socket);
        }
        if self.ended > 0 {
            self.arm_listeners();
        }
        if self.sender.event_ended {
            self.arm_event();
        }
    }

    /// A socket of the pool got its address.
    #[cold]
    fn begin_listening(&mut self, position: usize, socket: u32) {
        let own = self.sockets.len() - self.sender.connections.sockets().count();
        let listener = &mut self.sockets[own + position];
        if listener.state == ListenerState::Unbound {
            *listener = Listener::new(Some(socket));
            self.ended += 1;
        }
    }

    #[cold]
    fn arm_listeners(&mut self) {
        self.ended = 0;
        for (index, listener) in self.sockets.iter_mut().enumerate() {
            if listener.state != ListenerState::Ended {
                continue;
            }
            let token = Token::Receive(index as u32);
            let entry = opcode::RecvMsgMulti::new(types::Fixed(index as u32), &raw const *self.template.0, GROUP)
                .build()
                .user_data(token.user_data());
            // SAFETY: template and buffers live as long as the ring (invariant 4).
            if unsafe { self.sender.queue.push(entry) } {
                listener.state = ListenerState::Armed;
            } else {
                self.ended += 1;
            }
        }
    }

    /// The eventfd is never read: each write gives one completion, whatever its count.
    #[cold]
    fn arm_event(&mut self) {
        let entry = opcode::PollAdd::new(types::Fixed(self.sockets.len() as u32), libc::POLLIN as u32)
            .multi(true)
            .build()
            .user_data(Token::Event.user_data());
        // SAFETY: the request points to nothing.
        self.sender.event_ended = !unsafe { self.sender.queue.push(entry) };
    }

    /// Gives the batch's buffers back to the kernel.
    fn recycle(&mut self) {
        if self.batch.entries.is_empty() {
            return;
        }
        for entry in self.batch.entries.drain(..) {
            self.buffers.give(&self.batch.arena, entry.buffer);
        }
        self.buffers.publish();
    }

    /// Moves the backlog to the batch up to `packets_max`.
    fn collect(&mut self, packets_max: usize) {
        self.sender.reap();
        while self.batch.entries.len() < packets_max {
            let Some(completion) = self.sender.backlog.pop_front() else { return };
            self.take(completion);
        }
    }

    #[inline]
    fn take(&mut self, completion: Completion) {
        let Token::Receive(socket) = completion.token else { return };
        if !cqueue::more(completion.flags) {
            self.end(socket, completion.result);
        }
        let Some(buffer) = cqueue::buffer_select(completion.flags) else { return };
        match self.parse(buffer, completion.result, socket) {
            Some(arrived) => {
                self.sender.counters.received += 1;
                self.sender.counters.received_bytes += u64::from(arrived.bytes);
                self.batch.entries.push(arrived);
            }
            None => {
                self.buffers.give(&self.batch.arena, buffer);
                self.buffers.publish();
            }
        }
    }

    /// Reads the kernel's record in front of the payload.
    #[inline]
    fn parse(&mut self, buffer: u16, result: i32, socket: u32) -> Option<Arrived> {
        let offset = usize::from(buffer) * RECEIVE_BUFFER_BYTES;
        // SAFETY: the completion took the buffer out of the ring and no entry names it yet (invariant 2).
        let head = unsafe { self.batch.arena.slice(offset, RECEIVE_HEADER_BYTES) };
        let word = |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let bytes = usize::try_from(result).ok()?.checked_sub(RECEIVE_HEADER_BYTES)?;
        if word(12) & libc::MSG_TRUNC as u32 != 0 || word(8) as usize != bytes {
            self.sender.counters.truncated += 1;
            return None;
        }
        let name = head[RECORD_BYTES..].first_chunk::<NAME_BYTES>()?;
        let socket = self.sockets[socket as usize].counts_as;
        Some(Arrived { buffer, bytes: bytes as u16, socket, source: read_name(name)? })
    }

    #[cold]
    fn end(&mut self, socket: u32, result: i32) {
        let listener = &mut self.sockets[socket as usize];
        listener.state = ListenerState::Ended;
        self.ended += 1;
        match -result {
            libc::ENOBUFS => self.sender.counters.no_buffers += 1,
            libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP | libc::EFAULT => {
                self.sender.counters.receive_errors += 1;
                listener.state = ListenerState::Dead;
            }
            errno if errno > 0 => self.sender.counters.receive_errors += 1,
            _ => {}
        }
    }
}

impl Listener {
    /// **Input**: the worker's own socket as which it counts, if it has an address.
    fn new(counts_as: Option<u32>) -> Self {
        let state = if counts_as.is_some() { ListenerState::Ended } else { ListenerState::Unbound };
        Self { state, counts_as: counts_as.unwrap_or(0) }
    }
}

impl Template {
    fn new() -> Self {
        // SAFETY: zero is a value of every field of msghdr.
        let mut header: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        header.msg_namelen = (RECEIVE_HEADER_BYTES - RECORD_BYTES) as u32;
        Self(header)
    }
}

/// Makes a small ring and closes it: whether io_uring may be used here.
pub(crate) fn probe() -> Result<(), SetupError> {
    Queue::new(queue::SUBMISSIONS).map(drop).map_err(SetupError::at("set up io_uring"))
}

/// A multishot receive on an O_NONBLOCK socket ends with EAGAIN instead of waiting.
fn make_blocking(socket: &OwnedFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(socket)?;
    rustix::fs::fcntl_setfl(socket, flags - rustix::fs::OFlags::NONBLOCK)?;
    Ok(())
}

impl Port for UringPort {
    type Sender = UringSender;

    fn receive(&mut self, packets_max: usize) -> usize {
        self.recycle();
        self.arm();
        self.collect(packets_max);
        let passes = packets_max.div_ceil(PASS_PACKETS);
        for _ in 0..passes {
            if self.batch.entries.len() >= packets_max || !self.sender.queue.has_events() {
                break;
            }
            self.sender.queue.run(0, None);
            self.collect(packets_max);
        }
        self.batch.entries.len()
    }

    fn split(&mut self) -> (&mut Batch, &mut UringSender) {
        (&mut self.batch, &mut self.sender)
    }

    fn wait(&mut self, sleeping: &AtomicU64, timeout_ns: Option<u64>, has_work: impl FnOnce() -> bool) {
        self.recycle();
        self.arm();
        sleeping.store(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let sleep = !has_work() && self.sender.backlog.is_empty();
        // Each send in flight gives one completion, most of them at once: one more is what is waited for.
        let completions = if sleep { self.sender.in_flight() + 1 } else { 0 };
        self.sender.queue.run(completions, timeout_ns);
        sleeping.store(0, Ordering::SeqCst);
    }

    fn counters(&self) -> PortCounters {
        self.sender.counters
    }
}
