//! All sessions of a node, between the tables and the rings. Pure: changes, datagrams, commands and `now` come in; rows are
//! published, datagrams and wakes come out. It sleeps never and sends nothing itself.
//!
//! After a restart it adopts what its own rows say: a session with keys is *lost* (its media lives on, its DTLS state died with the
//! old process), one that was in the middle of its handshake has failed, one that had not begun begins.

mod delivery;
mod rows;
mod transport;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use engine_base::{Drop as DropReason, TimeNs};
use engine_table::{
    CourierCounter, CourierRegion, EngineRegion, KeyRegion, PuntHeader, SignalingRegion, TableId, channel_bits,
    dtls_state,
};

use crate::channels::Channel;
use crate::data::Router;
use crate::limits;
use crate::session::{Failure, Phase, Session, SessionEvent};
use crate::settings::Settings;
use transport::{Transport, is_client_hello};

/// The rooms' replay caches are swept this often.
const SWEEP_MS: u64 = 1_000;
/// A timer that a library wants at once comes after this: no session can spin the loop.
const TIMER_MS_MIN: u64 = 1;

/// The regions that the courier reads (signaling, engine) and writes (courier, keys).
#[derive(Clone, Debug)]
pub struct Regions {
    pub signaling: SignalingRegion,
    pub courier: CourierRegion,
    pub keys: KeyRegion,
    pub engine: EngineRegion,
}

/// A datagram for a client, by way of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    pub worker: u32,
    pub header: PuntHeader,
    pub datagram: Vec<u8>,
}

/// Who must be woken because of published rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wakes {
    pub workers: bool,
    pub signaling: bool,
}

pub struct Courier {
    regions: Regions,
    settings: Arc<Settings>,
    /// In boxes: a table has up to twice as many places as it has entries.
    transports: HashMap<u32, Box<Transport>>,
    router: Router,
    timers: BTreeSet<(TimeNs, u32)>,
    /// Transports with events or datagrams to take.
    dirty: VecDeque<u32>,
    outgoing: VecDeque<Transmit>,
    handshakes: usize,
    /// Transports whose handshake waits for another's end.
    waiting: VecDeque<u32>,
    sweep_at: TimeNs,
    wakes: Wakes,
}

impl Courier {
    /// Adopts every row as it stands. Start the change readers at the logs' heads taken before.
    pub fn new(regions: Regions, settings: Arc<Settings>, now: TimeNs) -> Self {
        let mut courier = Self {
            regions,
            settings,
            transports: HashMap::new(),
            router: Router::default(),
            timers: BTreeSet::new(),
            dirty: VecDeque::new(),
            outgoing: VecDeque::new(),
            handshakes: 0,
            waiting: VecDeque::new(),
            sweep_at: now.add_ms(SWEEP_MS),
            wakes: Wakes::default(),
        };
        courier.adopt_all(now);
        courier
    }

    /// Looks at every row: at start, and when a change log overflowed.
    pub fn adopt_all(&mut self, now: TimeNs) {
        for index in 0..self.regions.signaling.transports().used() {
            self.take_transport(index, now);
            self.take_observed(index, None, now);
        }
        for index in 0..self.regions.signaling.datas().used() {
            self.take_data(index, now);
        }
        self.settle(now);
    }

    /// Takes one changed row. **Input**: `worker` whose log told it, for observed rows.
    pub fn handle_change(&mut self, table: TableId, index: u32, worker: Option<u32>, now: TimeNs) {
        match table {
            TableId::Transport => self.take_transport(index, now),
            TableId::TransportObserved => self.take_observed(index, worker, now),
            TableId::Data => self.take_data(index, now),
            _ => {}
        }
        self.settle(now);
    }

    /// Takes a DTLS datagram that `worker` punted.
    pub fn handle_datagram(&mut self, worker: u32, header: &PuntHeader, datagram: &[u8], now: TimeNs) {
        let index = header.transport.index;
        let is_known = |courier: &Self| courier.transports.get(&index).is_some_and(|t| t.reference == header.transport);
        if !is_known(self) {
            // Its row may have been written after the last look at the log.
            self.take_transport(index, now);
            self.take_observed(index, Some(worker), now);
        }
        if !is_known(self) {
            return self.count_drop(DropReason::CourierDtls);
        }
        self.punted(index, worker, header, datagram, now);
        self.settle(now);
    }

    fn punted(&mut self, index: u32, worker: u32, header: &PuntHeader, datagram: &[u8], now: TimeNs) {
        let Some(transport) = self.transports.get_mut(&index) else { return };
        transport.set_reply(worker, header);
        if transport.session.is_none() {
            if transport.state.dtls == dtls_state::LOST && transport.is_lost_data(datagram) {
                return self.ask_for_reconnect(index);
            }
            let begins = transport.is_fresh() && !transport.role().dtls_client && is_client_hello(datagram);
            if !begins || !self.begin(index, now) {
                return self.count_drop(DropReason::CourierDtls);
            }
        }
        self.with_session(index, |session| session.handle_packet(datagram, now));
    }

    /// Runs every timer that is due.
    pub fn handle_timeout(&mut self, now: TimeNs) {
        let later = self.timers.split_off(&(now.add_ns(1), 0));
        let due = std::mem::replace(&mut self.timers, later);
        for (_, index) in due {
            if let Some(transport) = self.transports.get_mut(&index) {
                transport.deadline = None;
                self.with_session(index, |session| session.handle_timeout(now));
            }
        }
        if self.sweep_at <= now {
            self.sweep_at = now.add_ms(SWEEP_MS);
            self.router.handle_timeout(now);
        }
        self.settle(now);
    }

    pub fn poll_timeout(&self) -> TimeNs {
        self.timers.first().map_or(self.sweep_at, |(at, _)| (*at).min(self.sweep_at))
    }

    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outgoing.pop_front()
    }

    /// Who must be woken since the last call.
    pub fn take_wakes(&mut self) -> Wakes {
        std::mem::take(&mut self.wakes)
    }

    /// Handshakes in progress, for tests and ctl.
    pub fn handshakes(&self) -> usize {
        self.handshakes
    }

    /// Begins a handshake as DTLS client once the client can be reached.
    fn try_begin(&mut self, index: u32, now: TimeNs) {
        let ready =
            |transport: &Transport| transport.is_fresh() && transport.role().dtls_client && transport.is_reachable();
        if self.transports.get(&index).is_some_and(|transport| ready(transport))
            && !self.begin(index, now)
            && !self.waiting.contains(&index)
        {
            self.waiting.push_back(index);
        }
    }

    /// `false` (counted) at the limit of handshakes.
    fn begin(&mut self, index: u32, now: TimeNs) -> bool {
        if self.handshakes >= limits::HANDSHAKES_MAX {
            self.count_drop(DropReason::CourierHandshakeLimit);
            return false;
        }
        let Some(transport) = self.transports.get_mut(&index) else { return false };
        let session = Session::new(&self.settings, transport.role(), transport.fingerprint(), now);
        transport.session = Some(Box::new(session));
        transport.handshaking = true;
        transport.state.dtls = dtls_state::HANDSHAKE;
        self.handshakes += 1;
        self.dirty.push_back(index);
        self.count(CourierCounter::Handshakes);
        true
    }

    /// Runs `act` on a session. A panic in a library that parses hostile bytes ends this session only.
    fn with_session<R>(&mut self, index: u32, act: impl FnOnce(&mut Session) -> R) -> Option<R> {
        let session = self.transports.get_mut(&index)?.session.as_deref_mut()?;
        let result = catch_unwind(AssertUnwindSafe(|| act(session)));
        self.dirty.push_back(index);
        match result {
            Ok(result) => Some(result),
            Err(_) => {
                self.failed(index, Failure::Dtls);
                None
            }
        }
    }

    /// Takes what sessions have to say until none has anything left.
    fn settle(&mut self, now: TimeNs) {
        loop {
            while let Some(index) = self.dirty.pop_front() {
                self.settle_one(index, now);
            }
            if self.handshakes >= limits::HANDSHAKES_MAX {
                return;
            }
            match self.waiting.pop_front() {
                Some(index) => self.try_begin(index, now),
                None => return,
            }
        }
    }

    fn settle_one(&mut self, index: u32, now: TimeNs) {
        while let Some(event) = self.poll_session(index, Session::poll_event).flatten() {
            self.handle_event(index, event, now);
        }
        self.collect(index);
        self.observe_phase(index);
        self.schedule(index, now);
        self.publish_session(index);
    }

    /// Reads from a session what cannot panic and changes nothing else.
    fn poll_session<R>(&mut self, index: u32, act: impl FnOnce(&mut Session) -> R) -> Option<R> {
        self.transports.get_mut(&index)?.session.as_deref_mut().map(act)
    }

    fn collect(&mut self, index: u32) {
        let Some(transport) = self.transports.get_mut(&index) else { return };
        let (worker, header) = transport.destination(self.regions.engine.limits().workers);
        let Some(session) = &mut transport.session else { return };
        while let Some(datagram) = session.poll_transmit() {
            self.outgoing.push_back(Transmit { worker, header, datagram });
        }
    }

    fn observe_phase(&mut self, index: u32) {
        let Some(transport) = self.transports.get_mut(&index) else { return };
        let Some(session) = &transport.session else { return };
        transport.state.dtls_version = session.dtls_version();
        match session.phase() {
            Phase::Handshake => transport.state.dtls = dtls_state::HANDSHAKE,
            Phase::Unverified => transport.state.dtls = dtls_state::UNVERIFIED,
            Phase::Connected => transport.state.dtls = dtls_state::CONNECTED,
            Phase::Closed => self.closed(index),
            Phase::Failed => {}
        }
    }

    fn schedule(&mut self, index: u32, now: TimeNs) {
        let Some(transport) = self.transports.get_mut(&index) else { return };
        let wanted = transport.session.as_ref().and_then(|session| session.poll_timeout());
        let wanted = wanted.map(|at| at.max(now.add_ms(TIMER_MS_MIN)));
        if wanted == transport.deadline {
            return;
        }
        if let Some(old) = std::mem::replace(&mut transport.deadline, wanted) {
            self.timers.remove(&(old, index));
        }
        if let Some(at) = wanted {
            self.timers.insert((at, index));
        }
    }

    fn handle_event(&mut self, index: u32, event: SessionEvent, now: TimeNs) {
        match event {
            SessionEvent::Connected(keys) => {
                self.handshake_ended(index);
                self.count(CourierCounter::HandshakesDone);
                self.publish_keys(index, &keys);
            }
            SessionEvent::Failed(failure) => self.failed(index, failure),
            SessionEvent::Closed => self.closed(index),
            SessionEvent::ChannelOpen(channel) => {
                self.set_channel(index, channel, true);
                self.count(CourierCounter::ChannelsOpened);
                if channel == Channel::Reliable {
                    self.flush(index, now);
                }
            }
            SessionEvent::ChannelClosed(channel) => self.set_channel(index, channel, false),
            SessionEvent::Message(channel, bytes) => self.handle_message(index, channel, &bytes, now),
            SessionEvent::Dropped(reason) => self.count_drop(reason),
        }
    }

    fn set_channel(&mut self, index: u32, channel: Channel, open: bool) {
        let bit = match channel {
            Channel::Reliable => channel_bits::RELIABLE,
            Channel::Lossy => channel_bits::LOSSY,
            Channel::DataTrack => channel_bits::DATA_TRACK,
        };
        if let Some(transport) = self.transports.get_mut(&index) {
            if open {
                transport.state.channels |= bit;
            } else {
                transport.state.channels &= !bit;
            }
        }
    }

    fn failed(&mut self, index: u32, failure: Failure) {
        self.handshake_ended(index);
        self.count(CourierCounter::HandshakesFailed);
        if failure == Failure::FingerprintMismatch {
            self.count(CourierCounter::FingerprintMismatch);
        }
        self.end(index, dtls_state::FAILED);
    }

    fn closed(&mut self, index: u32) {
        self.handshake_ended(index);
        self.end(index, dtls_state::CLOSED);
    }

    fn end(&mut self, index: u32, dtls: u8) {
        self.collect(index);
        if let Some(transport) = self.transports.get_mut(&index) {
            transport.session = None;
            transport.state.dtls = dtls;
            transport.state.channels = 0;
            self.dirty.push_back(index);
        }
    }

    fn handshake_ended(&mut self, index: u32) {
        if let Some(transport) = self.transports.get_mut(&index)
            && std::mem::take(&mut transport.handshaking)
        {
            self.handshakes -= 1;
        }
    }

    fn count(&self, counter: CourierCounter) {
        self.regions.courier.counter(counter).fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_drop(&self, reason: DropReason) {
        self.regions.courier.drops(reason).fetch_add(1, Ordering::Relaxed);
    }
}
