//! A stage for one room: it carries out effects as a node would, and plays the engine, the courier and the clients.

use std::collections::{BTreeMap, BTreeSet};

use engine_base::{DataRef, EgressRef, IngressRef, TimeNs, TransportRef};
use engine_table::*;
use signaling_program::{RowAllocator, RowChange};
use signaling_protocol::Message as _;
use signaling_protocol::proto::{self, signal_request, signal_response::Message};
use signaling_room::*;
use signaling_token::{Claims, VideoGrant};
use zerocopy::FromZeros;

use crate::sdp::{self, Part};

pub struct Stage {
    pub room: Room,
    pub world: World,
    /// The process dies in the next step after so many writes of the journal; from then on nothing is done.
    pub crash: Option<usize>,
    pub crashed: bool,
}

/// What lies around a room, and survives it.
pub struct World {
    pub now_ms: u64,
    seed: u64,
    rows: Rows,
    pub node: NodeFacts,
    pub defaults: RoomDefaults,
    pub journal: BTreeMap<Vec<u8>, Vec<u8>>,
    pub desired: Desired,
    /// By connection, what was sent and not taken yet.
    pub sent: BTreeMap<ConnectionId, Vec<Message>>,
    pub closed: BTreeMap<ConnectionId, u16>,
    pub replies: BTreeMap<RequestId, Result<ApiReply, ApiError>>,
    pub deltas: Vec<Delta>,
    pub data: Vec<Effect>,
    pub ended: bool,
    pub messages: usize,
    /// Bytes of journal values.
    pub written: usize,
    /// Every write of the journal, in order.
    pub history: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    next_connection: ConnectionId,
    freed: BTreeSet<TransportRef>,
}

#[derive(Default)]
struct Rows {
    next: u32,
    /// Rows that are left.
    left: Option<u32>,
    /// Rows of other rooms are not claimed yet.
    adopting: bool,
}

impl Rows {
    fn take(&mut self) -> Option<u32> {
        assert!(!self.adopting, "a restored room takes no new rows");
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(1)?;
        }
        self.next += 1;
        Some(self.next)
    }
}

impl RowAllocator for Rows {
    fn transport(&mut self) -> Option<TransportRef> {
        self.take().map(|index| TransportRef::new(index, 1))
    }

    fn ingress(&mut self) -> Option<IngressRef> {
        self.take().map(|index| IngressRef::new(index, 1))
    }

    fn egress(&mut self) -> Option<EgressRef> {
        self.take().map(|index| EgressRef::new(index, 1))
    }

    fn data(&mut self) -> Option<DataRef> {
        self.take().map(|index| DataRef::new(index, 1))
    }
}

#[derive(Clone, Default, PartialEq, Debug)]
pub struct Desired {
    pub transports: BTreeMap<TransportRef, TransportRow>,
    pub ingresses: BTreeMap<IngressRef, IngressRow>,
    pub egresses: BTreeMap<EgressRef, EgressRow>,
    pub datas: BTreeMap<DataRef, DataRow>,
}

impl Desired {
    fn apply(&mut self, change: RowChange) {
        match change {
            RowChange::Transport(at, row) => drop(self.transports.insert(at, *row)),
            RowChange::Ingress(at, row) => drop(self.ingresses.insert(at, *row)),
            RowChange::Egress(at, row) => drop(self.egresses.insert(at, *row)),
            RowChange::Data(at, row) => drop(self.datas.insert(at, *row)),
            RowChange::FreeTransport(at) => drop(self.transports.remove(&at)),
            RowChange::FreeIngress(at) => assert!(self.ingresses.remove(&at).is_some(), "an ingress is freed once"),
            RowChange::FreeEgress(at) => drop(self.egresses.remove(&at)),
            RowChange::FreeData(at) => assert!(self.datas.remove(&at).is_some(), "a data row is freed once"),
        }
    }
}

/// A participant as the stage remembers it.
#[derive(Clone, Debug)]
pub struct Client {
    pub connection: ConnectionId,
    pub identity: String,
    pub sid: String,
    pub layout: Layout,
    pub parts: Vec<Part>,
    pub ufrag: String,
    pub offer_id: u32,
    /// Whether its offers carry ids.
    pub numbers: bool,
    /// It decodes no other video.
    pub only_vp8: bool,
}

impl Client {
    fn decoding(&self, description: String) -> String {
        if self.only_vp8 { sdp::decoding_vp8(&description) } else { description }
    }
}

pub fn grant() -> VideoGrant {
    VideoGrant { room_join: true, room: "room".into(), can_update_own_metadata: Some(true), ..VideoGrant::default() }
}

pub fn claims(identity: &str, grant: VideoGrant) -> Claims {
    Claims { iss: "key".into(), sub: identity.into(), video: Some(grant), ..Claims::default() }
}

pub fn request(connection: ConnectionId, identity: &str, layout: Layout) -> JoinRequest {
    JoinRequest {
        connection,
        claims: claims(identity, grant()),
        client: proto::ClientInfo { protocol: 17, client_protocol: 2, ..Default::default() },
        layout,
        auto_subscribe: true,
        adaptive_stream: false,
        subscriber_allow_pause: false,
        publisher_offer: None,
        add_tracks: Vec::new(),
        metadata: None,
        attributes: BTreeMap::new(),
        resume: None,
    }
}

pub fn microphone(cid: &str) -> proto::AddTrackRequest {
    proto::AddTrackRequest { cid: cid.into(), source: proto::TrackSource::Microphone as i32, ..Default::default() }
}

pub fn camera(cid: &str) -> proto::AddTrackRequest {
    let layer = |quality, width, height| proto::VideoLayer { quality, width, height, ..Default::default() };
    proto::AddTrackRequest {
        cid: cid.into(),
        r#type: proto::TrackType::Video as i32,
        source: proto::TrackSource::Camera as i32,
        width: 960,
        height: 540,
        layers: vec![layer(0, 320, 180), layer(1, 640, 360), layer(2, 960, 540)],
        simulcast_codecs: vec![proto::SimulcastCodec { codec: "vp8".into(), cid: cid.into(), ..Default::default() }],
        ..Default::default()
    }
}

/// A client takes an answer of ours in at most this time.
const APPLY_MS: u64 = 100;

/// The pool that today's clients offer first.
pub fn pool() -> Vec<Part> {
    let mut parts = vec![Part::Receive("audio"); 3];
    parts.extend(vec![Part::Receive("video"); 3]);
    parts.push(Part::Application);
    parts
}

pub fn name(message: &Message) -> &'static str {
    match message {
        Message::Join(_) => "join",
        Message::Answer(_) => "answer",
        Message::Offer(_) => "offer",
        Message::Trickle(_) => "trickle",
        Message::Update(_) => "update",
        Message::TrackPublished(_) => "track_published",
        Message::Leave(_) => "leave",
        Message::Mute(_) => "mute",
        Message::SpeakersChanged(_) => "speakers_changed",
        Message::RoomUpdate(_) => "room_update",
        Message::ConnectionQuality(_) => "connection_quality",
        Message::StreamStateUpdate(_) => "stream_state_update",
        Message::SubscribedQualityUpdate(_) => "subscribed_quality_update",
        Message::SubscriptionPermissionUpdate(_) => "subscription_permission_update",
        Message::RefreshToken(_) => "refresh_token",
        Message::TrackUnpublished(_) => "track_unpublished",
        Message::Reconnect(_) => "reconnect",
        Message::SubscriptionResponse(_) => "subscription_response",
        Message::RequestResponse(_) => "request_response",
        Message::TrackSubscribed(_) => "track_subscribed",
        Message::MediaSectionsRequirement(_) => "media_sections_requirement",
        _ => "other",
    }
}

pub fn names(messages: &[Message]) -> Vec<&'static str> {
    messages.iter().map(name).collect()
}

/// The latest info of a participant in these messages.
pub fn last_info(messages: &[Message], identity: &str) -> Option<proto::ParticipantInfo> {
    let updates = messages.iter().filter_map(|message| match message {
        Message::Update(update) => Some(&update.participants),
        _ => None,
    });
    updates.flatten().rfind(|info| info.identity == identity).cloned()
}

impl World {
    pub fn new(node_id: &str) -> Self {
        let node = NodeFacts {
            node_id: node_id.into(),
            node_tag: 5,
            region: String::new(),
            version: "1.13.5".into(),
            fingerprint: [7; 32],
            candidates: vec!["192.0.2.9:7882".parse().unwrap(), "[2001:db8::9]:7882".parse().unwrap()],
            ice_servers: Vec::new(),
        };
        let defaults = RoomDefaults {
            empty_timeout_s: 300,
            departure_timeout_s: 20,
            max_participants: 0,
            enabled_codecs: signaling_sdp::EnabledCodecs::ALL,
            enable_remote_unmute: false,
            codec_regression_threshold: 5,
            max_metadata_bytes: 512 * 1024,
            max_attributes_bytes: 64 * 1024,
        };
        Self {
            now_ms: 1_000,
            seed: node_id.bytes().fold(17, |seed, byte| seed * 31 + u64::from(byte)),
            rows: Rows::default(),
            node,
            defaults,
            journal: BTreeMap::new(),
            desired: Desired::default(),
            sent: BTreeMap::new(),
            closed: BTreeMap::new(),
            replies: BTreeMap::new(),
            deltas: Vec::new(),
            data: Vec::new(),
            ended: false,
            messages: 0,
            written: 0,
            history: Vec::new(),
            next_connection: 1,
            freed: BTreeSet::new(),
        }
    }

    pub fn leave_rows(&mut self, left: u32) {
        self.rows.left = Some(left);
    }

    /// Every transport that was handed out lives, or was freed.
    pub fn has_lost_transports(&self, handed_out: usize) -> bool {
        self.desired.transports.len() + self.freed.len() < handed_out
    }

    fn with<T>(&mut self, step: impl FnOnce(&mut Context<'_>) -> T) -> T {
        let seed = &mut self.seed;
        let mut random = |bytes: &mut [u8]| {
            for byte in bytes {
                *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *byte = (*seed >> 56) as u8;
            }
        };
        step(&mut Context {
            now: TimeNs::from_ms(self.now_ms),
            unix_ms: 1_795_446_000_000 + self.now_ms,
            random: &mut random,
            rows: &mut self.rows,
            node: &self.node,
            defaults: &self.defaults,
        })
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        let mut stage = 0;
        for effect in effects {
            let now = match &effect {
                Effect::Journal { .. } => 0,
                Effect::Row(_) => 1,
                _ => 2,
            };
            assert!(now >= stage, "journal, rows, messages: {effect:?}");
            stage = now;
            self.perform_one(effect);
        }
    }

    fn perform_one(&mut self, effect: Effect) {
        if let Effect::Journal { key, value } = &effect {
            self.history.push((key.clone(), value.clone()));
        }
        if let Effect::Row(RowChange::FreeTransport(at)) = &effect {
            assert!(self.freed.insert(*at), "a transport is freed once");
        }
        match effect {
            Effect::Journal { key, value: Some(value) } => {
                self.written += value.len();
                self.journal.insert(key, value);
            }
            Effect::Journal { key, value: None } => drop(self.journal.remove(&key)),
            Effect::Row(change) => self.desired.apply(change),
            Effect::Send { connection, message } => {
                self.messages += 1;
                assert!(!self.closed.contains_key(&connection), "nothing is sent on a closed socket");
                self.sent.entry(connection).or_default().extend(message.message);
            }
            Effect::SendEncoded { connection, parts } => {
                let message = Box::new(proto::SignalResponse::decode(&parts.concat()[..]).expect("a message"));
                self.perform_one(Effect::Send { connection, message });
            }
            Effect::Broadcast { connections, message } => {
                for connection in connections {
                    self.perform_one(Effect::Send { connection, message: message.clone() });
                }
            }
            Effect::RefreshToken { connection, .. } => {
                self.sent.entry(connection).or_default().push(Message::RefreshToken(String::new()));
            }
            Effect::Close { connection, code } => drop(self.closed.insert(connection, code)),
            Effect::Reply { request, reply } => drop(self.replies.insert(request, reply)),
            Effect::Delta(delta) => self.deltas.push(*delta),
            Effect::SendData { .. } | Effect::ReplayData { .. } => self.data.push(effect),
            Effect::Ended => self.ended = true,
        }
    }
}

impl Stage {
    pub fn new() -> Self {
        Self::on("ND_one")
    }

    pub fn on(node_id: &str) -> Self {
        let mut world = World::new(node_id);
        let room = world.with(|context| Room::new("room", &RoomSettings::default(), context));
        Self { room, world, crash: None, crashed: false }
    }

    pub fn input(&mut self, input: Input) {
        let room = &mut self.room;
        if self.crashed {
            return;
        }
        let effects = self.world.with(|context| room.handle(input, context));
        let Some(writes) = self.crash.take() else { return self.world.perform(effects) };
        self.crashed = true;
        let written = effects.into_iter().take_while(|effect| matches!(effect, Effect::Journal { .. })).take(writes);
        self.world.perform(written.collect());
    }

    pub fn signal(&mut self, client: &Client, message: signal_request::Message) {
        let message = Box::new(proto::SignalRequest { message: Some(message) });
        self.input(Input::Signal { connection: client.connection, message });
    }

    /// Time goes on, with every timeout at its time.
    pub fn advance(&mut self, ms: u64) {
        let end = self.world.now_ms + ms;
        while let Some(at) = self.room.poll_timeout().filter(|at| at.0 <= end * 1_000_000) {
            self.world.now_ms = self.world.now_ms.max(at.0.div_ceil(1_000_000));
            let room = &mut self.room;
            let effects = self.world.with(|context| room.handle_timeout(context));
            self.world.perform(effects);
            let next = self.room.poll_timeout();
            assert!(
                next.is_none_or(|next| next.0 > self.world.now_ms * 1_000_000),
                "a timeout does not repeat at once"
            );
        }
        self.world.now_ms = end;
    }

    /// The process dies and another one adopts the journal. Sockets are gone.
    pub fn restart(&mut self) {
        let before = self.world.desired.clone();
        self.world.sent.clear();
        self.restore();
        assert_eq!(self.world.desired, before, "a restored room wants the same rows");
    }

    /// The process died after so many writes, perhaps in the middle of a step. `None`: before the room was written.
    pub fn restart_after(&mut self, writes: usize) -> Option<()> {
        self.world.journal.clear();
        for (key, value) in self.world.history.iter().take(writes).cloned() {
            match value {
                Some(value) => drop(self.world.journal.insert(key, value)),
                None => drop(self.world.journal.remove(&key)),
            }
        }
        self.world.journal.keys().find(|key| key.starts_with(b"room/"))?;
        self.world.sent.clear();
        self.restore();
        Some(())
    }

    /// The same where transports may still be closing: nobody needs those after a restart.
    pub fn restart_but_closing(&mut self) {
        let closing = transport_flags::CLOSING;
        self.world.desired.transports.retain(|_, row| row.flags & closing == 0);
        self.restart();
    }

    pub fn try_restore(&mut self) -> Result<Vec<Effect>, RestoreError> {
        let records = self.world.journal.clone().into_iter();
        self.world.rows.adopting = true;
        let restored = self.world.with(|context| Room::restore(records, context));
        self.world.rows.adopting = false;
        let (room, effects) = restored?;
        self.room = room;
        Ok(effects)
    }

    pub fn restore(&mut self) {
        let effects = self.try_restore().unwrap();
        self.world.desired = Desired::default();
        self.world.perform(effects);
        let transports: Vec<TransportRef> = self.world.desired.transports.keys().copied().collect();
        for transport in transports {
            self.connect(transport);
        }
    }

    pub fn connection(&mut self) -> ConnectionId {
        self.world.next_connection += 1;
        self.world.next_connection
    }

    /// What was sent since the last call.
    pub fn take(&mut self, client: &Client) -> Vec<Message> {
        self.world.sent.remove(&client.connection).unwrap_or_default()
    }

    // --- The engine and the courier ---

    pub fn observe(&mut self, transport: TransportRef, state: u8) {
        let mut observed = TransportObserved::new_zeroed();
        (observed.generation, observed.state) = (transport.generation, state);
        observed.moves = u16::from(state == transport_state::CONNECTED);
        self.input(Input::Transport { transport, observed });
    }

    pub fn session(&mut self, transport: TransportRef, change: impl FnOnce(&mut SessionRow)) {
        let mut session = SessionRow::new_zeroed();
        (session.generation, session.dtls, session.channels) = (transport.generation, dtls_state::CONNECTED, 7);
        change(&mut session);
        self.input(Input::Session { transport, session });
    }

    pub fn connect(&mut self, transport: TransportRef) {
        self.observe(transport, transport_state::CONNECTED);
        self.session(transport, |_| {});
    }

    pub fn media(&mut self, ingress: IngressRef, layers: &[(u32, engine_base::Codec)]) {
        let mut observed = IngressObserved::new_zeroed();
        observed.generation = ingress.generation;
        for (place, (ssrc, codec)) in observed.layers.iter_mut().zip(layers) {
            (place.ssrc.0, place.codec, place.active, place.payload_type) = (*ssrc, *codec as u8, 1, 96);
        }
        self.input(Input::Ingress { ingress, observed });
    }

    /// The engine forwards a first packet of every enabled egress of a track.
    pub fn forward(&mut self, track: &str) {
        let rows = self.world.desired.egresses.iter();
        let enabled = rows.filter(|(_, row)| row.label.as_str() == track && row.flags & egress_flags::ENABLED != 0);
        for egress in enabled.map(|(egress, _)| *egress).collect::<Vec<_>>() {
            let mut observed = EgressObserved::new_zeroed();
            (observed.generation, observed.codec) = (egress.generation, engine_base::Codec::Vp8 as u8);
            self.input(Input::Egress { egress, observed });
        }
    }

    pub fn transports_of(&self, sid: &str) -> Vec<TransportRef> {
        let rows = self.world.desired.transports.iter();
        rows.filter(|(_, row)| row.label.as_str() == sid).map(|(at, _)| *at).collect()
    }

    pub fn ingress_of(&self, track: &str) -> Option<IngressRef> {
        self.world.desired.ingresses.iter().find(|(_, row)| row.label.as_str() == track).map(|(at, _)| *at)
    }

    /// The egresses of a track, by transport.
    pub fn egresses_of(&self, track: &str) -> Vec<EgressRow> {
        self.world.desired.egresses.values().filter(|row| row.label.as_str() == track).copied().collect()
    }

    // --- Clients ---

    pub fn join(&mut self, identity: &str, layout: Layout) -> Client {
        self.join_with(identity, layout, |_| {})
    }

    /// Joins and connects.
    pub fn join_with(&mut self, identity: &str, layout: Layout, change: impl FnOnce(&mut JoinRequest)) -> Client {
        let client = self.enter(identity, layout, change);
        for transport in self.transports_of(&client.sid) {
            self.connect(transport);
        }
        self.settle(&client);
        client
    }

    /// Joins; its transports are not connected. All messages are still to be taken.
    pub fn enter(&mut self, identity: &str, layout: Layout, change: impl FnOnce(&mut JoinRequest)) -> Client {
        let connection = self.connection();
        let mut request = request(connection, identity, layout);
        let parts = if layout == Layout::Single { pool() } else { vec![Part::Application] };
        let ufrag = format!("{identity}0");
        if layout == Layout::Single {
            let sdp = sdp::offer(&parts, &ufrag);
            request.publisher_offer =
                Some(proto::SessionDescription { r#type: "offer".into(), sdp, id: 1, ..Default::default() });
        }
        change(&mut request);
        self.input(Input::Join(Box::new(request)));
        let sid = self.world.sent.get(&connection).and_then(|sent| match sent.first() {
            Some(Message::Join(join)) => Some(join.participant.as_ref()?.sid.clone()),
            _ => None,
        });
        let sid = sid.unwrap_or_default();
        Client {
            connection,
            identity: identity.into(),
            sid,
            layout,
            parts,
            ufrag,
            offer_id: 1,
            numbers: true,
            only_vp8: false,
        }
    }

    /// Answers offers and obeys questions until the room has no more; returns all other messages.
    pub fn settle(&mut self, client: &Client) -> Vec<Message> {
        let mut client = client.clone();
        self.settle_mut(&mut client)
    }

    pub fn settle_mut(&mut self, client: &mut Client) -> Vec<Message> {
        let mut others = Vec::new();
        for _ in 0..20 {
            let mut messages = self.take(client);
            if messages.is_empty() {
                self.advance(APPLY_MS);
                messages = self.take(client);
            }
            if messages.is_empty() {
                break;
            }
            for message in messages {
                match &message {
                    Message::Offer(offer) => {
                        let sdp = client.decoding(sdp::answer(&offer.sdp, &format!("{}s", client.ufrag)));
                        let answer = proto::SessionDescription {
                            r#type: "answer".into(),
                            sdp,
                            id: offer.id,
                            ..Default::default()
                        };
                        self.signal(client, signal_request::Message::Answer(answer));
                    }
                    Message::MediaSectionsRequirement(need) => {
                        client.parts.extend(vec![Part::Receive("audio"); need.num_audios as usize]);
                        client.parts.extend(vec![Part::Receive("video"); need.num_videos as usize]);
                        self.offer(client);
                    }
                    _ => {}
                }
                others.push(message);
            }
        }
        others
    }

    /// Sends an offer of the client's present sections.
    pub fn offer(&mut self, client: &mut Client) {
        client.offer_id += 1;
        let id = if client.numbers { client.offer_id } else { 0 };
        let sdp = client.decoding(sdp::offer(&client.parts, &client.ufrag));
        let offer = proto::SessionDescription { r#type: "offer".into(), sdp, id, ..Default::default() };
        self.signal(client, signal_request::Message::Offer(offer));
    }

    /// Publishes a track and returns its sid. Everybody's messages are still to be taken.
    pub fn publish(&mut self, client: &mut Client, request: proto::AddTrackRequest) -> String {
        let cid = request.cid.clone();
        let part = if request.r#type == 1 { Part::video(&cid) } else { Part::audio(&cid) };
        self.signal(client, signal_request::Message::AddTrack(request));
        client.parts.push(part);
        self.offer(client);
        let sent = self.world.sent.get(&client.connection).unwrap();
        let published = sent.iter().find_map(|message| match message {
            Message::TrackPublished(published) if published.cid == cid => published.track.clone(),
            _ => None,
        });
        published.unwrap().sid
    }

    pub fn resume(&mut self, client: &mut Client, change: impl FnOnce(&mut JoinRequest)) {
        let connection = self.connection();
        let mut request = request(connection, &client.identity, client.layout);
        request.resume = Some(Resume { participant_sid: client.sid.clone(), reason: 1, sync_state: None });
        change(&mut request);
        client.connection = connection;
        self.input(Input::Join(Box::new(request)));
    }

    pub fn api(&mut self, call: ApiCall) -> Result<ApiReply, ApiError> {
        self.input(Input::Api { request: 7, call });
        self.world.replies.remove(&7).unwrap()
    }

    pub fn participant(&self, identity: &str) -> Option<proto::ParticipantInfo> {
        self.room.participants().into_iter().find(|info| info.identity == identity)
    }
}
