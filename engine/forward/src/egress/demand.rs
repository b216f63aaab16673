//! What the subscriber says, and the key frames that follow from it.

use engine_base::{Kind, NtpTime, TimeNs};
use engine_wire::rtcp::report_block::ReportBlock;

use super::{EgressState, NO_LAYER, flags};
use crate::plan::EgressPlan;
use crate::source::{SourceClocks, best_layer};

/// A waiting egress repeats its demand every 2·RTT within these bounds.
const DEMAND_NS_MIN: u64 = 200_000_000;
const DEMAND_NS_MAX: u64 = 1_000_000_000;

impl EgressState {
    /// The layer of which a key frame is wanted now: at the start, to switch, or because the subscriber asked. Each `Some` is one
    /// demand, which the worker adds to its word of that layer; it comes again every 200 ms to 1 s until the key frame is there.
    pub fn poll_key_frame_demand(&mut self, plan: &EgressPlan, clocks: &SourceClocks, now: TimeNs) -> Option<u8> {
        if plan.kind != Kind::Video || !plan.enabled || now < self.next_demand {
            return None;
        }
        let target = best_layer(clocks.active, plan.layer_max)?;
        let runs = |layer: u8| layer != NO_LAYER && clocks.active >> layer & 1 != 0;
        let wanted = if self.flags & flags::KEY_FRAME_ASKED != 0 && runs(self.layer) {
            self.layer
        } else if self.layer != target {
            target
        } else {
            return None;
        };
        self.layer_target = target;
        self.next_demand = now.add_ns((u64::from(self.reported.rtt_us) * 2_000).clamp(DEMAND_NS_MIN, DEMAND_NS_MAX));
        Some(wanted)
    }

    /// The subscriber asks for a key frame (PLI or FIR): the next poll passes it on, and until the key frame is there nothing older
    /// is resent.
    pub fn handle_key_frame_request(&mut self) {
        self.flags |= flags::KEY_FRAME_ASKED;
        self.next_demand = TimeNs::ZERO;
    }

    /// A report block of the subscriber about this egress's SSRC. `now` on our NTP clock.
    pub fn handle_report_block(&mut self, block: &ReportBlock, now: NtpTime) {
        self.flags |= flags::REPORTED;
        self.reported.fraction_lost = block.fraction_lost;
        if let Some(rtt_us) = crate::report::round_trip_us(block, now) {
            self.reported.rtt_us = rtt_us;
        }
    }

    /// Microseconds; 0 unknown.
    pub const fn rtt_us(&self) -> u32 {
        self.reported.rtt_us
    }

    /// In 256ths, as the subscriber last reported.
    pub const fn fraction_lost(&self) -> u8 {
        self.reported.fraction_lost
    }

    /// Own numbers below are not resent, because the subscriber gave them up for a key frame. Everything while it is awaited.
    pub(crate) const fn nack_floor(&self) -> u64 {
        if self.flags & flags::KEY_FRAME_ASKED != 0 { u64::MAX } else { self.nack_floor }
    }
}
