//! What a step has changed. At its end it becomes effects in the order that a restart relies on: journal, rows, messages.

use std::collections::{BTreeMap, BTreeSet};

use signaling_program::RowChange;
use signaling_protocol::proto;

use crate::effect::Effect;
use crate::input::ConnectionId;
use crate::participant::Part;
use crate::rendition::Which;

/// Records of a participant, as bits.
pub(crate) mod record {
    pub(crate) const CORE: u8 = 1;
    pub(crate) const BULK: u8 = 2;
    pub(crate) const PEER: u8 = 4;
    pub(crate) const SUBSCRIPTIONS: u8 = 8;
    pub(crate) const ALL: u8 = 15;
}

/// A row to compute again. Rows are published in this order: an egress after its transport and ingress.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RowKey {
    Transport { sid: String, part: Part },
    Ingress { sid: String, track: String, which: Which },
    Egress { sid: String, track: String },
    Data { sid: String },
}

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// The room's own record.
    pub(crate) room: bool,
    /// [`record`] bits by sid of each participant that changed.
    pub(crate) records: BTreeMap<String, u8>,
    /// Other keys, written or removed.
    pub(crate) keys: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    pub(crate) rows: BTreeSet<RowKey>,
    /// Rows without a participant any more: those that stop before the others change, and those that end last.
    pub(crate) freed: Vec<RowChange>,
    pub(crate) last: Vec<RowChange>,
    pub(crate) messages: Vec<Effect>,
    /// Tracks of which what our participants take may have changed.
    pub(crate) demands: BTreeSet<String>,
    /// Participants whose connection may need an offer, an answer or a question.
    pub(crate) negotiate: BTreeSet<String>,
}

impl Outbox {
    pub(crate) fn record(&mut self, sid: &str, bits: u8) {
        match self.records.get_mut(sid) {
            Some(known) => *known |= bits,
            None => drop(self.records.insert(sid.to_owned(), bits)),
        }
    }

    /// Nothing to write, but what it waits for may have changed.
    pub(crate) fn touch(&mut self, sid: &str) {
        self.record(sid, 0);
    }

    pub(crate) fn transport(&mut self, sid: &str, part: Part) {
        self.rows.insert(RowKey::Transport { sid: sid.to_owned(), part });
    }

    pub(crate) fn ingress(&mut self, sid: &str, track: &str) {
        for which in Which::BOTH {
            self.rows.insert(RowKey::Ingress { sid: sid.to_owned(), track: track.to_owned(), which });
        }
    }

    pub(crate) fn egress(&mut self, sid: &str, track: &str) {
        self.rows.insert(RowKey::Egress { sid: sid.to_owned(), track: track.to_owned() });
    }

    pub(crate) fn data(&mut self, sid: &str) {
        self.rows.insert(RowKey::Data { sid: sid.to_owned() });
    }

    pub(crate) fn negotiate(&mut self, sid: &str) {
        self.negotiate.insert(sid.to_owned());
    }

    pub(crate) fn send(&mut self, connection: ConnectionId, message: proto::signal_response::Message) {
        let message = Box::new(proto::SignalResponse { message: Some(message) });
        self.messages.push(Effect::Send { connection, message });
    }

    /// To all of them at once; nothing when there are none.
    pub(crate) fn broadcast(
        &mut self,
        connections: impl Iterator<Item = ConnectionId>,
        message: proto::signal_response::Message,
    ) {
        let connections: Vec<ConnectionId> = connections.collect();
        match connections[..] {
            [] => {}
            [connection] => self.send(connection, message),
            _ => {
                let message = Box::new(proto::SignalResponse { message: Some(message) });
                self.messages.push(Effect::Broadcast { connections, message });
            }
        }
    }

    pub(crate) fn close(&mut self, connection: ConnectionId, code: u16) {
        self.messages.push(Effect::Close { connection, code });
    }
}
