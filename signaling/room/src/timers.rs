//! What is due when. By level: deadlines stand in the state, and are looked for.

use std::collections::BTreeSet;

use engine_base::TimeNs;
use signaling_program::RowChange;
use signaling_protocol::proto::{DisconnectReason, SubscriptionError};

use crate::input::Context;
use crate::journal;
use crate::leave::DEPARTED_MS;
use crate::outbox::record;
use crate::participant::Participant;
use crate::room::Room;
use crate::subscribe::UNKNOWN_TIMEOUT_MS;

/// Counts change often while people come: one message for all that comes within this time (the reference: up to 5 s).
const ROOM_UPDATE_MS: u64 = 2_000;

impl Room {
    pub(crate) fn schedule_room_update(&mut self, now: TimeNs) {
        self.schedule.room_update.get_or_insert(now.add_ms(ROOM_UPDATE_MS));
    }

    pub(crate) fn next_deadline(&self) -> Option<TimeNs> {
        let schedule = &self.schedule;
        let room = [
            schedule.room_update,
            schedule.closing.front().map(|(at, _)| *at),
            schedule.simulated.iter().map(|(at, _)| *at).min(),
            self.next_reconnects(),
            self.empty_deadline(),
            schedule.unknown.first().map(|(at, ..)| *at),
            schedule.departures.front().map(|(at, _)| *at),
            schedule.participants.next(),
            self.news.due(),
        ];
        let all = || self.participants.values().filter_map(Self::deadline_of).min();
        debug_assert_eq!(schedule.participants.next(), all(), "every change of a deadline is noted");
        room.into_iter().flatten().min()
    }

    pub(crate) fn deadline_of(participant: &Participant) -> Option<TimeNs> {
        let deadlines = &participant.core.deadlines;
        let connected = participant.link.connection.is_some();
        let of_socket = [deadlines.refresh, deadlines.answer, deadlines.apply, deadlines.sure];
        let of_socket = of_socket.into_iter().flatten().filter(|_| connected);
        let always = [deadlines.join, deadlines.close, deadlines.hold, deadlines.rest].into_iter().flatten();
        always.chain(of_socket).min()
    }

    fn is_remote(&self, track: &str) -> bool {
        self.replication.infos().any(|info| info.tracks.iter().any(|remote| remote.sid == track))
    }

    pub(crate) fn handle_deadlines(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        for sid in self.schedule.participants.due(now) {
            self.out.touch(&sid);
            self.handle_participant_deadlines(&sid, context);
        }
        while let Some((_, transport)) = self.schedule.closing.pop_front_if(|(at, _)| *at <= now) {
            self.out.last.push(RowChange::FreeTransport(transport));
        }
        self.end_simulated(now);
        if self.next_reconnects().is_some_and(|at| at <= now) {
            self.send_reconnects(context);
        }
        self.forget_departed(now);
        self.give_up_unknown(now);
        if self.empty_deadline().is_some_and(|at| at <= now) {
            return self.end(DisconnectReason::RoomClosed, context);
        }
        if self.news.due().is_some_and(|at| at <= now) {
            self.tell_news(now);
        }
        if self.schedule.room_update.take_if(|at| *at <= now).is_some() {
            self.broadcast_room();
        }
    }

    fn handle_participant_deadlines(&mut self, sid: &str, context: &mut Context<'_>) {
        let now = context.now;
        let due = |deadline: Option<TimeNs>| deadline.is_some_and(|at| at <= now);
        let Some(participant) = self.participants.get_mut(sid) else { return };
        let deadlines = participant.core.deadlines;
        if due(deadlines.join) {
            return self.remove(sid, DisconnectReason::JoinFailure, context);
        }
        if due(deadlines.close) {
            return self.remove(sid, DisconnectReason::ConnectionTimeout, context);
        }
        if due(deadlines.hold) {
            participant.core.deadlines.hold = None;
            self.match_tracks(sid, true, context);
            self.out.record(sid, record::CORE);
            self.out.negotiate(sid);
        }
        if due(deadlines.rest) {
            self.end_rest(sid);
        }
        let connected = self.participants.get(sid).is_some_and(|participant| participant.link.connection.is_some());
        if connected && due(deadlines.answer) {
            return self.ask_to_reconnect(sid, DisconnectReason::StateMismatch, context);
        }
        if connected && due(deadlines.apply) {
            self.bind_told(sid, context);
        }
        if connected && due(deadlines.sure) {
            self.note_applied(sid);
        }
        if connected && due(deadlines.refresh) {
            self.send_refresh_token(sid, context);
            self.out.record(sid, record::CORE);
        }
    }

    /// A wish for a track that nobody publishes so far.
    pub(crate) fn wait_for_unknown(&mut self, sid: &str, track: &str, since: TimeNs) {
        let until = since.add_ms(UNKNOWN_TIMEOUT_MS);
        self.schedule.unknown.insert((until, sid.to_owned(), track.to_owned()));
    }

    fn give_up_unknown(&mut self, now: TimeNs) {
        while self.schedule.unknown.first().is_some_and(|(at, ..)| *at <= now) {
            let Some((_, sid, track)) = self.schedule.unknown.pop_first() else { return };
            let known = self.places.tracks.contains_key(&track) || self.is_remote(&track);
            let Some(participant) = self.participants.get_mut(&sid) else { continue };
            let wished = participant.subscriptions.get(&track).is_some_and(|it| it.wish == Some(true));
            if known || !wished {
                continue;
            }
            participant.subscriptions.remove(&track);
            self.out.record(&sid, record::SUBSCRIPTIONS);
            self.subscription_failed(&sid, &track, SubscriptionError::SeTrackNotfound);
        }
    }

    fn forget_departed(&mut self, now: TimeNs) {
        while let Some((_, sid)) = self.schedule.departures.pop_front_if(|(at, _)| *at <= now) {
            // Hidden and shown again, it may have left a second time.
            if self.departed.get(&sid).is_some_and(|departed| departed.at.add_ms(DEPARTED_MS) <= now) {
                self.departed.remove(&sid);
                self.out.keys.push((journal::departed_key(&self.name, &sid), None));
            }
        }
    }

    /// After a restart: those whom the journal remembers.
    pub(crate) fn schedule_departures(&mut self) {
        let times = self.departed.iter().map(|(sid, departed)| (departed.at.add_ms(DEPARTED_MS), sid.clone()));
        let times: BTreeSet<_> = times.collect();
        self.schedule.departures = times.into_iter().collect();
    }

    pub(crate) fn broadcast_room(&mut self) {
        self.schedule.room_update = None;
        self.settle_roster();
        let update = self.room_update();
        self.out.broadcast(self.places.connections.keys().copied(), update);
    }
}
