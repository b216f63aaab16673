//! Who gets which data packet: the rooms' members as the data rows name them, rewriting, replay. Pure: it knows no session; the
//! courier delivers what is decided here.

pub mod packet;
pub mod protobuf;
pub mod replay;

use std::collections::HashMap;

use bytes::Bytes;
use engine_base::{DataRef, Drop as DropReason, TimeNs, TransportRef};
use engine_table::{DataRow, ROW_ACTIVE, Text, data_flags};

use packet::{Destinations, Packet, Sender};
use replay::{Cached, PendingQueue, ReplayCache};

/// A data row and what waits for its participant.
#[derive(Debug)]
pub struct Member {
    row: DataRow,
    pub pending: PendingQueue,
    /// Its downlink died with a courier: what waits goes to the participant's next session.
    lost: bool,
}

impl Member {
    pub fn downlink(&self) -> TransportRef {
        self.row.downlink
    }

    fn has(&self, flag: u16) -> bool {
        self.row.flags & flag != 0
    }
}

/// What one packet became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routed {
    pub bytes: Bytes,
    pub sequence: u32,
    /// Indices of data rows.
    pub receivers: Vec<u32>,
}

#[derive(Debug, Default)]
struct Group {
    members: Vec<u32>,
    cache: ReplayCache,
    /// Some member was lost, at any time: a new one may be it again.
    had_losses: bool,
    /// Queues of members whose session died with a courier, by identity.
    orphans: HashMap<Vec<u8>, PendingQueue>,
}

/// All rooms' members.
#[derive(Debug, Default)]
pub struct Router {
    /// In boxes: a table has up to twice as many places as it has entries.
    members: HashMap<u32, Box<Member>>,
    groups: HashMap<u64, Group>,
    /// Transport index → data row index.
    uplinks: HashMap<u32, u32>,
    downlinks: HashMap<u32, u32>,
}

impl Router {
    /// Takes data row `index` as it is now; a free row ends the member. Returns the member's downlink when packets wait for it.
    pub fn set_row(&mut self, index: u32, row: &DataRow) -> Option<TransportRef> {
        let same = self.members.get(&index).is_some_and(|member| {
            row.state == ROW_ACTIVE && member.row.generation == row.generation && member.row.group == row.group
        });
        if !same {
            self.remove(index);
        }
        if row.state != ROW_ACTIVE {
            return None;
        }
        if let Some(member) = self.members.get_mut(&index) {
            unlink(&mut self.uplinks, member.row.uplink, index);
            unlink(&mut self.downlinks, member.row.downlink, index);
            member.row = *row;
        } else {
            let pending = self.inherit(row);
            self.members.insert(index, Box::new(Member { row: *row, pending, lost: false }));
            self.groups.entry(row.group).or_default().members.push(index);
        }
        for (map, transport) in [(&mut self.uplinks, row.uplink), (&mut self.downlinks, row.downlink)] {
            if !transport.is_none() {
                map.insert(transport.index, index);
            }
        }
        self.members.get(&index).filter(|member| !member.pending.is_empty()).map(|member| member.downlink())
    }

    pub fn member(&mut self, index: u32) -> Option<&mut Member> {
        self.members.get_mut(&index).map(Box::as_mut)
    }

    /// The member's downlink died with a courier.
    pub fn lose(&mut self, index: u32) {
        let Some(member) = self.members.get_mut(&index) else { return };
        member.lost = true;
        if let Some(group) = self.groups.get_mut(&member.row.group) {
            group.had_losses = true;
        }
    }

    /// Index of the member to whom `reference` still refers.
    pub fn resolve(&self, reference: DataRef) -> Option<u32> {
        self.members
            .get(&reference.index)
            .filter(|member| member.row.generation == reference.generation)
            .map(|_| reference.index)
    }

    /// Index of the member that receives on this transport.
    pub fn receiver(&self, downlink: TransportRef) -> Option<u32> {
        let index = *self.downlinks.get(&downlink.index)?;
        self.members.get(&index).filter(|member| member.row.downlink == downlink).map(|_| index)
    }

    /// Decides about one message that came on `uplink`.
    ///
    /// **Input**: `reliable` by the channel it came on; `last_sequence` of this sender, which is moved on.
    /// **Errors**: the reason for which it goes to nobody.
    pub fn route(
        &mut self,
        uplink: TransportRef,
        reliable: bool,
        bytes: &[u8],
        last_sequence: &mut u32,
        now: TimeNs,
    ) -> Result<Option<Routed>, DropReason> {
        let from = self.uplinks.get(&uplink.index).copied();
        let sender = from.and_then(|index| self.members.get(&index)).filter(|member| member.row.uplink == uplink);
        let (Some(from), Some(sender)) = (from, sender) else { return Err(DropReason::DataNotPermitted) };
        if !sender.has(data_flags::CAN_PUBLISH) {
            return Err(DropReason::DataNotPermitted);
        }
        let packet = Packet::parse(bytes)?;
        let sequenced = reliable && packet.sequence != 0;
        if sequenced && packet.sequence <= *last_sequence {
            return Err(DropReason::DataDuplicate);
        }
        let hidden = sender.has(data_flags::HIDDEN);
        let stamp = Sender {
            identity: sender.row.identity.as_bytes(),
            sid: sender.row.sid.as_bytes(),
            hidden,
            agent: sender.has(data_flags::AGENT),
        };
        let rewritten = Bytes::from(packet.rewrite(stamp, reliable)?);
        if sequenced {
            *last_sequence = packet.sequence;
        }
        if packet.is_metrics() {
            return Ok(None);
        }
        let (group, sender_sid) = (sender.row.group, sender.row.sid);
        let receivers = self.receivers(group, from, &packet.destinations);
        if receivers.is_empty() && !packet.destinations.is_everybody() {
            return Err(DropReason::DataNoReceiver);
        }
        let sequence = if hidden || !reliable { 0 } else { packet.sequence };
        if sequence != 0 {
            let destinations = packet.destinations;
            let cached = Cached { at: now, sender_sid, sequence, destinations, bytes: rewritten.clone() };
            self.groups.entry(group).or_default().cache.push(cached);
        }
        Ok(Some(Routed { bytes: rewritten, sequence, receivers }))
    }

    /// Packets of a sender after `last_sequence` that `to` was to receive.
    pub fn replay(&mut self, to: u32, sender_sid: Text<24>, last_sequence: u32, now: TimeNs) -> Vec<Bytes> {
        let Some(member) = self.members.get(&to).filter(|member| member.has(data_flags::CAN_RECEIVE)) else {
            return Vec::new();
        };
        let Some(group) = self.groups.get_mut(&member.row.group) else { return Vec::new() };
        group.cache.expire(now);
        let (identity, sid) = (member.row.identity.as_bytes(), member.row.sid.as_bytes());
        group
            .cache
            .after(sender_sid, last_sequence)
            .filter(|cached| sender_sid != member.row.sid && cached.destinations.includes(identity, sid))
            .map(|cached| cached.bytes.clone())
            .collect()
    }

    /// Forgets what is too old. Call about once a second.
    pub fn handle_timeout(&mut self, now: TimeNs) {
        for member in self.members.values_mut() {
            member.pending.expire(now);
        }
        for group in self.groups.values_mut() {
            group.cache.expire(now);
            group.orphans.retain(|_, pending| {
                pending.expire(now);
                !pending.is_empty()
            });
        }
        self.groups.retain(|_, group| !group.members.is_empty() || !group.orphans.is_empty());
    }

    fn receivers(&self, group: u64, from: u32, destinations: &Destinations) -> Vec<u32> {
        let members = self.groups.get(&group).map_or(&[][..], |group| &group.members);
        let wanted = |index: &u32| {
            *index != from
                && self.members.get(index).is_some_and(|member| {
                    member.has(data_flags::CAN_RECEIVE)
                        && destinations.includes(member.row.identity.as_bytes(), member.row.sid.as_bytes())
                })
        };
        members.iter().copied().filter(wanted).collect()
    }

    /// What waits for a participant whose former session died with a courier.
    fn inherit(&mut self, row: &DataRow) -> PendingQueue {
        let Some(group) = self.groups.get_mut(&row.group) else { return PendingQueue::default() };
        if let Some(pending) = group.orphans.remove(row.identity.as_bytes()) {
            return pending;
        }
        let candidates = if group.had_losses { &group.members[..] } else { &[] };
        for index in candidates {
            if let Some(former) = self.members.get_mut(index)
                && former.lost
                && former.row.identity == row.identity
            {
                return std::mem::take(&mut former.pending);
            }
        }
        PendingQueue::default()
    }

    fn remove(&mut self, index: u32) {
        let Some(member) = self.members.remove(&index) else { return };
        unlink(&mut self.uplinks, member.row.uplink, index);
        unlink(&mut self.downlinks, member.row.downlink, index);
        let Some(group) = self.groups.get_mut(&member.row.group) else { return };
        group.members.retain(|other| *other != index);
        if member.lost && !member.pending.is_empty() {
            group.orphans.insert(member.row.identity.as_bytes().to_vec(), member.pending);
        }
        if group.members.is_empty() && group.orphans.is_empty() {
            self.groups.remove(&member.row.group);
        }
    }
}

fn unlink(map: &mut HashMap<u32, u32>, transport: TransportRef, index: u32) {
    if map.get(&transport.index) == Some(&index) {
        map.remove(&transport.index);
    }
}
