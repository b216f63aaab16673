//! The task itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use engine_base::{TimeNs, WallOffset};
use engine_table::{CourierRegion, EngineRegion, Journal, NodeRow, RingProducer, SignalingFigure, SignalingRegion};
use signaling_config::Config;
use signaling_program::Program;
use signaling_protocol::proto::signal_response;
use signaling_room::{Context, Effect, Input, NodeFacts, Room, RoomDefaults, RoomPresets};
use signaling_token::KeyStore;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use crate::node::clients::Clients;
use crate::node::clock;
use crate::node::handle::{NodeHandle, NodeInput, Shared};
use crate::node::index::RowIndex;
use crate::node::measure::Measures;
use crate::node::observe::{self, Observer};
use crate::node::outbox::{Delivery, Outbox};
use crate::node::rooms::Rooms;
use crate::node::wakes::{Wakes, watch, woken};
use crate::outgoing::{Encoded, Frame};
use crate::settings::{node_facts, room_defaults, room_presets};

/// Inputs handled before observed rows and deadlines get their turn again.
const INPUTS_PER_TURN: usize = 64;

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
    pub(super) regions: Regions,
    pub(super) program: Program,
    pub(super) journal: Journal,
    pub(super) rooms: Rooms,
    pub(super) wakes: Wakes,
    pub(super) index: RowIndex,
    pub(super) observer: Observer,
    pub(super) outbox: Outbox,
    pub(super) clients: Clients,
    pub(super) measures: Measures,
    pub(super) courier_ring: RingProducer,
    pub(super) facts: Facts,
    pub(super) shared: Arc<Shared>,
    pub(super) inputs: mpsc::Receiver<NodeInput>,
    /// Everybody was told that the server ends; answered once all is sent.
    pub(super) stopping: Option<oneshot::Sender<()>>,
    pub(super) stopped: bool,
}

#[derive(Debug)]
pub(super) struct Facts {
    pub(super) node: NodeFacts,
    pub(super) defaults: RoomDefaults,
    pub(super) wall: WallOffset,
    pub(super) keys: KeyStore,
    pub(super) auto_create: bool,
    pub(super) presets: RoomPresets,
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
                presets: room_presets(config),
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
        node.set_figure(SignalingFigure::AdoptionNs, clock::now().since(begun));
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
        for (room, input) in self.observer.poll(&self.regions, &mut self.index) {
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
            self.add_figure(SignalingFigure::SlowClients);
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
        for (room, input) in observe::everything(&self.regions, &mut self.index) {
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
                    self.push(Delivery::Frame { connection, frame: Frame::Message(Encoded::of(&message)) });
                }
                Effect::SendEncoded { connection, parts } => {
                    self.push(Delivery::Frame { connection, frame: Frame::Message(Encoded::of_parts(parts)) });
                }
                Effect::Broadcast { connections, message } => self.broadcast(&connections, &message),
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
                Effect::Reply { request, reply } => self.push(Delivery::Reply { request, reply: reply.map(Box::new) }),
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

    fn count(&mut self) {
        let participants = self.rooms.count_participants();
        let [_, ingresses, egresses, _] = self.program.usage();
        self.shared.set_tracks((ingresses + egresses) as u64);
        for (figure, value) in [
            (SignalingFigure::Rooms, self.rooms.len() as u64),
            (SignalingFigure::Participants, participants),
            (SignalingFigure::Sockets, self.shared.sockets()),
            (SignalingFigure::JournalBytes, self.journal.usage().0 as u64),
        ] {
            self.set_figure(figure, value);
        }
        self.add_to_figure(SignalingFigure::RefusedJoins, self.shared.take_refused());
    }

    fn set_figure(&self, figure: SignalingFigure, value: u64) {
        self.regions.signaling.figure(figure).store(value, Ordering::Relaxed);
    }

    pub(super) fn add_figure(&self, figure: SignalingFigure) {
        self.add_to_figure(figure, 1);
    }

    pub(super) fn add_to_figure(&self, figure: SignalingFigure, count: u64) {
        self.regions.signaling.figure(figure).fetch_add(count, Ordering::Relaxed);
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
