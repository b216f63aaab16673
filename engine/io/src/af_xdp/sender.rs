//! The sending half: a slot goes as frames where its destination's next hop is known on the interface, and by its socket otherwise.

use std::collections::VecDeque;

use engine_table::SocketAddress;

use super::frame::Headers;
use super::rings::Transmitter;
use super::routes::{Routes, Way};
use crate::connections::{Connection, Unconnected};
use crate::kernel::KernelPort;
use crate::port::{Outgoing, PortCounters, SendFailure, SendSlot, Sender};

/// Frames that wait before they are kicked: they shall still lie in the cache when the kernel copies them.
const QUEUED_MAX: u32 = 64;
/// Failures kept for `poll_failure`.
const FAILURES_MAX: usize = 1_024;

/// What a worker sends frames with.
pub(super) struct Frames {
    pub transmitter: Transmitter,
    pub routes: Routes,
    /// Longer trains go by the socket.
    pub framed_max: usize,
}

/// Slots, failures and wake-ups are the inner port's; only where the bytes go differs.
pub struct XdpSender<P> {
    pub(super) inner: P,
    /// `None` for a worker without a queue of the interface.
    pub(super) frames: Option<Frames>,
    pub(super) counters: PortCounters,
    /// Committed to the inner port since it was flushed, for a destination that has frames behind it.
    refreshing: bool,
    /// Where the last frame that was not kicked goes.
    last_framed: Option<SocketAddress>,
    slot_bytes: usize,
    failures: VecDeque<SendFailure>,
}

impl<P: KernelPort> XdpSender<P> {
    pub(super) fn new(mut inner: P, frames: Option<Frames>) -> Self {
        let (counters, failures) = (PortCounters::default(), VecDeque::with_capacity(FAILURES_MAX));
        let slot_bytes = inner.sender().slot_bytes();
        Self { inner, frames, counters, refreshing: false, last_framed: None, slot_bytes, failures }
    }

    /// Frames that the device has not taken: they need another kick soon.
    pub(super) fn is_waiting(&self) -> bool {
        self.frames.as_ref().is_some_and(|frames| frames.transmitter.queued() > 0)
    }

    /// What was committed to a socket before frames to the same destination leaves before them.
    fn kick(&mut self) {
        if std::mem::take(&mut self.refreshing) {
            self.inner.sender().flush();
        }
        self.last_framed = None;
        let Some(frames) = &mut self.frames else { return };
        if frames.transmitter.queued() > 0 {
            // An interface that is down or gone keeps its frames; the resolver hears of it too, and trains that find no room fail.
            let _ = frames.transmitter.kick();
        }
    }

    fn commit_frames(&mut self, mut slot: SendSlot, outgoing: &Outgoing, headers: &Headers) {
        let count = datagrams(outgoing);
        let has_room = |sender: &Self| sender.frames.as_ref().is_some_and(|frames| frames.transmitter.room() >= count);
        if !has_room(self) {
            self.kick();
        }
        self.counters.sends += 1;
        if !has_room(self) {
            self.inner.sender().release(slot);
            self.note_failure(SendFailure { outgoing: *outgoing, errno: libc::ENOBUFS });
            return;
        }
        let Self { inner, frames: Some(frames), .. } = self else { return };
        let bytes = inner.sender().bytes(&mut slot).get(..outgoing.bytes as usize).unwrap_or_default();
        for index in 0..count {
            let Some(mut frame) = frames.transmitter.reserve() else { break };
            let from = index * usize::from(outgoing.segment_bytes);
            let to = if outgoing.segment_bytes == 0 { bytes.len() } else { from + usize::from(outgoing.segment_bytes) };
            let payload = bytes.get(from..to.min(bytes.len())).unwrap_or_default();
            let length = headers.write(frames.transmitter.bytes(&mut frame), outgoing.destination.port, payload);
            frames.transmitter.push(frame, length);
        }
        let queued = frames.transmitter.queued();
        self.counters.frames += count as u64;
        self.last_framed = Some(outgoing.destination);
        self.inner.sender().release(slot);
        if queued >= QUEUED_MAX {
            self.kick();
        }
    }

    #[cold]
    fn note_failure(&mut self, failure: SendFailure) {
        self.counters.send_failures += 1;
        if self.failures.len() < FAILURES_MAX {
            self.failures.push_back(failure);
        } else {
            self.counters.send_failures_unseen += 1;
        }
    }
}

/// Datagrams of a train, at least one.
fn datagrams(outgoing: &Outgoing) -> usize {
    match outgoing.segment_bytes {
        0 => 1,
        segment => (outgoing.bytes as usize).div_ceil(segment.into()).max(1),
    }
}

/// Bytes of the longest.
fn datagram_bytes(outgoing: &Outgoing) -> usize {
    match outgoing.segment_bytes {
        0 => outgoing.bytes as usize,
        segment => (outgoing.bytes as usize).min(segment.into()),
    }
}

impl<P: KernelPort> Sender for XdpSender<P> {
    #[inline]
    fn reserve(&mut self) -> Option<SendSlot> {
        self.inner.sender().reserve()
    }

    #[inline]
    fn bytes<'a>(&'a mut self, slot: &'a mut SendSlot) -> &'a mut [u8] {
        self.inner.sender().bytes(slot)
    }

    #[inline]
    fn bytes_of<'a>(&'a mut self, slots: &'a mut [SendSlot]) -> impl Iterator<Item = &'a mut [u8]> {
        self.inner.sender().bytes_of(slots)
    }

    #[inline]
    fn slot_bytes(&self) -> usize {
        self.slot_bytes
    }

    fn release(&mut self, slot: SendSlot) {
        self.inner.sender().release(slot);
    }

    fn commit(&mut self, slot: SendSlot, outgoing: Outgoing) {
        let SocketAddress { ip, port, .. } = outgoing.destination;
        let framed_max = self.frames.as_ref().map_or(0, |frames| frames.framed_max);
        let way = match &mut self.frames {
            Some(frames) if port != 0 => frames.routes.find(outgoing.socket, &ip),
            _ => Way::Socket,
        };
        match way {
            Way::Frame(_) if datagrams(&outgoing) > framed_max => {
                // Between frames to the same destination it keeps its place.
                if self.last_framed == Some(outgoing.destination) {
                    self.kick();
                }
                self.refreshing = true;
            }
            Way::Frame(headers) if datagram_bytes(&outgoing) <= headers.payload_max() => {
                return self.commit_frames(slot, &outgoing, &headers);
            }
            // Longer than the path takes: the socket refuses it as it does without frames.
            Way::Frame(_) | Way::Socket => {}
            Way::Refresh => {
                self.kick();
                self.refreshing = true;
            }
        }
        self.inner.sender().commit(slot, outgoing);
    }

    fn wake(&mut self, worker: u32) {
        self.inner.sender().wake(worker);
    }

    fn flush(&mut self) {
        self.inner.sender().flush();
        self.refreshing = false;
        self.kick();
        if let Some(frames) = &mut self.frames {
            frames.transmitter.reap();
            frames.routes.take_answers();
        }
    }

    fn connect(&mut self, socket: u32, destination: &SocketAddress) -> Result<Connection, Unconnected> {
        self.inner.sender().connect(socket, destination)
    }

    fn disconnect(&mut self, connection: Connection) {
        self.inner.sender().disconnect(connection);
    }

    fn poll_failure(&mut self) -> Option<SendFailure> {
        self.failures.pop_front().or_else(|| self.inner.sender().poll_failure())
    }
}
