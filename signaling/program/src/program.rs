//! Publishes desired rows.

use engine_base::{DataRef, EgressRef, IngressRef, TransportRef};
use std::sync::atomic::Ordering;

use engine_table::{
    ChangeLog, CourierRegion, DataRow, EgressRow, EngineRegion, IngressRow, ROW_FREE, Row, SignalingRegion, Table,
    TableId, TransportRow,
};

use crate::allocator::{Indices, RowAllocator};

/// What a row shall be from now on. Idempotent: a row equal to the published one is not published again. The row's `state` and
/// `generation` are set by the program from the reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowChange {
    Transport(TransportRef, Box<TransportRow>),
    Ingress(IngressRef, Box<IngressRow>),
    Egress(EgressRef, Box<EgressRow>),
    Data(DataRef, Box<DataRow>),
    FreeTransport(TransportRef),
    FreeIngress(IngressRef),
    FreeEgress(EgressRef),
    FreeData(DataRef),
}

#[derive(Debug)]
pub struct Program {
    log: ChangeLog,
    readers: Readers,
    transports: Rows<TransportRow>,
    ingresses: Rows<IngressRow>,
    egresses: Rows<EgressRow>,
    datas: Rows<DataRow>,
    /// Set by every publication, cleared by [`Program::take_dirty`].
    dirty: bool,
}

/// Who must have adopted a row's end before its index comes back.
#[derive(Debug)]
struct Readers {
    engine: EngineRegion,
    courier: CourierRegion,
}

impl Readers {
    /// Position that all of them have adopted.
    fn adopted(&self) -> u64 {
        let workers = (0..self.engine.limits().workers).map(|worker| self.engine.adopted_signaling(worker));
        let all = workers.chain([self.courier.adopted()]).map(|word| word.load(Ordering::Acquire));
        all.min().unwrap_or(0)
    }
}

#[derive(Debug)]
struct Rows<R> {
    table: Table<R>,
    id: TableId,
    indices: Indices,
}

/// The two fields that every desired row has.
trait Desired: Row + PartialEq {
    fn stamp(&mut self, state: u8, generation: u32);
    fn generation(&self) -> u32;
    fn state(&self) -> u8;
}

macro_rules! desired {
    ($($row:ty),*) => {$(
        impl Desired for $row {
            fn stamp(&mut self, state: u8, generation: u32) {
                self.state = state;
                self.generation = generation;
            }

            fn generation(&self) -> u32 {
                self.generation
            }

            fn state(&self) -> u8 {
                self.state
            }
        }
    )*};
}

desired!(TransportRow, IngressRow, EgressRow, DataRow);

impl<R: Desired> Rows<R> {
    fn adopt(table: Table<R>, id: TableId, log: &ChangeLog) -> Self {
        let generations =
            (0..table.used()).map(|index| table.read(index).map_or(0, |(_, row)| row.generation())).collect();
        Self { indices: Indices::adopt(generations, table.rows(), log.head()), table, id }
    }

    /// True when something was published.
    fn set(&mut self, log: &ChangeLog, index: u32, generation: u32, row: &R, state: u8) -> bool {
        let mut row = *row;
        row.stamp(state, generation);
        if self.table.read(index).is_some_and(|(_, published)| published == row) {
            return false;
        }
        self.table.publish(index, &row);
        log.push(self.id, index);
        true
    }

    fn apply(&mut self, log: &ChangeLog, index: u32, generation: u32, row: &R) -> bool {
        (self.indices.is_current(index, generation) || self.indices.claim(index, generation))
            && self.set(log, index, generation, row, engine_table::ROW_ACTIVE)
    }

    fn free(&mut self, log: &ChangeLog, index: u32, generation: u32) -> bool {
        let published = self.indices.is_current(index, generation) && self.clear(log, index);
        self.indices.release(index, generation, log.head());
        published
    }

    fn clear(&mut self, log: &ChangeLog, index: u32) -> bool {
        let row = self.table.own(index);
        row.state() != ROW_FREE && self.set(log, index, row.generation(), &R::new_zeroed(), ROW_FREE)
    }

    fn free_orphans(&mut self, log: &ChangeLog) -> usize {
        let orphans: Vec<u32> = self.indices.not_taken().collect();
        let freed = orphans.into_iter().filter(|index| self.clear(log, *index)).count();
        self.indices.rest_until(log.head());
        freed
    }
}

impl Program {
    /// Adopts the region (writable mapping). **Input**: the regions in which the readers of the rows say what they have
    /// adopted. **Cost**: reads every row once.
    pub fn adopt(region: &SignalingRegion, engine: &EngineRegion, courier: &CourierRegion) -> Self {
        let log = region.log();
        Self {
            transports: Rows::adopt(region.transports(), TableId::Transport, &log),
            ingresses: Rows::adopt(region.ingresses(), TableId::Ingress, &log),
            egresses: Rows::adopt(region.egresses(), TableId::Egress, &log),
            datas: Rows::adopt(region.datas(), TableId::Data, &log),
            log,
            readers: Readers { engine: engine.clone(), courier: courier.clone() },
            dirty: false,
        }
    }

    /// Frees every row that no replayed session claimed; returns how many. Call once, after all sessions set their rows.
    pub fn finish_adoption(&mut self) -> usize {
        let freed = self.egresses.free_orphans(&self.log)
            + self.ingresses.free_orphans(&self.log)
            + self.datas.free_orphans(&self.log)
            + self.transports.free_orphans(&self.log);
        self.dirty |= freed > 0;
        freed
    }

    pub fn apply(&mut self, change: &RowChange) {
        let log = &self.log;
        let published = match change {
            RowChange::Transport(at, row) => self.transports.apply(log, at.index, at.generation, row),
            RowChange::Ingress(at, row) => self.ingresses.apply(log, at.index, at.generation, row),
            RowChange::Egress(at, row) => self.egresses.apply(log, at.index, at.generation, row),
            RowChange::Data(at, row) => self.datas.apply(log, at.index, at.generation, row),
            RowChange::FreeTransport(at) => self.transports.free(log, at.index, at.generation),
            RowChange::FreeIngress(at) => self.ingresses.free(log, at.index, at.generation),
            RowChange::FreeEgress(at) => self.egresses.free(log, at.index, at.generation),
            RowChange::FreeData(at) => self.datas.free(log, at.index, at.generation),
        };
        self.dirty |= published;
    }

    /// Position of the log that readers must have adopted to know every row until now.
    pub fn position(&self) -> u64 {
        self.log.head()
    }

    /// True once after publications: wake the engine and the courier.
    pub fn take_dirty(&mut self) -> bool {
        std::mem::take(&mut self.dirty)
    }

    /// Rows in use: transports, ingresses, egresses, datas.
    pub fn usage(&self) -> [usize; 4] {
        [
            self.transports.indices.taken_count(),
            self.ingresses.indices.taken_count(),
            self.egresses.indices.taken_count(),
            self.datas.indices.taken_count(),
        ]
    }
}

impl RowAllocator for Program {
    fn transport(&mut self) -> Option<TransportRef> {
        self.transports.indices.settle(self.readers.adopted());
        self.transports.indices.take().map(|(index, generation)| TransportRef::new(index, generation))
    }

    fn ingress(&mut self) -> Option<IngressRef> {
        self.ingresses.indices.settle(self.readers.adopted());
        self.ingresses.indices.take().map(|(index, generation)| IngressRef::new(index, generation))
    }

    fn egress(&mut self) -> Option<EgressRef> {
        self.egresses.indices.settle(self.readers.adopted());
        self.egresses.indices.take().map(|(index, generation)| EgressRef::new(index, generation))
    }

    fn data(&mut self) -> Option<DataRef> {
        self.datas.indices.settle(self.readers.adopted());
        self.datas.indices.take().map(|(index, generation)| DataRef::new(index, generation))
    }
}

#[cfg(test)]
mod tests {
    use engine_base::Limits;
    use engine_table::Changes;
    use zerocopy::FromZeros;

    use super::*;

    fn egress(ssrc: u32) -> Box<EgressRow> {
        let mut row = EgressRow::new_zeroed();
        row.ssrc = engine_base::Ssrc(ssrc);
        Box::new(row)
    }

    const LIMITS: Limits = Limits { workers: 1, transports: 4, ingresses: 4, egresses: 4, datas: 4 };

    /// A program whose readers have adopted everything.
    fn adopt(region: &SignalingRegion) -> Program {
        let (engine, courier) = (EngineRegion::anonymous(&LIMITS), CourierRegion::anonymous(&LIMITS));
        engine.adopted_signaling(0).store(u64::MAX, Ordering::Relaxed);
        courier.adopted().store(u64::MAX, Ordering::Relaxed);
        Program::adopt(region, &engine, &courier)
    }

    #[test]
    fn a_successor_keeps_what_is_claimed_and_frees_the_rest() {
        let region = SignalingRegion::anonymous(&LIMITS);
        let mut first = adopt(&region);
        let (kept, lost) = (first.egress().unwrap(), first.egress().unwrap());
        first.apply(&RowChange::Egress(kept, egress(1)));
        first.apply(&RowChange::Egress(lost, egress(2)));
        let position = first.position();

        let mut second = adopt(&region);
        second.apply(&RowChange::Egress(kept, egress(1)));
        assert_eq!(second.position(), position, "an equal row is not published again");
        assert_eq!(second.finish_adoption(), 1);
        let (_, row) = region.egresses().read(lost.index).unwrap();
        assert_eq!((row.state, row.generation), (ROW_FREE, lost.generation));
        assert_eq!(second.usage(), [0, 0, 1, 0]);
        let mut reader = region.log().reader(position);
        assert!(matches!(reader.next_change(), Changes::One(change) if change.index == lost.index));
        assert!(second.egress().unwrap().generation > 0);
    }

    #[test]
    fn a_stale_reference_frees_nothing() {
        let region =
            SignalingRegion::anonymous(&Limits { workers: 1, transports: 4, ingresses: 4, egresses: 1, datas: 4 });
        let mut program = adopt(&region);
        let first = program.egress().unwrap();
        program.apply(&RowChange::Egress(first, egress(1)));
        program.apply(&RowChange::FreeEgress(first));
        let second = program.egress().unwrap();
        program.apply(&RowChange::Egress(second, egress(2)));
        program.apply(&RowChange::FreeEgress(first));
        assert_eq!(region.egresses().read(0).unwrap().1.ssrc.0, 2);
    }
}
