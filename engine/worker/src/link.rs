//! The path of an owned transport: its nominated pair, when it may move, and whether the client still lives. No I/O.

use engine_base::TimeNs;
use engine_base::limits::{DISCONNECTED_AFTER_MS, FAILED_AFTER_MS};
use engine_table::{SocketAddress, TransportObserved, transport_state};

use crate::addresses::Pair;

/// A nominated pair stays at least this long, so that a client that nominates two in turn cannot make ownership flap.
pub const MOVE_INTERVAL_MS: u64 = 500;

/// Where the client asked to be reached: a pair of worker `worker`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    pub worker: u32,
    pub pair: Pair,
    /// Index of the credentials that the check named.
    pub credentials: u8,
}

/// What became of a nomination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nomination {
    /// The pair was the nominated one already.
    Unchanged,
    /// The path has moved, or is nominated for the first time.
    Moved,
    /// It stays for now; the wish is kept and comes from `handle_timeout`.
    Deferred,
    /// The wish is another worker's: release the transport to it.
    Leaves(Wish),
}

#[derive(Clone, Debug)]
pub struct Link {
    /// Of the first authenticated check until one is nominated.
    pub pair: Pair,
    pub nominated: bool,
    pub credentials: u8,
    /// Nominations so far.
    pub moves: u16,
    /// As in `transport_state`.
    pub state: u8,
    pub last_check: TimeNs,
    last_heard: TimeNs,
    moved_at: TimeNs,
    /// The path refused a train: single datagrams until then.
    pub no_trains_until: TimeNs,
    wish: Option<Wish>,
}

impl Link {
    /// Begins with the pair of the first authenticated check.
    pub fn new(pair: Pair, credentials: u8, now: TimeNs) -> Self {
        Self {
            pair,
            nominated: false,
            credentials,
            moves: 0,
            state: transport_state::CHECKING,
            last_check: now,
            last_heard: now,
            moved_at: now,
            no_trains_until: TimeNs::ZERO,
            wish: None,
        }
    }

    /// Goes on along the path that a predecessor published. `None` when it had none, or the client was already given up.
    pub fn restore(row: &TransportObserved, now: TimeNs) -> Option<Self> {
        let given_up = now.since(row.last_check) / 1_000_000 >= FAILED_AFTER_MS;
        let alive = matches!(row.state, transport_state::CONNECTED | transport_state::DISCONNECTED);
        if !alive || given_up || row.remote == SocketAddress::NONE {
            return None;
        }
        let pair = Pair { remote: row.remote, socket: row.socket };
        // Its silence counts anew: while nobody listened the client cannot have been heard.
        let link = Self::new(pair, row.credentials & 1, now);
        Some(Self { nominated: true, moves: row.moves, state: transport_state::CONNECTED, ..link })
    }

    /// An authenticated packet came. Returns true when that brings the transport back.
    pub fn hear(&mut self, now: TimeNs) -> bool {
        self.last_heard = now;
        let back = matches!(self.state, transport_state::DISCONNECTED | transport_state::FAILED);
        if back {
            self.state = if self.nominated { transport_state::CONNECTED } else { transport_state::CHECKING };
        }
        back
    }

    /// A check with USE-CANDIDATE was authenticated; `me` is the owner.
    pub fn nominate(&mut self, wish: Wish, me: u32, now: TimeNs) -> Nomination {
        if self.nominated && wish.worker == me && wish.pair == self.pair && wish.credentials == self.credentials {
            self.wish = None;
            return Nomination::Unchanged;
        }
        let same_path = wish.worker == me && wish.pair == self.pair;
        if self.nominated && !same_path && now < self.moved_at.add_ms(MOVE_INTERVAL_MS) {
            self.wish = Some(wish);
            return Nomination::Deferred;
        }
        self.wish = None;
        if wish.worker != me {
            return Nomination::Leaves(wish);
        }
        self.arrive(wish, now);
        Nomination::Moved
    }

    /// Takes the path of `wish`, also on the worker to which a transport was released.
    pub fn arrive(&mut self, wish: Wish, now: TimeNs) {
        self.pair = wish.pair;
        self.credentials = wish.credentials;
        self.nominated = true;
        self.moves = self.moves.wrapping_add(1);
        self.moved_at = now;
        self.state = transport_state::CONNECTED;
        self.last_heard = now;
    }

    pub fn poll_timeout(&self) -> TimeNs {
        let silence = match self.state {
            transport_state::FAILED => TimeNs::MAX,
            transport_state::DISCONNECTED => self.last_heard.add_ms(FAILED_AFTER_MS),
            _ => self.last_heard.add_ms(DISCONNECTED_AFTER_MS),
        };
        let wish = self.wish.map_or(TimeNs::MAX, |_| self.moved_at.add_ms(MOVE_INTERVAL_MS));
        silence.min(wish)
    }

    /// What time has brought: true when the state changed.
    pub fn handle_timeout(&mut self, now: TimeNs) -> bool {
        let silent = now.since(self.last_heard) / 1_000_000;
        let state = match self.state {
            transport_state::FAILED => return false,
            _ if silent >= FAILED_AFTER_MS => transport_state::FAILED,
            _ if silent >= DISCONNECTED_AFTER_MS => transport_state::DISCONNECTED,
            state => state,
        };
        std::mem::replace(&mut self.state, state) != state
    }

    /// A deferred wish whose time has come: nominate it again.
    pub fn due_wish(&mut self, now: TimeNs) -> Option<Wish> {
        if now < self.moved_at.add_ms(MOVE_INTERVAL_MS) { None } else { self.wish.take() }
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;

    const START: TimeNs = TimeNs::from_ms(1_000);

    fn wish(worker: u32, port: u16) -> Wish {
        let remote = SocketAddress::new(([192, 0, 2, 1], port).into());
        Wish { worker, pair: Pair { remote, socket: 0 }, credentials: 0 }
    }

    fn link() -> Link {
        Link::new(wish(0, 1).pair, 0, START)
    }

    #[test]
    fn the_first_nomination_moves_at_once_and_its_repetition_changes_nothing() {
        let mut link = link();
        assert_eq!(link.nominate(wish(0, 2), 0, START), Nomination::Moved);
        assert_eq!((link.pair, link.state, link.moves), (wish(0, 2).pair, transport_state::CONNECTED, 1));
        assert_eq!(link.nominate(wish(0, 2), 0, START), Nomination::Unchanged);
    }

    #[test]
    fn a_second_nomination_waits_for_half_a_second() {
        let mut link = link();
        link.nominate(wish(0, 1), 0, START);
        assert_eq!(link.nominate(wish(1, 2), 0, START.add_ms(499)), Nomination::Deferred);
        assert_eq!(link.due_wish(START.add_ms(499)), None);
        assert_eq!(link.poll_timeout(), START.add_ms(500));
        let due = link.due_wish(START.add_ms(500)).unwrap();
        assert_eq!(link.nominate(due, 0, START.add_ms(500)), Nomination::Leaves(due));
        assert_eq!(link.due_wish(START.add_ms(900)), None);
    }

    #[test]
    fn returning_to_the_nominated_pair_forgets_the_wish() {
        let mut link = link();
        link.nominate(wish(0, 1), 0, START);
        link.nominate(wish(0, 2), 0, START.add_ms(100));
        assert_eq!(link.nominate(wish(0, 1), 0, START.add_ms(200)), Nomination::Unchanged);
        assert_eq!(link.due_wish(START.add_ms(700)), None);
    }

    #[test]
    fn a_restart_on_the_same_pair_is_taken_at_once() {
        let mut link = link();
        link.nominate(wish(0, 1), 0, START);
        let restarted = Wish { credentials: 1, ..wish(0, 1) };
        assert_eq!(link.nominate(restarted, 0, START.add_ms(10)), Nomination::Moved);
        assert_eq!(link.credentials, 1);
    }

    #[test]
    fn silence_disconnects_then_fails_and_a_packet_brings_it_back() {
        let mut link = link();
        link.nominate(wish(0, 1), 0, START);
        assert!(!link.handle_timeout(START.add_ms(9_999)));
        assert!(link.handle_timeout(START.add_ms(10_000)));
        assert_eq!(link.state, transport_state::DISCONNECTED);
        assert_eq!(link.poll_timeout(), START.add_ms(15_000));
        assert!(link.handle_timeout(START.add_ms(15_000)));
        assert_eq!((link.state, link.poll_timeout()), (transport_state::FAILED, TimeNs::MAX));
        assert!(link.hear(START.add_ms(20_000)));
        assert_eq!(link.state, transport_state::CONNECTED);
    }

    #[test]
    fn a_successor_goes_on_along_a_path_that_was_in_use() {
        let remote = SocketAddress::new(([192, 0, 2, 1], 7).into());
        let (state, moves, last_check) = (transport_state::CONNECTED, 3, START);
        let row = TransportObserved { state, remote, socket: 2, moves, last_check, ..TransportObserved::new_zeroed() };
        let mut link = Link::restore(&row, START.add_ms(14_999)).unwrap();
        assert_eq!((link.pair, link.nominated, link.moves), (Pair { remote, socket: 2 }, true, 3));
        let repeated = Wish { worker: 0, pair: link.pair, credentials: 0 };
        assert_eq!(link.nominate(repeated, 0, START.add_ms(15_000)), Nomination::Unchanged);
        assert!(Link::restore(&row, START.add_ms(15_000)).is_none(), "nobody was heard for too long");
        let now = START.add_ms(1);
        for state in [transport_state::CHECKING, transport_state::FAILED] {
            assert!(Link::restore(&TransportObserved { state, ..row }, now).is_none());
        }
        assert!(Link::restore(&TransportObserved { remote: SocketAddress::NONE, ..row }, now).is_none());
    }
}
