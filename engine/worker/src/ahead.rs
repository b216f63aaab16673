//! Looks ahead in the fan-out: asks the processor for what the next subscribers are served from, about forty cache lines each, which
//! a worker with many of them finds in L3 or memory. In two steps, because where the second lies is written in the first.

use engine_forward::nack::{EgressEntries, Retransmissions};
use engine_table::{EgressCounter, TransportCounter, prefetch, prefetch_value};

use crate::fan_out::{Subscriber, Visit};
use crate::site::Site;

/// Visits between asking and serving: long enough for a line from memory, short enough that none is evicted again.
const FAR: usize = 8;
const NEAR: usize = 4;

pub struct Ahead<'v> {
    visits: &'v [Visit],
    far: usize,
    near: usize,
}

impl<'v> Ahead<'v> {
    pub fn new(visits: &'v [Visit]) -> Self {
        Self { visits, far: 0, near: 0 }
    }

    /// Asks for `count` more visits, which are served after those that were asked for before.
    pub fn look(&mut self, count: usize, subscriber: &Subscriber<'_, '_, '_>, site: &Site) {
        let visits = self.visits;
        let to = |next: usize, distance: usize| (next.max(distance) + count).min(visits.len());
        let far = to(self.far, FAR);
        visits.get(self.far..far).unwrap_or_default().iter().for_each(|visit| look_far(visit, subscriber, site));
        let near = to(self.near, NEAR);
        visits.get(self.near..near).unwrap_or_default().iter().for_each(|visit| look_near(visit, subscriber, site));
        (self.far, self.near) = (far, near);
    }
}

/// The egress, its transport, and the words of its rows.
fn look_far(visit: &Visit, subscriber: &Subscriber<'_, '_, '_>, site: &Site) {
    if let Some(egress) = subscriber.egress(visit) {
        prefetch_value(egress);
    }
    if let Some(place) = subscriber.transports.at(visit.transport) {
        prefetch_value(&place.transport);
    }
    prefetch_value(site.regions.media.egress_index(visit.egress, false));
    prefetch_value(site.regions.media.transport_wide_sequence(visit.transport));
    prefetch_value(site.regions.engine.egress_counter(visit.egress, EgressCounter::Packets));
    prefetch_value(site.regions.engine.transport_counter(visit.transport, TransportCounter::SentPackets));
}

/// The path, the keys, and where the packet is noted.
fn look_near(visit: &Visit, subscriber: &Subscriber<'_, '_, '_>, site: &Site) {
    if let Some(egress) = subscriber.egress(visit).filter(|egress| egress.plan.nack) {
        Retransmissions(EgressEntries { media: &site.regions.media, egress: visit.egress })
            .prefetch_next(&egress.state);
    }
    let transport = subscriber.transports.at(visit.transport).and_then(|place| place.transport.as_ref());
    if let Some(transport) = transport {
        if let Some(owned) = transport.owned.as_deref() {
            prefetch_value(&owned.link);
        }
        if let Some(keys) = transport.keys.as_deref() {
            let (at, bytes) = keys.send.hot();
            prefetch(at, bytes);
        }
    }
}
