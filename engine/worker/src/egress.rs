//! Egresses: what this worker sends of one source, contiguous per ingress, and the rows they come from.

use std::collections::HashMap;

use engine_base::limits::LAYERS;
use engine_base::{IngressRef, Ssrc, TimeNs, TransportRef};
use engine_forward::{EgressPlan, EgressState, SourceClocks, Standing};
use engine_table::{EgressObserved, EgressRow, Text, egress_state};

use crate::observe::state_of;
use crate::site::Site;
use crate::transport::Transports;

/// How old a stored state may become. What it says of numbers stays true for longer (`EgressState::standing`), so that a crash costs
/// the subscriber nothing; its reports then count up to this much less.
const SAVE_NS: u64 = 100_000_000;

/// One egress that this worker serves.
#[derive(Debug)]
pub struct Egress {
    pub state: EgressState,
    pub plan: EgressPlan,
    pub transport: TransportRef,
    /// Row.
    pub index: u32,
    /// It came from another worker: packets that arrived in between are in their slots and were forwarded by nobody.
    pub catches_up: bool,
    /// When its next sender report is due; 0 before the first.
    pub next_report: TimeNs,
    pub cname: Text<54>,
    pub observed: EgressObserved,
    pub saved: Saved,
}

/// What of the state is stored.
#[derive(Clone, Copy, Debug)]
pub struct Saved {
    pub at: TimeNs,
    pub standing: Standing,
}

impl Egress {
    /// Stores the state where a successor, of this egress or of the process, finds it.
    pub fn save(&mut self, site: &Site, now: TimeNs) {
        self.saved = Saved { at: now, standing: self.state.standing() };
        site.tables.egress_states.publish(self.index, &self.state.checkpoint());
    }

    /// As `save`, when a successor could not go on from what is stored, or it is old.
    #[inline]
    pub fn save_if_due(&mut self, site: &Site, now: TimeNs) {
        if now.since(self.saved.at) >= SAVE_NS || self.saved.standing != self.state.standing() {
            self.save(site, now);
        }
    }

    /// The layer of which it wants a key frame now. A subscriber that cannot be reached wants none: it would be wasted, and the next
    /// one throttled.
    pub fn poll_demand(&mut self, transports: &Transports, clocks: &SourceClocks, now: TimeNs) -> Option<usize> {
        transports.get(self.transport)?.route()?;
        self.poll_demand_of_reachable(clocks, now)
    }

    /// As `poll_demand`, when the subscriber is known to be reachable.
    #[inline]
    pub fn poll_demand_of_reachable(&mut self, clocks: &SourceClocks, now: TimeNs) -> Option<usize> {
        let layer = self.state.poll_key_frame_demand(&self.plan, clocks, now)?;
        Some(usize::from(layer).min(LAYERS - 1))
    }

    /// True when its observed row no longer says what it does.
    pub fn has_changed(&self, clocks: &SourceClocks) -> bool {
        let now = self.observe(clocks.active != 0, self.observed.estimate_bps);
        state_of(&now) != state_of(&self.observed)
    }

    /// What ctl and signaling shall see. `estimate_bps` is the transport's.
    pub fn observe(&self, waits: bool, estimate_bps: u64) -> EgressObserved {
        let layer = self.state.layer();
        EgressObserved {
            generation: self.plan.generation,
            state: match layer {
                _ if !self.plan.enabled => egress_state::PAUSED,
                engine_forward::egress::NO_LAYER if waits => egress_state::WAITS_FOR_KEY_FRAME,
                engine_forward::egress::NO_LAYER => egress_state::IDLE,
                _ => egress_state::FORWARDING,
            },
            layer,
            layer_target: self.state.layer_target(),
            codec: self.state.codec() as u8,
            fraction_lost: self.state.fraction_lost(),
            temporal: self.state.temporal(),
            reserved: 0,
            rtt_us: self.state.rtt_us(),
            estimate_bps,
        }
    }
}

/// What the egress rows say, for every row whoever serves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact {
    pub generation: u32,
    pub transport: TransportRef,
    pub ingress: IngressRef,
    pub ssrc: Ssrc,
    /// Where it lies in its ingress's list, if this worker serves it.
    pub position: Option<u32>,
}

impl Fact {
    pub fn new(row: &EgressRow) -> Self {
        Self {
            generation: row.generation,
            transport: row.transport,
            ingress: row.ingress,
            ssrc: row.ssrc,
            position: None,
        }
    }

    pub fn has_same_ends(&self, other: &Self) -> bool {
        (self.generation, self.transport, self.ingress) == (other.generation, other.transport, other.ingress)
    }
}

/// Facts by row index. Changes with rows, read for feedback; the packet path does without.
pub type Facts = HashMap<u32, Fact>;

/// Names one egress of a transport by its SSRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sending {
    pub ssrc: Ssrc,
    pub egress: u32,
}
