//! The rooms by name, and when each wants its next turn.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use engine_base::TimeNs;
use signaling_protocol::proto;
use signaling_room::Room;

#[derive(Debug, Default)]
pub(crate) struct Rooms {
    rooms: BTreeMap<Arc<str>, Entry>,
    deadlines: BTreeSet<(TimeNs, Arc<str>)>,
    /// Stepped since the last count.
    touched: BTreeSet<Arc<str>>,
    participants: u64,
}

#[derive(Debug)]
struct Entry {
    room: Room,
    deadline: Option<TimeNs>,
    participants: u64,
}

impl Rooms {
    pub(crate) fn name(&self, name: &str) -> Option<Arc<str>> {
        self.rooms.get_key_value(name).map(|(name, _)| Arc::clone(name))
    }

    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        self.rooms.keys().cloned().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.rooms.len()
    }

    pub(crate) fn infos(&self, names: &[String]) -> Vec<proto::Room> {
        let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
        self.rooms.iter().filter(|(name, _)| wanted(name)).map(|(_, entry)| entry.room.info()).collect()
    }

    pub(crate) fn add(&mut self, room: Room) -> Arc<str> {
        let name: Arc<str> = room.name().into();
        self.remove(&name);
        self.rooms.insert(Arc::clone(&name), Entry { room, deadline: None, participants: 0 });
        self.touch(&name);
        name
    }

    pub(crate) fn remove(&mut self, name: &Arc<str>) {
        if let Some(entry) = self.rooms.remove(name) {
            self.participants -= entry.participants;
            if let Some(deadline) = entry.deadline {
                self.deadlines.remove(&(deadline, Arc::clone(name)));
            }
        }
    }

    /// Runs `step` on a room and notes when it wants its next turn.
    pub(crate) fn step<T>(&mut self, name: &Arc<str>, step: impl FnOnce(&mut Room) -> T) -> Option<T> {
        let result = step(&mut self.rooms.get_mut(name)?.room);
        self.touch(name);
        Some(result)
    }

    fn touch(&mut self, name: &Arc<str>) {
        self.touched.insert(Arc::clone(name));
        let Some(entry) = self.rooms.get_mut(name) else { return };
        let next = entry.room.poll_timeout();
        if next == entry.deadline {
            return;
        }
        if let Some(old) = std::mem::replace(&mut entry.deadline, next) {
            self.deadlines.remove(&(old, Arc::clone(name)));
        }
        if let Some(next) = next {
            self.deadlines.insert((next, Arc::clone(name)));
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<TimeNs> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    pub(crate) fn due(&self, now: TimeNs) -> Vec<Arc<str>> {
        self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now).map(|(_, name)| Arc::clone(name)).collect()
    }

    /// Participants of all rooms. **Cost**: O(rooms stepped since the last call).
    pub(crate) fn count_participants(&mut self) -> u64 {
        for name in std::mem::take(&mut self.touched) {
            let Some(entry) = self.rooms.get_mut(&name) else { continue };
            let now = u64::from(entry.room.info().num_participants);
            self.participants = self.participants - entry.participants + now;
            entry.participants = now;
        }
        self.participants
    }
}
