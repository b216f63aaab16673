//! Which room a row belongs to: kept from the rows that rooms set and free.

use std::collections::HashMap;
use std::sync::Arc;

use engine_base::{EgressRef, IngressRef, TransportRef};
use engine_table::ingress_flags;
use signaling_program::RowChange;

/// By row index; a reference of another generation finds nothing.
#[derive(Debug, Default)]
pub(crate) struct RowIndex {
    pub(crate) transports: HashMap<u32, OfTransport>,
    pub(crate) ingresses: HashMap<u32, OfIngress>,
    pub(crate) egresses: HashMap<u32, OfEgress>,
}

#[derive(Clone, Debug)]
pub(crate) struct OfTransport {
    pub(crate) transport: TransportRef,
    pub(crate) room: Arc<str>,
}

#[derive(Clone, Debug)]
pub(crate) struct OfIngress {
    pub(crate) ingress: IngressRef,
    pub(crate) room: Arc<str>,
    pub(crate) transport: TransportRef,
    pub(crate) microphone: bool,
    /// Packets and losses at the last quality measurement.
    pub(crate) measured: (u64, u64),
}

#[derive(Clone, Debug)]
pub(crate) struct OfEgress {
    pub(crate) egress: EgressRef,
    pub(crate) transport: TransportRef,
    pub(crate) room: Arc<str>,
    /// Its room knows that it forwards: it hears of no later change.
    pub(crate) flows: bool,
}

impl RowIndex {
    pub(crate) fn note(&mut self, room: &Arc<str>, change: &RowChange) {
        match change {
            RowChange::Transport(at, _) => {
                self.transports.insert(at.index, OfTransport { transport: *at, room: Arc::clone(room) });
            }
            RowChange::Ingress(at, row) => {
                let before = self.ingresses.get(&at.index).filter(|before| before.ingress == *at);
                let entry = OfIngress {
                    ingress: *at,
                    room: Arc::clone(room),
                    transport: row.transport,
                    microphone: row.flags & ingress_flags::MICROPHONE != 0,
                    measured: before.map_or((0, 0), |before| before.measured),
                };
                self.ingresses.insert(at.index, entry);
            }
            RowChange::Egress(at, row) => {
                let before = self.egresses.get(&at.index).filter(|before| before.egress == *at);
                let flows = before.is_some_and(|before| before.flows);
                let entry = OfEgress { egress: *at, transport: row.transport, room: Arc::clone(room), flows };
                self.egresses.insert(at.index, entry);
            }
            RowChange::FreeTransport(at) => remove(&mut self.transports, at.index, |of| of.transport == *at),
            RowChange::FreeIngress(at) => remove(&mut self.ingresses, at.index, |of| of.ingress == *at),
            RowChange::FreeEgress(at) => remove(&mut self.egresses, at.index, |of| of.egress == *at),
            RowChange::Data(..) | RowChange::FreeData(_) => {}
        }
    }
}

fn remove<T>(rows: &mut HashMap<u32, T>, index: u32, is_current: impl FnOnce(&T) -> bool) {
    if rows.get(&index).is_some_and(is_current) {
        rows.remove(&index);
    }
}
