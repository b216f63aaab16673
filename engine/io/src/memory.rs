//! A port without a kernel: a test injects what arrives and reads what was sent. Deterministic: FIFO queues, no threads, `wait`
//! never sleeps. In the steady state it does not allocate, so that a worker's own allocations can be counted on it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use engine_base::limits::{SEND_BYTES, TRAIN_BYTES};
use engine_table::SocketAddress;

use crate::batch::{Arrived, Batch, RECEIVE_PAYLOAD_BYTES};
use crate::connections::{Connection, Unconnected};
use crate::port::{Outgoing, Port, PortCounters, SendFailure, SendSlot, Sender};
use crate::send_slots::SendSlots;

/// Most datagrams in one batch.
const BATCH_MAX: usize = 256;

/// A datagram that was sent or waits to be received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub bytes: Vec<u8>,
    /// The remote end: source of an arrival, destination of a send.
    pub remote: SocketAddress,
    pub socket: u32,
    /// Of a sent train; 0 for a single datagram.
    pub segment_bytes: u16,
}

impl Packet {
    /// The datagrams of a train, in order.
    pub fn segments(&self) -> impl Iterator<Item = &[u8]> {
        let bytes = if self.segment_bytes == 0 { self.bytes.len() } else { self.segment_bytes as usize };
        self.bytes.chunks(bytes.max(1))
    }
}

#[derive(Debug)]
pub struct MemoryPort {
    batch: Batch,
    arrivals: VecDeque<Packet>,
    sender: MemorySender,
    addresses: Vec<SocketAddress>,
    received: u64,
    received_bytes: u64,
    truncated: u64,
    last_timeout_ns: Option<u64>,
    waits: u64,
}

#[derive(Debug)]
pub struct MemorySender {
    slots: SendSlots,
    sent: VecDeque<Packet>,
    /// Buffers of packets that were taken, for reuse.
    spare: Vec<Vec<u8>>,
    faults: VecDeque<i32>,
    wakes: Vec<u32>,
    counters: PortCounters,
    discards: bool,
    /// By position: socket and peer of a connected one.
    connections: Vec<Option<(u32, SocketAddress)>>,
}

impl MemoryPort {
    /// **Input**: the local address of each socket; `slots` sends per turn, each of `TRAIN_BYTES`.
    pub fn new(addresses: &[SocketAddress], slots: u32) -> Self {
        Self::with_slot_bytes(addresses, slots, TRAIN_BYTES)
    }

    pub fn with_slot_bytes(addresses: &[SocketAddress], slots: u32, slot_bytes: usize) -> Self {
        assert!(slot_bytes >= SEND_BYTES);
        let sender = MemorySender {
            slots: SendSlots::new(slots, 0, slot_bytes).expect("address space for a test's slots"),
            sent: VecDeque::with_capacity(slots as usize),
            spare: Vec::new(),
            faults: VecDeque::new(),
            wakes: Vec::with_capacity(engine_base::Limits::WORKERS_MAX as usize),
            counters: PortCounters::default(),
            discards: false,
            connections: Vec::new(),
        };
        Self {
            batch: Batch::new(BATCH_MAX).expect("address space for a test's buffers"),
            arrivals: VecDeque::new(),
            sender,
            addresses: addresses.to_vec(),
            received: 0,
            received_bytes: 0,
            truncated: 0,
            last_timeout_ns: None,
            waits: 0,
        }
    }

    /// Lets a datagram arrive. A later `receive` gives it.
    pub fn inject(&mut self, socket: u32, source: SocketAddress, bytes: &[u8]) {
        let mut buffer = self.sender.spare();
        buffer.clear();
        buffer.extend_from_slice(bytes);
        self.arrivals.push_back(Packet { bytes: buffer, remote: source, socket, segment_bytes: 0 });
    }

    /// Gives the port a pool of so many sockets to connect.
    pub fn add_connections(&mut self, count: usize) {
        self.sender.connections.resize(count, None);
    }

    /// Peers of the sockets that are connected, in the order of the pool.
    pub fn connected(&self) -> impl Iterator<Item = SocketAddress> {
        self.sender.connections.iter().flatten().map(|(_, peer)| *peer)
    }

    /// Datagrams injected and not yet received.
    pub fn pending(&self) -> usize {
        self.arrivals.len()
    }

    /// Takes the oldest sent datagram or train.
    pub fn take_sent(&mut self) -> Option<Packet> {
        self.sender.sent.pop_front()
    }

    /// Shows every sent datagram or train, oldest first, and recycles it: no allocation.
    pub fn drain_sent(&mut self, mut each: impl FnMut(&Packet)) {
        while let Some(packet) = self.sender.sent.pop_front() {
            each(&packet);
            self.sender.spare.push(packet.bytes);
        }
    }

    /// The next sends fail with these positive errnos, one each; 0 lets one through.
    pub fn fail_sends(&mut self, errnos: &[i32]) {
        self.sender.faults.extend(errnos);
    }

    /// Sends are counted and go nowhere, as on a device that discards.
    pub fn discard_sends(&mut self) {
        self.sender.discards = true;
    }

    /// Workers woken since the last call.
    pub fn take_wakes(&mut self) -> Vec<u32> {
        self.sender.wakes.drain(..).collect()
    }

    /// Timeout of the last `wait`, as a simulation's clock needs it.
    pub fn last_timeout_ns(&self) -> Option<u64> {
        self.last_timeout_ns
    }

    /// Calls of `wait` so far.
    pub fn waits(&self) -> u64 {
        self.waits
    }

    pub fn address(&self, socket: u32) -> Option<SocketAddress> {
        self.addresses.get(socket as usize).copied()
    }

    /// Carries everything that was sent to one of `to`'s addresses over to it and drops the rest; trains arrive as single
    /// datagrams. **Output**: datagrams that arrived.
    pub fn deliver(&mut self, to: &mut MemoryPort) -> usize {
        let mut delivered = 0;
        while let Some(packet) = self.sender.sent.pop_front() {
            let socket = to.addresses.iter().position(|address| *address == packet.remote);
            let source = self.addresses.get(packet.socket as usize);
            if let (Some(socket), Some(source)) = (socket, source) {
                for segment in packet.segments() {
                    to.inject(socket as u32, *source, segment);
                    delivered += 1;
                }
            }
            self.sender.spare.push(packet.bytes);
        }
        delivered
    }
}

impl Port for MemoryPort {
    type Sender = MemorySender;

    fn receive(&mut self, packets_max: usize) -> usize {
        self.batch.entries.clear();
        while self.batch.len() < packets_max.min(BATCH_MAX) {
            let Some(packet) = self.arrivals.pop_front() else { break };
            if packet.bytes.len() > RECEIVE_PAYLOAD_BYTES {
                self.truncated += 1;
            } else {
                self.received += 1;
                self.received_bytes += packet.bytes.len() as u64;
                let (buffer, bytes) = (self.batch.len() as u16, packet.bytes.len() as u16);
                self.batch.entries.push(Arrived { buffer, bytes, socket: packet.socket, source: packet.remote });
                let datagram = self.batch.get(buffer as usize).expect("pushed above");
                datagram.bytes.copy_from_slice(&packet.bytes);
            }
            self.sender.spare.push(packet.bytes);
        }
        self.batch.len()
    }

    fn split(&mut self) -> (&mut Batch, &mut MemorySender) {
        (&mut self.batch, &mut self.sender)
    }

    fn wait(&mut self, sleeping: &AtomicU64, timeout_ns: Option<u64>, has_work: impl FnOnce() -> bool) {
        self.batch.entries.clear();
        self.last_timeout_ns = timeout_ns;
        self.waits += 1;
        sleeping.store(1, Ordering::SeqCst);
        let _ = has_work();
        sleeping.store(0, Ordering::SeqCst);
    }

    fn counters(&self) -> PortCounters {
        PortCounters {
            received: self.received,
            received_bytes: self.received_bytes,
            truncated: self.truncated,
            ..self.sender.counters
        }
    }
}

impl MemorySender {
    /// An empty buffer for the longest train.
    fn spare(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_else(|| Vec::with_capacity(self.slots.slot_bytes()))
    }
}

impl Sender for MemorySender {
    fn reserve(&mut self) -> Option<SendSlot> {
        self.slots.reserve()
    }

    fn bytes<'a>(&'a mut self, slot: &'a mut SendSlot) -> &'a mut [u8] {
        self.slots.bytes(slot)
    }

    fn bytes_of<'a>(&'a mut self, slots: &'a mut [SendSlot]) -> impl Iterator<Item = &'a mut [u8]> {
        self.slots.bytes_of(slots)
    }

    fn slot_bytes(&self) -> usize {
        self.slots.slot_bytes()
    }

    fn release(&mut self, slot: SendSlot) {
        self.slots.release(slot.index);
    }

    fn commit(&mut self, mut slot: SendSlot, outgoing: Outgoing) {
        self.counters.sends += 1;
        if let Some(connection) = outgoing.connection {
            let peer = self.connections[connection.position()];
            assert_eq!(peer, Some((outgoing.socket, outgoing.destination)), "a send to the peer of another connection");
        }
        let fault = self.faults.pop_front().unwrap_or(0);
        if fault == 0 && !self.discards {
            let mut bytes = self.spare();
            bytes.clear();
            bytes.extend_from_slice(&self.slots.bytes(&mut slot)[..outgoing.bytes as usize]);
            let Outgoing { socket, destination, segment_bytes, .. } = outgoing;
            self.sent.push_back(Packet { bytes, remote: destination, socket, segment_bytes });
        }
        let index = self.slots.commit(slot, outgoing);
        if fault != 0 {
            self.slots.note_failure(&mut self.counters, index, fault);
        }
        self.slots.release(index);
    }

    fn wake(&mut self, worker: u32) {
        if !self.wakes.contains(&worker) {
            self.wakes.push(worker);
        }
    }

    fn flush(&mut self) {}

    fn connect(&mut self, socket: u32, destination: &SocketAddress) -> Result<Connection, Unconnected> {
        let free = self.connections.iter().position(Option::is_none);
        let position = free.ok_or(Unconnected::NoneFree)?;
        self.connections[position] = Some((socket, *destination));
        Ok(Connection::new(position))
    }

    fn disconnect(&mut self, connection: Connection) {
        assert!(self.connections[connection.position()].take().is_some(), "released twice");
    }

    fn poll_failure(&mut self) -> Option<SendFailure> {
        self.slots.poll_failure()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddress {
        SocketAddress::new(text.parse().unwrap())
    }

    fn send(port: &mut MemoryPort, destination: SocketAddress, bytes: &[u8], segment_bytes: u16) {
        let sender = port.sender();
        let mut slot = sender.reserve().unwrap();
        sender.bytes(&mut slot)[..bytes.len()].copy_from_slice(bytes);
        sender.commit(
            slot,
            Outgoing { socket: 0, destination, bytes: bytes.len() as u32, segment_bytes, connection: None },
        );
    }

    #[test]
    fn a_train_arrives_as_its_segments() {
        let (a, b) = (address("10.0.0.1:1"), address("10.0.0.2:2"));
        let mut left = MemoryPort::new(&[a], 4);
        let mut right = MemoryPort::new(&[b], 4);
        send(&mut left, b, b"aaabbbc", 3);
        send(&mut left, address("10.0.0.3:3"), b"lost", 0);
        assert_eq!(left.deliver(&mut right), 3);
        assert_eq!(right.receive(2), 2);
        assert_eq!(right.split().0.get(1).unwrap().bytes, b"bbb");
        assert_eq!(right.receive(2), 1);
        let (batch, _) = right.split();
        let datagram = batch.get(0).unwrap();
        assert_eq!((&*datagram.bytes, datagram.source, datagram.socket), (&b"c"[..], a, 0));
        assert_eq!(right.receive(2), 0);
    }

    #[test]
    fn injected_faults_are_reported_with_their_destination() {
        let b = address("10.0.0.2:2");
        let mut port = MemoryPort::new(&[address("10.0.0.1:1")], 1);
        port.fail_sends(&[libc::EAGAIN, 0]);
        send(&mut port, b, b"x", 0);
        send(&mut port, b, b"y", 0);
        let failure = port.sender().poll_failure().unwrap();
        assert_eq!((failure.outgoing.destination, failure.reason()), (b, engine_base::Drop::SendBufferFull));
        assert!(port.sender().poll_failure().is_none());
        assert_eq!(port.take_sent().unwrap().bytes, b"y");
    }
}
