//! Key frames: what subscribers want is added to this worker's words of the layer; the owner of the ingress looks at all workers'
//! words and asks the publisher. The words are the truth, the records only say that they are worth a look.

use engine_base::IngressRef;
use engine_base::limits::LAYERS;
use engine_forward::ingress::LayerCheckpoint;
use zerocopy::IntoBytes;

use crate::records::kind;
use crate::site::bump;
use crate::state::State;

impl State {
    /// An egress may want a key frame now: it is new, its row or path changed, or the subscriber asked.
    pub(crate) fn ask_for_key_frame(&mut self, index: u32) {
        let Some((ingress, position)) = self.local_egress(index) else { return };
        self.refresh_clocks(ingress);
        let State { transports, ingresses, now, .. } = self;
        let Some(place) = ingresses.at_mut(ingress) else { return };
        let Some(egress) = place.local.get_mut(position) else { return };
        if let Some(layer) = egress.poll_demand(transports, &place.clocks, *now) {
            let mut demands = [0; LAYERS];
            demands[layer] = 1;
            self.raise_demands(ingress, demands);
        }
    }

    /// A transport has changed, its path perhaps opened: its egresses need not wait for the next packet.
    pub(crate) fn ask_for_key_frames_of(&mut self, transport: u32) {
        for position in 0.. {
            let sending = self.transports.at(transport).and_then(|place| place.sendings.get(position).copied());
            let Some(sending) = sending else { break };
            self.ask_for_key_frame(sending.egress);
        }
    }

    /// Adds to this worker's words and lets the owner look.
    pub(crate) fn raise_demands(&mut self, ingress: u32, demands: [u64; LAYERS]) {
        if demands == [0; LAYERS] {
            return;
        }
        let me = self.site.me;
        for (layer, demand) in demands.into_iter().enumerate().filter(|(_, demand)| *demand != 0) {
            bump(self.site.regions.engine.key_frame_demand(me, ingress, layer), demand);
        }
        let Some(row) = self.ingresses.at(ingress).and_then(|place| place.row.as_ref()) else { return };
        let (transport, reference) = (row.transport, IngressRef::new(ingress, row.generation));
        match self.site.crew.owner(transport) {
            Some(owner) if owner == me => self.work.touch(transport.index),
            Some(owner) => self.rings.push(&self.site, owner, kind::DEMAND, &[reference.as_bytes()]),
            None => {}
        }
    }

    /// Follows the clocks of an ingress that another worker owns. **Cost**: a word per layer, and a row per layer that changed.
    pub(crate) fn refresh_clocks(&mut self, ingress: u32) {
        let Some(place) = self.ingresses.at_mut(ingress) else { return };
        let Some(row) = place.row.as_ref().filter(|_| place.publisher.is_none()) else { return };
        for layer in 0..LAYERS {
            let stream = ingress * LAYERS as u32 + layer as u32;
            let version = self.site.tables.ingress_states.version(stream).unwrap_or(0);
            if version == place.clocks_versions[layer] {
                continue;
            }
            let Some((version, state)) = self.site.tables.ingress_states.read(stream) else { continue };
            place.clocks_versions[layer] = version;
            let Some(checkpoint) = LayerCheckpoint::from_row(&state, row.generation) else { continue };
            place.clocks.layers[layer] = checkpoint.sender_report();
            place.clocks.set_active(layer as u8, checkpoint.is_active());
            place.clocks.publisher = checkpoint.publisher().or(place.clocks.publisher);
        }
    }
}
