//! Observed rows: what this worker tells signaling, the courier and ctl. A change of state is announced in its log; what only
//! counts on is written at most once a second and announced to nobody.

use engine_table::{EgressObserved, NO_OWNER, SocketAddress, TableId, TransportObserved};

use crate::state::State;

/// Between two rows that differ only in times and figures.
const REFRESH_NS: u64 = 1_000_000_000;

impl State {
    /// Publishes an owned transport's row if it is due.
    pub(crate) fn observe_transport(&mut self, index: u32) {
        let now = self.now;
        let Some(place) = self.transports.at_mut(index) else { return };
        let Some(transport) = &mut place.transport else { return };
        let Some(owned) = transport.owned.as_deref_mut() else { return };
        let refresh =
            owned.link.last_check > owned.observed.published_at && now.since(owned.observed.published_at) >= REFRESH_NS;
        if !owned.observed.changed && !refresh {
            return;
        }
        let row = TransportObserved {
            generation: transport.reference.generation,
            owner: self.site.me as u8,
            state: owned.link.state,
            credentials: owned.link.credentials,
            has_keys: u8::from(transport.keys.is_some()),
            remote: owned.link.pair.remote,
            socket: owned.link.pair.socket,
            srtp_profile: transport.keys.as_ref().map_or(0, |keys| keys.profile() as u16),
            moves: owned.link.moves,
            last_check: owned.link.last_check,
        };
        let changed = std::mem::take(&mut owned.observed.changed);
        owned.observed.published_at = now;
        self.site.tables.transports_observed.publish(index, &row);
        if changed {
            self.announce_row(TableId::TransportObserved, index);
        }
    }

    /// A transport that this worker owned has ended: nobody owns the row.
    pub(crate) fn observe_end(&mut self, index: u32) {
        let row = TransportObserved {
            owner: NO_OWNER,
            remote: SocketAddress::NONE,
            ..self.site.tables.transports_observed.own(index)
        };
        self.site.tables.transports_observed.publish(index, &row);
        self.announce_row(TableId::TransportObserved, index);
    }

    /// Publishes what this turn has changed of ingresses and egresses.
    pub(crate) fn observe_streams(&mut self) {
        while let Some(index) = self.work.observed_ingresses.pop() {
            self.publish_ingress(index);
        }
        while let Some(index) = self.work.observed_egresses.pop() {
            self.publish_egress(index);
        }
    }

    fn publish_ingress(&mut self, index: u32) {
        let now = self.now;
        let Some(place) = self.ingresses.at_mut(index) else { return };
        let Some(publisher) = place.publisher.as_deref_mut() else { return };
        let changed = std::mem::take(&mut publisher.changed);
        if !changed && now.since(publisher.published_at) < REFRESH_NS {
            return;
        }
        publisher.published_at = now;
        self.site.tables.ingresses_observed.publish(index, &publisher.observe());
        if changed {
            self.announce_row(TableId::IngressObserved, index);
        }
    }

    fn publish_egress(&mut self, index: u32) {
        let Some((ingress, position)) = self.local_egress(index) else { return };
        let State { site, transports, ingresses, now, .. } = self;
        let Some(place) = ingresses.at_mut(ingress) else { return };
        let Some(egress) = place.local.get_mut(position) else { return };
        let owned = transports.get(egress.transport).and_then(|transport| transport.owned.as_deref());
        let estimate = owned.and_then(|owned| owned.estimate.bits_per_second(*now)).unwrap_or(0);
        let row = egress.observe(place.clocks.active != 0, estimate);
        let before = std::mem::replace(&mut egress.observed, row);
        if row == before {
            return;
        }
        site.tables.egresses_observed.publish(index, &row);
        if state_of(&row) != state_of(&before) {
            self.announce_row(TableId::EgressObserved, index);
        }
    }

    fn announce_row(&mut self, table: TableId, index: u32) {
        self.log.push(table, index);
        self.work.announced = true;
    }
}

/// What of an egress is a state, not a figure.
pub fn state_of(row: &EgressObserved) -> (u32, u8, u8, u8, u8) {
    (row.generation, row.state, row.layer, row.layer_target, row.codec)
}
