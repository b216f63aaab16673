//! What one turn has put aside for its later phases. The lists keep their room from turn to turn.

use engine_base::{SequenceNumber, TimeNs};
use engine_io::Connection;

use crate::fan_out::{HEADS_BYTES, Visit};
use crate::rtcp_in::RESENDS_MAX;

#[derive(Debug)]
pub struct Work {
    /// Ingresses with packets that wait for the fan-out.
    pub queued: Vec<u32>,
    /// When the first of those that are held is due.
    pub held_until: Option<TimeNs>,
    /// Scratch of the fan-out.
    pub visits: Vec<Visit>,
    /// Scratch: packet heads of one subscriber.
    pub heads: Box<[u8]>,
    /// Transports to be served at the end of the turn.
    touched: Vec<u32>,
    is_touched: Box<[u64]>,
    /// Egresses and their own sequence numbers that were NACKed.
    pub resends: Vec<(u32, SequenceNumber)>,
    /// Sockets of transports that ended or moved.
    pub disconnects: Vec<Connection>,
    pub observed_ingresses: Vec<u32>,
    pub observed_egresses: Vec<u32>,
    /// A row was announced in the log.
    pub announced: bool,
}

impl Work {
    /// **Input**: rows of the tables, so that no list grows later.
    pub fn new(transports: u32, ingresses: u32, egresses: u32) -> Self {
        Self {
            queued: Vec::with_capacity(ingresses as usize),
            held_until: None,
            visits: Vec::with_capacity(egresses as usize),
            heads: vec![0; HEADS_BYTES].into_boxed_slice(),
            touched: Vec::with_capacity(transports as usize),
            is_touched: vec![0; (transports as usize).div_ceil(64)].into_boxed_slice(),
            resends: Vec::with_capacity(RESENDS_MAX),
            disconnects: Vec::with_capacity(transports as usize),
            observed_ingresses: Vec::with_capacity(ingresses as usize),
            observed_egresses: Vec::with_capacity(egresses as usize),
            announced: false,
        }
    }

    /// Something happened to a transport: look at its deadlines when the turn ends.
    #[inline]
    pub fn touch(&mut self, transport: u32) {
        let Some(word) = self.is_touched.get_mut(transport as usize / 64) else { return };
        let bit = 1 << (transport % 64);
        if *word & bit == 0 {
            *word |= bit;
            self.touched.push(transport);
        }
    }

    pub fn pop_touched(&mut self) -> Option<u32> {
        let transport = self.touched.pop()?;
        if let Some(word) = self.is_touched.get_mut(transport as usize / 64) {
            *word &= !(1 << (transport % 64));
        }
        Some(transport)
    }

    pub fn has_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    pub fn observe_ingress(&mut self, ingress: u32) {
        if self.observed_ingresses.last() != Some(&ingress) {
            self.observed_ingresses.push(ingress);
        }
    }

    pub fn observe_egress(&mut self, egress: u32) {
        if self.observed_egresses.last() != Some(&egress) {
            self.observed_egresses.push(egress);
        }
    }
}
