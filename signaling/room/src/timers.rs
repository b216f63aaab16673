//! What is due when. By level: deadlines stand in the state, and are looked for.

use engine_base::TimeNs;
use signaling_program::RowChange;
use signaling_protocol::proto::DisconnectReason;

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
            self.departed.values().map(|departed| departed.at.add_ms(DEPARTED_MS)).min(),
        ];
        let participants = self.participants.values().filter_map(|participant| self.deadline_of(participant));
        room.into_iter().flatten().chain(participants).min()
    }

    fn deadline_of(&self, participant: &Participant) -> Option<TimeNs> {
        let deadlines = &participant.core.deadlines;
        let connected = participant.link.connection.is_some();
        let of_socket = [deadlines.refresh, deadlines.answer].into_iter().flatten().filter(|_| connected);
        let always = [deadlines.join, deadlines.close, deadlines.hold].into_iter().flatten();
        let unknown = self.unknown_wishes(participant).map(|(_, at)| at);
        always.chain(of_socket).chain(unknown).min()
    }

    /// Wishes for tracks that nobody publishes, and until when they wait.
    fn unknown_wishes<'a>(&'a self, participant: &'a Participant) -> impl Iterator<Item = (&'a String, TimeNs)> {
        let wished = participant.subscriptions.iter().filter(|(_, subscription)| subscription.wish == Some(true));
        let unknown = wished.filter(|(track, subscription)| {
            subscription.sending.is_none() && !self.places.tracks.contains_key(*track) && !self.is_remote(track)
        });
        unknown.map(|(track, subscription)| (track, subscription.since.add_ms(UNKNOWN_TIMEOUT_MS)))
    }

    fn is_remote(&self, track: &str) -> bool {
        self.replication.infos().any(|info| info.tracks.iter().any(|remote| remote.sid == track))
    }

    pub(crate) fn handle_deadlines(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        for sid in self.participants.keys().cloned().collect::<Vec<_>>() {
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
        if self.empty_deadline().is_some_and(|at| at <= now) {
            return self.end(DisconnectReason::RoomClosed, context);
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
            self.out.record(sid, record::CORE);
            self.out.negotiate(sid);
        }
        let connected = self.participants.get(sid).is_some_and(|participant| participant.link.connection.is_some());
        if connected && due(deadlines.answer) {
            return self.ask_to_reconnect(sid, DisconnectReason::StateMismatch, context);
        }
        if connected && due(deadlines.refresh) {
            self.send_refresh_token(sid, context);
            self.out.record(sid, record::CORE);
        }
        self.give_up_unknown(sid, now);
    }

    fn give_up_unknown(&mut self, sid: &str, now: TimeNs) {
        let Some(participant) = self.participants.get(sid) else { return };
        let over = self.unknown_wishes(participant).filter(|(_, at)| *at <= now);
        let over: Vec<String> = over.map(|(track, _)| track.clone()).collect();
        for track in over {
            if let Some(participant) = self.participants.get_mut(sid) {
                participant.subscriptions.remove(&track);
            }
            self.out.record(sid, record::SUBSCRIPTIONS);
            self.subscription_failed(sid, &track, signaling_protocol::proto::SubscriptionError::SeTrackNotfound);
        }
    }

    fn forget_departed(&mut self, now: TimeNs) {
        let over = self.departed.iter().filter(|(_, departed)| departed.at.add_ms(DEPARTED_MS) <= now);
        for sid in over.map(|(sid, _)| sid.clone()).collect::<Vec<_>>() {
            self.departed.remove(&sid);
            self.out.keys.push((journal::departed_key(&self.name, &sid), None));
        }
    }

    pub(crate) fn broadcast_room(&mut self) {
        self.schedule.room_update = None;
        let update = self.room_update();
        for participant in self.participants.values() {
            if let Some(connection) = participant.link.connection {
                self.out.send(connection, update.clone());
            }
        }
    }
}
