//! Keys and records of the session journal.
//!
//! ```text
//! room/<room>                  RoomRecord
//! participant/<room>/<sid>     Core            a change of state, tracks, permission, name
//! bulk/<room>/<sid>            Bulk            metadata, attributes, claims
//! peer/<room>/<sid>            Peer            negotiation
//! subscriptions/<room>/<sid>   map             subscriptions by track
//! departed/<room>/<sid>        Departed        told to those who resume later
//! ```

use std::collections::BTreeMap;

use engine_base::TimeNs;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::outbox::record;
use crate::participant::{Bulk, Core, Link, Participant, Peer};
use crate::stored;
use crate::subscription::Subscription;

const PER_PARTICIPANT: [(&str, u8); 4] = [
    ("participant", record::CORE),
    ("bulk", record::BULK),
    ("peer", record::PEER),
    ("subscriptions", record::SUBSCRIPTIONS),
];
const DEPARTED: &str = "departed";

/// The room that a journal key belongs to; `None` for keys of others. Sids hold no `/`, so the last one ends a room's name.
pub fn journal_room(key: &[u8]) -> Option<&str> {
    match Key::parse(key)? {
        Key::Room { room } | Key::Participant { room, .. } | Key::Departed { room, .. } => Some(room),
    }
}

pub(crate) enum Key<'a> {
    Room { room: &'a str },
    Participant { room: &'a str, sid: &'a str, record: u8 },
    Departed { room: &'a str, sid: &'a str },
}

impl<'a> Key<'a> {
    pub(crate) fn parse(key: &'a [u8]) -> Option<Self> {
        let (kind, rest) = std::str::from_utf8(key).ok()?.split_once('/')?;
        if kind == "room" {
            return Some(Self::Room { room: rest });
        }
        let (room, sid) = rest.rsplit_once('/')?;
        if kind == DEPARTED {
            return Some(Self::Departed { room, sid });
        }
        let record = PER_PARTICIPANT.iter().find(|(name, _)| *name == kind)?.1;
        Some(Self::Participant { room, sid, record })
    }
}

pub(crate) fn room_key(room: &str) -> Vec<u8> {
    format!("room/{room}").into_bytes()
}

pub(crate) fn departed_key(room: &str, sid: &str) -> Vec<u8> {
    format!("{DEPARTED}/{room}/{sid}").into_bytes()
}

/// What a room has of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RoomRecord {
    pub(crate) sid: String,
    /// One more with every restart: what other nodes know of an earlier one is old.
    pub(crate) epoch: u64,
    pub(crate) created_ms: u64,
    /// Of the data rows.
    pub(crate) group: u64,
    pub(crate) turn_password: String,
    pub(crate) sif_trailer: Vec<u8>,
    pub(crate) empty_timeout_s: u32,
    pub(crate) departure_timeout_s: u32,
    pub(crate) max_participants: u32,
    pub(crate) metadata: String,
    /// Since when nobody is there; `None` while somebody is.
    #[serde(with = "stored::time_option")]
    pub(crate) empty_since: Option<TimeNs>,
    pub(crate) ever_joined: bool,
}

/// Somebody who has left lately.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Departed {
    pub(crate) identity: String,
    pub(crate) version: u32,
    pub(crate) reason: i32,
    #[serde(with = "stored::time")]
    pub(crate) at: TimeNs,
}

/// `None` only for what cannot be written, which no record holds.
pub(crate) fn encode<T: Serialize>(value: &T) -> Option<Vec<u8>> {
    postcard::to_allocvec(value).ok()
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    postcard::from_bytes(bytes).ok()
}

/// The chosen records of a participant, as keys with their latest values.
pub(crate) fn records(room: &str, participant: &Participant, bits: u8) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let value = |record: u8| match record {
        record::CORE => encode(&participant.core),
        record::BULK => encode(&participant.bulk),
        record::PEER => encode(&participant.peer),
        _ => encode(&participant.subscriptions),
    };
    let chosen = PER_PARTICIPANT.iter().filter(|(_, record)| bits & record != 0);
    chosen.map(|(kind, record)| (participant_key(kind, room, participant.sid()), value(*record))).collect()
}

/// The keys of a participant that has ended.
pub(crate) fn removals(room: &str, sid: &str) -> impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)> {
    PER_PARTICIPANT.iter().map(move |(kind, _)| (participant_key(kind, room, sid), None))
}

fn participant_key(kind: &str, room: &str, sid: &str) -> Vec<u8> {
    format!("{kind}/{room}/{sid}").into_bytes()
}

/// Records of a room, sorted out.
#[derive(Default)]
pub(crate) struct Records {
    pub(crate) room: Option<(String, RoomRecord)>,
    pub(crate) participants: Vec<Participant>,
    pub(crate) departed: BTreeMap<String, Departed>,
    /// Keys of participants that lack a record, or whose record is damaged: nothing of them can go on.
    pub(crate) broken: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Parts {
    core: Option<Box<Core>>,
    bulk: Option<Box<Bulk>>,
    peer: Option<Box<Peer>>,
    subscriptions: Option<BTreeMap<String, Box<Subscription>>>,
    keys: Vec<Vec<u8>>,
}

impl Records {
    pub(crate) fn read(records: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Self {
        let mut read = Self::default();
        let mut parts: BTreeMap<String, Parts> = BTreeMap::new();
        for (key, value) in records {
            match Key::parse(&key) {
                Some(Key::Room { room }) => {
                    read.room = decode(&value).map(|record| (room.to_owned(), record));
                }
                Some(Key::Participant { sid, record, .. }) => {
                    let parts = parts.entry(sid.to_owned()).or_default();
                    match record {
                        record::CORE => parts.core = decode(&value),
                        record::BULK => parts.bulk = decode(&value),
                        record::PEER => parts.peer = decode(&value),
                        _ => parts.subscriptions = decode(&value),
                    }
                    parts.keys.push(key);
                }
                Some(Key::Departed { sid, .. }) => match decode(&value) {
                    Some(departed) => drop(read.departed.insert(sid.to_owned(), departed)),
                    None => read.broken.push(key),
                },
                None => read.broken.push(key),
            }
        }
        for parts in parts.into_values() {
            match (parts.core, parts.bulk, parts.peer, parts.subscriptions) {
                (Some(core), Some(bulk), Some(peer), Some(subscriptions)) => {
                    read.participants.push(Participant { core, bulk, peer, subscriptions, link: Link::default() });
                }
                _ => read.broken.extend(parts.keys),
            }
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_tells_its_room_even_with_slashes_in_the_name() {
        assert_eq!(journal_room(b"room/a/b"), Some("a/b"));
        assert_eq!(journal_room(b"peer/a/b/PA_x"), Some("a/b"));
        assert_eq!(journal_room(b"departed/r/PA_x"), Some("r"));
        assert_eq!(journal_room(b"seen/x"), None);
        assert_eq!(journal_room(b"room"), None);
    }
}
