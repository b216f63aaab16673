//! One received stream (an SSRC, with its RTX): which packets are new, what is missing, how it runs, and what to report to its
//! sender. Its owner keeps one per ingress layer.

use engine_base::{ExtendedSequence, Kind, RtpTimestamp, SequenceNumber, Ssrc, TimeNs};
use engine_rate::Meter;
use engine_wire::rtcp::report_block::ReportBlock;
use engine_wire::rtcp::sr::SenderInfo;

use crate::source::SenderReport;

pub mod activity;
pub mod checkpoint;
pub mod key_frames;
pub mod missing;
mod window;

pub use activity::Activity;
pub use checkpoint::LayerCheckpoint;
pub use key_frames::KeyFrameThrottle;
pub use missing::{MISSING_MAX, Missing};
use window::ReceiveWindow;
pub use window::WINDOW;

/// What a packet is to the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Not seen before.
    Fresh(ExtendedSequence),
    /// Count as `Drop::RtpDuplicate`.
    Duplicate,
    /// Behind the window of 1,024: count as `Drop::RtpTooOld`.
    TooOld,
}

/// A packet as the stream sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Of the media stream.
    pub sequence: SequenceNumber,
    pub timestamp: RtpTimestamp,
    pub arrival: TimeNs,
    /// RTP payload bytes.
    pub bytes: u32,
    /// It came as a retransmission: says nothing about jitter.
    pub recovered: bool,
}

/// Totals since the stream began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub packets: u64,
    pub duplicates: u64,
    pub recovered: u64,
    /// Media times seen in order: frames of video.
    pub frames: u64,
}

/// About 3 KB, never grows.
#[derive(Clone, Debug)]
pub struct ReceiveStream {
    ssrc: Ssrc,
    clock_rate: u32,
    asks: bool,
    window: ReceiveWindow,
    missing: Missing,
    totals: Totals,
    bytes: Meter,
    frames: Meter,
    newest_timestamp: RtpTimestamp,
    /// RFC 3550 §A.8, times 16.
    jitter: u32,
    transit: Option<u32>,
    sender_report: Option<SenderReport>,
    /// First number of the present SSRC.
    base: u64,
    /// Packets of the present SSRC.
    received: u64,
    expected_before: u64,
    received_before: u64,
}

impl ReceiveStream {
    /// `nack`: the sender resends what is asked for. Audio is never asked for: its codecs conceal or repeat.
    pub fn new(ssrc: Ssrc, kind: Kind, clock_rate: u32, nack: bool) -> Self {
        Self {
            ssrc,
            clock_rate: clock_rate.max(1),
            asks: nack && kind == Kind::Video,
            window: ReceiveWindow::new(),
            missing: Missing::new(),
            totals: Totals::default(),
            bytes: Meter::new(),
            frames: Meter::new(),
            newest_timestamp: RtpTimestamp(0),
            jitter: 0,
            transit: None,
            sender_report: None,
            base: 0,
            received: 0,
            expected_before: 0,
            received_before: 0,
        }
    }

    pub const fn ssrc(&self) -> Ssrc {
        self.ssrc
    }

    /// The layer goes on under another SSRC: its numbers begin anew, above all that were used.
    pub fn change_ssrc(&mut self, ssrc: Ssrc) {
        self.ssrc = ssrc;
        self.window.restart();
        self.missing.clear();
        (self.transit, self.jitter, self.sender_report) = (None, 0, None);
        (self.base, self.received, self.expected_before, self.received_before) = (0, 0, 0, 0);
    }

    /// Takes a packet of the stream.
    ///
    /// **Cost**: O(1) and the gap before it, at most 100.
    pub fn receive(&mut self, packet: &Received) -> Arrival {
        let before = self.window.highest();
        let arrival = self.window.receive(packet.sequence);
        let sequence = match arrival {
            Arrival::Fresh(sequence) => sequence,
            Arrival::Duplicate => {
                self.totals.duplicates += 1;
                return arrival;
            }
            Arrival::TooOld => return arrival,
        };
        if self.received == 0 {
            self.base = sequence.0;
        }
        // A packet a little older than the first one.
        self.base = self.base.min(sequence.0);
        self.received += 1;
        self.totals.packets += 1;
        self.totals.recovered += u64::from(packet.recovered);
        self.bytes.record(packet.bytes, packet.arrival);
        if self.asks {
            match before {
                Some(highest) if sequence.0 > highest => self.missing.open(highest + 1..sequence.0, packet.arrival),
                _ => self.missing.fill(sequence.0),
            }
        }
        if before.is_none_or(|highest| sequence.0 > highest) {
            let begins = before.is_none() || packet.timestamp != self.newest_timestamp;
            self.totals.frames += u64::from(begins);
            self.frames.record(u32::from(begins), packet.arrival);
            self.newest_timestamp = packet.timestamp;
        }
        if !packet.recovered {
            self.measure_jitter(packet);
        }
        arrival
    }

    /// RFC 3550 §6.4.1 and §A.8: J += (|D| − J) / 16.
    fn measure_jitter(&mut self, packet: &Received) {
        let ticks = u128::from(packet.arrival.0) * u128::from(self.clock_rate) / 1_000_000_000;
        let transit = (ticks as u32).wrapping_sub(packet.timestamp.0);
        if let Some(before) = self.transit {
            let difference = transit.wrapping_sub(before).cast_signed().unsigned_abs();
            // A jump of the media clock is not jitter.
            if difference < self.clock_rate * 10 {
                self.jitter = self.jitter - ((self.jitter + 8) >> 4) + difference;
            }
        }
        self.transit = Some(transit);
    }

    /// A sender report of this SSRC.
    pub fn handle_sender_report(&mut self, info: &SenderInfo, arrival: TimeNs) {
        self.sender_report = Some(SenderReport { ntp: info.ntp, timestamp: info.timestamp, arrival });
    }

    /// The last sender report: for [`crate::SourceClocks`].
    pub const fn sender_report(&self) -> Option<SenderReport> {
        self.sender_report
    }

    /// What to report about the stream; each call begins a new interval of `fraction_lost`. `None` before the first packet.
    pub fn report_block(&mut self, now: TimeNs) -> Option<ReportBlock> {
        let highest = self.window.highest().filter(|_| self.received > 0)?;
        let expected = highest - self.base + 1;
        let interval = expected.saturating_sub(self.expected_before);
        let lost = interval.saturating_sub(self.received - self.received_before);
        (self.expected_before, self.received_before) = (expected, self.received);
        let (last_sender_report, delay) = self.sender_report.map_or((0, 0), |report| {
            // In 1/65,536 s.
            let delay = (u128::from(now.since(report.arrival)) << 16) / 1_000_000_000;
            (report.ntp.middle(), delay as u32)
        });
        Some(ReportBlock {
            ssrc: self.ssrc,
            fraction_lost: (lost * 256).checked_div(interval).unwrap_or(0).min(255) as u8,
            cumulative_lost: self.lost().min(i32::MAX as u64) as i32,
            highest_sequence: (highest - (self.base & !0xffff)) as u32,
            jitter: self.jitter(),
            last_sender_report,
            delay,
        })
    }

    /// Packets of the present SSRC that have not come, recovered ones excluded.
    pub fn lost(&self) -> u64 {
        self.window.highest().map_or(0, |highest| (highest + 1 - self.base).saturating_sub(self.received))
    }

    /// In ticks of the media clock.
    pub const fn jitter(&self) -> u32 {
        self.jitter >> 4
    }

    pub const fn totals(&self) -> Totals {
        self.totals
    }

    /// Payload bits and frames of the last second.
    pub fn rates(&mut self, now: TimeNs) -> (u64, u64) {
        (self.bytes.per_second(now) * 8, self.frames.per_second(now))
    }

    /// Sequence numbers to ask for now, in ascending order: each at most five times. `rtt_us` of the publisher, 0 if unknown.
    pub fn poll_nack<'a>(
        &mut self,
        now: TimeNs,
        rtt_us: u32,
        out: &'a mut [SequenceNumber; MISSING_MAX],
    ) -> &'a [SequenceNumber] {
        let count = self.missing.poll(now, rtt_us, out);
        &out[..count]
    }

    /// When `poll_nack` has something next.
    pub const fn poll_timeout(&self) -> Option<TimeNs> {
        self.missing.poll_timeout()
    }
}

#[cfg(test)]
mod tests;
