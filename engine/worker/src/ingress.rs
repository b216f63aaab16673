//! What a worker keeps for each ingress row: the row, the egresses it serves of it, packets waiting for the fan-out, and, on the
//! owner of the publisher's transport, the receiving side.

use engine_base::limits::LAYERS;
use engine_base::{IngressRef, Kind, TimeNs};
use engine_forward::SourceClocks;
use engine_table::{IngressRow, SlotRef};

use crate::egress::Egress;
use crate::publisher::Publisher;

/// Packets of one source that wait for the fan-out of a turn: as many as a turn receives.
pub const WAITING_MAX: usize = 1_024;

#[derive(Debug)]
pub struct IngressPlace {
    /// `None` while the row is free.
    pub row: Option<IngressRow>,
    pub kind: Kind,
    /// Rows of the egress table that name this index.
    pub egress_rows: Vec<u32>,
    /// The egresses that this worker serves.
    pub local: Vec<Egress>,
    pub waiting: Vec<SlotRef>,
    /// It is in the turn's list of ingresses with waiting packets.
    pub queued: bool,
    /// Arrival of the first of them.
    pub waiting_since: TimeNs,
    /// The owner's own, or a copy of what the owner stored.
    pub clocks: SourceClocks,
    /// Publication words of the copy's layers.
    pub clocks_versions: [u64; LAYERS],
    pub publisher: Option<Box<Publisher>>,
}

impl Default for IngressPlace {
    fn default() -> Self {
        Self {
            row: None,
            kind: Kind::Audio,
            egress_rows: Vec::new(),
            local: Vec::new(),
            waiting: Vec::new(),
            queued: false,
            waiting_since: TimeNs::ZERO,
            clocks: SourceClocks::default(),
            clocks_versions: [0; LAYERS],
            publisher: None,
        }
    }
}

impl IngressPlace {
    pub fn reference(&self, index: u32) -> IngressRef {
        self.row.map_or(IngressRef::NONE, |row| IngressRef::new(index, row.generation))
    }
}

/// By row index.
#[derive(Debug)]
pub struct Ingresses {
    places: Box<[Option<Box<IngressPlace>>]>,
}

impl Ingresses {
    pub fn new(rows: u32) -> Self {
        Self { places: (0..rows).map(|_| None).collect() }
    }

    /// The place of an index, made when it is first named; `None` outside the table.
    pub fn place(&mut self, index: u32) -> Option<&mut IngressPlace> {
        let place = self.places.get_mut(index as usize)?;
        Some(place.get_or_insert_default())
    }

    #[inline]
    pub fn at(&self, index: u32) -> Option<&IngressPlace> {
        self.places.get(index as usize)?.as_deref()
    }

    #[inline]
    pub fn at_mut(&mut self, index: u32) -> Option<&mut IngressPlace> {
        self.places.get_mut(index as usize)?.as_deref_mut()
    }
}
