//! The turn of one worker: take what has arrived, decide, seal and send it together, then sleep.
//!
//! ```text
//! receive → STUN answer | punt | SRTCP | SRTP → slot ─┬─ record to other workers
//! records of other workers ───────────────────────────┴→ per ingress: verdict, header, seal, send
//! rows → deadlines → observed rows → wake-ups → submit and sleep
//! ```

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;

use engine_base::TimeNs;
use engine_io::{Port, PortCounters};
use engine_table::WorkerCounter;

use crate::moves::Moved;
use crate::rings::Bells;
use crate::site::Site;
use crate::state::State;

/// Datagrams of one pass of the port, and passes of one turn: about 1 ms of work at the worst.
const PACKETS_PER_PASS: usize = 256;
const PASSES_PER_TURN: usize = 4;
/// A worker looks at everything again at least this often, whatever hint was lost.
const SLEEP_NS_MAX: u64 = 1_000_000_000;

/// One core's loop.
pub struct Worker<P> {
    port: P,
    state: State,
    counted: PortCounters,
    /// Turns have begun.
    started: bool,
}

impl<P: Port> Worker<P> {
    /// **Input**: `mailbox` is this worker's of `Crew::new`. **Cost**: allocates everything that a turn needs.
    pub fn new(port: P, site: Site, mailbox: Receiver<Moved>, now: TimeNs) -> Self {
        Self::with_bells(port, site, Bells::default(), mailbox, now)
    }

    /// As `new`, with the eventfds of courier and signaling.
    pub fn with_bells(port: P, site: Site, bells: Bells, mailbox: Receiver<Moved>, now: TimeNs) -> Self {
        Self { port, state: State::new(site, bells, mailbox, now), counted: PortCounters::default(), started: false }
    }

    /// Turns until `stop` is set and the worker is woken. `clock` reads CLOCK_MONOTONIC.
    pub fn run(&mut self, stop: &AtomicBool, clock: impl Fn() -> TimeNs) {
        while !stop.load(Ordering::Acquire) {
            let now = clock();
            self.turn(now);
            let busy = clock().since(now);
            self.note_turn(now.add_ns(busy), busy);
            self.rest(now.add_ns(busy));
        }
    }

    /// One pass of the loop at `now`. It never sleeps, and what it commits is sent by `rest` at the latest.
    pub fn turn(&mut self, now: TimeNs) {
        let state = &mut self.state;
        state.now = now;
        if state.has_letters() {
            state.open_mailbox();
        }
        if !std::mem::replace(&mut self.started, true) {
            state.take_all_rows();
        }
        state.take_rows();
        state.take_records(self.port.sender());
        state.take_courier(self.port.sender());
        for _ in 0..PASSES_PER_TURN {
            let count = self.port.receive(PACKETS_PER_PASS);
            let (batch, sender) = self.port.split();
            for index in 0..count {
                if let Some(datagram) = batch.get(index) {
                    state.handle_datagram(datagram, sender);
                }
            }
            if count < PACKETS_PER_PASS {
                break;
            }
        }
        let sender = self.port.sender();
        let turn = state.slots.begin_turn(state.site.me);
        state.fan_out(&turn, sender);
        state.resend_requested(&turn, sender);
        drop(turn);
        state.serve_transports(sender);
        state.observe_streams();
        state.take_failures(sender);
        let announced = std::mem::take(&mut state.work.announced);
        state.rings.wake_others(&state.site, sender, announced);
        self.count_port();
    }

    /// Submits the turn and sleeps until there is something to do.
    pub fn rest(&mut self, now: TimeNs) {
        let state = &self.state;
        let sleeping = state.site.regions.engine.sleeping(state.site.me);
        let next = state.poll_timeout().map_or(SLEEP_NS_MAX, |due| due.since(now).min(SLEEP_NS_MAX));
        self.port.wait(sleeping, Some(next), || state.has_work());
    }

    /// Something waits that needs no datagram and no deadline.
    pub fn has_work(&self) -> bool {
        self.state.has_work()
    }

    /// The earliest deadline: what a simulated clock may jump to.
    pub fn poll_timeout(&self) -> Option<TimeNs> {
        self.state.poll_timeout()
    }

    pub fn port_mut(&mut self) -> &mut P {
        &mut self.port
    }

    /// Tells what the turn that ended at `now` took; from this comes how long video is held.
    pub fn note_turn(&mut self, now: TimeNs, busy_ns: u64) {
        self.state.hold.note_turn(now, busy_ns);
        let site = &self.state.site;
        site.count(WorkerCounter::BusyNs, busy_ns);
        site.regions.engine.counter(site.me, WorkerCounter::HoldNs).store(self.state.hold.ns(), Ordering::Relaxed);
        let longest = site.regions.engine.counter(site.me, WorkerCounter::TurnNsMax);
        longest.store(longest.load(Ordering::Relaxed).max(busy_ns), Ordering::Relaxed);
    }

    fn count_port(&mut self) {
        let (site, now, before) = (&self.state.site, self.port.counters(), self.counted);
        site.count(WorkerCounter::Turns, 1);
        site.count(WorkerCounter::Received, now.received - before.received);
        site.count(WorkerCounter::ReceivedBytes, now.received_bytes - before.received_bytes);
        site.count(WorkerCounter::Sends, now.sends - before.sends);
        site.count(WorkerCounter::XdpFrames, now.frames - before.frames);
        site.regions.engine.counter(site.me, WorkerCounter::Connected).store(now.connected, Ordering::Relaxed);
        site.count(WorkerCounter::NoBuffers, now.no_buffers - before.no_buffers);
        self.counted = now;
    }
}
