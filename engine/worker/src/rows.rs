//! Which rows of the other processes to take next: the logs of signaling and courier, a bounded number per turn, and every
//! written row when a log was lost or the worker is new. The position is stored as adopted only once the row has taken effect.

use std::sync::atomic::Ordering;

use engine_table::{Change, ChangeReader, Changes, TableId};

use crate::site::{Site, Tables};

/// Row words looked at in one turn of a full scan: 2,048 reads of one word, about 20 µs.
const SCAN_STEPS_PER_TURN: u32 = 2_048;

/// A worker's two readers.
#[derive(Debug)]
pub struct Rows {
    signaling: Feed,
    courier: Feed,
}

#[derive(Debug)]
struct Feed {
    reader: ChangeReader,
    tables: &'static [TableId],
    scan: Option<Scan>,
    /// Left of this turn's bound.
    steps: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Scan {
    table: usize,
    index: u32,
}

impl Rows {
    /// Stands at the present end of both logs with a full scan before it.
    pub fn new(site: &Site) -> Self {
        let signaling = site.regions.signaling.log();
        let courier = site.regions.courier.log();
        Self {
            signaling: Feed::new(
                signaling.reader(signaling.head()),
                &[TableId::Transport, TableId::Ingress, TableId::Egress],
            ),
            courier: Feed::new(courier.reader(courier.head()), &[TableId::Key]),
        }
    }

    /// Begins a turn: the scan's bound is renewed.
    pub fn begin_turn(&mut self) {
        self.signaling.steps = SCAN_STEPS_PER_TURN;
        self.courier.steps = SCAN_STEPS_PER_TURN;
    }

    /// The next row to take.
    pub fn next_change(&mut self, tables: &Tables) -> Option<Change> {
        self.signaling.next_change(tables).or_else(|| self.courier.next_change(tables))
    }

    /// Stores what has been adopted. Call it when every row returned so far has taken effect.
    pub fn store_adopted(&self, site: &Site) {
        let engine = &site.regions.engine;
        if self.signaling.scan.is_none() {
            engine.adopted_signaling(site.me).store(self.signaling.reader.position(), Ordering::Release);
        }
        if self.courier.scan.is_none() {
            engine.adopted_courier(site.me).store(self.courier.reader.position(), Ordering::Release);
        }
    }

    /// True until the first scan of everything has ended, and while a log was lost.
    pub fn scans(&self) -> bool {
        self.signaling.scan.is_some() || self.courier.scan.is_some()
    }

    /// True while rows wait to be taken.
    pub fn has_work(&self) -> bool {
        [&self.signaling, &self.courier].iter().any(|feed| feed.scan.is_some() || feed.reader.is_behind())
    }
}

impl Feed {
    fn new(reader: ChangeReader, tables: &'static [TableId]) -> Self {
        Self { reader, tables, scan: Some(Scan::default()), steps: 0 }
    }

    fn next_change(&mut self, tables: &Tables) -> Option<Change> {
        loop {
            if self.scan.is_some() {
                return self.next_written(tables);
            }
            match self.reader.next_change() {
                Changes::None => return None,
                Changes::One(change) => return Some(change),
                Changes::All => self.scan = Some(Scan::default()),
            }
        }
    }

    /// The next row of the scan that was ever written; `None` also when the turn's bound is reached.
    fn next_written(&mut self, tables: &Tables) -> Option<Change> {
        let scan = self.scan.as_mut()?;
        while let Some(&table) = self.tables.get(scan.table) {
            while scan.index < rows(tables, table) {
                self.steps = self.steps.checked_sub(1)?;
                let index = scan.index;
                scan.index += 1;
                if is_written(tables, table, index) {
                    return Some(Change { table, index });
                }
            }
            *scan = Scan { table: scan.table + 1, index: 0 };
        }
        self.scan = None;
        None
    }
}

fn rows(tables: &Tables, table: TableId) -> u32 {
    match table {
        TableId::Transport => tables.transports.used(),
        TableId::Ingress => tables.ingresses.used(),
        TableId::Egress => tables.egresses.used(),
        TableId::Key => tables.keys.used(),
        _ => 0,
    }
}

fn is_written(tables: &Tables, table: TableId, index: u32) -> bool {
    let version = match table {
        TableId::Transport => tables.transports.version(index),
        TableId::Ingress => tables.ingresses.version(index),
        TableId::Egress => tables.egresses.version(index),
        TableId::Key => tables.keys.version(index),
        _ => None,
    };
    version.is_some_and(|version| version != 0)
}
