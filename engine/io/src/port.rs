//! What a worker asks of a port: batch in, batch out, sleep.
//!
//! One turn: `receive` · `split` into the batch and the sender, handle each datagram, `reserve`, write, `commit` · `wait`, which
//! submits everything and sleeps unless there is work. After construction nothing allocates or locks.

use std::sync::atomic::AtomicU64;

use engine_base::Drop as DropReason;
use engine_table::SocketAddress;

use crate::batch::Batch;
use crate::connections::{Connection, Unconnected};

pub trait Port {
    type Sender: Sender;

    /// Replaces the batch by up to `packets_max` datagrams that have arrived; never sleeps. The previous batch's buffers go
    /// back to the kernel.
    ///
    /// **Output**: how many. **Cost**: at most one syscall per 32 datagrams and socket.
    fn receive(&mut self, packets_max: usize) -> usize;

    /// The batch and the sending half, usable together.
    fn split(&mut self) -> (&mut Batch, &mut Self::Sender);

    fn sender(&mut self) -> &mut Self::Sender {
        self.split().1
    }

    /// Ends the turn: submits what was committed, then sleeps until a datagram, a wake or `timeout_ns` from now (`None`: for
    /// ever). It sets `sleeping` to 1 first and asks `has_work` after that, with a SeqCst fence between, so that a producer that
    /// publishes, fences and then reads `sleeping` is never missed; with work it does not sleep. `sleeping` is 0 on return.
    ///
    /// **Cost**: one syscall.
    fn wait(&mut self, sleeping: &AtomicU64, timeout_ns: Option<u64>, has_work: impl FnOnce() -> bool);

    fn counters(&self) -> PortCounters;
}

/// The sending half of a port.
pub trait Sender {
    /// A free send slot; `None` when all are in flight ([`DropReason::SendQueueFull`]). A slot that is not committed must be
    /// given back by [`Sender::release`].
    fn reserve(&mut self) -> Option<SendSlot>;

    /// Bytes of a reserved slot, [`Sender::slot_bytes`]. Their content is that of an earlier send.
    fn bytes<'a>(&'a mut self, slot: &'a mut SendSlot) -> &'a mut [u8];

    /// Bytes of several reserved slots, usable together, in their order.
    fn bytes_of<'a>(&'a mut self, slots: &'a mut [SendSlot]) -> impl Iterator<Item = &'a mut [u8]>;

    /// Bytes of every slot, at least `engine_base::limits::SEND_BYTES`: the longest train.
    fn slot_bytes(&self) -> usize;

    fn release(&mut self, slot: SendSlot);

    /// Queues the slot's first `outgoing.bytes` bytes. The slot is free again when the kernel has completed the send. The
    /// socket's index and the length are asserted; whatever is wrong with the destination is a failure.
    fn commit(&mut self, slot: SendSlot, outgoing: Outgoing);

    /// Queues a wake-up of another worker of this process; repeated ones are merged until they are submitted. Only needed when
    /// that worker's `sleeping` word was 1, read after the publication and a SeqCst fence.
    fn wake(&mut self, worker: u32);

    /// Submits what is queued and frees the slots of what has been sent, so that the next batch uses the same memory; `wait`
    /// submits too. **Cost**: one syscall.
    fn flush(&mut self);

    /// A socket that is connected to `destination` from the address of `socket`: sends through it cost a fifth less. **Cost**: up
    /// to three system calls: for a peer that stays.
    fn connect(&mut self, socket: u32, destination: &SocketAddress) -> Result<Connection, Unconnected> {
        let _ = (socket, destination);
        Err(Unconnected::NoneFree)
    }

    /// Gives a connected socket back; nothing may be sent through it any more.
    fn disconnect(&mut self, connection: Connection) {
        let _ = connection;
    }

    /// The next failed send since the last call. A port keeps as many as it has slots; more are only counted.
    fn poll_failure(&mut self) -> Option<SendFailure>;
}

/// A reserved send slot.
#[must_use = "commit or release it"]
#[derive(Debug)]
pub struct SendSlot {
    pub(crate) index: u32,
}

/// Where the bytes of a slot go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Index of the local socket.
    pub socket: u32,
    pub destination: SocketAddress,
    /// Of the whole train.
    pub bytes: u32,
    /// Bytes of each datagram of a train (UDP_SEGMENT; the last may be shorter); 0 sends one datagram.
    pub segment_bytes: u16,
    /// Connected to `destination` from the address of `socket`.
    pub connection: Option<Connection>,
}

/// A send that the kernel refused. Its bytes are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendFailure {
    pub outgoing: Outgoing,
    /// Positive errno.
    pub errno: i32,
}

impl SendFailure {
    /// The counter of this failure.
    pub fn reason(&self) -> DropReason {
        match self.errno {
            libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM => DropReason::SendBufferFull,
            libc::EMSGSIZE => DropReason::SendTooLarge,
            libc::EINVAL | libc::EIO if self.is_train() => DropReason::SendTooLarge,
            _ => DropReason::SendFailed,
        }
    }

    /// Datagrams that were lost.
    pub fn packets(&self) -> u32 {
        let Outgoing { bytes, segment_bytes, .. } = self.outgoing;
        if self.is_train() { bytes.div_ceil(u32::from(segment_bytes)) } else { 1 }
    }

    /// True for a train of more than one datagram: the transport then falls back to single sends for a while.
    pub fn is_train(&self) -> bool {
        self.outgoing.segment_bytes != 0 && self.outgoing.bytes > u32::from(self.outgoing.segment_bytes)
    }
}

/// Since construction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    pub received: u64,
    pub received_bytes: u64,
    /// Completed send calls (a train is one), failed ones included.
    pub sends: u64,
    pub send_failures: u64,
    /// Datagrams that left as frames of their own (AF_XDP).
    pub frames: u64,
    /// Sockets of the pool that are connected at present.
    pub connected: u64,
    /// Failures not kept for `poll_failure`.
    pub send_failures_unseen: u64,
    /// Times that the kernel found no receive buffer: the worker is slower than the network.
    pub no_buffers: u64,
    /// Datagrams longer than [`crate::RECEIVE_PAYLOAD_BYTES`].
    pub truncated: u64,
    /// Errors of a receive, e.g. ECONNREFUSED of a connected socket.
    pub receive_errors: u64,
    /// Wake-ups by eventfd or by another worker.
    pub wakes: u64,
    /// Wake-ups of other workers that failed: their ring is not running.
    pub wake_failures: u64,
}
