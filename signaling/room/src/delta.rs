//! What nodes tell each other about a room: each is authoritative for its own participants, the others keep replicas.
//!
//! On one node deltas loop back: the room hands its own changes to the same code that takes those of other nodes.

use std::collections::BTreeMap;

use engine_base::TimeNs;
use signaling_protocol::proto;

use crate::effect::Effect;
use crate::input::Context;
use crate::message::Message;
use crate::outbox::record;
use crate::participant::{Participant, is_dependent};
use crate::response::update;
use crate::room::Room;

/// One change of a node's part of a room. Deltas of an origin are applied in order; an old one is ignored.
#[derive(Clone, Debug, PartialEq)]
pub struct Delta {
    /// Node id.
    pub origin: String,
    /// One more each time the origin restored the room from its journal.
    pub epoch: u64,
    /// Counts within an epoch, from 1.
    pub sequence: u64,
    pub change: Change,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A participant as it is now.
    Participant(Box<Shared>),
    /// A participant has left: its last info, with state DISCONNECTED and the reason. `replaced`: its identity goes on under a
    /// new sid, so that only old clients are told.
    Left { info: Box<proto::ParticipantInfo>, hidden: bool, replaced: bool },
    /// For the participant of this identity, wherever it is.
    Message { identity: String, message: Message },
    /// All participants of this epoch were told: what an earlier epoch had and this one has not is gone.
    Complete,
}

/// A participant as other nodes know it.
#[derive(Clone, Debug, PartialEq)]
pub struct Shared {
    /// Full state.
    pub info: proto::ParticipantInfo,
    pub hidden: bool,
    /// Who may subscribe to it; `None` for everybody.
    pub rule: Option<proto::SubscriptionPermission>,
}

/// Clients of later protocols treat an update with a new sid as the end of the old one (PROTOCOL §2.2).
const PROTOCOL_REPLACES_BY_IDENTITY: i32 = 12;

/// What this node has told, and what it knows of others.
#[derive(Debug, Default)]
pub(crate) struct Replication {
    pub(crate) active: bool,
    origin: String,
    epoch: u64,
    sequence: u64,
    /// Last epoch and sequence of each other node.
    seen: BTreeMap<String, (u64, u64)>,
    /// By sid.
    replicas: BTreeMap<String, Replica>,
}

#[derive(Debug)]
struct Replica {
    origin: String,
    epoch: u64,
    shared: Shared,
}

impl Replication {
    pub(crate) fn new(origin: &str, epoch: u64) -> Self {
        Self { origin: origin.to_owned(), epoch, ..Self::default() }
    }

    pub(crate) fn infos(&self) -> impl Iterator<Item = &proto::ParticipantInfo> {
        self.replicas.values().map(|replica| &replica.shared.info)
    }

    pub(crate) fn visible(&self) -> impl Iterator<Item = &proto::ParticipantInfo> {
        self.replicas.values().filter(|replica| !replica.shared.hidden).map(|replica| &replica.shared.info)
    }

    pub(crate) fn by_identity(&self, identity: &str) -> Option<&proto::ParticipantInfo> {
        self.infos().find(|info| info.identity == identity)
    }

    /// Participants as `num_participants` has them, and visible publishers.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let counted = self.visible().filter(|info| !is_dependent_info(info)).count();
        (counted, self.visible().filter(|info| info.is_publisher).count())
    }

    pub(crate) fn independent(&self) -> usize {
        self.infos().filter(|info| !is_dependent_info(info)).count()
    }

    fn next(&mut self, change: Change) -> Delta {
        self.sequence += 1;
        Delta { origin: self.origin.clone(), epoch: self.epoch, sequence: self.sequence, change }
    }

    /// False for a delta that was overtaken.
    fn is_new(&mut self, delta: &Delta) -> bool {
        let at = (delta.epoch, delta.sequence);
        let seen = self.seen.entry(delta.origin.clone()).or_default();
        let new = at > *seen;
        if new {
            *seen = at;
        }
        new && delta.origin != self.origin
    }
}

impl Room {
    /// Every own participant as deltas: for a node that joins the room.
    pub fn snapshot(&mut self) -> Vec<Delta> {
        let mut changes: Vec<Change> =
            self.participants.values().map(|participant| Change::Participant(Box::new(shared(participant)))).collect();
        changes.push(Change::Complete);
        changes.into_iter().map(|change| self.replication.next(change)).collect()
    }

    fn replicate_change(&mut self, change: &Change) {
        if self.replication.active {
            let delta = self.replication.next(change.clone());
            self.out.messages.push(Effect::Delta(Box::new(delta)));
        }
    }

    /// An own participant as it is now, to everybody, itself included. Its version has gone up.
    pub(crate) fn announce(&mut self, sid: &str) {
        let Some(change) = self.renewed(sid) else { return };
        self.replicate_change(&change);
        self.distribute(change);
    }

    /// The same where the others may wait a little.
    pub(crate) fn announce_soon(&mut self, sid: &str, now: TimeNs) {
        let Some(change) = self.renewed(sid) else { return };
        self.replicate_change(&change);
        let Change::Participant(shared) = change else { return };
        self.send(sid, update(shared.info));
        if !shared.hidden {
            self.tell_soon(sid, None, now);
        }
    }

    fn renewed(&mut self, sid: &str) -> Option<Change> {
        let participant = self.participants.get_mut(sid)?;
        participant.core.version += 1;
        let shared = shared(participant);
        self.out.record(sid, record::CORE);
        Some(Change::Participant(Box::new(shared)))
    }

    /// An own participant has left.
    pub(crate) fn announce_left(&mut self, info: proto::ParticipantInfo, hidden: bool, replaced: bool, now: TimeNs) {
        let change = Change::Left { info: Box::new(info), hidden, replaced };
        self.replicate_change(&change);
        match change {
            Change::Left { info, hidden: false, replaced: false } if !info.is_publisher => {
                let sid = info.sid.clone();
                self.tell_soon(&sid, Some(*info), now);
            }
            change => self.distribute(change),
        }
    }

    /// Tells only other nodes: our participants hear of a new one when it is ACTIVE or publishes, and never of rules.
    pub(crate) fn share(&mut self, sid: &str) {
        let Some(participant) = self.participants.get(sid).filter(|_| self.replication.active) else { return };
        let delta = self.replication.next(Change::Participant(Box::new(shared(participant))));
        self.out.messages.push(Effect::Delta(Box::new(delta)));
    }

    fn distribute(&mut self, change: Change) {
        match change {
            Change::Participant(shared) => {
                let Shared { info, hidden, .. } = *shared;
                let sid = info.sid.clone();
                self.precede(&sid);
                let told = self.participants.values().filter(|to| !hidden || to.sid() == sid);
                self.out.broadcast(told.filter_map(|to| to.link.connection), update(info));
            }
            Change::Left { info, hidden, replaced } => {
                self.precede(&info.sid);
                let knows = |to: &&Participant| !replaced || to.core.client.protocol < PROTOCOL_REPLACES_BY_IDENTITY;
                let told = self.participants.values().filter(|_| !hidden).filter(knows);
                self.out.broadcast(told.filter_map(|to| to.link.connection), update(*info));
            }
            Change::Message { .. } | Change::Complete => {}
        }
    }

    /// To a participant by identity, wherever it is. False when nobody has that identity.
    pub(crate) fn post(&mut self, identity: &str, message: Message, context: &mut Context<'_>) -> bool {
        if let Some(sid) = self.places.identities.get(identity).cloned() {
            self.take_message(&sid, message, context);
            return true;
        }
        if self.replication.by_identity(identity).is_none() {
            return false;
        }
        let delta = self.replication.next(Change::Message { identity: identity.to_owned(), message });
        self.out.messages.push(Effect::Delta(Box::new(delta)));
        true
    }

    pub(crate) fn handle_delta(&mut self, delta: Delta, context: &mut Context<'_>) {
        if !self.replication.is_new(&delta) {
            return;
        }
        let Delta { origin, epoch, change, .. } = delta;
        match change {
            Change::Participant(shared) => {
                let sid = shared.info.sid.clone();
                self.end_replaced(&shared, context);
                let replica = Replica { origin, epoch, shared: (*shared).clone() };
                let before = self.replication.replicas.insert(sid, replica);
                if shared.hidden && before.is_some_and(|before| !before.shared.hidden) {
                    self.tell_vanished(shared.info.clone(), context);
                }
                self.distribute(Change::Participant(shared));
                self.note_emptiness(context);
            }
            Change::Left { info, hidden, replaced } => {
                self.replication.replicas.remove(&info.sid);
                if !hidden {
                    self.remember_departed(&info, context.now);
                }
                self.distribute(Change::Left { info, hidden, replaced });
                self.note_emptiness(context);
            }
            Change::Message { identity, message } => {
                if let Some(sid) = self.places.identities.get(&identity).cloned() {
                    self.take_message(&sid, message, context);
                }
            }
            Change::Complete => self.drop_stale(&origin, epoch, context),
        }
    }

    /// The same identity joined on another node: the later one wins.
    fn end_replaced(&mut self, by: &Shared, context: &mut Context<'_>) {
        let info = &by.info;
        let Some(own) = self.own(&info.identity) else { return };
        if (own.core.joined_ms as i64, own.sid()) < (info.joined_at_ms, info.sid.as_str()) {
            let sid = own.sid().to_owned();
            let reason = proto::DisconnectReason::DuplicateIdentity;
            let end = Message::End { sid: Some(sid.clone()), reason, replaced: !by.hidden };
            self.take_message(&sid, end, context);
        }
    }

    /// A participant that everybody saw is hidden: for the others it has left.
    pub(crate) fn tell_vanished(&mut self, info: proto::ParticipantInfo, context: &Context<'_>) {
        let state = proto::participant_info::State::Disconnected as i32;
        let info = proto::ParticipantInfo { state, tracks: Vec::new(), ..info };
        self.remember_departed(&info, context.now);
        let sid = info.sid.clone();
        self.precede(&sid);
        let others = self.participants.values().filter(|other| other.sid() != sid);
        self.out.broadcast(others.filter_map(|other| other.link.connection), update(info));
    }

    fn drop_stale(&mut self, origin: &str, epoch: u64, context: &mut Context<'_>) {
        let stale: Vec<String> = self
            .replication
            .replicas
            .iter()
            .filter(|(_, replica)| replica.origin == origin && replica.epoch < epoch)
            .map(|(sid, _)| sid.clone())
            .collect();
        for sid in stale {
            let Some(replica) = self.replication.replicas.remove(&sid) else { continue };
            let state = proto::participant_info::State::Disconnected as i32;
            let info = proto::ParticipantInfo { state, tracks: Vec::new(), ..replica.shared.info };
            if !replica.shared.hidden {
                self.remember_departed(&info, context.now);
            }
            self.distribute(Change::Left { info: Box::new(info), hidden: replica.shared.hidden, replaced: false });
        }
        self.note_emptiness(context);
    }
}

fn is_dependent_info(info: &proto::ParticipantInfo) -> bool {
    is_dependent(info.kind, info.permission.as_ref().unwrap_or(&proto::ParticipantPermission::default()))
}

fn shared(participant: &Participant) -> Shared {
    Shared {
        info: participant.info(),
        hidden: participant.is_hidden(),
        rule: participant.core.publishing.rule.as_ref().map(|rule| rule.0.clone()),
    }
}
