//! Sender reports to subscribers, on a time base that all tracks of one publisher share, and the round-trip time from what
//! subscribers report back (RFC 3550 §6.4).

use engine_base::{NtpTime, TimeNs, WallOffset};
use engine_wire::error::WireError;
use engine_wire::rtcp::report_block::ReportBlock;
use engine_wire::rtcp::sr::SenderInfo;
use engine_wire::rtcp::{sdes, sr};

use crate::egress::EgressState;
use crate::plan::EgressPlan;
use crate::source::SourceClocks;

/// Every egress reports at this interval; the first one follows the first packet at once.
pub const SENDER_REPORT_INTERVAL_MS: u64 = 3_000;
/// A round trip longer than this is an error of somebody's clock.
const ROUND_TRIP_MAX_US: u64 = 60_000_000;

/// What a sender report of an egress says at `now`: our NTP time, and the media time that the publisher's clocks show for it, moved
/// onto the subscriber's timeline. `None` before the first packet, and until the publisher has reported on the layer.
///
/// The publisher's NTP clock is related to ours once per transport, so the tracks of one publisher stay in step.
pub fn sender_info(
    state: &EgressState,
    plan: &EgressPlan,
    clocks: &SourceClocks,
    now: TimeNs,
    wall: WallOffset,
) -> Option<SenderInfo> {
    if !state.has_started() {
        return None;
    }
    let report = (*clocks.layers.get(usize::from(state.layer()))?)?;
    let published = clocks.publisher?.ntp_at(now, wall);
    let timestamp = report.timestamp_at(published, state.codec().clock_rate()).add(state.timestamp_offset());
    let (packets, payload_bytes) = state.sent();
    Some(SenderInfo { ssrc: plan.ssrc, ntp: wall.ntp(now), timestamp, packets, payload_bytes })
}

/// Writes a sender report and its CNAME, and returns their length: 28 B and 10 B plus the name, in whole words. Several in a row
/// are one compound packet.
pub fn write(out: &mut [u8], info: &SenderInfo, cname: &[u8]) -> Result<usize, WireError> {
    let report = sr::write(out, info, &[])?;
    let rest = out.get_mut(report..).ok_or(WireError::Capacity)?;
    Ok(report + sdes::write(rest, info.ssrc, cname)?)
}

/// Round-trip time from a report block about one of our streams: now − LSR − DLSR. `None` when it refers to no report of ours, or
/// to a time that cannot be.
pub fn round_trip_us(block: &ReportBlock, now: NtpTime) -> Option<u32> {
    if block.last_sender_report == 0 {
        return None;
    }
    let units = now.middle().wrapping_sub(block.last_sender_report).wrapping_sub(block.delay);
    // Units of 1/65,536 s; both clocks are rounded down, so a short trip may come out a unit below zero.
    let us = if units > u32::MAX - 2 { 1 } else { ((u64::from(units) * 1_000_000) >> 16).max(1) };
    (us <= ROUND_TRIP_MAX_US).then_some(us as u32)
}

#[cfg(test)]
mod tests;
