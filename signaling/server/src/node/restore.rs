//! Adoption of what a predecessor left: every room from the journal, every row again, and only then the world.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use engine_table::Journal;
use signaling_room::{Effect, Room, journal_room};

use crate::node::actor::Node;

/// Journal key: which room is being restored, and how often that was tried. It outlives a process that dies of it.
const ATTEMPT: &[u8] = b"attempt";
/// Tries of a room before it is set aside.
const TRIES: u8 = 2;

type Records = Vec<(Vec<u8>, Vec<u8>)>;

impl Node {
    /// Restores every journaled room; rows are set, orphans freed, and rooms told what was observed meanwhile.
    pub(crate) fn restore(&mut self) {
        for (name, records) in by_room(&self.journal) {
            match self.restore_room(&name, &records) {
                Some((room, effects)) => {
                    let name = self.rooms.add(room);
                    self.carry_out(&name, effects);
                }
                None => set_aside(&mut self.journal, &name, &records),
            }
        }
        let orphans = self.program.finish_adoption();
        if self.program.take_dirty() {
            self.wakes.rows_changed();
        }
        tracing::info!(rooms = self.rooms.len(), orphans, damaged = self.journal.damaged, "adopted");
        self.observe_everything();
    }

    /// `None` when its records make no room, or kill who reads them.
    fn restore_room(&mut self, name: &str, records: &Records) -> Option<(Room, Vec<Effect>)> {
        let mut tried = attempts(&self.journal, name);
        while tried < TRIES {
            tried += 1;
            let marked = [&[tried], name.as_bytes()].concat();
            if let Err(error) = self.journal.put(ATTEMPT, &marked) {
                tracing::warn!(%error, "cannot note which room is restored");
            }
            let attempt = catch_unwind(AssertUnwindSafe(|| {
                self.with_context(|context| Room::restore(records.iter().cloned(), context))
            }));
            if let Ok(outcome) = attempt {
                self.journal.remove(ATTEMPT);
                return outcome
                    .inspect_err(|error| tracing::error!(room = name, %error, "a room is not restored"))
                    .ok();
            }
            tracing::error!(room = name, tried, "restoring a room panicked");
        }
        None
    }
}

fn by_room(journal: &Journal) -> BTreeMap<String, Records> {
    let mut rooms: BTreeMap<String, Records> = BTreeMap::new();
    for (key, value) in journal.records() {
        if let Some(room) = journal_room(key) {
            rooms.entry(room.to_owned()).or_default().push((key.to_vec(), value));
        }
    }
    rooms
}

fn attempts(journal: &Journal, name: &str) -> u8 {
    let marked = journal.get(ATTEMPT).unwrap_or_default();
    match marked.split_first() {
        Some((tried, room)) if room == name.as_bytes() => *tried,
        _ => 0,
    }
}

/// The room is forgotten: its rows become orphans, and its participants are told to join anew when they come.
fn set_aside(journal: &mut Journal, name: &str, records: &Records) {
    tracing::error!(room = name, records = records.len(), "set aside: its participants must join anew");
    for (key, _) in records {
        journal.remove(key);
    }
    journal.remove(ATTEMPT);
}

#[cfg(test)]
mod tests {
    use engine_table::Region;

    use super::*;

    #[test]
    fn records_are_grouped_by_room_and_others_are_left_alone() {
        let mut journal = Journal::adopt(Region::anonymous(Journal::region_bytes(1 << 16)), 1 << 16);
        for key in ["room/a", "participant/a/PA_1", "room/b/c", "bulk/b/c/PA_2", "attempt"] {
            journal.put(key.as_bytes(), b"x").unwrap();
        }
        let rooms = by_room(&journal);
        assert_eq!(rooms.keys().collect::<Vec<_>>(), ["a", "b/c"]);
        set_aside(&mut journal, "a", &rooms["a"]);
        assert_eq!(by_room(&journal).len(), 1);
    }

    #[test]
    fn attempts_count_for_the_marked_room_only() {
        let mut journal = Journal::adopt(Region::anonymous(Journal::region_bytes(1 << 16)), 1 << 16);
        journal.put(ATTEMPT, &[&[2], &b"r"[..]].concat()).unwrap();
        assert_eq!((attempts(&journal, "r"), attempts(&journal, "s")), (2, 0));
    }
}
