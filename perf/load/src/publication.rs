//! One published stream, a track or a layer of one: its packets, when they leave, its sender reports, and its answers to what the server asks.

use engine_base::{Kind, RtpTimestamp, SequenceNumber, Ssrc, TimeNs, WallOffset};
use engine_srtp::Profile;
use engine_wire::extension::value::{AbsSendTime, AudioLevel};
use engine_wire::rtcp::sr::SenderInfo;
use engine_wire::rtcp::{sdes, sr};
use engine_wire::{Rtcp, RtpHeader};

use crate::connection::Connection;
use crate::description::{AcceptedTrack, Encoding, OfferedTrack};
use crate::opus;
use crate::pacer::Pacer;
use crate::scenario::{AudioShape, VideoShape};
use crate::stamp::Stamp;
use crate::tally::Tally;
use crate::vp8::{Frame, Vp8Source};

const PACKET_BYTES_MAX: usize = 1_500;
const REPORT_INTERVAL_MS: u64 = 1_000;
/// Packets kept for retransmission: about 2 s at 270 packets per second.
const CACHE_PACKETS: usize = 512;
const VIDEO_CLOCK: u64 = 90_000;
const AUDIO_CLOCK: u64 = 48_000;
/// A publisher that was held up longer does not catch up frame by frame.
const BEHIND_NS_MAX: u64 = 500_000_000;

/// Where packets go, and what all tracks of a connection share.
pub struct Outlet<'a> {
    pub connection: &'a mut Connection,
    pub transport_sequence: &'a mut u16,
    pub wall: WallOffset,
    pub tally: &'a mut Tally,
    pub send: &'a mut dyn FnMut(&[u8]),
}

#[derive(Clone, Copy, Debug)]
struct VideoPacket {
    frame: Frame,
    index: usize,
    timestamp: u32,
}

enum Source {
    Video { frames: Vp8Source, pacer: Pacer<VideoPacket>, wants_key: bool },
    Audio { bytes: usize },
}

#[derive(Clone, Default)]
struct Cached {
    sequence: u16,
    timestamp: u32,
    marker: bool,
    payload: Vec<u8>,
}

pub struct Publication {
    kind: Kind,
    mid: String,
    encoding: Encoding,
    accepted: Option<AcceptedTrack>,
    /// Which track of the load, for stamps.
    number: u32,
    source: Source,
    interval_ns: u64,
    /// When the next frame is due, without rounding from one to the next.
    frame_at: TimeNs,
    started: TimeNs,
    timestamp_base: u32,
    index: u64,
    retransmission_index: u64,
    packets: u64,
    payload_bytes: u64,
    report_at: TimeNs,
    is_reported: bool,
    is_sending: bool,
    cache: Vec<Cached>,
}

impl Publication {
    /// `divisor` scales width and height: a layer has a share of the bitrate in the square of it.
    pub fn video(
        offered: &OfferedTrack,
        encoding: Encoding,
        divisor: u16,
        shape: &VideoShape,
        number: u32,
        now: TimeNs,
    ) -> Self {
        let bitrate = shape.bitrate / u64::from(divisor.max(1)).pow(2);
        let frames = Vp8Source::new(bitrate, shape.frame_rate, shape.payload_bytes_max, shape.key_frame_percent);
        let frames = frames.sized(shape.width() / divisor.max(1), shape.height / divisor.max(1));
        let pacer = Pacer::new(shape.pacing, bitrate);
        let source = Source::Video { frames, pacer, wants_key: true };
        Self::new(offered, encoding, number, source, 1_000_000_000 / shape.frame_rate, now)
    }

    pub fn audio(offered: &OfferedTrack, encoding: Encoding, shape: &AudioShape, number: u32, now: TimeNs) -> Self {
        let source = Source::Audio { bytes: opus::payload_bytes(shape.bitrate) };
        Self::new(offered, encoding, number, source, 1_000_000_000 / opus::PACKETS_PER_SECOND, now)
    }

    fn new(
        offered: &OfferedTrack,
        encoding: Encoding,
        number: u32,
        source: Source,
        interval_ns: u64,
        now: TimeNs,
    ) -> Self {
        let cached = if offered.kind == Kind::Video { CACHE_PACKETS } else { 0 };
        Self {
            kind: offered.kind,
            mid: offered.mid.clone(),
            encoding,
            accepted: None,
            number,
            source,
            interval_ns,
            frame_at: now,
            started: now,
            timestamp_base: rand::random(),
            // Below 2^15, as RFC 3711 §3.3.1 wants first sequence numbers.
            index: u64::from(rand::random::<u16>() >> 1),
            retransmission_index: u64::from(rand::random::<u16>() >> 1),
            packets: 0,
            payload_bytes: 0,
            report_at: now,
            is_reported: false,
            is_sending: false,
            cache: vec![Cached::default(); cached],
        }
    }

    pub fn set_accepted(&mut self, accepted: AcceptedTrack) {
        self.accepted = Some(accepted);
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Packets and payload bytes since it began.
    pub fn sent(&self) -> (u64, u64) {
        (self.packets, self.payload_bytes)
    }

    pub fn is_accepted(&self) -> bool {
        self.accepted.is_some()
    }

    /// Starts or stops; the first frame comes after a random part of the interval, so that publishers do not march in step.
    pub fn set_sending(&mut self, sending: bool, now: TimeNs) {
        if sending && !self.is_sending {
            self.frame_at = now.add_ns(rand::random::<u64>() % self.interval_ns);
        }
        if let Source::Video { pacer, wants_key, .. } = &mut self.source {
            *wants_key |= sending && !self.is_sending;
            if !sending {
                pacer.clear();
            }
        }
        self.is_sending = sending;
    }

    pub fn poll_timeout(&self) -> Option<TimeNs> {
        self.accepted?;
        let frame = self.is_sending.then_some(self.frame_at);
        let paced = match &self.source {
            Source::Video { pacer, .. } => pacer.poll_timeout(),
            Source::Audio { .. } => None,
        };
        let report = (self.packets > 0).then_some(self.report_at);
        frame.into_iter().chain(paced).chain(report).min()
    }

    pub fn handle_timeout(&mut self, now: TimeNs, outlet: &mut Outlet<'_>) {
        let Some(accepted) = self.accepted else { return };
        if now.since(self.frame_at) > BEHIND_NS_MAX {
            self.frame_at = now;
        }
        while self.is_sending && self.frame_at <= now {
            let due = self.frame_at;
            self.frame_at = due.add_ns(self.interval_ns);
            self.make_frame(due, &accepted, outlet);
        }
        while let Source::Video { pacer, .. } = &mut self.source
            && let Some(packet) = pacer.poll(now)
        {
            self.send_video(&packet, &accepted, outlet);
        }
        if self.packets > 0 && self.report_at <= now {
            self.report_at = now.add_ms(REPORT_INTERVAL_MS);
            self.send_report(now, outlet);
        }
    }

    /// What the server asks on this connection; messages about other tracks are left alone.
    pub fn handle_rtcp(&mut self, message: &Rtcp<'_>, outlet: &mut Outlet<'_>) {
        let ours = Ssrc(self.encoding.ssrc);
        match message {
            Rtcp::Pli(pli) if pli.media == ours => self.request_key_frame(outlet),
            Rtcp::Fir(fir) if fir.entries().any(|entry| entry.ssrc == ours) => self.request_key_frame(outlet),
            Rtcp::Nack(nack) if nack.media == ours => {
                for lost in nack.lost() {
                    outlet.tally.nacked_packets += 1;
                    self.retransmit(lost, outlet);
                }
            }
            Rtcp::ReceiverReport(report) => self.is_reported |= report.blocks().any(|block| block.ssrc == ours),
            Rtcp::SenderReport(report) => self.is_reported |= report.blocks().any(|block| block.ssrc == ours),
            _ => {}
        }
    }

    fn request_key_frame(&mut self, outlet: &mut Outlet<'_>) {
        outlet.tally.key_frame_requests += 1;
        if let Source::Video { wants_key, .. } = &mut self.source {
            *wants_key = true;
        }
    }

    fn timestamp(&self, at: TimeNs) -> u32 {
        let clock = if self.kind == Kind::Video { VIDEO_CLOCK } else { AUDIO_CLOCK };
        let ticks = u128::from(at.since(self.started)) * u128::from(clock) / 1_000_000_000;
        self.timestamp_base.wrapping_add(ticks as u32)
    }

    fn make_frame(&mut self, due: TimeNs, accepted: &AcceptedTrack, outlet: &mut Outlet<'_>) {
        let timestamp = self.timestamp(due);
        match &mut self.source {
            Source::Video { frames, pacer, wants_key } => {
                let is_key = std::mem::take(wants_key);
                outlet.tally.key_frames += u64::from(is_key);
                let frame = frames.next_frame(is_key);
                for index in 0..frame.packets {
                    pacer.push(frame.payload_bytes(index), VideoPacket { frame, index, timestamp });
                }
            }
            Source::Audio { bytes } => {
                let bytes = *bytes;
                let level = AudioLevel { voice: true, level: opus::level(self.packets) };
                self.send_packet(timestamp, self.packets == 0, Some(level), accepted, outlet, |out| {
                    let payload = out.get_mut(..bytes)?;
                    opus::write(payload);
                    Some(bytes)
                });
            }
        }
    }

    fn send_video(&mut self, packet: &VideoPacket, accepted: &AcceptedTrack, outlet: &mut Outlet<'_>) {
        let VideoPacket { frame, index, timestamp } = *packet;
        let write = |out: &mut [u8]| Some(frame.write(index, out)).filter(|length| *length > 0);
        self.send_packet(timestamp, frame.is_last(index), None, accepted, outlet, write);
    }

    fn send_packet(
        &mut self,
        timestamp: u32,
        marker: bool,
        level: Option<AudioLevel>,
        accepted: &AcceptedTrack,
        outlet: &mut Outlet<'_>,
        write: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) {
        let mut out = [0; PACKET_BYTES_MAX];
        let header = RtpHeader {
            marker,
            payload_type: accepted.payload_type,
            sequence: SequenceNumber(self.index as u16),
            timestamp: RtpTimestamp(timestamp),
            ssrc: Ssrc(self.encoding.ssrc),
            ..RtpHeader::default()
        };
        let sent = crate::clock::now();
        let Some(start) = self.write_header(&header, level, accepted, sent, outlet, &mut out) else { return };
        let Some(length) = out.get_mut(start..).and_then(write) else { return };
        let Some(payload) = out.get_mut(start..start + length) else { return };
        Stamp { source: self.number, counter: self.packets, sent }.write(payload);
        self.keep(timestamp, marker, payload);
        let sealed = outlet
            .connection
            .send_context()
            .and_then(|context| context.protect_rtp(&mut out, start + length, self.index).ok());
        if let Some(datagram) = sealed.and_then(|sealed| out.get(..sealed)) {
            (outlet.send)(datagram);
            outlet.tally.sent_packets += 1;
        }
        self.index += 1;
        self.packets += 1;
        self.payload_bytes += length as u64;
    }

    /// Mid and rid until the first report, as libwebrtc; the transport-wide number and the send time wherever negotiated.
    fn write_header(
        &self,
        header: &RtpHeader<'_>,
        level: Option<AudioLevel>,
        accepted: &AcceptedTrack,
        now: TimeNs,
        outlet: &mut Outlet<'_>,
        out: &mut [u8],
    ) -> Option<usize> {
        let ids = &accepted.extensions;
        let send_time = AbsSendTime(outlet.wall.ntp(now).abs_send_time()).encode();
        let number = outlet.transport_sequence.to_be_bytes();
        let written = header.write_with(out, None, |block| {
            block.put(ids.transport_cc, &number)?;
            block.put(ids.abs_send_time, &send_time)?;
            if let Some(level) = level {
                block.put(ids.audio_level, &level.encode())?;
            }
            if !self.is_reported {
                block.put(ids.mid, self.mid.as_bytes())?;
                if let Some(rid) = self.encoding.rid {
                    let is_repair = header.ssrc.0 == self.encoding.rtx_ssrc;
                    block.put(if is_repair { ids.repaired_rid } else { ids.rid }, rid.as_bytes())?;
                }
            }
            Ok(())
        });
        if ids.transport_cc != 0 {
            *outlet.transport_sequence = outlet.transport_sequence.wrapping_add(1);
        }
        written.ok()
    }

    fn keep(&mut self, timestamp: u32, marker: bool, payload: &[u8]) {
        let sequence = self.index as u16;
        if let Some(cached) = self.cache.get_mut(usize::from(sequence) % CACHE_PACKETS) {
            cached.sequence = sequence;
            cached.timestamp = timestamp;
            cached.marker = marker;
            cached.payload.clear();
            cached.payload.extend_from_slice(payload);
        }
    }

    /// On the RTX stream (RFC 4588 §4); without one the request is left unanswered.
    fn retransmit(&mut self, lost: SequenceNumber, outlet: &mut Outlet<'_>) {
        let Some(accepted) = self.accepted else { return };
        let Some(payload_type) = accepted.rtx_payload_type else { return };
        let Some(cached) = self.cache.get(usize::from(lost.0) % CACHE_PACKETS) else { return };
        if cached.sequence != lost.0 || cached.payload.is_empty() {
            return;
        }
        let header = RtpHeader {
            marker: cached.marker,
            payload_type,
            sequence: SequenceNumber(self.retransmission_index as u16),
            timestamp: RtpTimestamp(cached.timestamp),
            ssrc: Ssrc(self.encoding.rtx_ssrc),
            ..RtpHeader::default()
        };
        let mut out = [0; PACKET_BYTES_MAX];
        let now = crate::clock::now();
        let Some(start) = self.write_header(&header, None, &accepted, now, outlet, &mut out) else { return };
        let end = start + 2 + cached.payload.len();
        let Some((number, payload)) = out.get_mut(start..end).and_then(<[u8]>::split_first_chunk_mut) else { return };
        *number = lost.0.to_be_bytes();
        payload.copy_from_slice(&cached.payload);
        let sealed = outlet
            .connection
            .send_context()
            .and_then(|context| context.protect_rtp(&mut out, end, self.retransmission_index).ok());
        if let Some(datagram) = sealed.and_then(|sealed| out.get(..sealed)) {
            (outlet.send)(datagram);
        }
        self.retransmission_index += 1;
    }

    fn send_report(&mut self, now: TimeNs, outlet: &mut Outlet<'_>) {
        let info = SenderInfo {
            ssrc: Ssrc(self.encoding.ssrc),
            ntp: outlet.wall.ntp(now),
            timestamp: RtpTimestamp(self.timestamp(now)),
            packets: self.packets as u32,
            payload_bytes: self.payload_bytes as u32,
        };
        let mut out = [0; 256];
        let Ok(mut length) = sr::write(&mut out, &info, &[]) else { return };
        if let Some(room) = out.get_mut(length..256 - Profile::RTCP_OVERHEAD_MAX) {
            length += sdes::write(room, info.ssrc, b"load").unwrap_or(0);
        }
        if let Some(sealed) = outlet.connection.seal_rtcp(&mut out, length).and_then(|sealed| out.get(..sealed)) {
            (outlet.send)(sealed);
        }
    }
}
