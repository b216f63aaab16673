//! A port that receives from memory and sends by another, with the time that sending takes.

use std::sync::atomic::AtomicU64;
use std::time::Instant;

use engine_io::{
    Batch, Connection, MemoryPort, Outgoing, Port, PortCounters, SendFailure, SendSlot, Sender, Unconnected,
};
use engine_table::SocketAddress;

pub struct Injected<P> {
    pub arrivals: MemoryPort,
    pub way: Timed<P>,
}

impl<P> Injected<P> {
    pub fn new(arrivals: MemoryPort, way: P) -> Self {
        Self { arrivals, way: Timed { port: way, sending_ns: 0 } }
    }
}

impl<P: Port> Port for Injected<P> {
    type Sender = Timed<P>;

    fn receive(&mut self, packets_max: usize) -> usize {
        self.arrivals.receive(packets_max)
    }

    fn split(&mut self) -> (&mut Batch, &mut Timed<P>) {
        (self.arrivals.split().0, &mut self.way)
    }

    fn wait(&mut self, sleeping: &AtomicU64, _timeout_ns: Option<u64>, _has_work: impl FnOnce() -> bool) {
        // More always comes: never sleep.
        self.way.time(|port| port.wait(sleeping, Some(0), || true));
    }

    fn counters(&self) -> PortCounters {
        self.way.port.counters()
    }
}

/// A port's sending half. The clock is read around submissions, twice a round of up to 32 trains, not around each commit.
pub struct Timed<P> {
    port: P,
    pub sending_ns: u64,
}

impl<P> Timed<P> {
    fn time(&mut self, submit: impl FnOnce(&mut P)) {
        let begin = Instant::now();
        submit(&mut self.port);
        self.sending_ns += begin.elapsed().as_nanos() as u64;
    }
}

impl<P: Port> Sender for Timed<P> {
    fn reserve(&mut self) -> Option<SendSlot> {
        self.port.sender().reserve()
    }

    fn bytes<'a>(&'a mut self, slot: &'a mut SendSlot) -> &'a mut [u8] {
        self.port.sender().bytes(slot)
    }

    fn bytes_of<'a>(&'a mut self, slots: &'a mut [SendSlot]) -> impl Iterator<Item = &'a mut [u8]> {
        self.port.sender().bytes_of(slots)
    }

    fn slot_bytes(&self) -> usize {
        engine_base::limits::TRAIN_BYTES
    }

    fn release(&mut self, slot: SendSlot) {
        self.port.sender().release(slot);
    }

    fn commit(&mut self, slot: SendSlot, outgoing: Outgoing) {
        self.port.sender().commit(slot, outgoing);
    }

    fn connect(&mut self, socket: u32, destination: &SocketAddress) -> Result<Connection, Unconnected> {
        self.port.sender().connect(socket, destination)
    }

    fn disconnect(&mut self, connection: Connection) {
        self.port.sender().disconnect(connection);
    }

    fn wake(&mut self, worker: u32) {
        self.port.sender().wake(worker);
    }

    fn flush(&mut self) {
        self.time(|port| port.sender().flush());
    }

    fn poll_failure(&mut self) -> Option<SendFailure> {
        self.port.sender().poll_failure()
    }
}
