//! The kernel's port without io_uring: recvmmsg, sendmmsg and ppoll, for containers whose profile forbids io_uring and kernels that
//! switch it off. The same buffers, slots, trains and wake-ups as [`crate::UringPort`].
//!
//! ```text
//! network → socket → RECVMMSG → buffer → batch → (next receive or wait)
//! worker → reserve → slot → commit → chain of its socket → SENDMMSG by wait, flush, or when no slot is free
//! ```
//!
//! Nothing is in flight between two calls: a buffer belongs to the batch until the next `receive` or `wait`, and a slot is free
//! when the send call has returned. A turn costs one ppoll, one sendmmsg per 64 sends and socket, and one recvmmsg per 64
//! datagrams and readable socket.

mod receiver;
mod sender;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use engine_base::limits::SEND_BYTES;
use rustix::event::EventfdFlags;

use self::receiver::Receiver;
pub use self::sender::MmsgSender;
use crate::batch::Batch;
use crate::kernel::KernelPort;
use crate::port::{Port, PortCounters, Sender};
use crate::setup::{PortConfig, SetupError};

/// Messages of one system call: of a receive bounded by what a socket may hold back from others, of a send by the headers that are
/// built for it, 64 × 192 B = 12 KiB.
const CALL_MESSAGES: usize = 64;

/// One worker's port.
#[derive(Debug)]
pub struct MmsgPort {
    sender: MmsgSender,
    batch: Batch,
    receiver: Receiver,
    sockets: Arc<[OwnedFd]>,
    /// Written by other processes.
    event: Option<OwnedFd>,
    /// Written by the other workers of this process.
    wake: OwnedFd,
    started: bool,
}

impl MmsgPort {
    /// **Errors**: no memory or descriptors. **Cost**: all memory that the port will ever use.
    pub fn new(config: PortConfig) -> Result<Self, SetupError> {
        let PortConfig { sockets, wake: event, receive_buffers, send_slots, send_slot_bytes, .. } = config;
        assert!(send_slot_bytes >= SEND_BYTES && send_slots > 0, "send slots too small");
        let memory = SetupError::at("get memory for packets");
        let batch = Batch::new(usize::from(receive_buffers)).map_err(&memory)?;
        let sockets: Arc<[OwnedFd]> = sockets.into();
        let sender = MmsgSender::new(sockets.clone(), send_slots, send_slot_bytes).map_err(&memory)?;
        let wake = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let wake = wake.map_err(|errno| SetupError::at("make an eventfd")(errno.into()))?;
        let receiver = Receiver::new(&sockets, &wake, event.as_ref(), usize::from(receive_buffers));
        Ok(Self { sender, batch, receiver, sockets, event, wake, started: false })
    }

    /// Resets an eventfd that is set. Several writes since the last time are one wake-up.
    #[cold]
    fn take_wake(fd: &OwnedFd, counters: &mut PortCounters) {
        if rustix::io::read(fd, &mut [0; 8]).is_ok() {
            counters.wakes += 1;
        }
    }
}

impl KernelPort for MmsgPort {
    fn make(config: PortConfig) -> Result<Self, SetupError> {
        Self::new(config)
    }

    fn waker(&self) -> io::Result<OwnedFd> {
        self.wake.try_clone()
    }

    fn start(&mut self, wakers: Vec<OwnedFd>) -> Result<(), SetupError> {
        assert!(!self.started, "started twice");
        self.sender.set_peers(wakers);
        self.started = true;
        Ok(())
    }
}

impl Port for MmsgPort {
    type Sender = MmsgSender;

    fn receive(&mut self, packets_max: usize) -> usize {
        self.batch.entries.clear();
        let Self { receiver, batch, sender, sockets, .. } = self;
        receiver.receive(sockets, batch, packets_max, &mut sender.counters);
        self.batch.entries.len()
    }

    fn split(&mut self) -> (&mut Batch, &mut MmsgSender) {
        (&mut self.batch, &mut self.sender)
    }

    fn wait(&mut self, sleeping: &AtomicU64, timeout_ns: Option<u64>, has_work: impl FnOnce() -> bool) {
        self.batch.entries.clear();
        self.sender.flush();
        sleeping.store(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let timeout_ns = if has_work() { Some(0) } else { timeout_ns };
        let events = self.receiver.poll(timeout_ns, &mut self.sender.counters);
        sleeping.store(0, Ordering::SeqCst);
        if let Some(event) = self.event.as_ref().filter(|_| events.event) {
            Self::take_wake(event, &mut self.sender.counters);
        }
        if events.wake {
            Self::take_wake(&self.wake, &mut self.sender.counters);
        }
    }

    fn counters(&self) -> PortCounters {
        self.sender.counters
    }
}
