//! Taking rows of other processes: what they say becomes transports, publishers and egresses of this worker, or ends them. Every
//! step is by level: it looks at what is there now and may run again without harm.

use engine_base::limits::{LAYERS, ROWS_PER_TURN};
use engine_base::{Drop as DropReason, Kind, TransportRef};
use engine_forward::ingress::LayerCheckpoint;
use engine_forward::{EgressPlan, EgressState};
use engine_table::{
    Change, EgressObserved, EgressRow, IngressRow, ROW_ACTIVE, ROW_FREE, TableId, TransportObserved, WorkerCounter,
};
use zerocopy::FromZeros;

use crate::egress::{Egress, Fact, Saved, Sending};
use crate::keys::Keys;
use crate::link::Link;
use crate::publisher::Publisher;
use crate::site::Site;
use crate::state::{State, random_u64};
use crate::transport::{Owned, Transport};

impl State {
    /// Takes a bounded number of changed rows, then stores the adopted positions.
    pub(crate) fn take_rows(&mut self) {
        self.rows.begin_turn();
        for _ in 0..ROWS_PER_TURN {
            let Some(change) = self.rows.next_change(&self.site.tables) else { break };
            self.take_row(change);
            self.site.count(WorkerCounter::RowsTaken, 1);
        }
        self.rows.store_adopted(&self.site);
    }

    /// Takes all rows there are, before the first packet: a successor knows its sessions when it reads what waits in its sockets.
    pub(crate) fn take_all_rows(&mut self) {
        while self.rows.scans() {
            self.take_rows();
        }
    }

    fn take_row(&mut self, change: Change) {
        match change.table {
            TableId::Transport => self.take_transport(change.index),
            TableId::Ingress => self.take_ingress(change.index),
            TableId::Egress => self.take_egress(change.index),
            TableId::Key => self.take_keys(change.index),
            _ => {}
        }
    }

    pub(crate) fn take_transport(&mut self, index: u32) {
        let row = self.site.tables.transports.read(index).map(|(_, row)| row);
        let active = row.filter(|row| row.state == ROW_ACTIVE && row.generation != 0);
        if row.is_none() || active.is_none() && row.is_some_and(|row| row.state != ROW_FREE) {
            self.site.drop(DropReason::RowBad);
            return;
        }
        let present = self.transports.at(index).and_then(|place| place.transport.as_ref().map(|t| t.reference));
        let wanted = active.map(|row| TransportRef::new(index, row.generation));
        if let Some(reference) = present
            && wanted != present
        {
            self.end_transport(reference);
        }
        let (Some(row), Some(place)) = (active, self.transports.place(index)) else { return };
        match &mut place.transport {
            Some(transport) => transport.update(&row),
            none => {
                *none = Some(Transport::new(&row, index));
                self.resume(TransportRef::new(index, row.generation));
            }
        }
        self.settle_transport(index);
    }

    /// Owns a transport that the predecessor of this very worker owned, without waiting for the client's next check: that may be
    /// 2.5 s away.
    fn resume(&mut self, reference: TransportRef) {
        let State { site, transports, addresses, now, .. } = self;
        let stored = site.tables.transports_observed.read(reference.index).map(|(_, row)| row);
        let mine = |row: &TransportObserved| row.generation == reference.generation && u32::from(row.owner) == site.me;
        let link = stored.filter(mine).and_then(|row| Link::restore(&row, *now));
        let (Some(link), Some(transport)) = (link, transports.get_mut(reference)) else { return };
        let in_reach = (link.pair.socket as usize) < site.node.address_count as usize;
        if in_reach && site.crew.claim(reference, site.me) == Some(site.me) && addresses.insert(link.pair, reference) {
            transport.sources.push(link.pair);
            transport.owned = Some(Owned::new(link));
        }
    }

    fn end_transport(&mut self, reference: TransportRef) {
        let Some(place) = self.transports.at_mut(reference.index) else { return };
        let Some(transport) = place.transport.take() else { return };
        self.work.disconnects.extend(transport.connected.and_then(|connected| connected.connection));
        for source in &transport.sources {
            self.addresses.remove(source, reference);
        }
        if transport.owned.is_some() {
            self.timers.cancel(reference.index);
            self.site.crew.disown(reference, self.site.me);
            self.take_publishers(reference.index);
            self.settle_egresses_of(reference.index);
            self.observe_end(reference.index);
        }
    }

    /// The key row of an owned transport: new keys, new windows.
    pub(crate) fn take_keys(&mut self, index: u32) {
        let Some(transport) = self.transports.at_mut(index).and_then(|place| place.transport.as_mut()) else { return };
        let Some((version, row)) = self.site.tables.keys.read(index) else { return };
        let Some(owned) = transport.owned.as_deref_mut() else { return };
        if row.generation != transport.reference.generation
            || transport.keys.as_ref().is_some_and(|keys| keys.version == version)
        {
            return;
        }
        match Keys::take(version, &row) {
            Ok(keys) => {
                transport.keys = keys.map(Box::new);
                owned.observed.changed = true;
                self.work.touch(index);
            }
            Err(()) => self.site.drop(DropReason::RowBad),
        }
    }

    /// Everything that follows from a transport's row or ownership.
    pub(crate) fn settle_transport(&mut self, index: u32) {
        self.take_keys(index);
        for position in 0.. {
            let ingress = self.transports.at(index).and_then(|place| place.ingresses.get(position).copied());
            let Some(ingress) = ingress else { break };
            self.settle_ingress(ingress);
        }
        self.settle_egresses_of(index);
        self.work.touch(index);
    }

    pub(crate) fn settle_egresses_of(&mut self, transport: u32) {
        for position in 0.. {
            let sending = self.transports.at(transport).and_then(|place| place.sendings.get(position).copied());
            let Some(sending) = sending else { break };
            self.settle_egress(sending.egress);
        }
    }

    pub(crate) fn take_ingress(&mut self, index: u32) {
        let Some((_, row)) = self.site.tables.ingresses.read(index) else { return };
        let valid = row.state == ROW_ACTIVE
            && row.generation != 0
            && Kind::from_u8(row.kind).is_some()
            && (1..=engine_base::limits::LAYERS as u8).contains(&row.layer_count)
            && row.transport.index < self.site.limits.transports;
        if !valid && row.state != ROW_FREE {
            self.site.drop(DropReason::RowBad);
        }
        let row = valid.then_some(row);
        let Some(place) = self.ingresses.place(index) else { return };
        let before = std::mem::replace(&mut place.row, row);
        place.kind = row.and_then(|row| Kind::from_u8(row.kind)).unwrap_or_default();
        if before.map(|row| row.generation) != row.map(|row| row.generation) {
            place.publisher = None;
            place.waiting.clear();
            (place.clocks, place.clocks_versions) = Default::default();
        }
        self.relink_ingress(index, before, row);
        self.settle_ingress(index);
        for position in 0.. {
            let egress = self.ingresses.at(index).and_then(|place| place.egress_rows.get(position).copied());
            let Some(egress) = egress else { break };
            self.settle_egress(egress);
        }
    }

    /// Keeps the transports' lists of ingresses right. A new use of the row forgets the SSRCs of the one before.
    fn relink_ingress(&mut self, index: u32, before: Option<IngressRow>, after: Option<IngressRow>) {
        let same_use = before.map(|row| row.generation) == after.map(|row| row.generation);
        if let Some(place) = before.and_then(|row| self.transports.place(row.transport.index)) {
            place.ingresses.retain(|ingress| *ingress != index);
            let owned = place.transport.as_mut().and_then(|transport| transport.owned.as_deref_mut());
            if let Some(owned) = owned.filter(|_| !same_use) {
                owned.streams.unbind(index);
            }
        }
        if let Some(place) = after.and_then(|row| self.transports.place(row.transport.index)) {
            place.ingresses.push(index);
        }
    }

    /// The owner of the publisher's transport has the receiving side; nobody else has.
    fn settle_ingress(&mut self, index: u32) {
        let State { site, transports, ingresses, work, .. } = self;
        let Some(place) = ingresses.at_mut(index) else { return };
        let transport = place.row.and_then(|row| transports.get_mut(row.transport));
        let owned = transport.and_then(|transport| transport.owned.as_deref_mut());
        let (Some(row), Some(owned)) = (&place.row, owned) else {
            place.publisher = None;
            return;
        };
        owned.streams.bind(index, row);
        owned.retry_held = true;
        if place.publisher.is_none() {
            recognise(site, index, row, owned);
            place.publisher = Some(Box::new(Publisher::new(index, row)));
        }
        work.touch(row.transport.index);
    }

    /// Takes the receiving sides of a transport out, to move or to end them.
    pub(crate) fn take_publishers(&mut self, transport: u32) -> Vec<(u32, Box<Publisher>)> {
        let Some(place) = self.transports.at(transport) else { return Vec::new() };
        let mut taken = Vec::new();
        for &index in &place.ingresses {
            if let Some(publisher) = self.ingresses.at_mut(index).and_then(|place| place.publisher.take()) {
                taken.push((index, publisher));
            }
        }
        taken
    }

    /// Puts a receiving side where its row still wants it.
    pub(crate) fn put_publisher(&mut self, index: u32, publisher: Box<Publisher>) {
        let Some(place) = self.ingresses.at_mut(index) else { return };
        if place.row.is_some_and(|row| row.generation == publisher.reference.generation) {
            place.clocks = publisher.clocks;
            place.publisher = Some(publisher);
        }
    }

    pub(crate) fn take_egress(&mut self, index: u32) {
        let Some((_, row)) = self.site.tables.egresses.read(index) else { return };
        let valid = EgressPlan::compile(&row).is_some()
            && row.generation != 0
            && row.transport.index < self.site.limits.transports
            && row.ingress.index < self.site.limits.ingresses;
        if !valid && row.state != ROW_FREE {
            self.site.drop(DropReason::RowBad);
        }
        let before = self.facts.get(&index).copied();
        let mut after = valid.then(|| Fact::new(&row));
        if let (Some(before), Some(after)) = (&before, &mut after)
            && before.has_same_ends(after)
        {
            after.position = before.position;
        } else if before.is_some() {
            self.end_egress(index);
        }
        self.relink_egress(index, before, after);
        match after {
            Some(fact) => drop(self.facts.insert(index, fact)),
            None => drop(self.facts.remove(&index)),
        }
        self.settle_egress(index);
    }

    /// Keeps the lists of both ends right.
    fn relink_egress(&mut self, index: u32, before: Option<Fact>, after: Option<Fact>) {
        for (fact, linked) in [(before, false), (after, true)] {
            let Some(fact) = fact else { continue };
            if let Some(place) = self.transports.place(fact.transport.index) {
                place.sendings.retain(|sending| sending.egress != index);
                if linked {
                    place.sendings.push(Sending { ssrc: fact.ssrc, egress: index });
                }
            }
            if let Some(place) = self.ingresses.place(fact.ingress.index) {
                place.egress_rows.retain(|egress| *egress != index);
                if linked {
                    place.egress_rows.push(index);
                }
            }
        }
    }

    /// The owner of the subscriber's transport serves the egress while its ingress is the one it names.
    pub(crate) fn settle_egress(&mut self, index: u32) {
        let Some(&fact) = self.facts.get(&index) else { return };
        let transport = self.transports.get(fact.transport);
        let source = self.ingresses.at(fact.ingress.index).map(|place| place.reference(fact.ingress.index));
        let served = transport.is_some_and(|transport| transport.owned.is_some()) && source == Some(fact.ingress);
        if !served {
            self.end_egress(index);
            return;
        }
        // Between the taking of the fact and now the row may have got another generation; that change comes by the log.
        let row = self.site.tables.egresses.read(index).map(|(_, row)| row);
        let Some(row) = row.filter(|row| Fact::new(row).has_same_ends(&fact)) else { return };
        let Some(plan) = EgressPlan::compile(&row) else { return };
        match self.local_egress(index) {
            Some((ingress, position)) => {
                let egress = self.ingresses.at_mut(ingress).and_then(|place| place.local.get_mut(position));
                if let Some(egress) = egress {
                    (egress.plan, egress.cname) = (plan, row.cname);
                }
            }
            None => self.begin_egress(index, fact, plan, &row),
        }
        self.work.touch(fact.transport.index);
        self.work.observe_egress(index);
        self.ask_for_key_frame(index);
    }

    fn begin_egress(&mut self, index: u32, fact: Fact, plan: EgressPlan, row: &EgressRow) {
        let state = self.begin_state(index, fact.generation);
        let Some(place) = self.ingresses.at_mut(fact.ingress.index) else { return };
        let position = place.local.len() as u32;
        place.local.push(Egress {
            saved: Saved { at: self.now, standing: state.standing() },
            state,
            plan,
            transport: fact.transport,
            index,
            catches_up: true,
            next_report: engine_base::TimeNs::ZERO,
            cname: row.cname,
            observed: EgressObserved::new_zeroed(),
        });
        self.facts.insert(index, Fact { position: Some(position), ..fact });
        self.site.crew.set_interest(fact.ingress.index, self.site.me, true);
        self.refresh_clocks(fact.ingress.index);
    }

    /// Goes on where a predecessor stood, or starts anew with a random sequence.
    fn begin_state(&mut self, index: u32, generation: u32) -> EgressState {
        let media = &self.site.regions.media;
        let [index_word, rtx_word] = [false, true].map(|rtx| media.egress_index(index, rtx));
        let load = |word: &std::sync::atomic::AtomicU64| word.load(std::sync::atomic::Ordering::Acquire);
        let stored = self.site.tables.egress_states.read(index);
        let restored =
            stored.and_then(|(_, row)| EgressState::restore(&row, generation, load(index_word), load(rtx_word)));
        restored.unwrap_or_else(|| {
            let state = EgressState::new(generation, random_u64());
            // The words belong to an earlier use of the row, on other SSRCs.
            index_word.store(0, std::sync::atomic::Ordering::Release);
            rtx_word.store(0, std::sync::atomic::Ordering::Release);
            self.site.tables.egress_states.publish(index, &state.checkpoint());
            state
        })
    }

    /// Stops serving an egress; its state stays in shared memory.
    fn end_egress(&mut self, index: u32) {
        let Some((ingress, position)) = self.local_egress(index) else { return };
        if let Some(fact) = self.facts.get_mut(&index) {
            fact.position = None;
        }
        let Some(place) = self.ingresses.at_mut(ingress) else { return };
        place.local.swap_remove(position).save(&self.site, self.now);
        if let Some(moved) = place.local.get(position)
            && let Some(fact) = self.facts.get_mut(&moved.index)
        {
            fact.position = Some(position as u32);
        }
        if place.local.is_empty() {
            self.site.crew.set_interest(ingress, self.site.me, false);
        }
    }

    /// Ingress and position in its list of an egress that this worker serves.
    pub(crate) fn local_egress(&self, index: u32) -> Option<(u32, usize)> {
        let fact = self.facts.get(&index)?;
        Some((fact.ingress.index, fact.position? as usize))
    }
}

/// Streams that a predecessor knew. Clients name a stream by mid and rid only until its first report comes, and the roll-over count
/// of SRTP is never sent: without this a successor would be deaf to them.
fn recognise(site: &Site, index: u32, row: &IngressRow, owned: &mut Owned) {
    for layer in 0..row.layer_count.min(LAYERS as u8) {
        let stored = site.tables.ingress_states.read(index * LAYERS as u32 + u32::from(layer));
        let checkpoint = stored.and_then(|(_, state)| LayerCheckpoint::from_row(&state, row.generation));
        let Some(checkpoint) = checkpoint else { continue };
        owned.streams.restore(index, layer, checkpoint.ssrc, checkpoint.rtx_ssrc);
        let streams = [(checkpoint.ssrc, checkpoint.srtp_index()), (checkpoint.rtx_ssrc, checkpoint.rtx_srtp_index)];
        for (ssrc, index) in streams {
            if index != 0 && owned.windows.find(ssrc).is_none() {
                owned.windows.accept(ssrc, index);
            }
        }
    }
}
