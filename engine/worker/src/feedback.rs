//! What a publisher is told: receiver reports, NACKs, key-frame requests and transport-wide feedback, in as few packets as they
//! fit in.

use engine_base::limits::LAYERS;
use engine_base::{Kind, SequenceNumber, Ssrc, TimeNs};
use engine_forward::ingress::MISSING_MAX;
use engine_io::Sender;
use engine_table::IngressCounter;
use engine_wire::rtcp::pli::Pli;
use engine_wire::rtcp::report_block::{REPORT_BLOCKS_MAX, ReportBlock};
use engine_wire::rtcp::xr::LastReceiverReport;
use engine_wire::rtcp::{nack, rr, xr};
use smallvec::SmallVec;

use crate::ingress::Ingresses;
use crate::publisher::demand;
use crate::reports::{FEEDBACK_SSRC, send_rtcp};
use crate::site::Site;
use crate::state::State;
use crate::transport::Owned;

/// At least one report per second and SSRC; a little sooner, so that a late turn does not make it less.
const REPORT_INTERVAL_MS: u64 = 950;
/// Transport-wide feedback packets of one turn: each tells of hundreds of arrivals.
const WIDE_PACKETS_MAX: usize = 4;

/// What is due to one publisher.
#[derive(Debug, Default)]
struct Due {
    blocks: SmallVec<[ReportBlock; REPORT_BLOCKS_MAX]>,
    key_frames: SmallVec<[Ssrc; 8]>,
    nacks: bool,
}

impl State {
    /// Sends what is due to a publisher and stores what its streams show; returns when more is due.
    pub(crate) fn feed_back(&mut self, index: u32, sender: &mut impl Sender) -> TimeNs {
        let State { site, transports, ingresses, work, now, .. } = self;
        let now = *now;
        let Some(place) = transports.at_mut(index) else { return TimeNs::MAX };
        if place.ingresses.is_empty() {
            return TimeNs::MAX;
        }
        let (list, Some(transport)) = (&place.ingresses[..], &mut place.transport) else { return TimeNs::MAX };
        let mut streams = Streams { site, ingresses, list, now };
        let mut due = Due::default();
        let mut next = streams.gather(&mut due);
        if let Some((route, owned)) = transport.route_and_owned() {
            if due.nacks || !due.blocks.is_empty() || !due.key_frames.is_empty() {
                send_rtcp(site, route, sender, |out| streams.write(out, &due, owned));
            }
            for _ in 0..WIDE_PACKETS_MAX {
                let wide =
                    |out: &mut [u8]| owned.arrivals.poll_transmit(out, FEEDBACK_SSRC, now).ok().flatten().unwrap_or(0);
                if !send_rtcp(site, route, sender, wide) {
                    break;
                }
            }
            next = next.min(owned.arrivals.poll_timeout().unwrap_or(TimeNs::MAX));
        }
        let Some(owned) = transport.owned.as_deref_mut() else { return next };
        for &ingress in list {
            let Some(place) = ingresses.at_mut(ingress) else { continue };
            let Some(publisher) = place.publisher.as_deref_mut() else { continue };
            publisher.save(site, owned.clock, &owned.windows);
            let nacks = publisher.layers.iter().flatten().filter_map(|layer| layer.stream.poll_timeout());
            next = nacks.fold(next, TimeNs::min);
            place.clocks = publisher.clocks;
            if publisher.changed || now.since(publisher.published_at) >= 1_000_000_000 {
                work.observe_ingress(ingress);
            }
        }
        next
    }
}

/// The streams of one publisher.
struct Streams<'a> {
    site: &'a Site,
    ingresses: &'a mut Ingresses,
    /// Rows.
    list: &'a [u32],
    now: TimeNs,
}

impl Streams<'_> {
    /// Looks at every stream; returns when the next thing is due that is not in `due`, NACKs excepted.
    fn gather(&mut self, due: &mut Due) -> TimeNs {
        let (site, now, mut next) = (self.site, self.now, TimeNs::MAX);
        for &ingress in self.list {
            let Some(place) = self.ingresses.at_mut(ingress) else { continue };
            let (Some(row), Some(publisher)) = (&place.row, place.publisher.as_deref_mut()) else { continue };
            next = next.min(publisher.watch_activity(now));
            for number in 0..LAYERS {
                let Some(layer) = publisher.layers[number].as_deref_mut() else { continue };
                if layer.next_report <= now && due.blocks.len() < REPORT_BLOCKS_MAX {
                    layer.count_lost(site, ingress, number);
                    due.blocks.extend(layer.stream.report_block(now));
                    layer.next_report = now.add_ms(REPORT_INTERVAL_MS);
                }
                if row.kind == Kind::Video as u8 && layer.throttle.poll(demand(site, ingress, number), now) {
                    site.count_ingress(ingress, number, IngressCounter::PlisSent, 1);
                    due.key_frames.push(layer.stream.ssrc());
                }
                due.nacks |= layer.stream.poll_timeout().is_some_and(|at| at <= now);
                next = next.min(layer.next_report).min(layer.throttle.poll_timeout().unwrap_or(TimeNs::MAX));
            }
        }
        next
    }

    /// Writes the compound packet and returns its length.
    fn write(&mut self, out: &mut [u8], due: &Due, owned: &mut Owned) -> usize {
        let mut length = 0;
        if !due.blocks.is_empty() {
            length += rr::write(out, FEEDBACK_SSRC, &due.blocks).unwrap_or(0);
            if let Some((ssrc, last, at)) = owned.reference_time.take() {
                let delay = (u128::from(self.now.since(at)) * 65_536 / 1_000_000_000) as u32;
                let entry = LastReceiverReport { ssrc, last, delay };
                length += xr::write_delays(rest(out, length), FEEDBACK_SSRC, &[entry]).unwrap_or(0);
            }
        }
        for &media in &due.key_frames {
            length += Pli { sender: FEEDBACK_SSRC, media }.write(rest(out, length)).unwrap_or(0);
        }
        if due.nacks {
            for &ingress in self.list {
                length += self.write_nacks(rest(out, length), ingress);
            }
        }
        length
    }

    fn write_nacks(&mut self, out: &mut [u8], ingress: u32) -> usize {
        let publisher = self.ingresses.at_mut(ingress).and_then(|place| place.publisher.as_deref_mut());
        let Some(publisher) = publisher else { return 0 };
        let (mut length, mut numbers) = (0, [SequenceNumber(0); MISSING_MAX]);
        for (number, layer) in publisher.layers.iter_mut().enumerate() {
            let Some(layer) = layer.as_deref_mut() else { continue };
            let media = layer.stream.ssrc();
            let mut lost = layer.stream.poll_nack(self.now, 0, &mut numbers);
            while !lost.is_empty() {
                // What finds no room is asked for with the next try.
                let Ok(written) = nack::write(rest(out, length), FEEDBACK_SSRC, media, lost) else { break };
                self.site.count_ingress(ingress, number, IngressCounter::NacksSent, written.taken as u64);
                length += written.bytes;
                lost = lost.get(written.taken..).unwrap_or_default();
            }
        }
        length
    }
}

fn rest(out: &mut [u8], from: usize) -> &mut [u8] {
    out.get_mut(from..).unwrap_or_default()
}
