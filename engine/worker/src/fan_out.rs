//! The sending half of a turn: packets that wait in slots become, subscriber by subscriber, trains of sealed datagrams to one
//! destination, whatever sources they come from.
//!
//! ```text
//! waiting packets → pass (≤ 64) → visits in the order of subscribers → verdict, header → items of one subscriber
//!                                                                → trains (`train`) → rounds (`round`): seal, send
//! ```

use engine_base::limits::{LAYERS, TRAIN_PACKETS};
use engine_base::{Drop as DropReason, Kind, NtpTime, TimeNs};
use engine_forward::nack::{EgressEntries, Retransmissions};
use engine_forward::{PacketHeader, Rewrite, Verdict, write};
use engine_io::Sender;
use engine_table::slots::packet_flags;
use engine_table::{EgressCounter, SlotRef, TransportCounter, Turn, WorkerCounter};
use smallvec::SmallVec;

use crate::ahead::Ahead;
use crate::egress::Egress;
use crate::hold::PACKETS_ENOUGH;
use crate::ingress::Ingresses;
use crate::lane::Lane;
use crate::round::{Desk, Destination, Item, Round};
use crate::site::Site;
use crate::state::State;
use crate::train::Shape;
use crate::transport::{Route, Transports};
use crate::work::Work;

/// Packets of all sources that go to the subscribers together: longer trains, and 7 KB of headers on the stack.
const PASS_PACKETS: usize = 64;
/// Room for the longest head: RTP header, an extension block of 255 words at the very most, a VP8 descriptor.
const HEAD_BYTES: usize = 1_100;
/// Heads of one subscriber's packets, about 50 B each; a packet that finds no room for the longest begins another train.
pub const HEADS_BYTES: usize = PASS_PACKETS * 64 + HEAD_BYTES;

/// A waiting packet, found in its slot.
struct Waiting<'a> {
    slot: SlotRef,
    layer: u8,
    header: PacketHeader,
    bytes: &'a [u8],
}

/// A source that has packets in the pass.
struct Source {
    ingress: u32,
    first: usize,
    end: usize,
    kind: Kind,
    demands: [u64; LAYERS],
}

type Packets<'a> = SmallVec<[Waiting<'a>; PASS_PACKETS]>;
type Sources = SmallVec<[Source; PASS_PACKETS]>;
type Items<'a> = SmallVec<[Item<'a>; PASS_PACKETS]>;

/// One egress of a source of the pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Visit {
    /// Row. First, because a subscriber's packets shall lie next to each other.
    pub transport: u32,
    /// Audio last: its packets are shorter, and only the last of a train may be.
    is_audio: bool,
    /// In the pass.
    pub source: u16,
    /// In the ingress's list.
    pub position: u32,
    /// Row.
    pub egress: u32,
}

impl State {
    /// Forwards everything that waits, video if it is due.
    pub(crate) fn fan_out<S: Sender>(&mut self, turn: &Turn, sender: &mut S) {
        let (mut packets, mut sources) = (Packets::new(), Sources::new());
        let video_is_due = self.video_is_due();
        loop {
            packets.clear();
            sources.clear();
            self.gather(Kind::Audio, turn, &mut packets, &mut sources);
            if video_is_due {
                self.gather(Kind::Video, turn, &mut packets, &mut sources);
            }
            if sources.is_empty() {
                break;
            }
            self.forward(turn, &packets, &mut sources, sender);
            for source in &sources {
                self.raise_demands(source.ingress, source.demands);
            }
        }
        self.work.held_until = self.next_held();
    }

    /// One source has waited for long enough, or has much. All others leave with it: what goes to the same subscriber shares a send.
    fn video_is_due(&self) -> bool {
        let hold_ns = self.hold.ns();
        let waiting = self.work.queued.iter().filter_map(|&index| self.ingresses.at(index));
        let mut video = waiting.filter(|place| place.queued && place.kind == Kind::Video);
        video.any(|place| self.now.since(place.waiting_since) >= hold_ns || place.waiting.len() >= PACKETS_ENOUGH)
    }

    /// Takes waiting packets of sources of one kind into the pass.
    fn gather<'t>(&mut self, kind: Kind, turn: &'t Turn, packets: &mut Packets<'t>, sources: &mut Sources) {
        let mut position = 0;
        while let Some(&index) = self.work.queued.get(position) {
            let room = PASS_PACKETS - packets.len();
            if room == 0 {
                return;
            }
            if self.ingresses.at(index).is_some_and(|place| place.queued && place.kind != kind) {
                position += 1;
                continue;
            }
            self.refresh_clocks(index);
            let Some(place) = self.ingresses.at_mut(index).filter(|place| place.queued) else {
                self.work.queued.remove(position);
                continue;
            };
            let first = packets.len();
            let taken = place.waiting.len().min(room);
            for slot in place.waiting.drain(..taken) {
                match turn.packet(slot) {
                    Some((header, bytes)) => {
                        let layer = (slot.stream % LAYERS as u32) as u8;
                        packets.push(Waiting { slot, layer, header, bytes });
                    }
                    None => self.site.drop(DropReason::RtpTooOld),
                }
            }
            if place.waiting.is_empty() {
                place.queued = false;
                self.work.queued.remove(position);
            } else {
                position += 1;
            }
            if packets.len() > first {
                sources.push(Source { ingress: index, first, end: packets.len(), kind, demands: [0; LAYERS] });
            }
        }
    }

    /// When the first of the sources that are held is due.
    fn next_held(&self) -> Option<TimeNs> {
        let held = self.work.queued.iter().filter_map(|&index| self.ingresses.at(index));
        held.map(|place| place.waiting_since.add_ns(self.hold.ns())).min()
    }

    /// One pass: its packets to every subscriber of their sources.
    fn forward<S: Sender>(&mut self, turn: &Turn, packets: &[Waiting<'_>], sources: &mut [Source], sender: &mut S) {
        let ntp = self.site.ntp(self.now);
        let State { site, transports, ingresses, work, sealer, now, .. } = self;
        let mut visits = std::mem::take(&mut work.visits);
        list_visits(sources, ingresses, &mut visits);
        let mut heads = std::mem::take(&mut work.heads);
        let mut round = Round::default();
        {
            let mut desk = Desk { site, sender, sealer };
            let mut subscriber =
                Subscriber { turn, transports, ingresses, work, heads: &mut heads, packets, sources, now: *now, ntp };
            let mut ahead = Ahead::new(&visits);
            for visits in visits.chunk_by(|a, b| a.transport == b.transport) {
                ahead.look(visits.len(), &subscriber, desk.site);
                subscriber.serve(visits, &mut round, &mut desk);
            }
            round.send(&mut desk);
        }
        visits.clear();
        work.visits = visits;
        work.heads = heads;
    }
}

fn list_visits(sources: &[Source], ingresses: &Ingresses, visits: &mut Vec<Visit>) {
    for (number, source) in (0u16..).zip(sources) {
        let Some(place) = ingresses.at(source.ingress) else { continue };
        let is_audio = source.kind == Kind::Audio;
        visits.extend(place.local.iter().zip(0u32..).map(|(egress, position)| Visit {
            transport: egress.transport.index,
            is_audio,
            source: number,
            position,
            egress: egress.index,
        }));
    }
    if sources.len() > 1 {
        visits.sort_unstable();
    }
}

/// Everything that one subscriber after the other is served from.
pub struct Subscriber<'s, 'p, 't> {
    turn: &'p Turn,
    pub transports: &'t Transports,
    ingresses: &'s mut Ingresses,
    work: &'s mut Work,
    heads: &'s mut [u8],
    packets: &'p [Waiting<'p>],
    sources: &'s mut [Source],
    now: TimeNs,
    ntp: NtpTime,
}

impl<'p, 't: 'p> Subscriber<'_, 'p, 't> {
    /// The egress that a visit is to.
    #[inline]
    pub fn egress(&self, visit: &Visit) -> Option<&Egress> {
        let source = self.sources.get(usize::from(visit.source))?;
        self.ingresses.at(source.ingress)?.local.get(visit.position as usize)
    }

    /// **Input**: the visits of one transport.
    fn serve(&mut self, visits: &[Visit], round: &mut Round<'p>, desk: &mut Desk<'t, impl Sender>) {
        let mut items = Items::new();
        let mut missed = Packets::new();
        let mut head = 0;
        let mut lane = None;
        for visit in visits {
            let Some(source) = self.sources.get_mut(usize::from(visit.source)) else { continue };
            let Some(place) = self.ingresses.at_mut(source.ingress) else { continue };
            let Some(egress) = place.local.get_mut(visit.position as usize) else { continue };
            let packets = self.packets.get(source.first..source.end).unwrap_or_default();
            let route = self.transports.get(egress.transport).and_then(|transport| transport.route());
            let Some(route) = route else {
                egress.state.pause();
                packets.iter().for_each(|_| desk.site.drop(DropReason::EgressNotConnected));
                continue;
            };
            let here = Lane { site: desk.site, route, now: self.now, ntp: self.ntp };
            lane = Some(here);
            let runs = egress.state.runs();
            missed.clear();
            if egress.catches_up {
                look_back(self.turn, egress, packets, &mut missed);
            }
            for packet in missed.iter().rev().chain(packets) {
                match egress.state.verdict(&egress.plan, packet.layer, &packet.header, &place.clocks) {
                    Verdict::Drop(reason) => desk.site.drop(reason),
                    Verdict::Forward(rewrite) => {
                        if self.heads.len() - head < HEAD_BYTES {
                            depart(&here, &mut items, self.heads, round, desk);
                            head = 0;
                        }
                        match stage(&here, egress, &rewrite, packet, (&mut *self.heads, head)) {
                            Ok(item) => {
                                head = item.head.end;
                                items.push(item);
                            }
                            Err(reason) => desk.site.drop(reason),
                        }
                    }
                }
            }
            let begun = egress.state.runs().wrapping_sub(runs);
            if begun != 0 {
                desk.site.count_egress(egress.index, EgressCounter::Switches, u64::from(begun));
                // The first sender report of a run shall be early.
                self.work.touch(egress.transport.index);
            }
            egress.save_if_due(desk.site, self.now);
            if egress.has_changed(&place.clocks) {
                self.work.observe_egress(egress.index);
            }
            if let Some(layer) = egress.poll_demand_of_reachable(&place.clocks, self.now) {
                source.demands[layer] += 1;
            }
        }
        if let Some(lane) = lane {
            depart(&lane, &mut items, self.heads, round, desk);
        }
    }
}

/// Finds the packets, the newest first, that arrived while an egress was on its way here from another worker. Without them its
/// subscriber would see a loss that no retransmission can mend.
#[cold]
fn look_back<'p>(turn: &'p Turn, egress: &mut Egress, packets: &[Waiting<'p>], missed: &mut Packets<'p>) {
    let Some(first) = packets.iter().find(|packet| packet.layer == egress.state.layer()) else { return };
    egress.catches_up = false;
    let before = std::iter::successors(turn.before(first.slot), |reference| turn.before(*reference));
    for slot in before.take(PASS_PACKETS).take_while(|slot| slot.sequence > egress.state.newest_source()) {
        if let Some((header, bytes)) = turn.packet(slot) {
            missed.push(Waiting { slot, layer: first.layer, header, bytes });
        }
    }
}

/// Takes the packet's number and writes its head.
fn stage<'p>(
    lane: &Lane<'_>,
    egress: &Egress,
    rewrite: &Rewrite,
    packet: &Waiting<'p>,
    (heads, at): (&mut [u8], usize),
) -> Result<Item<'p>, DropReason> {
    if egress.plan.nack {
        let entries = EgressEntries { media: &lane.site.regions.media, egress: egress.index };
        Retransmissions(entries).remember(rewrite, packet.slot);
    }
    let out = heads.get_mut(at..).ok_or(DropReason::SendTooLarge)?;
    let written = write::packet(out, &egress.plan, rewrite, &packet.header, packet.bytes)?;
    lane.stamp(out, &written)?;
    lane.store_index(egress.index, false, rewrite.sequence);
    let payload = packet.bytes.get(written.payload.clone()).ok_or(DropReason::RtpMalformed)?;
    let head_bytes = written.header_bytes + written.prefix_bytes;
    Ok(Item {
        head: at..at + head_bytes,
        header_bytes: written.header_bytes,
        payload,
        bytes: head_bytes + payload.len() + lane.route.keys.profile().tag_len(),
        // A packet that is padding already counts it in its head.
        can_pad: !payload.is_empty(),
        index: rewrite.sequence.0,
        egress: egress.index,
        ends_frame: packet.header.flags & packet_flags::FRAME_END != 0,
    })
}

/// Puts one subscriber's items into trains.
fn depart<'p, 't: 'p>(
    lane: &Lane<'t>,
    items: &mut Items<'p>,
    heads: &[u8],
    round: &mut Round<'p>,
    desk: &mut Desk<'_, impl Sender>,
) {
    let Route { keys, pair, connection, .. } = lane.route;
    let destination = Destination { context: &keys.send, pair, connection };
    let mut rest = items.as_slice();
    let (mut packets, mut bytes) = (0, 0);
    while !rest.is_empty() {
        let mut shape = Shape::new(desk.sender.slot_bytes(), lane.takes_no_trains());
        for item in rest {
            if !shape.add(item.bytes, item.can_pad) {
                break;
            }
        }
        let (train, behind) = rest.split_at(shape.packets());
        rest = behind;
        if round.add(destination, (train, heads), &shape, desk) {
            packets += train.len() as u64;
            bytes += train.iter().map(|item| item.bytes as u64).sum::<u64>();
            train.iter().for_each(|item| count(desk.site, item));
        } else {
            train.iter().for_each(|_| desk.site.drop(DropReason::SendQueueFull));
        }
    }
    items.clear();
    if packets > 0 {
        let site = desk.site;
        site.count_transport(lane.route.transport, TransportCounter::SentPackets, packets);
        site.count_transport(lane.route.transport, TransportCounter::SentBytes, bytes);
        site.count(WorkerCounter::Sent, packets);
        site.count(WorkerCounter::SentBytes, bytes);
    }
}

fn count(site: &Site, item: &Item<'_>) {
    site.count_egress(item.egress, EgressCounter::Packets, 1);
    site.count_egress(item.egress, EgressCounter::Bytes, item.bytes as u64);
    site.count_egress(item.egress, EgressCounter::Frames, u64::from(item.ends_frame));
}

const _: () = assert!(PASS_PACKETS >= TRAIN_PACKETS);
