//! Everybody here, serialized for those who join and counted, in blocks: a step that changes one participant costs its block,
//! and a join of a room of a thousand copies a few dozen blocks instead of looking at a thousand participants.
//!
//! It follows the journal: what no record of a step names has not changed ([`Room::settle_roster`]). Participants of other
//! nodes are not here.

use std::collections::BTreeMap;

use signaling_protocol::{Bytes, assembled, proto};

use crate::outbox::record;
use crate::participant::Participant;
use crate::room::Room;

/// Encoding one participant takes about 1 µs, and a joining client changes its own block three times.
const BLOCK: usize = 16;

/// How many participants are what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Census {
    /// In `num_participants`.
    pub(crate) counted: usize,
    /// In `num_publishers`.
    pub(crate) publishers: usize,
    /// They keep the room.
    pub(crate) independent: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Roster {
    blocks: Vec<Block>,
}

#[derive(Debug, Default)]
struct Block {
    sids: Vec<String>,
    census: Option<Census>,
    encoded: Option<Bytes>,
}

type Participants = BTreeMap<String, Participant>;

impl Census {
    pub(crate) fn of<'a>(participants: impl Iterator<Item = &'a Participant>) -> Self {
        participants.fold(Self::default(), |sum, participant| sum.plus(Self::one(participant)))
    }

    fn one(participant: &Participant) -> Self {
        let (hidden, independent) = (participant.is_hidden(), !participant.is_dependent());
        Self {
            counted: usize::from(!hidden && independent),
            publishers: usize::from(!hidden && participant.core.publishing.is_publisher),
            independent: usize::from(independent),
        }
    }

    const fn plus(self, other: Self) -> Self {
        Self {
            counted: self.counted + other.counted,
            publishers: self.publishers + other.publishers,
            independent: self.independent + other.independent,
        }
    }
}

impl Block {
    fn changed(&mut self) {
        (self.census, self.encoded) = (None, None);
    }

    fn members<'a>(&'a self, participants: &'a Participants) -> impl Iterator<Item = &'a Participant> {
        self.sids.iter().filter_map(|sid| participants.get(sid))
    }

    fn census(&self, participants: &Participants) -> Census {
        self.census.unwrap_or_else(|| Census::of(self.members(participants)))
    }

    /// All but `sid`.
    fn encode(&self, sid: &str, participants: &Participants) -> Vec<u8> {
        let mut encoded = Vec::new();
        for participant in self.members(participants).filter(|other| !other.is_hidden() && other.sid() != sid) {
            assembled::put_participant(&participant.info(), &mut encoded);
        }
        encoded
    }
}

impl Roster {
    /// Takes a participant in and returns its block.
    fn add(&mut self, sid: &str) -> usize {
        let place = self.blocks.iter().position(|block| block.sids.len() < BLOCK).unwrap_or(self.blocks.len());
        if place == self.blocks.len() {
            self.blocks.push(Block::default());
        }
        if let Some(block) = self.blocks.get_mut(place) {
            block.sids.push(sid.to_owned());
            block.changed();
        }
        place
    }

    /// `block`: as it was told when the participant came.
    pub(crate) fn remove(&mut self, sid: &str, block: usize) {
        if let Some(block) = self.blocks.get_mut(block) {
            block.sids.retain(|other| other != sid);
            block.changed();
        }
    }
}

impl Room {
    /// Brings the roster to what this step has changed so far.
    pub(crate) fn settle_roster(&mut self) {
        for (sid, bits) in &self.out.records {
            let Some(participant) = self.participants.get_mut(sid) else { continue };
            match participant.link.block {
                None => participant.link.block = Some(self.roster.add(sid)),
                Some(block) if bits & (record::CORE | record::BULK) != 0 => {
                    self.roster.blocks.get_mut(block).into_iter().for_each(Block::changed);
                }
                Some(_) => {}
            }
        }
    }

    /// Of this node. Within a step, settle the roster before. **Cost**: O(blocks).
    pub(crate) fn census(&self) -> Census {
        let sum = self.roster.blocks.iter().map(|block| block.census(&self.participants));
        let sum = sum.fold(Census::default(), Census::plus);
        debug_assert_eq!(sum, Census::of(self.participants.values()), "every change is recorded");
        sum
    }

    /// A serialized `join` with everybody that `sid` may see, in parts. **Cost**: encodes the blocks that have changed since the
    /// last join; the others are shared, so that a thousand joins of a hundred kilobytes take neither memory nor time.
    pub(crate) fn encode_join(&mut self, sid: &str, join: &proto::JoinResponse) -> Vec<Bytes> {
        self.settle_roster();
        let own = self.participants.get(sid).and_then(|participant| participant.link.block);
        let mut apart = Vec::new();
        let mut others = Vec::new();
        for (index, block) in self.roster.blocks.iter_mut().enumerate() {
            if block.census.is_none() {
                block.census = Some(block.census(&self.participants));
            }
            if Some(index) == own {
                apart = block.encode(sid, &self.participants);
                continue;
            }
            let encoded = block.encoded.take().unwrap_or_else(|| block.encode(sid, &self.participants).into());
            others.push(encoded.clone());
            block.encoded = Some(encoded);
        }
        for info in self.replication.visible() {
            assembled::put_participant(info, &mut apart);
        }
        others.push(apart.into());
        assembled::join_response(join, others)
    }
}
