//! Where a worker stands: its number, the regions and tables it reads and writes, and the counters that only it writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine_base::{Drop as DropReason, Limits, NtpTime, TimeNs};
use engine_table::{
    CourierRegion, EgressCounter, EgressObserved, EgressRow, EngineRegion, HolderRegion, IngressCounter,
    IngressObserved, IngressRow, KeyRegion, KeyRow, MediaRegion, NodeRow, SignalingRegion, StateRow, Table,
    TransportCounter, TransportObserved, TransportRow, WorkerCounter,
};

use crate::crew::Crew;

/// The regions of a node as an engine process maps them: `engine` and `media` writable.
#[derive(Clone, Debug)]
pub struct Regions {
    pub holder: HolderRegion,
    pub signaling: SignalingRegion,
    pub courier: CourierRegion,
    pub keys: KeyRegion,
    pub engine: EngineRegion,
    pub media: MediaRegion,
}

impl Regions {
    /// In memory, for tests and simulations.
    pub fn anonymous(limits: &Limits) -> Self {
        Self {
            holder: HolderRegion::anonymous(limits),
            signaling: SignalingRegion::anonymous(limits),
            courier: CourierRegion::anonymous(limits),
            keys: KeyRegion::anonymous(limits),
            engine: EngineRegion::anonymous(limits),
            media: MediaRegion::anonymous(limits),
        }
    }
}

/// The tables, opened once.
pub struct Tables {
    pub transports: Table<TransportRow>,
    pub ingresses: Table<IngressRow>,
    pub egresses: Table<EgressRow>,
    pub keys: Table<KeyRow>,
    pub transports_observed: Table<TransportObserved>,
    pub ingresses_observed: Table<IngressObserved>,
    pub egresses_observed: Table<EgressObserved>,
    pub egress_states: Table<StateRow>,
    pub ingress_states: Table<StateRow>,
}

pub struct Site {
    pub me: u32,
    pub limits: Limits,
    pub node: NodeRow,
    pub regions: Regions,
    pub tables: Tables,
    pub crew: Arc<Crew>,
}

impl Site {
    /// `None` while the holder has not written the node row.
    pub fn new(me: u32, regions: &Regions, crew: Arc<Crew>) -> Option<Self> {
        let (_, node) = regions.holder.node().read(0)?;
        let tables = Tables {
            transports: regions.signaling.transports(),
            ingresses: regions.signaling.ingresses(),
            egresses: regions.signaling.egresses(),
            keys: regions.keys.keys(),
            transports_observed: regions.engine.transports(),
            ingresses_observed: regions.engine.ingresses(),
            egresses_observed: regions.engine.egresses(),
            egress_states: regions.media.egress_states(),
            ingress_states: regions.media.ingress_states(),
        };
        Some(Self { me, limits: *regions.engine.limits(), node, regions: regions.clone(), tables, crew })
    }

    pub fn ntp(&self, now: TimeNs) -> NtpTime {
        self.node.wall_offset.ntp(now)
    }

    #[inline]
    pub fn drop(&self, reason: DropReason) {
        bump(self.regions.engine.drops(self.me, reason), 1);
    }

    #[inline]
    pub fn count(&self, counter: WorkerCounter, n: u64) {
        bump(self.regions.engine.counter(self.me, counter), n);
    }

    #[inline]
    pub fn count_transport(&self, index: u32, counter: TransportCounter, n: u64) {
        bump(self.regions.engine.transport_counter(index, counter), n);
    }

    #[inline]
    pub fn count_ingress(&self, index: u32, layer: usize, counter: IngressCounter, n: u64) {
        bump(self.regions.engine.ingress_counter(index, layer, counter), n);
    }

    #[inline]
    pub fn count_egress(&self, index: u32, counter: EgressCounter, n: u64) {
        bump(self.regions.engine.egress_counter(index, counter), n);
    }
}

/// Adds to a word that has one writer: no locked instruction.
#[inline]
pub fn bump(word: &AtomicU64, n: u64) {
    word.store(word.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}
