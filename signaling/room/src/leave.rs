//! The ends: of a socket, of a transport, of a participant, of the room (PROTOCOL §2.12, §2.13).

use engine_base::{TimeNs, TransportRef};
use engine_table::{SessionRow, TransportObserved, dtls_state, transport_state};
use signaling_program::RowChange;
use signaling_protocol::proto::{self, DisconnectReason, leave_request::Action};

use crate::effect::Effect;
use crate::input::{ConnectionId, Context};
use crate::join::CLOSE_NORMAL;
use crate::journal::{self, Departed};
use crate::outbox::record;
use crate::response::leave;
use crate::room::Room;
use crate::rows::transport_row;

/// After a transport has failed (PROTOCOL §2.13).
const FAILED_CLOSE_MS: u64 = 5_000;
/// After a client has closed its peer connections and its socket without a word: longer than a new join takes, whose session then
/// replaces this one.
const CLOSED_CLOSE_MS: u64 = 2_000;
/// After leave RECONNECT: the client joins anew within its own limits, and replaces this session.
const RECONNECT_CLOSE_MS: u64 = 15_000;
/// The courier says goodbye (a DTLS alert) in its next turn; this is ample.
const CLOSING_MS: u64 = 500;
/// A resume within this time hears who has left. A client gives up earlier.
pub(crate) const DEPARTED_MS: u64 = 60_000;
/// At most so many RECONNECTs in a window, or a lost courier would make everybody join at once.
const RECONNECTS_PER_WINDOW: u32 = 10;
const RECONNECT_WINDOW_MS: u64 = 100;

/// How a participant is told, and remembered.
#[derive(Clone, Copy)]
struct End {
    reason: DisconnectReason,
    action: Action,
    /// Its identity goes on under a new sid.
    replaced: bool,
}

impl Room {
    // --- Sockets ---

    pub(crate) fn handle_socket_lost(&mut self, connection: ConnectionId, context: &mut Context<'_>) {
        let Some(sid) = self.places.connections.remove(&connection) else { return };
        let Some(participant) = self.participants.get_mut(&sid) else { return };
        participant.link.connection = None;
        self.out.touch(&sid);
        if !participant.is_active() && !participant.is_up() {
            self.remove(&sid, DisconnectReason::SignalClose, context);
        } else {
            self.end_if_closed(&sid, context.now);
        }
    }

    /// A client that leaves may close its socket with the `leave` still in its queue (Rust SDK 0.7 behind Python: 4 of 10 that leave
    /// right after their join). Its peer connections have said goodbye by then, or will.
    fn end_if_closed(&mut self, sid: &str, now: TimeNs) {
        let Some(participant) = self.participants.get_mut(sid) else { return };
        if participant.link.connection.is_none() && participant.link.is_closed() {
            participant.core.deadlines.close = Some(now.add_ms(CLOSED_CLOSE_MS));
            self.out.record(sid, record::CORE);
        }
    }

    pub(crate) fn handle_leave(&mut self, sid: &str, context: &mut Context<'_>) {
        self.remove(sid, DisconnectReason::ClientInitiated, context);
    }

    // --- Transports ---

    pub(crate) fn handle_transport(
        &mut self,
        transport: TransportRef,
        observed: &TransportObserved,
        context: &mut Context<'_>,
    ) {
        if observed.generation != transport.generation {
            return;
        }
        let Some(sid) = self.places.transports.get(&transport).cloned() else { return };
        let Some(participant) = self.participants.get_mut(&sid) else { return };
        let known = participant.link.observed.entry(transport).or_default();
        let before = known.ice;
        known.take_transport(observed);
        match observed.state {
            transport_state::CONNECTED => self.transport_is_back(&sid, context.now),
            transport_state::FAILED if before != transport_state::FAILED => self.transport_failed(&sid, context),
            _ => {}
        }
    }

    fn transport_is_back(&mut self, sid: &str, now: TimeNs) {
        let Some(participant) = self.participants.get_mut(sid) else { return };
        let failed = participant.link.observed.values().any(|observed| observed.ice == transport_state::FAILED);
        let ends = failed || participant.link.is_closed() || participant.link.must_reconnect;
        if !ends && participant.core.deadlines.close.take().is_some() {
            self.out.record(sid, record::CORE);
        }
        self.activate(sid, now);
    }

    fn transport_failed(&mut self, sid: &str, context: &mut Context<'_>) {
        let Some(participant) = self.participants.get_mut(sid) else { return };
        if participant.link.must_reconnect {
            return;
        }
        participant.core.deadlines.close = Some(context.now.add_ms(FAILED_CLOSE_MS));
        self.out.record(sid, record::CORE);
        self.send(sid, leave(Action::Resume, DisconnectReason::ConnectionTimeout));
        self.drop_connection(sid, CLOSE_NORMAL);
    }

    pub(crate) fn handle_session(&mut self, transport: TransportRef, session: &SessionRow, context: &mut Context<'_>) {
        if session.generation != transport.generation {
            return;
        }
        let Some(sid) = self.places.transports.get(&transport).cloned() else { return };
        let Some(participant) = self.participants.get_mut(&sid) else { return };
        participant.link.observed.entry(transport).or_default().take_session(session);
        if participant.link.must_reconnect {
            return;
        }
        if session.dtls == dtls_state::FAILED {
            self.ask_to_reconnect(&sid, DisconnectReason::MediaFailure, context);
        } else if session.needs_reconnect != 0 {
            self.queue_reconnect(&sid, context);
        } else if session.dtls == dtls_state::CLOSED {
            self.end_if_closed(&sid, context.now);
        } else {
            self.activate(&sid, context.now);
        }
    }

    // --- RECONNECT ---

    /// The session cannot go on: the client joins anew. Until then, media that still flows goes on.
    pub(crate) fn ask_to_reconnect(&mut self, sid: &str, reason: DisconnectReason, context: &mut Context<'_>) {
        let Some(participant) = self.participants.get_mut(sid) else { return };
        participant.link.must_reconnect = true;
        participant.core.deadlines.close = Some(context.now.add_ms(RECONNECT_CLOSE_MS));
        self.out.record(sid, record::CORE);
        self.send(sid, leave(Action::Reconnect, reason));
        self.drop_connection(sid, CLOSE_NORMAL);
    }

    /// The courier has lost the session: paced, as it has lost those of everybody.
    fn queue_reconnect(&mut self, sid: &str, context: &mut Context<'_>) {
        if !self.schedule.reconnects.iter().any(|queued| queued == sid) {
            self.schedule.reconnects.push_back(sid.to_owned());
        }
        self.send_reconnects(context);
    }

    pub(crate) fn send_reconnects(&mut self, context: &mut Context<'_>) {
        let (start, mut sent) = self.schedule.reconnect_window.unwrap_or((context.now, 0));
        let over = context.now.since(start) >= RECONNECT_WINDOW_MS * 1_000_000;
        let start = if over { context.now } else { start };
        if over {
            sent = 0;
        }
        while sent < RECONNECTS_PER_WINDOW {
            let Some(sid) = self.schedule.reconnects.pop_front() else { break };
            self.ask_to_reconnect(&sid, DisconnectReason::MediaFailure, context);
            sent += 1;
        }
        self.schedule.reconnect_window = Some((start, sent));
    }

    pub(crate) fn next_reconnects(&self) -> Option<TimeNs> {
        let (start, _) = self.schedule.reconnect_window?;
        (!self.schedule.reconnects.is_empty()).then(|| start.add_ms(RECONNECT_WINDOW_MS))
    }

    // --- Participants ---

    /// The end of a participant; its socket is told.
    pub(crate) fn remove(&mut self, sid: &str, reason: DisconnectReason, context: &mut Context<'_>) {
        self.finish_participant(sid, End { reason, action: Action::Disconnect, replaced: false }, context);
    }

    /// Another session of its identity, which everybody is told of, takes its place.
    pub(crate) fn replace(&mut self, sid: &str, reason: DisconnectReason, context: &mut Context<'_>) {
        self.finish_participant(sid, End { reason, action: Action::Disconnect, replaced: true }, context);
    }

    /// The client's idea of the session is not ours.
    pub(crate) fn end_mismatched(&mut self, sid: &str, context: &mut Context<'_>) {
        let end = End { reason: DisconnectReason::StateMismatch, action: Action::Reconnect, replaced: false };
        self.finish_participant(sid, end, context);
    }

    fn finish_participant(&mut self, sid: &str, end: End, context: &mut Context<'_>) {
        let Some(participant) = self.participants.get(sid) else { return };
        let tracks: Vec<String> =
            participant.core.publishing.tracks.iter().map(|track| track.sid().to_owned()).collect();
        self.unpublish(sid, &tracks);
        self.send(sid, leave(end.action, end.reason));
        self.drop_connection(sid, CLOSE_NORMAL);
        self.free_rows(sid, context.now);
        let Some(mut participant) = self.participants.remove(sid) else { return };
        self.places.identities.remove(&participant.core.identity);
        if let Some(block) = participant.link.block.take() {
            self.roster.remove(sid, block);
        }
        self.schedule.reconnects.retain(|queued| queued != sid);
        self.out.touch(sid);
        self.out.keys.extend(journal::removals(&self.name, sid));
        participant.core.state = proto::participant_info::State::Disconnected as i32;
        participant.core.version += 1;
        let info = proto::ParticipantInfo { disconnect_reason: end.reason as i32, ..participant.info() };
        let (hidden, replaced) = (participant.is_hidden(), end.replaced);
        if !hidden {
            self.remember_departed(&info, context.now);
        }
        self.announce_left(info, hidden, replaced, context.now);
        self.note_emptiness(context);
        self.schedule_room_update(context.now);
    }

    /// The transports live on for a moment, so that the courier can say goodbye.
    fn free_rows(&mut self, sid: &str, now: TimeNs) {
        let Some(participant) = self.participants.get_mut(sid) else { return };
        let wished: Vec<String> = participant.subscriptions.keys().cloned().collect();
        for sending in participant.subscriptions.values_mut().filter_map(|subscription| subscription.sending.take()) {
            self.places.egresses.remove(&sending.egress);
            self.out.freed.push(RowChange::FreeEgress(sending.egress));
        }
        if !participant.core.data.is_none() {
            self.out.freed.push(RowChange::FreeData(participant.core.data));
        }
        for track in wished {
            self.note_demand(&track);
        }
        let Some(participant) = self.participants.get(sid) else { return };
        for (part, transport) in participant.peer.transports() {
            self.places.transports.remove(&transport);
            self.out.last.extend(transport_row(participant, part, true));
            self.schedule.closing.push_back((now.add_ms(CLOSING_MS), transport));
        }
    }

    pub(crate) fn remember_departed(&mut self, info: &proto::ParticipantInfo, now: TimeNs) {
        let departed = Departed {
            identity: info.identity.clone(),
            version: info.version,
            reason: info.disconnect_reason,
            at: now,
        };
        let key = journal::departed_key(&self.name, &info.sid);
        self.out.keys.push((key, journal::encode(&departed)));
        self.departed.insert(info.sid.clone(), departed);
        self.schedule.departures.push_back((now.add_ms(DEPARTED_MS), info.sid.clone()));
    }

    // --- The room ---

    /// Keeps `empty_since` as it should be. Agents and recorders alone do not keep a room; hidden participants do.
    pub(crate) fn note_emptiness(&mut self, context: &Context<'_>) {
        self.settle_roster();
        let somebody = self.independent() > 0;
        if somebody == self.record.empty_since.is_none() {
            return;
        }
        self.record.empty_since = (!somebody).then_some(context.now);
        self.out.room = true;
    }

    /// Participants anywhere, hidden or not, that keep the room and of which `max_participants` are let in.
    pub(crate) fn independent(&self) -> usize {
        self.census().independent + self.replication.independent()
    }

    pub(crate) fn empty_deadline(&self) -> Option<TimeNs> {
        let record = &self.record;
        let timeout_s = if record.ever_joined { record.departure_timeout_s } else { record.empty_timeout_s };
        record.empty_since.map(|since| since.add_ms(u64::from(timeout_s) * 1_000))
    }

    /// Everybody leaves, and nothing of the room remains.
    pub(crate) fn end(&mut self, reason: DisconnectReason, context: &mut Context<'_>) {
        if self.ended {
            return;
        }
        for sid in self.participants.keys().cloned().collect::<Vec<_>>() {
            self.remove(&sid, reason, context);
        }
        for (sid, _) in std::mem::take(&mut self.departed) {
            self.out.keys.push((journal::departed_key(&self.name, &sid), None));
        }
        self.out.keys.push((journal::room_key(&self.name), None));
        let closing = std::mem::take(&mut self.schedule.closing);
        self.out.last.extend(closing.into_iter().map(|(_, transport)| RowChange::FreeTransport(transport)));
        self.ended = true;
        self.out.messages.push(Effect::Ended);
    }
}
