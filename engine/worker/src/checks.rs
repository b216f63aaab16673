//! What an authenticated check changes: its source becomes valid, an unowned transport gets an owner, and a nomination moves the
//! path, to another worker if need be.

use engine_base::{Drop as DropReason, TransportRef};
use engine_io::{Outgoing, Sender};
use engine_table::TransportCounter;
use zerocopy::IntoBytes;

use crate::addresses::Pair;
use crate::link::{Link, Nomination, Wish};
use crate::records::{Addressed, kind};
use crate::state::State;
use crate::stun;
use crate::transport::Owned;

impl State {
    pub(crate) fn handle_stun(&mut self, bytes: &[u8], pair: Pair, sender: &mut impl Sender) {
        if let Err(reason) = self.answer_check(bytes, pair, sender) {
            self.site.drop(reason);
        }
    }

    fn answer_check(&mut self, bytes: &[u8], pair: Pair, sender: &mut impl Sender) -> Result<(), DropReason> {
        let check = stun::read(bytes, &self.site.tables.transports, self.site.node.node_tag)?;
        let (reference, credentials) = (check.transport, check.credentials);
        if self.addresses.find(&pair) != Some(reference)
            && let Some(transport) = self.transports.get_mut(reference)
            && !transport.strangers.allows(self.now)
        {
            return Err(DropReason::StunRateLimited);
        }
        let mut slot = sender.reserve().ok_or(DropReason::SendQueueFull)?;
        let answer = match check.answer(pair.remote, sender.bytes(&mut slot)) {
            Ok(answer) => answer,
            Err(reason) => {
                sender.release(slot);
                return Err(reason);
            }
        };
        let outgoing = Outgoing {
            socket: pair.socket,
            destination: pair.remote,
            bytes: answer.bytes as u32,
            segment_bytes: 0,
            connection: None,
        };
        sender.commit(slot, outgoing);
        if answer.success {
            self.validate(reference, pair);
            self.settle_owner(reference, Wish { worker: self.site.me, pair, credentials }, answer.nominates);
        }
        Ok(())
    }

    /// Remembers the source. The row may be newer than what this worker has taken: it is taken now.
    fn validate(&mut self, reference: TransportRef, pair: Pair) {
        if self.transports.get(reference).is_none() {
            self.take_transport(reference.index);
        }
        let Some(transport) = self.transports.get_mut(reference) else { return };
        if transport.sources.contains(&pair) || !self.addresses.insert(pair, reference) {
            return;
        }
        if transport.sources.len() >= transport.sources.inline_size() {
            let nominated = transport.owned.as_ref().map(|owned| owned.link.pair);
            let oldest = transport.sources.iter().position(|source| Some(*source) != nominated).unwrap_or(0);
            let left = transport.sources.remove(oldest);
            self.addresses.remove(&left, reference);
        }
        transport.sources.push(pair);
    }

    fn settle_owner(&mut self, reference: TransportRef, wish: Wish, nominates: bool) {
        let me = self.site.me;
        match self.site.crew.claim(reference, me) {
            Some(owner) if owner == me => {
                self.open_mailbox();
                self.begin_ownership(reference, wish);
                self.hear_check(reference, wish, nominates);
            }
            Some(owner) if nominates => {
                let body = Addressed::new(reference, wish.pair, wish.credentials);
                self.rings.push(&self.site, owner, kind::MOVE, &[body.as_bytes()]);
            }
            _ => {}
        }
    }

    /// Nobody owned the transport: this worker does now. Keys, ingresses and egresses follow.
    fn begin_ownership(&mut self, reference: TransportRef, wish: Wish) {
        let Some(transport) = self.transports.get_mut(reference) else { return };
        if transport.owned.is_none() {
            transport.owned = Some(Owned::new(Link::new(wish.pair, wish.credentials, self.now)));
            self.settle_transport(reference.index);
        }
    }

    fn hear_check(&mut self, reference: TransportRef, wish: Wish, nominates: bool) {
        self.site.count_transport(reference.index, TransportCounter::Checks, 1);
        let Some(transport) = self.transports.get_mut(reference) else { return };
        let Some(owned) = transport.owned.as_deref_mut() else { return };
        owned.link.last_check = self.now;
        let back = owned.link.hear(self.now);
        if !owned.link.nominated && owned.link.pair != wish.pair {
            // The newest valid pair is the likeliest to be nominated: the courier may begin its handshake there.
            (owned.link.pair, owned.link.credentials) = (wish.pair, wish.credentials);
            owned.observed.changed = true;
        }
        owned.observed.changed |= back;
        self.work.touch(reference.index);
        if nominates {
            self.nominate(reference, wish);
        }
    }

    /// A nomination for a transport that this worker owns, its own or another's.
    pub(crate) fn nominate(&mut self, reference: TransportRef, wish: Wish) {
        let (me, now) = (self.site.me, self.now);
        let Some(transport) = self.transports.get_mut(reference) else { return };
        let Some(owned) = transport.owned.as_deref_mut() else { return };
        match owned.link.nominate(wish, me, now) {
            Nomination::Unchanged => {}
            Nomination::Moved => {
                owned.observed.changed = true;
                self.work.touch(reference.index);
            }
            Nomination::Deferred => self.work.touch(reference.index),
            Nomination::Leaves(wish) => self.release(reference, wish),
        }
    }
}
