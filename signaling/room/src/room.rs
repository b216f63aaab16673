//! The room: its own state and the public verbs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use engine_base::{EgressRef, IngressRef, TimeNs, TransportRef};
use signaling_negotiation::LocalNode;
use signaling_protocol::proto;
use signaling_sdp::EnabledCodecs;

use crate::delta::Replication;
use crate::effect::Effect;
use crate::input::{ConnectionId, Context, Input};
use crate::journal::{self, Departed, Records, RoomRecord};
use crate::news::News;
use crate::outbox::{Outbox, record};
use crate::participant::Participant;
use crate::roster::Roster;
use crate::settings::RoomSettings;
use crate::speakers::Speaker;
use crate::track::Track;
use crate::waits::Waits;

/// See the crate head.
#[derive(Debug)]
pub struct Room {
    pub(crate) name: String,
    pub(crate) record: RoomRecord,
    /// Our own, by sid.
    pub(crate) participants: BTreeMap<String, Participant>,
    pub(crate) places: Places,
    pub(crate) roster: Roster,
    pub(crate) replication: Replication,
    pub(crate) departed: BTreeMap<String, Departed>,
    /// By ingress of a microphone.
    pub(crate) speakers: BTreeMap<IngressRef, Speaker>,
    pub(crate) schedule: Schedule,
    pub(crate) news: News,
    pub(crate) out: Outbox,
    pub(crate) ended: bool,
    pub(crate) enabled: EnabledCodecs,
}

/// Where to find a participant, by sid.
#[derive(Debug, Default)]
pub(crate) struct Places {
    pub(crate) identities: BTreeMap<String, String>,
    pub(crate) connections: BTreeMap<ConnectionId, String>,
    pub(crate) transports: BTreeMap<TransportRef, String>,
    pub(crate) ingresses: BTreeMap<IngressRef, String>,
    /// Subscriber and track.
    pub(crate) egresses: BTreeMap<EgressRef, (String, String)>,
    /// Publisher of a track.
    pub(crate) tracks: BTreeMap<String, String>,
}

/// What the room waits for.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    pub(crate) participants: Waits,
    /// Who has left lately, in the order of being forgotten.
    pub(crate) departures: VecDeque<(TimeNs, String)>,
    pub(crate) room_update: Option<TimeNs>,
    /// Transports whose courier still says goodbye.
    pub(crate) closing: VecDeque<(TimeNs, TransportRef)>,
    /// Participants to send RECONNECT to, and when the last ones were.
    pub(crate) reconnects: VecDeque<String>,
    pub(crate) reconnect_window: Option<(TimeNs, u32)>,
    /// Wishes for tracks that were unknown, by when they are given up if they still are: subscriber and track.
    pub(crate) unknown: BTreeSet<(TimeNs, String, String)>,
    /// Ends of simulated speaking.
    pub(crate) simulated: Vec<(TimeNs, String)>,
}

/// Records that do not make a room: it is set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreError;

impl std::fmt::Display for RestoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the journal has no readable record of the room")
    }
}

impl std::error::Error for RestoreError {}

impl Room {
    /// A new room. It is journaled by the effects of the first step.
    pub fn new(name: &str, settings: &RoomSettings, context: &mut Context<'_>) -> Self {
        let defaults = context.defaults;
        let record = RoomRecord {
            sid: context.sid("RM_"),
            epoch: 1,
            created_ms: context.unix_ms,
            group: context.random_u64(),
            turn_password: context.secret(),
            sif_trailer: context.secret().into_bytes(),
            empty_timeout_s: settings.empty_timeout_s.unwrap_or(defaults.empty_timeout_s),
            departure_timeout_s: settings.departure_timeout_s.unwrap_or(defaults.departure_timeout_s),
            max_participants: settings.max_participants.unwrap_or(defaults.max_participants),
            metadata: settings.metadata.clone().unwrap_or_default(),
            empty_since: Some(context.now),
            ever_joined: false,
        };
        let mut room = Self::with_record(name, record, context);
        room.out.room = true;
        room
    }

    fn with_record(name: &str, record: RoomRecord, context: &Context<'_>) -> Self {
        Self {
            name: name.to_owned(),
            replication: Replication::new(&context.node.node_id, record.epoch),
            record,
            participants: BTreeMap::new(),
            places: Places::default(),
            roster: Roster::default(),
            departed: BTreeMap::new(),
            speakers: BTreeMap::new(),
            schedule: Schedule::default(),
            news: News::default(),
            out: Outbox::default(),
            ended: false,
            enabled: context.defaults.enabled_codecs,
        }
    }

    /// One step. Effects are to be carried out in order.
    pub fn handle(&mut self, input: Input, context: &mut Context<'_>) -> Vec<Effect> {
        match input {
            Input::Join(request) => self.handle_join(*request, context),
            Input::Signal { connection, message } => self.handle_signal(connection, *message, context),
            Input::SocketLost { connection } => self.handle_socket_lost(connection, context),
            Input::Transport { transport, observed } => self.handle_transport(transport, &observed, context),
            Input::Ingress { ingress, observed } => self.handle_ingress(ingress, &observed, context),
            Input::Egress { egress, observed } => self.handle_egress(egress, &observed),
            Input::Session { transport, session } => self.handle_session(transport, &session, context),
            Input::Levels(levels) => self.handle_levels(&levels),
            Input::Quality(qualities) => self.handle_quality(&qualities),
            Input::Api { request, call } => self.handle_api(request, call, context),
            Input::Delta(delta) => self.handle_delta(*delta, context),
            Input::Shutdown => self.end(proto::DisconnectReason::ServerShutdown, context),
        }
        self.finish(context)
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<TimeNs> {
        if self.ended { None } else { self.next_deadline() }
    }

    pub fn handle_timeout(&mut self, context: &mut Context<'_>) -> Vec<Effect> {
        if !self.ended {
            self.handle_deadlines(context);
        }
        self.finish(context)
    }

    /// The room that a predecessor journaled: the records whose [`journal_room`](crate::journal_room) is its name, in any
    /// order. The effects hold every desired row. Participants live on without a socket until they resume or their transport
    /// fails.
    pub fn restore(
        records: impl Iterator<Item = (Vec<u8>, Vec<u8>)>,
        context: &mut Context<'_>,
    ) -> Result<(Self, Vec<Effect>), RestoreError> {
        let records = Records::read(records);
        let (name, mut record) = records.room.ok_or(RestoreError)?;
        record.epoch += 1;
        let mut room = Self::with_record(&name, record, context);
        room.out.room = true;
        room.departed = records.departed;
        room.schedule_departures();
        room.out.keys.extend(records.broken.into_iter().map(|key| (key, None)));
        for participant in records.participants {
            room.adopt(participant);
        }
        room.forget_orphans();
        room.note_emptiness(context);
        let effects = room.finish(context);
        Ok((room, effects))
    }

    /// Whether other nodes have a part of this room: then every change is told as [`Effect::Delta`].
    pub fn replicate(&mut self, on: bool) {
        self.replication.active = on;
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// For ListRooms.
    pub fn info(&self) -> proto::Room {
        self.room_info()
    }

    /// For ListParticipants: hidden ones, too.
    pub fn participants(&self) -> Vec<proto::ParticipantInfo> {
        let own = self.participants.values().map(Participant::info);
        own.chain(self.replication.infos().cloned()).collect()
    }

    /// How many participants the room has on this node, and how many of them have a socket.
    pub fn counts(&self) -> (usize, usize) {
        (self.participants.len(), self.places.connections.len())
    }

    // --- Finding ---

    pub(crate) fn own(&self, identity: &str) -> Option<&Participant> {
        self.participants.get(self.places.identities.get(identity)?)
    }

    pub(crate) fn sid_of_connection(&self, connection: ConnectionId) -> Option<String> {
        self.places.connections.get(&connection).cloned()
    }

    /// A track that a section carries, and its publisher.
    pub(crate) fn published_track(&self, track_sid: &str) -> Option<(&Participant, &Track)> {
        let publisher = self.participants.get(self.places.tracks.get(track_sid)?)?;
        let track = publisher.track(track_sid).filter(|track| track.is_published())?;
        Some((publisher, track))
    }

    // --- Keeping ---

    /// Takes a participant in, with all that points to it.
    pub(crate) fn adopt(&mut self, participant: Participant) {
        let sid = participant.sid().to_owned();
        self.places.identities.insert(participant.core.identity.clone(), sid.clone());
        self.out.data(&sid);
        self.out.touch(&sid);
        for (part, transport) in participant.peer.transports() {
            self.places.transports.insert(transport, sid.clone());
            self.out.transport(&sid, part);
        }
        for track in &participant.core.publishing.tracks {
            self.places.tracks.insert(track.sid().to_owned(), sid.clone());
            for (_, rendition) in track.renditions().filter(|(_, rendition)| !rendition.ingress.is_none()) {
                self.places.ingresses.insert(rendition.ingress, sid.clone());
                self.out.ingress(&sid, track.sid());
            }
        }
        for (track, subscription) in &participant.subscriptions {
            let Some(sending) = &subscription.sending else { continue };
            self.places.egresses.insert(sending.egress, (sid.clone(), track.clone()));
            self.out.egress(&sid, track);
        }
        self.participants.insert(sid, participant);
    }

    /// To the socket of a participant, if it has one.
    pub(crate) fn send(&mut self, sid: &str, message: proto::signal_response::Message) {
        let connection = self.participants.get(sid).and_then(|participant| participant.link.connection);
        if let Some(connection) = connection {
            self.out.send(connection, message);
        }
    }

    /// What changed since the last step, as effects.
    fn finish(&mut self, context: &mut Context<'_>) -> Vec<Effect> {
        while let Some(sid) = self.out.negotiate.pop_first() {
            self.negotiate(&sid, context);
        }
        while let Some(track) = self.out.demands.pop_first() {
            self.tell_demand(&track, context);
        }
        self.settle_roster();
        let out = std::mem::take(&mut self.out);
        let mut effects = Vec::new();
        let mut keys: Vec<(Vec<u8>, Option<Vec<u8>>)> = out.keys;
        if out.room && !self.ended {
            keys.push((journal::room_key(&self.name), journal::encode(&self.record)));
        }
        for (sid, bits) in &out.records {
            let participant = self.participants.get_mut(sid);
            self.schedule.participants.set(sid, participant.as_deref().and_then(Self::deadline_of));
            if let Some(participant) = participant {
                keys.extend(journal::records(&self.name, participant, *bits));
            }
        }
        effects.extend(keys.into_iter().map(|(key, value)| Effect::Journal { key, value }));
        effects.extend(out.freed.into_iter().map(Effect::Row));
        effects.extend(out.rows.iter().filter_map(|key| self.row(key)).map(Effect::Row));
        effects.extend(out.last.into_iter().map(Effect::Row));
        effects.extend(out.messages);
        effects
    }

    pub(crate) fn record_all(&mut self, sid: &str) {
        self.out.record(sid, record::ALL);
    }
}

/// This node as descriptions show it.
pub(crate) fn local_node<'a>(context: &Context<'a>) -> LocalNode<'a> {
    LocalNode { fingerprint: context.node.fingerprint, addresses: &context.node.candidates, ice_lite: true }
}
