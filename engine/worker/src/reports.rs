//! RTCP that a worker sends: sealing, and the sender reports of a subscriber's egresses.

use std::sync::atomic::Ordering;

use engine_base::{Drop as DropReason, Ssrc, TimeNs};
use engine_forward::report;
use engine_io::{Outgoing, Sender};
use engine_srtp::{Profile, RTCP_INDEX_MAX};
use engine_table::TransportCounter;

use crate::addresses::Pair;
use crate::site::Site;
use crate::state::State;
use crate::transport::{Route, Transport};

/// Sender of our feedback to publishers. Clients look at the media SSRC only; ours must differ from none of theirs in particular.
pub const FEEDBACK_SSRC: Ssrc = Ssrc(1);
/// Plain bytes of one compound packet: with index word and tag it stays below 1,200.
pub const COMPOUND_BYTES_MAX: usize = 1_160;
/// An egress whose first report cannot be made is looked at again after this.
const FIRST_REPORT_RETRY_MS: u64 = 250;

/// Seals a compound packet that `fill` writes and queues it. `fill` returns its length, 0 for
/// nothing to say. Returns false when nothing was sent.
pub fn send_rtcp<S: Sender>(
    site: &Site,
    route: Route<'_>,
    sender: &mut S,
    fill: impl FnOnce(&mut [u8]) -> usize,
) -> bool {
    let Route { transport, keys, pair: Pair { remote: destination, socket }, connection, .. } = route;
    let Some(mut slot) = sender.reserve() else {
        site.drop(DropReason::SendQueueFull);
        return false;
    };
    let out = sender.bytes(&mut slot);
    let length = out.get_mut(..COMPOUND_BYTES_MAX).map_or(0, fill);
    if length == 0 {
        sender.release(slot);
        return false;
    }
    let room = out.get_mut(..length + Profile::RTCP_OVERHEAD_MAX).unwrap_or_default();
    // Stored before the packet is published, so that a successor starts behind it.
    let word = site.regions.media.srtcp_index(transport);
    let index = (word.load(Ordering::Relaxed).wrapping_add(1) as u32) & RTCP_INDEX_MAX;
    word.store(u64::from(index), Ordering::Release);
    match keys.send.protect_rtcp(room, length, index) {
        Ok(bytes) => {
            sender.commit(slot, Outgoing { socket, destination, bytes: bytes as u32, segment_bytes: 0, connection });
            site.count_transport(transport, TransportCounter::SentPackets, 1);
            site.count_transport(transport, TransportCounter::SentBytes, bytes as u64);
            true
        }
        Err(error) => {
            site.drop(error.into());
            sender.release(slot);
            false
        }
    }
}

impl State {
    /// Sender reports of every egress of a transport that are due, as few packets as they fit in. Returns when the next is due.
    pub(crate) fn report_to_subscriber(&mut self, index: u32, sender: &mut impl Sender) -> TimeNs {
        let count = self.transports.at(index).map_or(0, |place| place.sendings.len());
        if count == 0 {
            return TimeNs::MAX;
        }
        let (mut position, mut next) = (0, TimeNs::MAX);
        while position < count {
            let start = position;
            let State { site, transports, ingresses, facts, now, .. } = self;
            let Some(place) = transports.at(index) else { break };
            let Some(route) = place.transport.as_ref().and_then(Transport::route) else { break };
            send_rtcp(site, route, sender, |out| {
                let mut length = 0;
                while let Some(sending) = place.sendings.get(position) {
                    let fact = facts.get(&sending.egress);
                    let egress = fact.and_then(|fact| {
                        let place = ingresses.at_mut(fact.ingress.index)?;
                        let egress = place.local.get_mut(fact.position? as usize)?;
                        Some((egress, &place.clocks))
                    });
                    if let Some((egress, clocks)) = egress {
                        if egress.next_report <= *now
                            && let Some(info) =
                                report::sender_info(&egress.state, &egress.plan, clocks, *now, site.node.wall_offset)
                        {
                            let Some(rest) = out.get_mut(length..) else { break };
                            match report::write(rest, &info, egress.cname.as_bytes()) {
                                Ok(written) => length += written,
                                Err(_) => break,
                            }
                            egress.next_report = now.add_ms(report::SENDER_REPORT_INTERVAL_MS);
                        }
                        // Nothing sent yet, or no report of the publisher to rest on: look again soon.
                        next = next.min(egress.next_report.max(now.add_ms(FIRST_REPORT_RETRY_MS)));
                    }
                    position += 1;
                }
                length
            });
            if position == start {
                break;
            }
        }
        next
    }
}
