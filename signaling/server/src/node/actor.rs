//! The task itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use engine_base::{TimeNs, WallOffset};
use engine_table::{
    CourierRegion, DataCommand, EngineRegion, Journal, NodeRow, ReplayCommand, RingProducer, SignalingRegion, Text,
    data_command,
};
use signaling_config::Config;
use signaling_program::Program;
use signaling_protocol::proto::{self, signal_response};
use signaling_room::{
    ApiCall, ApiError, ApiReply, ConnectionId, Context, Effect, Input, JoinRequest, NodeFacts, Room, RoomDefaults,
    RoomSettings,
};
use signaling_token::{Claims, KeyStore, sign};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use zerocopy::IntoBytes;

use crate::node::clients::Clients;
use crate::node::clock;
use crate::node::handle::{NodeCall, NodeHandle, NodeInput, NodeReply, Shared};
use crate::node::index::RowIndex;
use crate::node::measure::Measures;
use crate::node::observe::{self, Observer};
use crate::node::outbox::{Delivery, Outbox};
use crate::node::rooms::Rooms;
use crate::node::wakes::{Wakes, watch, woken};
use crate::outgoing::{Frame, Outgoing};
use crate::settings::{node_facts, room_defaults};

/// Inputs handled before observed rows and deadlines get their turn again.
const INPUTS_PER_TURN: usize = 64;
/// WebSocket close code after `leave`.
const CLOSE_NORMAL: u16 = 1_000;

/// The mapped regions that signaling works on.
#[derive(Clone, Debug)]
pub struct Regions {
    /// Writable.
    pub signaling: SignalingRegion,
    pub courier: CourierRegion,
    pub engine: EngineRegion,
}

/// What a node is made of.
#[derive(Debug)]
pub struct NodeParts<'a> {
    pub regions: Regions,
    pub journal: Journal,
    pub wakes: Wakes,
    pub row: NodeRow,
    pub config: &'a Config,
}

/// See [`crate::node`]. Made by [`Node::adopt`], lives in [`Node::run`].
#[derive(Debug)]
pub struct Node {
    pub(crate) regions: Regions,
    pub(crate) program: Program,
    pub(crate) journal: Journal,
    pub(crate) rooms: Rooms,
    pub(crate) wakes: Wakes,
    index: RowIndex,
    observer: Observer,
    outbox: Outbox,
    clients: Clients,
    measures: Measures,
    courier_ring: RingProducer,
    facts: Facts,
    shared: Arc<Shared>,
    inputs: mpsc::Receiver<NodeInput>,
    /// Everybody was told that the server ends; answered once all is sent.
    stopping: Option<oneshot::Sender<()>>,
    stopped: bool,
}

#[derive(Debug)]
struct Facts {
    node: NodeFacts,
    defaults: RoomDefaults,
    wall: WallOffset,
    keys: KeyStore,
    auto_create: bool,
}

/// Places of [`SignalingRegion::figure`].
mod figure {
    pub(super) const ROOMS: usize = 0;
    pub(super) const PARTICIPANTS: usize = 1;
    pub(super) const SOCKETS: usize = 2;
    pub(super) const JOINS: usize = 3;
    pub(super) const RESUMES: usize = 4;
    pub(super) const JOURNAL_BYTES: usize = 5;
    pub(super) const ADOPTION_NS: usize = 6;
    pub(super) const LATE: usize = 7;
    pub(super) const SLOW_CLIENTS: usize = 8;
}

impl Node {
    /// Raises the epoch, replays the journal and brings every row to where it should be. **Cost**: reads every row and record;
    /// accept connections only afterwards.
    pub fn adopt(parts: NodeParts<'_>) -> (Self, NodeHandle) {
        let NodeParts { regions, journal, wakes, row, config } = parts;
        let begun = clock::now();
        let epoch = regions.signaling.epoch().fetch_add(1, Ordering::AcqRel) + 1;
        let (handle, inputs) = NodeHandle::new(epoch << 32);
        let mut node = Self {
            program: Program::adopt(&regions.signaling, &regions.engine, &regions.courier),
            observer: Observer::new(&regions),
            courier_ring: regions.signaling.courier_ring(&regions.courier).producer(),
            measures: Measures::new(config.audio.update_interval, begun),
            facts: Facts {
                node: node_facts(&row, config),
                defaults: room_defaults(config),
                wall: row.wall_offset,
                keys: KeyStore::new(config.keys.clone()),
                auto_create: config.room.auto_create,
            },
            rooms: Rooms::default(),
            index: RowIndex::default(),
            outbox: Outbox::default(),
            clients: Clients::default(),
            shared: handle.shared(),
            stopping: None,
            stopped: false,
            regions,
            journal,
            wakes,
            inputs,
        };
        node.restore();
        node.turn(clock::now());
        node.count();
        node.set_figure(figure::ADOPTION_NS, clock::now().since(begun));
        (node, handle)
    }

    /// Until every [`NodeHandle`] is dropped. Within a tokio runtime.
    ///
    /// **Errors**: the eventfd cannot be watched.
    pub async fn run(mut self) -> std::io::Result<()> {
        let woken_fd = watch(self.wakes.own.try_clone()?)?;
        loop {
            let now = clock::now();
            let wait = Duration::from_nanos(self.next_deadline(now).since(now));
            tokio::select! {
                input = self.inputs.recv() => {
                    let Some(input) = input else { return Ok(()) };
                    self.take_inputs(input);
                }
                () = woken(&woken_fd) => {}
                () = sleep(wait) => {}
            }
            self.turn(clock::now());
        }
    }

    fn next_deadline(&self, now: TimeNs) -> TimeNs {
        if self.observer.is_behind() {
            return now;
        }
        let rooms = self.rooms.next_deadline().into_iter().chain(self.outbox.next_deadline(now));
        rooms.fold(self.measures.next_deadline(), TimeNs::min)
    }

    fn take_inputs(&mut self, first: NodeInput) {
        self.take_input(first);
        for _ in 1..INPUTS_PER_TURN {
            let Ok(input) = self.inputs.try_recv() else { return };
            self.take_input(input);
        }
    }

    /// Everything but inputs: what was observed, what is due, what waits.
    pub(crate) fn turn(&mut self, now: TimeNs) {
        for (room, input) in self.observer.poll(&self.regions, &self.index) {
            self.step(&room, input);
        }
        for room in self.rooms.due(now) {
            let effects = self.with_room(&room, Room::handle_timeout);
            self.carry_out(&room, effects);
        }
        let (levels_due, measured) = self.measures.poll(&self.regions, &mut self.index, now);
        for (room, input) in measured {
            self.step(&room, input);
        }
        self.deliver();
        while let Some((connection, room)) = self.clients.next_lost() {
            self.add_figure(figure::SLOW_CLIENTS);
            self.step(&room, Input::SocketLost { connection });
        }
        if levels_due {
            self.count();
        }
        if self.outbox.is_empty()
            && let Some(done) = self.stopping.take()
        {
            let _ = done.send(());
        }
    }

    pub(crate) fn observe_everything(&mut self) {
        for (room, input) in observe::everything(&self.regions, &self.index) {
            self.step(&room, input);
        }
    }

    fn take_input(&mut self, input: NodeInput) {
        match input {
            NodeInput::Join { room, request, outgoing } => self.join(&room, request, outgoing),
            NodeInput::Signal { connection, message } => {
                if let Some(room) = self.clients.room(connection) {
                    self.step(&room, Input::Signal { connection, message });
                }
            }
            NodeInput::SocketLost { connection } => {
                if let Some(room) = self.clients.remove(connection) {
                    self.step(&room, Input::SocketLost { connection });
                }
            }
            NodeInput::Call { call, reply } => self.call(call, reply),
            NodeInput::RoomExists { room, reply } => {
                let _ = reply.send(self.rooms.name(&room).is_some());
            }
            NodeInput::Shutdown { done } => self.shut_down(done),
        }
        self.deliver();
    }

    fn join(&mut self, room: &str, request: Box<JoinRequest>, outgoing: Outgoing) {
        if self.stopped {
            return;
        }
        let resumes = request.resume.is_some();
        let connection = request.connection;
        let name = match self.rooms.name(room) {
            Some(name) => name,
            // The session of a resume was here before the room ended, or its record was set aside.
            None if resumes => return self.send_away(connection, outgoing),
            None if self.facts.auto_create || request.claims.can_create() => {
                self.create(room, &RoomSettings::of_claims(&request.claims))
            }
            None => return,
        };
        self.add_figure(if resumes { figure::RESUMES } else { figure::JOINS });
        self.clients.add(connection, Arc::clone(&name), outgoing);
        self.step(&name, Input::Join(request));
    }

    /// A resume without a session: the client must join anew (PROTOCOL §6.1).
    fn send_away(&mut self, connection: ConnectionId, outgoing: Outgoing) {
        let leave = proto::LeaveRequest {
            can_reconnect: true,
            reason: proto::DisconnectReason::StateMismatch as i32,
            action: proto::leave_request::Action::Reconnect as i32,
            regions: None,
        };
        self.clients.add(connection, "".into(), outgoing);
        self.send(connection, signal_response::Message::Leave(leave));
        self.push(Delivery::Frame { connection, frame: Frame::Close(CLOSE_NORMAL) });
    }

    fn create(&mut self, name: &str, settings: &RoomSettings) -> Arc<str> {
        let room = self.with_context(|context| Room::new(name, settings, context));
        self.rooms.add(room)
    }

    fn call(&mut self, call: NodeCall, reply: oneshot::Sender<Result<NodeReply, ApiError>>) {
        let (room, call) = match call {
            NodeCall::ListRooms { names } => {
                let _ = reply.send(Ok(NodeReply::Rooms(self.rooms.infos(&names))));
                return;
            }
            NodeCall::CreateRoom(request) => {
                let existing = self.rooms.name(&request.name);
                let room = existing.unwrap_or_else(|| self.create(&request.name, &RoomSettings::of_request(&request)));
                (room, ApiCall::UpdateRoom(*request))
            }
            NodeCall::Room { room, call } => match self.rooms.name(&room) {
                Some(room) => (room, call),
                None => {
                    let _ = reply.send(without_room(&call).map(NodeReply::Room));
                    return;
                }
            },
        };
        let request = self.clients.begin_call(reply);
        self.step(&room, Input::Api { request, call });
    }

    fn shut_down(&mut self, done: oneshot::Sender<()>) {
        self.stopped = true;
        for room in self.rooms.names() {
            self.step(&room, Input::Shutdown);
        }
        self.stopping = Some(done);
    }

    pub(crate) fn step(&mut self, room: &Arc<str>, input: Input) {
        let effects = self.with_room(room, |room, context| room.handle(input, context));
        self.carry_out(room, effects);
    }

    fn with_room(
        &mut self,
        name: &Arc<str>,
        act: impl FnOnce(&mut Room, &mut Context<'_>) -> Vec<Effect>,
    ) -> Vec<Effect> {
        let mut context = context(&self.facts, &mut self.program);
        self.rooms.step(name, |room| act(room, &mut context.borrow())).unwrap_or_default()
    }

    pub(crate) fn with_context<T>(&mut self, act: impl FnOnce(&mut Context<'_>) -> T) -> T {
        act(&mut context(&self.facts, &mut self.program).borrow())
    }

    pub(crate) fn carry_out(&mut self, room: &Arc<str>, effects: Vec<Effect>) {
        let mut ended = false;
        for effect in effects {
            match effect {
                Effect::Journal { key, value } => self.record(&key, value.as_deref()),
                Effect::Row(change) => {
                    self.program.apply(&change);
                    self.index.note(room, &change);
                }
                Effect::Send { connection, message } => {
                    self.push(Delivery::Frame { connection, frame: Frame::Message(message) });
                }
                Effect::RefreshToken { connection, claims } => {
                    if let Some(token) = self.sign(&claims) {
                        self.send(connection, signal_response::Message::RefreshToken(token));
                    }
                }
                Effect::Close { connection, code } => {
                    self.push(Delivery::Frame { connection, frame: Frame::Close(code) });
                }
                Effect::SendData { to, reliable, packet } => self.push(Delivery::Data { to, reliable, packet }),
                Effect::ReplayData { to, sender_sid, last_sequence } => {
                    self.push(Delivery::Replay { to, sender_sid, last_sequence });
                }
                Effect::Reply { request, reply } => self.push(Delivery::Reply { request, reply }),
                // There is no other node.
                Effect::Delta(_) => {}
                Effect::Ended => ended = true,
            }
        }
        if ended {
            self.rooms.remove(room);
        }
        if self.program.take_dirty() {
            self.wakes.rows_changed();
        }
    }

    fn record(&mut self, key: &[u8], value: Option<&[u8]>) {
        let Some(value) = value else { return self.journal.remove(key) };
        if let Err(error) = self.journal.put(key, value) {
            tracing::error!(%error, key = %String::from_utf8_lossy(key), "a session will not survive a restart");
        }
    }

    /// With the secret of the key that made the first token, or any when that key is gone.
    fn sign(&self, claims: &Claims) -> Option<String> {
        let keys = &self.facts.keys;
        let own = keys.secret(&claims.iss).map(|secret| (claims.iss.as_str(), secret));
        own.or_else(|| keys.first()).map(|(key, secret)| sign(claims, key, secret))
    }

    fn send(&mut self, connection: ConnectionId, message: signal_response::Message) {
        let message = Box::new(proto::SignalResponse { message: Some(message) });
        self.push(Delivery::Frame { connection, frame: Frame::Message(message) });
    }

    fn push(&mut self, delivery: Delivery) {
        self.outbox.push(delivery, self.program.position(), clock::now());
    }

    fn deliver(&mut self) {
        let now = clock::now();
        let Regions { courier, engine, .. } = &self.regions;
        let adopted = |position| engine.all_adopted(position) && courier.adopted().load(Ordering::Acquire) >= position;
        let mut courier_has_work = false;
        while let Some(delivery) = self.outbox.pop(adopted, now) {
            match delivery {
                Delivery::Frame { connection, frame } => self.clients.send(connection, frame),
                Delivery::Reply { request, reply } => self.clients.end_call(request, reply),
                Delivery::Data { to, reliable, packet } => {
                    let command = DataCommand { to, reliable: u32::from(reliable), reserved: 0 };
                    courier_has_work |=
                        push_command(&mut self.courier_ring, data_command::SEND, &[command.as_bytes(), &packet]);
                }
                Delivery::Replay { to, sender_sid, last_sequence } => {
                    let sender_sid = Text::cut(&sender_sid);
                    let command = ReplayCommand { to, last_sequence, reserved: 0, sender_sid };
                    courier_has_work |=
                        push_command(&mut self.courier_ring, data_command::REPLAY, &[command.as_bytes()]);
                }
            }
        }
        self.regions.signaling.figure(figure::LATE).fetch_add(std::mem::take(&mut self.outbox.late), Ordering::Relaxed);
        if courier_has_work {
            self.wakes.courier_has_work();
        }
    }

    fn count(&mut self) {
        let participants = self.rooms.count_participants();
        let [_, ingresses, egresses, _] = self.program.usage();
        self.shared.set_tracks((ingresses + egresses) as u64);
        for (place, value) in [
            (figure::ROOMS, self.rooms.len() as u64),
            (figure::PARTICIPANTS, participants),
            (figure::SOCKETS, self.shared.sockets()),
            (figure::JOURNAL_BYTES, self.journal.usage().0 as u64),
        ] {
            self.set_figure(place, value);
        }
    }

    fn set_figure(&self, place: usize, value: u64) {
        self.regions.signaling.figure(place).store(value, Ordering::Relaxed);
    }

    fn add_figure(&self, place: usize) {
        self.regions.signaling.figure(place).fetch_add(1, Ordering::Relaxed);
    }
}

fn push_command(ring: &mut RingProducer, kind: u32, parts: &[&[u8]]) -> bool {
    let pushed = ring.push(kind, parts);
    if !pushed {
        tracing::warn!(kind, "the courier takes too little: a data command is lost");
    }
    pushed
}

/// What calls answer for a room that does not exist (PROTOCOL §9): those that LiveKit reads from its store are not found,
/// those that it routes to the room get no answer.
fn without_room(call: &ApiCall) -> Result<ApiReply, ApiError> {
    let error = |code, message: &str| Err(ApiError { code, message: message.to_owned() });
    match call {
        ApiCall::ListParticipants => Ok(ApiReply::Participants(Vec::new())),
        ApiCall::GetParticipant { .. }
        | ApiCall::RemoveParticipant { .. }
        | ApiCall::UpdateParticipant(_)
        | ApiCall::MutePublishedTrack(_) => error("not_found", "participant does not exist"),
        ApiCall::UpdateSubscriptions(_) | ApiCall::SendData(_) => error("unavailable", "no response from servers"),
        ApiCall::UpdateRoom(_) | ApiCall::GetRoom | ApiCall::DeleteRoom | ApiCall::UpdateRoomMetadata { .. } => {
            error("not_found", "requested room does not exist")
        }
    }
}

/// A [`Context`] borrows a random source that must live somewhere.
struct ContextSource<'a> {
    facts: &'a Facts,
    program: &'a mut Program,
    random: fn(&mut [u8]),
    now: TimeNs,
}

fn context<'a>(facts: &'a Facts, program: &'a mut Program) -> ContextSource<'a> {
    ContextSource { facts, program, random: |bytes| rand::fill(bytes), now: clock::now() }
}

impl ContextSource<'_> {
    fn borrow(&mut self) -> Context<'_> {
        Context {
            now: self.now,
            unix_ms: clock::unix_ms(self.facts.wall, self.now),
            random: &mut self.random,
            rows: self.program,
            node: &self.facts.node,
            defaults: &self.facts.defaults,
        }
    }
}
