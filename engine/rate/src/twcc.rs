//! Transport-wide feedback, receiving side: which transport-wide sequence numbers arrived and when, and when to tell the sender
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01). The bytes are engine-wire's.
//!
//! Schedule: the first of 100 ms since the last message with anything pending, 50 ms with more than 20 pending and the end of a
//! frame seen, 100 pending. The reference waits for 20 pending packets in every case; a thin stream would then be told once a
//! second, which libwebrtc reads as a delay.

use engine_base::{SequenceNumber, Ssrc, TimeNs};
use engine_wire::error::WireError;
use engine_wire::rtcp::twcc;

/// Packets remembered: at the longest interval (100 ms) 10,000 packets/s, 100 Mbit/s.
pub const WINDOW: usize = 1_024;
const INTERVAL_MS: u64 = 100;
const INTERVAL_AT_FRAME_END_MS: u64 = 50;
const PENDING_AT_FRAME_END: u32 = 20;
const PENDING_MAX: u32 = 100;

/// Arrivals on one transport since the last feedback. About 4.3 KB, never grows.
#[derive(Clone, Debug)]
pub struct ArrivalLog {
    /// Ticks of 250 µs, low 32 bits; only where `received` has the bit.
    ticks: [u32; WINDOW],
    received: [u64; WINDOW / 64],
    /// First number not yet reported.
    begin: u64,
    /// One past the highest number received; 0 before the first packet.
    end: u64,
    /// Ticks of the newest arrival: the high bits of `ticks`.
    newest_ticks: u64,
    last_feedback: TimeNs,
    media: Ssrc,
    pending: u32,
    frame_end: bool,
    feedback_count: u8,
}

impl Default for ArrivalLog {
    fn default() -> Self {
        Self::new()
    }
}

impl ArrivalLog {
    pub const fn new() -> Self {
        Self {
            ticks: [0; WINDOW],
            received: [0; WINDOW / 64],
            begin: 0,
            end: 0,
            newest_ticks: 0,
            last_feedback: TimeNs::ZERO,
            media: Ssrc::UNKNOWN,
            pending: 0,
            frame_end: false,
            feedback_count: 0,
        }
    }

    /// Notes a packet with its transport-wide number. Every packet counts: media, RTX and padding. `frame_end` is the marker bit.
    ///
    /// A number that was reported as missing is reported again when it comes late; one older than the window is ignored.
    pub fn record(&mut self, sequence: SequenceNumber, media: Ssrc, arrival: TimeNs, frame_end: bool) {
        let ticks = arrival.0 / twcc::TICK_NS;
        if self.end == 0 {
            let first = 0x1_0000 | u64::from(sequence.0);
            (self.begin, self.end, self.last_feedback) = (first, first, arrival);
        }
        let last = self.end - 1;
        let number = last.wrapping_add_signed(i64::from(sequence.distance(SequenceNumber(last as u16))));
        if number >= self.end {
            self.extend(number);
        } else if number + (WINDOW as u64) < self.end + 1 || self.is_received(number) {
            return;
        }
        self.begin = self.begin.min(number);
        self.received[number as usize % WINDOW / 64] |= 1 << (number % 64);
        self.ticks[number as usize % WINDOW] = ticks as u32;
        self.newest_ticks = self.newest_ticks.max(ticks);
        self.media = media;
        self.pending += 1;
        self.frame_end |= frame_end;
    }

    /// When feedback is due; `None` while nothing is pending.
    pub fn poll_timeout(&self) -> Option<TimeNs> {
        let at_frame_end = self.frame_end && self.pending > PENDING_AT_FRAME_END;
        match self.pending {
            0 => None,
            PENDING_MAX.. => Some(TimeNs::ZERO),
            _ if at_frame_end => Some(self.last_feedback.add_ms(INTERVAL_AT_FRAME_END_MS)),
            _ => Some(self.last_feedback.add_ms(INTERVAL_MS)),
        }
    }

    /// Writes one feedback message if it is due, and returns its length. Call again until `None`: a message may not hold all.
    ///
    /// **Errors**: `Capacity` when `out` does not hold a single packet.
    pub fn poll_transmit(&mut self, out: &mut [u8], sender: Ssrc, now: TimeNs) -> Result<Option<usize>, WireError> {
        if self.poll_timeout().is_none_or(|due| due > now) {
            return Ok(None);
        }
        let written = twcc::write(out, sender, self.media, self.feedback_count, self.arrivals())?;
        let Some(written) = written else {
            self.reported(self.end, now);
            return Ok(None);
        };
        let taken = u64::from(written.next.0.wrapping_sub(self.begin as u16));
        self.feedback_count = self.feedback_count.wrapping_add(1);
        self.reported(self.begin + taken, now);
        Ok(Some(written.bytes))
    }

    fn arrivals(&self) -> impl Iterator<Item = (SequenceNumber, Option<u64>)> + Clone + '_ {
        (self.begin..self.end).map(|number| {
            let arrival = self.is_received(number).then(|| {
                let behind = (self.newest_ticks as u32).wrapping_sub(self.ticks[number as usize % WINDOW]);
                self.newest_ticks.saturating_sub(u64::from(behind))
            });
            (SequenceNumber(number as u16), arrival)
        })
    }

    /// Numbers below `begin` are reported. What is left stays due at once, for the next call.
    fn reported(&mut self, begin: u64, now: TimeNs) {
        self.begin = begin;
        self.pending = (self.begin..self.end).filter(|&number| self.is_received(number)).count() as u32;
        if self.pending == 0 {
            self.last_feedback = now;
            self.frame_end = false;
        }
    }

    fn is_received(&self, number: u64) -> bool {
        self.received[number as usize % WINDOW / 64] >> (number % 64) & 1 != 0
    }

    /// Makes `number` the highest, and forgets what leaves the window.
    fn extend(&mut self, number: u64) {
        for passed in self.end.max(number.saturating_sub(WINDOW as u64 - 1))..=number {
            self.received[passed as usize % WINDOW / 64] &= !(1 << (passed % 64));
        }
        self.end = number + 1;
        let oldest = self.end.saturating_sub(WINDOW as u64);
        if self.begin < oldest {
            self.reported_pending_from(oldest);
        }
    }

    fn reported_pending_from(&mut self, oldest: u64) {
        self.begin = oldest;
        self.pending = (self.begin..self.end).filter(|&number| self.is_received(number)).count() as u32;
    }
}

#[cfg(test)]
mod tests;
