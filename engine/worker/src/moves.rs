//! A transport leaves one worker and arrives at another: released whole, acquired whole, never shared.

use engine_base::TransportRef;

use crate::link::Wish;
use crate::publisher::Publisher;
use crate::state::State;
use crate::transport::Owned;

/// What a release sends to the new owner. Egresses are not in it: their state lies in shared memory, where the release left it.
#[derive(Debug)]
pub struct Moved {
    pub transport: TransportRef,
    pub owned: Box<Owned>,
    /// By ingress row.
    pub publishers: Vec<(u32, Box<Publisher>)>,
    pub wish: Wish,
    /// Ingresses of which it has egresses: the new owner counts as interested already.
    pub watched: Vec<u32>,
}

impl State {
    /// Ends the ownership of a transport in favour of the worker of `wish`.
    pub(crate) fn release(&mut self, reference: TransportRef, wish: Wish) {
        let Some(transport) = self.transports.get_mut(reference) else { return };
        let Some(owned) = transport.owned.take() else { return };
        self.work.disconnects.extend(transport.connected.take().and_then(|connected| connected.connection));
        self.timers.cancel(reference.index);
        let publishers = self.take_publishers(reference.index);
        let watched = self.pass_interest(reference.index, wish.worker);
        // Without ownership the egresses are checkpointed and leave.
        self.settle_egresses_of(reference.index);
        let moved = Moved { transport: reference, owned, publishers, wish, watched };
        self.site.crew.hand_over(moved, self.site.me, wish.worker);
        self.rings.owe(wish.worker);
    }

    /// Makes another worker interested in what the transport's egresses forward, so that packets go on into their slots.
    fn pass_interest(&self, transport: u32, to: u32) -> Vec<u32> {
        let sendings = self.transports.at(transport).map_or(&[][..], |place| &place.sendings);
        let watched: Vec<u32> =
            sendings.iter().filter_map(|sending| Some(self.local_egress(sending.egress)?.0)).collect();
        watched.iter().for_each(|ingress| self.site.crew.set_interest(*ingress, to, true));
        watched
    }

    /// Acquires what other workers have released to this one.
    pub(crate) fn open_mailbox(&mut self) {
        while let Ok(moved) = self.mailbox.try_recv() {
            self.opened += 1;
            let watched = self.acquire(moved);
            for ingress in watched {
                // Whatever of it has ended on the way interests nobody.
                if self.ingresses.at(ingress).is_none_or(|place| place.local.is_empty()) {
                    self.site.crew.set_interest(ingress, self.site.me, false);
                }
            }
        }
    }

    fn acquire(&mut self, moved: Moved) -> Vec<u32> {
        let reference = moved.transport;
        if self.transports.get(reference).is_none() {
            self.take_transport(reference.index);
        }
        let Some(transport) = self.transports.get_mut(reference) else {
            // The row was freed meanwhile.
            self.site.crew.disown(reference, self.site.me);
            return moved.watched;
        };
        let mut owned = moved.owned;
        owned.link.arrive(moved.wish, self.now);
        owned.observed.changed = true;
        transport.owned = Some(owned);
        for (ingress, publisher) in moved.publishers {
            self.put_publisher(ingress, publisher);
        }
        self.settle_transport(reference.index);
        moved.watched
    }
}
