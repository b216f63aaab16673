//! Who has come and who has gone, told to everybody.
//!
//! In a large room each such message goes to a thousand sockets, at about 8 µs apiece, and a thousand come within a minute. So
//! those of participants that publish nothing wait for each other: for so long that telling them costs a small share of a core,
//! whatever the size of the room. Everything else about a participant is told at once, after what waits: nobody sees a
//! participant go back in time, or an identity leave after it has come again.
//!
//! Not here: other nodes, which are told at once (`delta`).

use engine_base::TimeNs;
use signaling_protocol::proto;

use crate::response::updates;
use crate::room::Room;

/// Between two messages, for each listener beyond the first few: 8 µs of 1,000 are 0.8 % of a core.
const WAIT_PER_LISTENER_US: u64 = 1_000;
/// A room of this size is told at once.
const LISTENERS_AT_ONCE: u64 = 32;
/// As long as the reference lets anybody wait.
const WAIT_US_MAX: u64 = 3_000_000;

/// What waits, in the order in which it happened.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// By sid: the last info of one that has left, or one that is told as it is then.
    waiting: Vec<(String, Option<proto::ParticipantInfo>)>,
    due: Option<TimeNs>,
    /// Not told again before.
    rests_until: TimeNs,
}

impl News {
    pub(crate) fn due(&self) -> Option<TimeNs> {
        self.due
    }

    fn forget(&mut self, sid: &str) {
        self.waiting.retain(|(waiting, _)| waiting != sid);
    }
}

impl Room {
    /// `last`: of one that has left.
    pub(crate) fn tell_soon(&mut self, sid: &str, last: Option<proto::ParticipantInfo>, now: TimeNs) {
        self.news.forget(sid);
        self.news.waiting.push((sid.to_owned(), last));
        if self.news.rests_until <= now {
            self.tell_news(now);
        } else {
            self.news.due = Some(self.news.rests_until);
        }
    }

    /// It is time.
    pub(crate) fn tell_news(&mut self, now: TimeNs) {
        let listeners = (self.places.connections.len() as u64).saturating_sub(LISTENERS_AT_ONCE);
        let wait_us = (listeners * WAIT_PER_LISTENER_US).min(WAIT_US_MAX);
        self.news.rests_until = TimeNs(now.0 + wait_us * 1_000);
        self.flush_news();
    }

    /// Something about `sid` is told now: what waits goes before, but for what that makes old.
    pub(crate) fn precede(&mut self, sid: &str) {
        self.news.forget(sid);
        self.flush_news();
    }

    /// An identity comes again: that it had left must be told before anybody sees it.
    pub(crate) fn precede_return(&mut self, identity: &str) {
        let left = |info: &proto::ParticipantInfo| info.identity == identity;
        if self.news.waiting.iter().any(|(_, last)| last.as_ref().is_some_and(left)) {
            self.flush_news();
        }
    }

    fn flush_news(&mut self) {
        self.news.due = None;
        let waiting = std::mem::take(&mut self.news.waiting);
        let infos = waiting.into_iter().filter_map(|(sid, last)| {
            let present = || self.participants.get(&sid).filter(|participant| !participant.is_hidden());
            last.or_else(|| present().map(|participant| participant.info()))
        });
        for update in updates(infos.collect()) {
            self.out.broadcast(self.places.connections.keys().copied(), update);
        }
    }
}
