//! What one participant receives: every sequence number checked, a sample decrypted, reports written.

use engine_base::{Kind, NtpTime, Ssrc, TimeNs};
use engine_srtp::{Profile, ReceiveContext};
use engine_wire::rtcp::report_block::{REPORT_BLOCKS_MAX, ReportBlock};
use engine_wire::rtcp::{remb, rr};
use engine_wire::{Compound, Rtcp, RtpPacket};

use crate::account::StreamAccount;
use crate::connection::Connection;
use crate::description::AnnouncedStream;
use crate::sequence::{Arrival, SequenceChecker, SequenceCounts};
use crate::stamp::Stamp;
use crate::tally::Tally;

/// Receivers on loopback say that everything fits.
const ESTIMATE_BITS_PER_SECOND: u64 = 100_000_000;
const PACKET_BYTES_MAX: usize = 2_048;

struct Stream {
    announced: AnnouncedStream,
    checker: SequenceChecker,
    /// Of the last receiver report.
    reported: SequenceCounts,
    /// Middle bits of the last sender report's time and when it came.
    sender_report: Option<(u32, TimeNs)>,
    /// Since the measurement began.
    bytes: u64,
    has_media: bool,
}

/// When a packet came.
#[derive(Clone, Copy, Debug)]
pub struct ArrivalTime {
    /// By the kernel's stamp where there is one.
    pub kernel: TimeNs,
    pub read: TimeNs,
}

pub struct Reception {
    ssrc: Ssrc,
    /// Sorted by SSRC.
    streams: Vec<Stream>,
    sample_every: u16,
    silent: usize,
}

impl Reception {
    pub fn new(sample_every: u16) -> Self {
        Self { ssrc: Ssrc(rand::random()), streams: Vec::new(), sample_every, silent: 0 }
    }

    /// Takes the streams of the latest offer; those that are still there keep their history.
    pub fn set_streams(&mut self, announced: &[AnnouncedStream]) {
        let mut old = std::mem::take(&mut self.streams);
        for &announced in announced {
            let known = old.iter().position(|stream| stream.announced.ssrc == announced.ssrc);
            self.streams.push(match known {
                Some(at) => old.swap_remove(at),
                None => Stream {
                    announced,
                    checker: SequenceChecker::default(),
                    reported: SequenceCounts::default(),
                    sender_report: None,
                    bytes: 0,
                    has_media: false,
                },
            });
        }
        self.streams.sort_by_key(|stream| stream.announced.ssrc);
        self.silent = self.media().filter(|stream| !stream.has_media).count();
    }

    /// Streams of media, retransmissions not counted.
    pub fn stream_count(&self) -> usize {
        self.media().count()
    }

    /// Whether every announced stream has received something.
    pub fn has_all_media(&self) -> bool {
        self.silent == 0 && !self.streams.is_empty()
    }

    /// **Cost**: a search among the streams; one decryption for each sampled packet.
    pub fn handle_rtp(&mut self, packet: &mut [u8], context: &ReceiveContext, at: ArrivalTime, tally: &mut Tally) {
        let Ok(header) = RtpPacket::parse_sealed(packet) else { return };
        let (ssrc, sequence) = (header.ssrc().0, header.sequence().0);
        let Ok(index) = self.streams.binary_search_by_key(&ssrc, |stream| stream.announced.ssrc) else {
            tally.unknown_ssrc += 1;
            return;
        };
        let Some(stream) = self.streams.get_mut(index) else { return };
        let arrival = stream.checker.record(sequence);
        if stream.announced.is_retransmission {
            tally.retransmissions += 1;
            return;
        }
        tally.received_packets += 1;
        tally.received_bytes += packet.len() as u64;
        stream.bytes += packet.len() as u64;
        if !stream.has_media {
            stream.has_media = true;
            self.silent = self.silent.saturating_sub(1);
        }
        let Arrival::Fresh(index) = arrival else { return };
        if is_sampled(sequence, self.sample_every) {
            sample(packet, context, index, at, tally);
        }
    }

    /// Keeps what the next report needs of sender reports.
    pub fn handle_rtcp(&mut self, plain: &[u8], now: TimeNs) {
        for message in Compound::new(plain).flatten() {
            if let Rtcp::SenderReport(report) = message
                && let Ok(index) = self.streams.binary_search_by_key(&report.info.ssrc.0, |s| s.announced.ssrc)
                && let Some(stream) = self.streams.get_mut(index)
            {
                stream.sender_report = Some((NtpTime::middle(report.info.ntp), now));
            }
        }
    }

    /// Sends reports on all streams that have media; `send` gets each sealed packet.
    pub fn report(&mut self, connection: &mut Connection, now: TimeNs, mut send: impl FnMut(&[u8])) {
        let ssrc = self.ssrc;
        let mut reporting: Vec<&mut Stream> =
            self.streams.iter_mut().filter(|stream| stream.has_media && !stream.announced.is_retransmission).collect();
        for streams in reporting.chunks_mut(REPORT_BLOCKS_MAX) {
            let blocks: Vec<ReportBlock> = streams.iter_mut().map(|stream| stream.block(now)).collect();
            let estimated: Vec<Ssrc> = streams
                .iter()
                .filter(|stream| stream.announced.kind == Kind::Video && stream.announced.wants_estimate)
                .map(|stream| Ssrc(stream.announced.ssrc))
                .collect();
            let mut out = [0; PACKET_BYTES_MAX];
            let Ok(mut length) = rr::write(&mut out, ssrc, &blocks) else { continue };
            if !estimated.is_empty()
                && let Some(room) = out.get_mut(length..PACKET_BYTES_MAX - Profile::RTCP_OVERHEAD_MAX)
            {
                length += remb::write(room, ssrc, ESTIMATE_BITS_PER_SECOND, &estimated).unwrap_or(0);
            }
            if let Some(sealed) = connection.seal_rtcp(&mut out, length).and_then(|sealed| out.get(..sealed)) {
                send(sealed);
            }
        }
    }

    /// A measurement begins.
    pub fn begin(&mut self) {
        for stream in &mut self.streams {
            stream.checker.begin();
            stream.reported = SequenceCounts::default();
            stream.bytes = 0;
        }
    }

    /// Of every stream of media.
    pub fn accounts(&self) -> impl Iterator<Item = StreamAccount> {
        self.media().map(|stream| {
            let counts = stream.checker.counts();
            StreamAccount {
                kind: stream.announced.kind,
                packets: counts.received,
                bytes: stream.bytes,
                lost: counts.lost(),
                expected: counts.expected,
            }
        })
    }

    pub fn add_to(&self, tally: &mut Tally) {
        for stream in self.media() {
            let counts = stream.checker.counts();
            tally.add_sequences(counts);
            tally.streams += 1;
            tally.silent_streams += u64::from(counts.received == 0);
        }
    }

    fn media(&self) -> impl Iterator<Item = &Stream> {
        self.streams.iter().filter(|stream| !stream.announced.is_retransmission)
    }
}

impl Stream {
    fn block(&mut self, now: TimeNs) -> ReportBlock {
        let counts = self.checker.counts();
        let expected = counts.expected.saturating_sub(self.reported.expected);
        let lost = counts.lost().saturating_sub(self.reported.lost());
        self.reported = counts;
        let (last_sender_report, delay) = self.sender_report.map_or((0, 0), |(middle, at)| {
            let delay = now.since(at) * 65_536 / 1_000_000_000;
            (middle, u32::try_from(delay).unwrap_or(u32::MAX))
        });
        ReportBlock {
            ssrc: Ssrc(self.announced.ssrc),
            fraction_lost: u8::try_from(lost * 256 / expected.max(1)).unwrap_or(u8::MAX),
            cumulative_lost: i32::try_from(counts.lost()).unwrap_or(i32::MAX),
            highest_sequence: self.checker.highest(),
            jitter: 0,
            last_sender_report,
            delay,
        }
    }
}

/// One of `every` sequence numbers, spread so that no place within a frame is preferred.
fn is_sampled(sequence: u16, every: u16) -> bool {
    // Fibonacci hashing: 65,536 / golden ratio, odd.
    sequence.wrapping_mul(40_503) < u16::MAX / every || every == 1
}

fn sample(packet: &mut [u8], context: &ReceiveContext, index: u64, at: ArrivalTime, tally: &mut Tally) {
    tally.sampled += 1;
    let stamp = context.unprotect_rtp(packet, index).ok().and_then(|length| {
        let packet = RtpPacket::parse(packet.get(..length)?).ok()?;
        // Probes that are all padding carry nothing.
        if packet.payload().is_empty() { None } else { Stamp::read(packet.payload()) }
    });
    match stamp {
        Some(stamp) => {
            tally.latency.saturating_record(at.kernel.since(stamp.sent));
            tally.latency_read.saturating_record(at.read.since(stamp.sent));
        }
        None => tally.wrong += 1,
    }
}

#[cfg(test)]
mod tests {
    use engine_base::{RtpTimestamp, SequenceNumber};
    use engine_srtp::{MasterKey, SendContext};
    use engine_wire::RtpHeader;

    use super::*;

    fn announced(ssrc: u32, is_retransmission: bool) -> AnnouncedStream {
        AnnouncedStream { kind: Kind::Video, ssrc, is_retransmission, wants_estimate: true }
    }

    #[test]
    fn a_sample_is_a_share_of_all_sequence_numbers_whatever_the_frame_length() {
        for every in [1u16, 8, 16, 100] {
            let count = (0..=u16::MAX).filter(|sequence| is_sampled(*sequence, every)).count();
            assert!(count.abs_diff(65_536 / usize::from(every)) <= 1 + 65_536 / 1_000, "{every}: {count}");
        }
        for place in 0..9 {
            let here =
                (0..6_000u16).map(|frame| frame * 9 + place).filter(|sequence| is_sampled(*sequence, 16)).count();
            assert!((300..450).contains(&here), "place {place}: {here}");
        }
    }

    #[test]
    fn gaps_stamps_strangers_and_tampering_are_counted() {
        let master = MasterKey::new(Profile::AeadAes128Gcm, &[1; 16], &[2; 12]).unwrap();
        let (seal, open) = (SendContext::new(&master).unwrap(), ReceiveContext::new(&master).unwrap());
        let mut reception = Reception::new(1);
        reception.set_streams(&[announced(7, false), announced(8, true)]);
        let mut tally = Tally::default();
        let at = ArrivalTime { kernel: TimeNs(5_000), read: TimeNs(6_000) };
        let mut packet = |ssrc: u32, sequence: u16, tamper: bool| {
            let mut out = vec![0; 200];
            let header = RtpHeader {
                ssrc: Ssrc(ssrc),
                sequence: SequenceNumber(sequence),
                timestamp: RtpTimestamp(1),
                payload_type: 96,
                ..RtpHeader::default()
            };
            let length = header.write(&mut out).unwrap();
            Stamp { source: 0, counter: 0, sent: TimeNs(1_000) }.write(&mut out[length..length + 60]);
            let sealed = seal.protect_rtp(&mut out, length + 60, u64::from(sequence)).unwrap();
            out.truncate(sealed);
            out[40] ^= u8::from(tamper);
            reception.handle_rtp(&mut out, &open, at, &mut tally);
        };
        packet(7, 1, false);
        packet(7, 4, false);
        packet(7, 4, false);
        packet(7, 5, true);
        packet(8, 1, false);
        packet(9, 1, false);
        reception.add_to(&mut tally);
        assert_eq!((tally.sequences.lost(), tally.sequences.repeated), (2, 1));
        assert_eq!((tally.sampled, tally.wrong, tally.unknown_ssrc, tally.retransmissions), (3, 1, 1, 1));
        assert_eq!((tally.latency.len(), tally.latency.max() / 1_000, tally.latency_read.max() / 1_000), (2, 4, 5));
        assert!(reception.has_all_media());
    }
}
