//! What of a received layer outlives its worker, and what other workers read of it.

use engine_base::limits::LAYERS;
use engine_base::{Kind, NtpTime, RtpTimestamp, Ssrc, TimeNs};
use engine_table::StateRow;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::window::{ReceiveWindow, WORDS};
use super::{ReceiveStream, SenderReport};
use crate::source::{PublisherClock, SourceClocks};

/// SRTP gives out before a stream has 2^48 packets.
const NUMBER_MAX: u64 = 1 << 48;

const ACTIVE: u32 = 1;
const HAS_REPORT: u32 = 2;
const HAS_PUBLISHER: u32 = 4;

/// One layer in `MediaRegion::ingress_states`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct LayerCheckpoint {
    pub generation: u32,
    pub ssrc: Ssrc,
    pub rtx_ssrc: Ssrc,
    flags: u32,
    highest: u64,
    base: u64,
    received: u64,
    report_ntp: NtpTime,
    report_arrival: TimeNs,
    publisher_offset: i64,
    publisher_at: TimeNs,
    report_timestamp: RtpTimestamp,
    /// Of SRTP, which the stream's own numbers do not tell after a restart.
    roll_over: u32,
    /// Newest SRTP index of the RTX stream, 0 before its first packet.
    pub rtx_srtp_index: u64,
    window: [u64; WORDS],
}

const _: () = assert!(size_of::<LayerCheckpoint>() <= size_of::<StateRow>());

impl LayerCheckpoint {
    /// The newest SRTP index (RFC 3711 §3.3.1).
    pub const fn srtp_index(&self) -> u64 {
        (self.roll_over as u64) << 16 | self.highest & 0xffff
    }

    /// **Input**: `rtx` has the RTX stream's SSRC and newest SRTP index; `srtp_index` is the stream's own.
    pub fn new(
        generation: u32,
        stream: &ReceiveStream,
        rtx: (Ssrc, u64),
        active: bool,
        publisher: Option<PublisherClock>,
        srtp_index: u64,
    ) -> Self {
        let (highest, window) = stream.window.parts();
        let report = stream.sender_report;
        let (publisher_offset, publisher_at) = publisher.map_or((0, TimeNs::ZERO), PublisherClock::parts);
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        Self {
            generation,
            ssrc: stream.ssrc,
            rtx_ssrc: rtx.0,
            flags: flag(active, ACTIVE) | flag(report.is_some(), HAS_REPORT) | flag(publisher.is_some(), HAS_PUBLISHER),
            highest,
            base: stream.base,
            received: stream.received,
            report_ntp: report.unwrap_or_default().ntp,
            report_arrival: report.unwrap_or_default().arrival,
            publisher_offset,
            publisher_at,
            report_timestamp: report.unwrap_or_default().timestamp,
            roll_over: (srtp_index >> 16) as u32,
            rtx_srtp_index: rtx.1,
            window,
        }
    }

    pub fn to_row(&self) -> StateRow {
        let mut row = StateRow { words: [0; 28] };
        if let Some(bytes) = row.as_mut_bytes().first_chunk_mut::<{ size_of::<Self>() }>() {
            bytes.copy_from_slice(self.as_bytes());
        }
        row
    }

    /// `None` when the row is about another generation, or empty.
    pub fn from_row(row: &StateRow, generation: u32) -> Option<Self> {
        let state = Self::read_from_prefix(row.as_bytes()).map_or_else(|_| Self::new_zeroed(), |(state, _)| state);
        let sane = state.highest < NUMBER_MAX && state.base < NUMBER_MAX;
        (state.generation == generation && generation != 0 && sane).then_some(state)
    }

    /// The stream of a predecessor: numbers, loss and reports go on; what was missing is asked for anew when it shows.
    pub fn restore(&self, kind: Kind, clock_rate: u32, nack: bool) -> ReceiveStream {
        let mut stream = ReceiveStream::new(self.ssrc, kind, clock_rate, nack);
        stream.window = ReceiveWindow::from_parts(self.highest, self.window);
        stream.sender_report = self.sender_report();
        let expected = (self.highest + 1).saturating_sub(self.base);
        if expected > 0 && self.received <= expected {
            (stream.base, stream.received) = (self.base, self.received);
            (stream.expected_before, stream.received_before) = (expected, self.received);
        } else {
            stream.base = self.highest + 1;
        }
        stream
    }

    pub const fn is_active(&self) -> bool {
        self.flags & ACTIVE != 0
    }

    pub fn sender_report(&self) -> Option<SenderReport> {
        (self.flags & HAS_REPORT != 0).then_some(SenderReport {
            ntp: self.report_ntp,
            timestamp: self.report_timestamp,
            arrival: self.report_arrival,
        })
    }

    pub fn publisher(&self) -> Option<PublisherClock> {
        (self.flags & HAS_PUBLISHER != 0)
            .then_some(PublisherClock::from_parts(self.publisher_offset, self.publisher_at))
    }
}

impl SourceClocks {
    /// From the checkpoints of a source's layers: how a worker follows an ingress that another worker owns.
    pub fn from_checkpoints(layers: [Option<LayerCheckpoint>; LAYERS]) -> Self {
        let mut clocks = Self::default();
        for (number, layer) in (0u8..).zip(&layers) {
            let Some(layer) = layer else { continue };
            clocks.layers[usize::from(number)] = layer.sender_report();
            clocks.set_active(number, layer.is_active());
            clocks.publisher = clocks.publisher.or(layer.publisher());
        }
        clocks
    }
}
