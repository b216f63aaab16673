//! What participants wait for, by time: a room of a thousand must not look at each of them in every step.

use std::collections::{BTreeMap, BTreeSet};

use engine_base::TimeNs;

/// The next deadline of each participant that has one, by sid.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    by_time: BTreeSet<(TimeNs, String)>,
    of: BTreeMap<String, TimeNs>,
}

impl Waits {
    /// `None`: it waits for nothing, or has ended.
    pub(crate) fn set(&mut self, sid: &str, next: Option<TimeNs>) {
        if self.of.get(sid).copied() == next {
            return;
        }
        if let Some(before) = self.of.remove(sid) {
            self.by_time.remove(&(before, sid.to_owned()));
        }
        if let Some(next) = next {
            self.of.insert(sid.to_owned(), next);
            self.by_time.insert((next, sid.to_owned()));
        }
    }

    pub(crate) fn next(&self) -> Option<TimeNs> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Whose time has come. They stay until they are set again.
    pub(crate) fn due(&self, now: TimeNs) -> Vec<String> {
        self.by_time.iter().take_while(|(at, _)| *at <= now).map(|(_, sid)| sid.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_comes_first_and_a_change_leaves_nothing_behind() {
        let mut waits = Waits::default();
        let at = TimeNs::from_ms;
        waits.set("a", Some(at(5)));
        waits.set("b", Some(at(3)));
        waits.set("b", Some(at(7)));
        assert_eq!((waits.next(), waits.due(at(6))), (Some(at(5)), vec!["a".to_owned()]));
        waits.set("a", None);
        waits.set("b", None);
        assert_eq!((waits.next(), waits.due(at(9))), (None, Vec::new()));
    }
}
