//! A port that receives from memory and sends by another.

use std::sync::atomic::AtomicU64;

use engine_io::{Batch, MemoryPort, Port, PortCounters};

pub struct Injected<P> {
    pub arrivals: MemoryPort,
    pub way: P,
}

impl<P: Port> Port for Injected<P> {
    type Sender = P::Sender;

    fn receive(&mut self, packets_max: usize) -> usize {
        self.arrivals.receive(packets_max)
    }

    fn split(&mut self) -> (&mut Batch, &mut P::Sender) {
        (self.arrivals.split().0, self.way.sender())
    }

    fn wait(&mut self, sleeping: &AtomicU64, _timeout_ns: Option<u64>, _has_work: impl FnOnce() -> bool) {
        // More always comes: never sleep.
        self.way.wait(sleeping, Some(0), || true);
    }

    fn counters(&self) -> PortCounters {
        self.way.counters()
    }
}
