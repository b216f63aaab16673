//! The regions and what lies in them. Each type maps one memfd and gives typed access; the writer's process maps it writable.

use crate::sync::{AtomicU64, Ordering};
use std::os::fd::AsFd;

use engine_base::limits::{LAYERS, NACK_ENTRIES};
use engine_base::{Drop as DropReason, Limits};

use crate::change_log::{self, ChangeLog};
use crate::counters::{
    CourierCounter, EgressCounter, IngressCounter, SignalingFigure, TransportCounter, WorkerCounter,
};
use crate::layout::Layout;
use crate::map::{MapError, Region};
use crate::ring::{ByteRing, ring_bytes};
use crate::rows::*;
use crate::slots::{self, Slots};
use crate::table::Table;

/// Bytes of each worker → courier ring: 700 full DTLS datagrams.
pub const PUNT_RING_BYTES: usize = 1 << 20;
/// Bytes of each courier → worker ring: data packets of a large room in one turn.
pub const COURIER_RING_BYTES: usize = 1 << 22;
/// Bytes of the signaling → courier ring: 64 messages of the largest size.
pub const SIGNALING_RING_BYTES: usize = 1 << 22;
/// Bytes of each worker → worker ring: 2,600 datagrams, or 26,000 fan-out records.
pub const WORKER_RING_BYTES: usize = 1 << 22;
/// Counter words per line group: rounded so that rows of counters do not share a cache line.
const TRANSPORT_COUNTERS: usize = TransportCounter::COUNT.next_multiple_of(8);
const INGRESS_COUNTERS: usize = IngressCounter::COUNT.next_multiple_of(8);
const EGRESS_COUNTERS: usize = EgressCounter::COUNT.next_multiple_of(8);
const WORKER_WORDS: usize = 128;
/// Words per retransmission entry.
pub const NACK_WORDS: usize = 2;

macro_rules! region_common {
    ($name:ident, $kind:literal, |$mapped:ident| $logs:expr) => {
        impl $name {
            /// Bytes of the memfd for `limits`.
            pub fn region_bytes(limits: &Limits) -> usize {
                Self::layout(limits).0.total_bytes()
            }

            /// Maps the memfd; `writable` in the one writing process, whose coming makes the readers of its change logs look at
            /// every row.
            pub fn map(fd: impl AsFd, limits: &Limits, writable: bool) -> Result<Self, MapError> {
                let (layout, offsets) = Self::layout(limits);
                let region = Region::map(fd, layout.total_bytes(), $kind, layout.hash(), writable)?;
                let $mapped = Self { region, offsets, limits: *limits };
                if writable {
                    $logs.into_iter().for_each(|log: ChangeLog| log.push_all());
                }
                Ok($mapped)
            }

            /// In memory, for tests and simulations; clones share it.
            pub fn anonymous(limits: &Limits) -> Self {
                let (layout, offsets) = Self::layout(limits);
                Self { region: Region::anonymous(layout.total_bytes()), offsets, limits: *limits }
            }

            pub fn limits(&self) -> &Limits {
                &self.limits
            }
        }
    };
}

macro_rules! tables {
    ($($method:ident: $field:ident, $row:ty, $count:expr;)*) => {
        $(pub fn $method(&self) -> Table<$row> {
            Table::new(&self.region, self.offsets.$field, $count(&self.limits))
        })*
    };
}

/// Written by the holder: node facts, children.
#[derive(Clone, Debug)]
pub struct HolderRegion {
    region: Region,
    offsets: HolderOffsets,
    limits: Limits,
}

#[derive(Clone, Copy, Debug)]
struct HolderOffsets {
    node: usize,
    children: usize,
}

region_common!(HolderRegion, 1, |mapped| []);

impl HolderRegion {
    fn layout(limits: &Limits) -> (Layout, HolderOffsets) {
        let mut layout = Layout::new(limits);
        let offsets = HolderOffsets {
            node: layout.table::<NodeRow>(1),
            children: layout.table::<ChildRow>(Role::ALL.len() as u32),
        };
        (layout, offsets)
    }

    tables! {
        node: node, NodeRow, |_: &Limits| 1;
        children: children, ChildRow, |_: &Limits| Role::ALL.len() as u32;
    }
}

/// Written by signaling: desired rows, their change log, commands to the courier.
#[derive(Clone, Debug)]
pub struct SignalingRegion {
    region: Region,
    offsets: SignalingOffsets,
    limits: Limits,
}

#[derive(Clone, Copy, Debug)]
struct SignalingOffsets {
    words: usize,
    log: usize,
    transports: usize,
    ingresses: usize,
    egresses: usize,
    datas: usize,
    courier_ring: usize,
}

region_common!(SignalingRegion, 2, |mapped| [mapped.log()]);

impl SignalingRegion {
    fn layout(limits: &Limits) -> (Layout, SignalingOffsets) {
        let mut layout = Layout::new(limits);
        let offsets = SignalingOffsets {
            words: layout.section("words", 64 * 8),
            log: layout.section("log", change_log::BYTES),
            transports: layout.table::<TransportRow>(limits.transports),
            ingresses: layout.table::<IngressRow>(limits.ingresses),
            egresses: layout.table::<EgressRow>(limits.egresses),
            datas: layout.table::<DataRow>(limits.datas),
            courier_ring: layout.section("courier_ring", ring_bytes(SIGNALING_RING_BYTES)),
        };
        (layout, offsets)
    }

    tables! {
        transports: transports, TransportRow, |limits: &Limits| limits.transports;
        ingresses: ingresses, IngressRow, |limits: &Limits| limits.ingresses;
        egresses: egresses, EgressRow, |limits: &Limits| limits.egresses;
        datas: datas, DataRow, |limits: &Limits| limits.datas;
    }

    pub fn log(&self) -> ChangeLog {
        ChangeLog::new(&self.region, self.offsets.log)
    }

    /// Raised by each new signaling process before it recomputes the rows.
    pub fn epoch(&self) -> &AtomicU64 {
        self.region.word(self.offsets.words)
    }

    /// Figures of the process for ctl.
    pub fn figure(&self, figure: SignalingFigure) -> &AtomicU64 {
        const { assert!(SignalingFigure::COUNT <= 48) };
        self.region.word(self.offsets.words + 8 * (8 + figure as usize))
    }

    pub fn courier_ring(&self, courier: &CourierRegion) -> ByteRing {
        let cursor = courier.offsets.words + 8 * CourierRegion::SIGNALING_CURSOR;
        ByteRing::new(&self.region, self.offsets.courier_ring, SIGNALING_RING_BYTES, &courier.region, cursor)
    }
}

/// Written by the courier: sessions, counters, packets to send.
#[derive(Clone, Debug)]
pub struct CourierRegion {
    region: Region,
    offsets: CourierOffsets,
    limits: Limits,
}

#[derive(Clone, Copy, Debug)]
struct CourierOffsets {
    words: usize,
    log: usize,
    sessions: usize,
    worker_rings: usize,
    worker_cursors: usize,
    drops: usize,
}

region_common!(CourierRegion, 3, |mapped| [mapped.log()]);

impl CourierRegion {
    const ADOPTED: usize = 0;
    const SIGNALING_CURSOR: usize = 1;
    const COUNTERS: usize = 8;

    fn layout(limits: &Limits) -> (Layout, CourierOffsets) {
        let workers = limits.workers as usize;
        let mut layout = Layout::new(limits);
        let offsets = CourierOffsets {
            words: layout.section("words", 64 * 8),
            log: layout.section("log", change_log::BYTES),
            sessions: layout.table::<SessionRow>(limits.transports),
            worker_rings: layout.section("worker_rings", workers * ring_bytes(COURIER_RING_BYTES)),
            worker_cursors: layout.section("worker_cursors", workers * 64),
            drops: layout.section("drops", DropReason::COUNT * 8),
        };
        (layout, offsets)
    }

    tables! {
        sessions: sessions, SessionRow, |limits: &Limits| limits.transports;
    }

    pub fn log(&self) -> ChangeLog {
        ChangeLog::new(&self.region, self.offsets.log)
    }

    /// Position of signaling's log that the courier has adopted.
    pub fn adopted(&self) -> &AtomicU64 {
        self.region.word(self.offsets.words + 8 * Self::ADOPTED)
    }

    pub fn counter(&self, counter: CourierCounter) -> &AtomicU64 {
        self.region.word(self.offsets.words + 8 * (Self::COUNTERS + counter as usize))
    }

    pub fn drops(&self, reason: DropReason) -> &AtomicU64 {
        self.region.word(self.offsets.drops + 8 * reason as usize)
    }

    /// Datagrams from the courier to the worker that owns the transport.
    pub fn worker_ring(&self, engine: &EngineRegion, worker: u32) -> ByteRing {
        assert!(worker < self.limits.workers);
        let data = self.offsets.worker_rings + worker as usize * ring_bytes(COURIER_RING_BYTES);
        let cursor = engine.worker_word(worker, EngineRegion::COURIER_CURSOR);
        ByteRing::new(&self.region, data, COURIER_RING_BYTES, &engine.region, cursor)
    }
}

/// Written by the courier, read by the engine, shown to nobody: SRTP keys.
#[derive(Clone, Debug)]
pub struct KeyRegion {
    region: Region,
    offsets: KeyOffsets,
    limits: Limits,
}

#[derive(Clone, Copy, Debug)]
struct KeyOffsets {
    keys: usize,
}

region_common!(KeyRegion, 4, |mapped| []);

impl KeyRegion {
    fn layout(limits: &Limits) -> (Layout, KeyOffsets) {
        let mut layout = Layout::new(limits);
        let offsets = KeyOffsets { keys: layout.table::<KeyRow>(limits.transports) };
        (layout, offsets)
    }

    tables! {
        keys: keys, KeyRow, |limits: &Limits| limits.transports;
    }
}

/// Written by the engine's workers: observed rows, counters, punts.
#[derive(Clone, Debug)]
pub struct EngineRegion {
    region: Region,
    offsets: EngineOffsets,
    limits: Limits,
}

#[derive(Clone, Copy, Debug)]
struct EngineOffsets {
    words: usize,
    turns: usize,
    drops: usize,
    logs: usize,
    transports: usize,
    ingresses: usize,
    egresses: usize,
    transport_counters: usize,
    ingress_counters: usize,
    egress_counters: usize,
    demands: usize,
    punt_rings: usize,
}

region_common!(EngineRegion, 5, |mapped| (0..mapped.limits.workers).map(|worker| mapped.log(worker)));

impl EngineRegion {
    const ADOPTED_SIGNALING: usize = 0;
    const ADOPTED_COURIER: usize = 1;
    const COURIER_CURSOR: usize = 8;
    const SLEEPING: usize = 16;
    const PORT: usize = 17;
    const COUNTERS: usize = 24;

    fn layout(limits: &Limits) -> (Layout, EngineOffsets) {
        let workers = limits.workers as usize;
        let streams = limits.ingresses as usize * LAYERS;
        let mut layout = Layout::new(limits);
        let offsets = EngineOffsets {
            words: layout.section("words", workers * WORKER_WORDS * 8),
            turns: layout.section("turns", slots::turns_bytes(limits)),
            drops: layout.section("drops", workers * DropReason::COUNT.next_multiple_of(8) * 8),
            logs: layout.section("logs", workers * change_log::BYTES.next_multiple_of(64)),
            transports: layout.table::<TransportObserved>(limits.transports),
            ingresses: layout.table::<IngressObserved>(limits.ingresses),
            egresses: layout.table::<EgressObserved>(limits.egresses),
            transport_counters: layout
                .section("transport_counters", limits.transports as usize * TRANSPORT_COUNTERS * 8),
            ingress_counters: layout.section("ingress_counters", streams * INGRESS_COUNTERS * 8),
            egress_counters: layout.section("egress_counters", limits.egresses as usize * EGRESS_COUNTERS * 8),
            demands: layout.section("demands", workers * streams * 8),
            punt_rings: layout.section("punt_rings", workers * ring_bytes(PUNT_RING_BYTES)),
        };
        (layout, offsets)
    }

    tables! {
        transports: transports, TransportObserved, |limits: &Limits| limits.transports;
        ingresses: ingresses, IngressObserved, |limits: &Limits| limits.ingresses;
        egresses: egresses, EgressObserved, |limits: &Limits| limits.egresses;
    }

    fn worker_word(&self, worker: u32, word: usize) -> usize {
        assert!(worker < self.limits.workers && word < WORKER_WORDS);
        self.offsets.words + (worker as usize * WORKER_WORDS + word) * 8
    }

    /// Position of signaling's log that a worker has adopted.
    pub fn adopted_signaling(&self, worker: u32) -> &AtomicU64 {
        self.region.word(self.worker_word(worker, Self::ADOPTED_SIGNALING))
    }

    /// True when every worker has adopted signaling's log up to `position`.
    pub fn all_adopted(&self, position: u64) -> bool {
        (0..self.limits.workers).all(|worker| self.adopted_signaling(worker).load(Ordering::Acquire) >= position)
    }

    /// Position of the courier's log that a worker has adopted.
    pub fn adopted_courier(&self, worker: u32) -> &AtomicU64 {
        self.region.word(self.worker_word(worker, Self::ADOPTED_COURIER))
    }

    /// 1 while the worker waits in the kernel: a producer must then wake it. Both sides use SeqCst.
    pub fn sleeping(&self, worker: u32) -> &AtomicU64 {
        self.region.word(self.worker_word(worker, Self::SLEEPING))
    }

    /// How the worker's packets go: bits of `port_facts`, stored when it starts.
    pub fn port(&self, worker: u32) -> &AtomicU64 {
        self.region.word(self.worker_word(worker, Self::PORT))
    }

    pub fn counter(&self, worker: u32, counter: WorkerCounter) -> &AtomicU64 {
        self.region.word(self.worker_word(worker, Self::COUNTERS + counter as usize))
    }

    pub fn drops(&self, worker: u32, reason: DropReason) -> &AtomicU64 {
        assert!(worker < self.limits.workers);
        let index = worker as usize * DropReason::COUNT.next_multiple_of(8) + reason as usize;
        self.region.word(self.offsets.drops + 8 * index)
    }

    /// What a worker observed: one log per worker.
    pub fn log(&self, worker: u32) -> ChangeLog {
        assert!(worker < self.limits.workers);
        ChangeLog::new(&self.region, self.offsets.logs + worker as usize * change_log::BYTES.next_multiple_of(64))
    }

    pub fn transport_counter(&self, index: u32, counter: TransportCounter) -> &AtomicU64 {
        assert!(index < self.limits.transports);
        self.region.word(self.offsets.transport_counters + (index as usize * TRANSPORT_COUNTERS + counter as usize) * 8)
    }

    pub fn ingress_counter(&self, index: u32, layer: usize, counter: IngressCounter) -> &AtomicU64 {
        assert!(index < self.limits.ingresses && layer < LAYERS);
        let stream = index as usize * LAYERS + layer;
        self.region.word(self.offsets.ingress_counters + (stream * INGRESS_COUNTERS + counter as usize) * 8)
    }

    pub fn egress_counter(&self, index: u32, counter: EgressCounter) -> &AtomicU64 {
        assert!(index < self.limits.egresses);
        self.region.word(self.offsets.egress_counters + (index as usize * EGRESS_COUNTERS + counter as usize) * 8)
    }

    /// Key frames that a worker's egresses have asked of an ingress layer so far: the owner sends a PLI while any worker's word
    /// has grown since the last key frame it asked for.
    pub fn key_frame_demand(&self, worker: u32, ingress: u32, layer: usize) -> &AtomicU64 {
        assert!(worker < self.limits.workers && ingress < self.limits.ingresses && layer < LAYERS);
        let streams = self.limits.ingresses as usize * LAYERS;
        self.region.word(self.offsets.demands + (worker as usize * streams + ingress as usize * LAYERS + layer) * 8)
    }

    /// Datagrams for the courier.
    pub fn punt_ring(&self, courier: &CourierRegion, worker: u32) -> ByteRing {
        assert!(worker < self.limits.workers);
        let data = self.offsets.punt_rings + worker as usize * ring_bytes(PUNT_RING_BYTES);
        let cursor = courier.offsets.worker_cursors + worker as usize * 64;
        ByteRing::new(&self.region, data, PUNT_RING_BYTES, &courier.region, cursor)
    }
}

/// Written and read by the engine only: packets, rewriting state, SRTP indexes, rings between workers.
#[derive(Clone, Debug)]
pub struct MediaRegion {
    region: Region,
    offsets: MediaOffsets,
    limits: Limits,
}

#[derive(Clone, Copy, Debug)]
struct MediaOffsets {
    egress_states: usize,
    ingress_states: usize,
    egress_indexes: usize,
    transport_indexes: usize,
    nacks: usize,
    ring_cursors: usize,
    rings: usize,
    slots: usize,
}

region_common!(MediaRegion, 6, |mapped| []);

impl MediaRegion {
    fn layout(limits: &Limits) -> (Layout, MediaOffsets) {
        let pairs = limits.workers as usize * limits.workers as usize;
        let mut layout = Layout::new(limits);
        let offsets = MediaOffsets {
            egress_states: layout.table::<StateRow>(limits.egresses),
            ingress_states: layout.table::<StateRow>(limits.ingresses * LAYERS as u32),
            egress_indexes: layout.section("egress_indexes", limits.egresses as usize * 16),
            transport_indexes: layout.section("transport_indexes", limits.transports as usize * 16),
            nacks: layout.section("nacks", limits.egresses as usize * NACK_ENTRIES * NACK_WORDS * 8),
            ring_cursors: layout.section("ring_cursors", pairs * 64),
            rings: layout.section("rings", pairs * ring_bytes(WORKER_RING_BYTES)),
            slots: layout.section("slots", slots::slots_bytes(limits)),
        };
        (layout, offsets)
    }

    tables! {
        egress_states: egress_states, StateRow, |limits: &Limits| limits.egresses;
        ingress_states: ingress_states, StateRow, |limits: &Limits| limits.ingresses * LAYERS as u32;
    }

    /// SRTP index (roll-over count and sequence) of an egress's last sealed packet; `rtx` for its RTX SSRC. Stored before the
    /// send is published to the kernel: a successor starts after it.
    pub fn egress_index(&self, egress: u32, rtx: bool) -> &AtomicU64 {
        assert!(egress < self.limits.egresses);
        self.region.word(self.offsets.egress_indexes + egress as usize * 16 + usize::from(rtx) * 8)
    }

    /// SRTCP index of the last sealed packet to a transport.
    pub fn srtcp_index(&self, transport: u32) -> &AtomicU64 {
        assert!(transport < self.limits.transports);
        self.region.word(self.offsets.transport_indexes + transport as usize * 16)
    }

    /// A spare word per transport: the transport-wide sequence of packets sent.
    pub fn transport_wide_sequence(&self, transport: u32) -> &AtomicU64 {
        assert!(transport < self.limits.transports);
        self.region.word(self.offsets.transport_indexes + transport as usize * 16 + 8)
    }

    /// The two words of a retransmission entry: what they say belongs to `engine-forward`.
    pub fn nack_entry(&self, egress: u32, entry: usize) -> [&AtomicU64; NACK_WORDS] {
        assert!(egress < self.limits.egresses && entry < NACK_ENTRIES);
        let offset = self.offsets.nacks + (egress as usize * NACK_ENTRIES + entry) * NACK_WORDS * 8;
        [self.region.word(offset), self.region.word(offset + 8)]
    }

    /// Records from one worker to another.
    pub fn worker_ring(&self, from: u32, to: u32) -> ByteRing {
        assert!(from < self.limits.workers && to < self.limits.workers);
        let pair = (from * self.limits.workers + to) as usize;
        let data = self.offsets.rings + pair * ring_bytes(WORKER_RING_BYTES);
        ByteRing::new(&self.region, data, WORKER_RING_BYTES, &self.region, self.offsets.ring_cursors + pair * 64)
    }

    pub fn slots(&self, engine: &EngineRegion) -> Slots {
        Slots::new(&self.region, self.offsets.slots, &engine.region, engine.offsets.turns, &self.limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change_log::Changes;
    use crate::map::create_memfd;

    #[test]
    fn regions_of_the_default_limits_map_and_refuse_other_limits() {
        let limits = Limits::DEFAULT;
        let fd = create_memfd("signaling", SignalingRegion::region_bytes(&limits)).unwrap();
        let region = SignalingRegion::map(&fd, &limits, true).unwrap();
        assert_eq!(region.transports().rows(), limits.transports);
        let other = Limits { datas: limits.datas - 1, ..limits };
        assert!(matches!(SignalingRegion::map(&fd, &other, true), Err(MapError::Mismatch { .. })));
    }

    #[test]
    fn a_row_whose_writer_died_before_naming_it_is_found() {
        let limits = Limits { workers: 2, transports: 4, ingresses: 1, egresses: 1, datas: 1 };
        let fd = create_memfd("signaling", SignalingRegion::region_bytes(&limits)).unwrap();
        let writer = SignalingRegion::map(&fd, &limits, true).unwrap();
        let mut reader = writer.log().reader(writer.log().head());
        writer.transports().publish(3, &zerocopy::FromZeros::new_zeroed());
        assert_eq!(reader.next_change(), Changes::None);
        SignalingRegion::map(&fd, &limits, false).unwrap();
        assert_eq!(reader.next_change(), Changes::None, "a reader's mapping says nothing");
        SignalingRegion::map(&fd, &limits, true).unwrap();
        assert_eq!(reader.next_change(), Changes::All);
        assert_eq!(reader.next_change(), Changes::None);
    }

    #[test]
    fn a_new_engine_lets_its_readers_look_at_every_row() {
        let limits = Limits { workers: 3, transports: 1, ingresses: 1, egresses: 1, datas: 1 };
        let fd = create_memfd("engine", EngineRegion::region_bytes(&limits)).unwrap();
        let engine = EngineRegion::map(&fd, &limits, true).unwrap();
        let mut readers: Vec<_> = (0..3).map(|worker| engine.log(worker).reader(engine.log(worker).head())).collect();
        EngineRegion::map(&fd, &limits, true).unwrap();
        assert!(readers.iter_mut().all(|reader| reader.next_change() == Changes::All));
    }

    #[test]
    fn the_layout_hash_names_this_version() {
        let hashes = [
            HolderRegion::layout(&Limits::DEFAULT).0.hash(),
            SignalingRegion::layout(&Limits::DEFAULT).0.hash(),
            CourierRegion::layout(&Limits::DEFAULT).0.hash(),
            KeyRegion::layout(&Limits::DEFAULT).0.hash(),
            EngineRegion::layout(&Limits::DEFAULT).0.hash(),
            MediaRegion::layout(&Limits::DEFAULT).0.hash(),
        ];
        let all = hashes.iter().fold(crate::map::ABI_VERSION, |all, hash| all.rotate_left(7) ^ hash);
        assert_eq!(
            all, 2_787_871_819_870_066_434,
            "the shared layout changed: raise ABI_VERSION and write this number here"
        );
    }
}
