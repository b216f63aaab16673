//! Resuming: a new socket for a living participant (PROTOCOL §6.1, §6.2).

use signaling_protocol::proto::{self, leave_request::Action, signal_response::Message};

use crate::effect::Effect;
use crate::input::{ConnectionId, Context, JoinRequest, Resume};
use crate::join::CLOSE_NORMAL;
use crate::outbox::record;
use crate::participant::{Cut, Part, Participant};
use crate::response::{self, leave, updates};
use crate::room::Room;

/// "Going away" (RFC 6455 §7.4.1): any code but 1000 makes JS come back at once.
pub(crate) const CLOSE_GOING_AWAY: u16 = 1_001;
/// A resumed participant whose transport had failed must be connected again by then: the client's own limit.
const REVIVAL_MS: u64 = 15_000;
/// Clients of later protocols want to hear who has left meanwhile.
const PROTOCOL_DEPARTED_ON_RESUME: i32 = 9;

impl Room {
    pub(crate) fn handle_resume(&mut self, request: &JoinRequest, resume: Resume, context: &mut Context<'_>) {
        let connection = request.connection;
        let Some(sid) = self.resumable(request, &resume) else { return self.refuse_resume(connection) };
        self.swap_connection(&sid, connection);
        let cut = self.participants.get_mut(&sid).and_then(|participant| participant.link.cut.take());
        if cut == Some(Cut::BeforeMessages) {
            return self.drop_connection(&sid, CLOSE_GOING_AWAY);
        }
        self.postpone_end(&sid, context);
        self.greet_again(&sid, context);
        if let Some(state) = resume.sync_state {
            self.handle_sync_state(&sid, &state, context);
        }
        if cut == Some(Cut::AfterMessages) {
            self.negotiate(&sid, context);
            self.drop_connection(&sid, CLOSE_GOING_AWAY);
        }
    }

    fn resumable(&self, request: &JoinRequest, resume: &Resume) -> Option<String> {
        let participant = self.own(request.claims.identity())?;
        let same = resume.participant_sid.is_empty() || resume.participant_sid == participant.sid();
        let layout = participant.peer.layout() == request.layout;
        (same && layout && !participant.link.must_reconnect && !self.ended).then(|| participant.sid().to_owned())
    }

    /// The first and only message: a silent join would break the client.
    fn refuse_resume(&mut self, connection: ConnectionId) {
        self.out.send(connection, leave(Action::Reconnect, proto::DisconnectReason::StateMismatch));
        self.out.close(connection, CLOSE_NORMAL);
    }

    /// From now on the former socket is nobody's: what still comes from it is ignored.
    fn swap_connection(&mut self, sid: &str, connection: ConnectionId) {
        let Some(participant) = self.participants.get_mut(sid) else { return };
        let former = participant.link.connection.replace(connection);
        participant.link.qualities.clear();
        for subscription in participant.subscriptions.values_mut() {
            subscription.active_told = false;
            // A denial that was lost would leave the client waiting without a reason.
            subscription.allowed_told.take_if(|allowed| !*allowed);
        }
        for track in &mut participant.core.publishing.tracks {
            track.subscribed_told = false;
        }
        self.out.touch(sid);
        self.places.connections.insert(connection, sid.to_owned());
        if let Some(former) = former {
            self.places.connections.remove(&former);
            self.out.close(former, CLOSE_GOING_AWAY);
        }
    }

    /// Closes the socket of a participant that stays.
    pub(crate) fn drop_connection(&mut self, sid: &str, code: u16) {
        let Some(participant) = self.participants.get_mut(sid) else { return };
        if let Some(connection) = participant.link.connection.take() {
            self.places.connections.remove(&connection);
            self.out.touch(sid);
            self.out.close(connection, code);
        }
    }

    fn postpone_end(&mut self, sid: &str, context: &Context<'_>) {
        let Some(participant) = self.participants.get_mut(sid) else { return };
        if participant.core.deadlines.close.is_some() {
            participant.core.deadlines.close = Some(context.now.add_ms(REVIVAL_MS));
            self.out.record(sid, record::CORE);
        }
    }

    fn greet_again(&mut self, sid: &str, context: &mut Context<'_>) {
        let Some(participant) = self.participants.get_mut(sid) else { return };
        let uplink = participant.peer.uplink();
        let last_message_seq = participant.link.observed.get(&uplink).map_or(0, |observed| observed.last_sequence);
        let protocol = participant.core.client.protocol;
        participant.peer.offered.resumed();
        participant.core.deadlines.hold = None;
        (participant.core.deadlines.apply, participant.core.deadlines.sure) = (None, None);
        let reconnect = proto::ReconnectResponse {
            ice_servers: context.node.ice_servers.clone(),
            client_configuration: None,
            server_info: Some(response::server_info(context)),
            last_message_seq,
        };
        self.send(sid, Message::Reconnect(reconnect));
        if protocol >= PROTOCOL_DEPARTED_ON_RESUME {
            for update in updates(self.departed_infos(sid)) {
                self.send(sid, update);
            }
        }
        for update in updates(self.everybody(sid)) {
            self.send(sid, update);
        }
        let room_update = self.room_update();
        self.send(sid, room_update);
        self.send_refresh_token(sid, context);
        self.settle_pending_offer(sid, context);
        self.restart_subscriber(sid, context);
        self.repeat_state(sid, context);
        self.out.record(sid, record::PEER | record::CORE);
    }

    /// The client's last offer before its socket broke. A client that numbers its offers takes the answer only if it has not
    /// offered again; one that does not could take it for the answer to its next offer.
    fn settle_pending_offer(&mut self, sid: &str, context: &mut Context<'_>) {
        let Some(participant) = self.participants.get_mut(sid) else { return };
        if participant.peer.offered.pending_id() == Some(0) {
            participant.peer.offered.drop_pending();
        }
        self.out.transport(sid, Part::Offered);
        self.negotiate(sid, context);
    }

    /// Whoever is not to be seen any more. One that was hidden has not left in its own eyes.
    fn departed_infos(&self, to: &str) -> Vec<proto::ParticipantInfo> {
        let gone = self.departed.iter().filter(|(sid, departed)| {
            let identity = &departed.identity;
            *sid != to
                && self.own(identity).is_none_or(Participant::is_hidden)
                && self.replication.visible().all(|info| info.identity != *identity)
        });
        gone.map(|(sid, departed)| proto::ParticipantInfo {
            sid: sid.clone(),
            identity: departed.identity.clone(),
            state: proto::participant_info::State::Disconnected as i32,
            version: departed.version,
            disconnect_reason: departed.reason,
            ..Default::default()
        })
        .collect()
    }

    fn everybody(&self, sid: &str) -> Vec<proto::ParticipantInfo> {
        let visible = self.participants.values().filter(|other| !other.is_hidden() || other.sid() == sid);
        visible.map(Participant::info).chain(self.replication.visible().cloned()).collect()
    }

    /// Dual: we offer with new ICE credentials; media goes on on the former pair until a new one is nominated.
    pub(crate) fn restart_subscriber(&mut self, sid: &str, context: &mut Context<'_>) {
        let Some(participant) = self.participants.get_mut(sid) else { return };
        let nominated = participant.nominated(participant.peer.downlink());
        let Some(subscriber) = &mut participant.peer.subscriber else { return };
        subscriber.restart_ice(context.ice(), nominated);
        self.out.transport(sid, Part::Subscriber);
        self.out.record(sid, record::PEER);
        self.negotiate(sid, context);
    }

    /// What the client may have missed, as it is now (PROTOCOL §10.68).
    fn repeat_state(&mut self, sid: &str, context: &mut Context<'_>) {
        let Some(participant) = self.participants.get(sid) else { return };
        let subscribed: Vec<String> =
            participant.published().filter(|track| track.subscribed).map(|track| track.sid().to_owned()).collect();
        if let Some(speakers) = self.speakers_for(sid) {
            self.send(sid, speakers);
        }
        for track in subscribed {
            self.track_subscribed(&track);
        }
        self.repeat_demands(sid);
        self.auto_subscribe_to_all(sid, context);
        self.reconcile_all(sid, context);
        let Some(participant) = self.participants.get(sid) else { return };
        let flowing = participant.subscriptions.iter().filter(|(_, subscription)| subscription.flows());
        for track in flowing.map(|(track, _)| track.clone()).collect::<Vec<_>>() {
            self.tell_stream_active(sid, &track);
        }
        self.out.negotiate(sid);
    }

    /// What the client believes. A published track that we do not know of makes it begin anew (PROTOCOL §6.2).
    pub(crate) fn handle_sync_state(&mut self, sid: &str, state: &proto::SyncState, context: &mut Context<'_>) {
        let Some(participant) = self.participants.get(sid) else { return };
        let to = participant.core.data;
        let sid_of =
            |published: &proto::TrackPublishedResponse| published.track.as_ref().map(|track| track.sid.clone());
        let claimed: Vec<String> = state.publish_tracks.iter().filter_map(sid_of).collect();
        if claimed.iter().any(|track| participant.track(track).is_none()) {
            return self.end_mismatched(sid, context);
        }
        self.name_tracks(sid, &claimed);
        for received in state.datachannel_receive_states.iter().filter(|_| !to.is_none()) {
            let (sender_sid, last_sequence) = (received.publisher_sid.clone(), received.last_seq);
            self.out.messages.push(Effect::ReplayData { to, sender_sid, last_sequence });
        }
        if let Some(subscription) = &state.subscription {
            self.handle_subscription(sid, subscription, context);
        }
        for track in &state.track_sids_disabled {
            self.set_track(sid, track, context.now, |settings| settings.disabled = true);
        }
    }
    /// Tracks that the client asked for and does not know of: their `track_published` was lost with a socket.
    fn name_tracks(&mut self, sid: &str, known: &[String]) {
        let Some(participant) = self.participants.get(sid) else { return };
        let tracks = participant.core.publishing.tracks.iter();
        let named = tracks.filter(|track| !known.iter().any(|known| known == track.sid())).map(|track| {
            let cid = track.primary.cids.first().cloned().unwrap_or_default();
            proto::TrackPublishedResponse { cid, track: Some(track.info.0.clone()) }
        });
        for published in named.collect::<Vec<_>>() {
            self.send(sid, Message::TrackPublished(published));
        }
    }
}
