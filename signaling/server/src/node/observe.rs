//! What workers and courier observed, as inputs of the rooms whose rows they are.

use std::collections::BTreeSet;
use std::sync::Arc;

use engine_table::{Change, ChangeReader, Changes, TableId};
use signaling_room::Input;

use crate::node::actor::Regions;
use crate::node::index::RowIndex;

/// Names taken from one log in a turn; the rest follows in the next.
const CHANGES_PER_TURN: usize = 4_096;

#[derive(Debug)]
pub(crate) struct Observer {
    workers: Vec<ChangeReader>,
    courier: ChangeReader,
}

impl Observer {
    /// Stands at the present end of every log: look at every row once after this ([`everything`]).
    pub(crate) fn new(regions: &Regions) -> Self {
        let workers = (0..regions.engine.limits().workers).map(|worker| {
            let log = regions.engine.log(worker);
            log.reader(log.head())
        });
        let courier = regions.courier.log();
        Self { workers: workers.collect(), courier: courier.reader(courier.head()) }
    }

    pub(crate) fn is_behind(&self) -> bool {
        self.courier.is_behind() || self.workers.iter().any(ChangeReader::is_behind)
    }

    /// One input per changed row, however often it changed.
    pub(crate) fn poll(&mut self, regions: &Regions, index: &mut RowIndex) -> Vec<(Arc<str>, Input)> {
        let mut changed = BTreeSet::new();
        let mut all = false;
        for reader in self.workers.iter_mut().chain([&mut self.courier]) {
            all |= collect(reader, &mut changed);
        }
        if all {
            return everything(regions, index);
        }
        changed.into_iter().filter_map(|(table, row)| observe(regions, index, table, row)).collect()
    }
}

/// `true` when names were lost.
fn collect(reader: &mut ChangeReader, changed: &mut BTreeSet<(u8, u32)>) -> bool {
    for _ in 0..CHANGES_PER_TURN {
        match reader.next_change() {
            Changes::None => break,
            Changes::One(Change { table, index }) => {
                changed.insert((table as u8, index));
            }
            Changes::All => return true,
        }
    }
    false
}

/// Every row that rooms know.
pub(crate) fn everything(regions: &Regions, index: &mut RowIndex) -> Vec<(Arc<str>, Input)> {
    let transports = index.transports.keys();
    let mut rows: Vec<(TableId, u32)> =
        transports.flat_map(|row| [(TableId::TransportObserved, *row), (TableId::Session, *row)]).collect();
    rows.extend(index.ingresses.keys().map(|row| (TableId::IngressObserved, *row)));
    rows.extend(index.egresses.keys().map(|row| (TableId::EgressObserved, *row)));
    rows.into_iter().filter_map(|(table, row)| observe(regions, index, table as u8, row)).collect()
}

fn observe(regions: &Regions, index: &mut RowIndex, table: u8, row: u32) -> Option<(Arc<str>, Input)> {
    const TRANSPORT: u8 = TableId::TransportObserved as u8;
    const INGRESS: u8 = TableId::IngressObserved as u8;
    const EGRESS: u8 = TableId::EgressObserved as u8;
    const SESSION: u8 = TableId::Session as u8;
    match table {
        TRANSPORT => {
            let of = index.transports.get(&row)?;
            let (_, observed) = regions.engine.transports().read(row)?;
            let current = observed.generation == of.transport.generation;
            current.then(|| (Arc::clone(&of.room), Input::Transport { transport: of.transport, observed }))
        }
        INGRESS => {
            let of = index.ingresses.get(&row)?;
            let (_, observed) = regions.engine.ingresses().read(row)?;
            let current = observed.generation == of.ingress.generation;
            current.then(|| (Arc::clone(&of.room), Input::Ingress { ingress: of.ingress, observed }))
        }
        EGRESS => {
            let of = index.egresses.get_mut(&row).filter(|of| !of.flows)?;
            let (_, observed) = regions.engine.egresses().read(row)?;
            of.flows = observed.generation == of.egress.generation && observed.codec != 0;
            of.flows.then(|| (Arc::clone(&of.room), Input::Egress { egress: of.egress, observed }))
        }
        SESSION => {
            let of = index.transports.get(&row)?;
            let (_, session) = regions.courier.sessions().read(row)?;
            let current = session.generation == of.transport.generation;
            current.then(|| (Arc::clone(&of.room), Input::Session { transport: of.transport, session }))
        }
        _ => None,
    }
}
