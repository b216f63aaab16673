//! Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1): which packets
//! arrived and when. When to send it is `engine-rate`'s concern.
//!
//! ```text
//! | base sequence number          | packet status count           |
//! | reference time in 64 ms (24)                  | feedback count|
//! | packet chunks of 16 bits, then arrival deltas of 8 or 16 bits, then zeroes up to a word
//!
//! run      |0| S |  length (13)  |     S: 0 not received, 1 small delta (8 bits), 2 large or negative delta (16 bits)
//! one bit  |1|0| 14 × (0 or 1)   |
//! two bits |1|1|  7 × S          |
//! ```

use engine_base::{SequenceNumber, Ssrc};

use super::{packet_type, write_message};
use crate::cursor::{Reader, Writer};
use crate::error::{Result, WireError};

pub(super) const FORMAT: u8 = 15;
/// Header, SSRCs, base, count, reference time and feedback count.
pub const FIXED_BYTES: usize = 20;
/// One tick of a delta.
pub const TICK_NS: u64 = 250_000;
/// Ticks in the unit of the reference time: 64 ms.
pub const TICKS_PER_REFERENCE: u64 = 256;
/// Sequence numbers further apart cannot be ordered; it also bounds the work that one message causes.
pub const PACKETS_MAX: usize = 1 << 15;

const NOT_RECEIVED: u8 = 0;
const SMALL_DELTA: u8 = 1;
const LARGE_DELTA: u8 = 2;
const RUN_MAX: usize = (1 << 13) - 1;
const ONE_BIT_SYMBOLS: usize = 14;
const TWO_BIT_SYMBOLS: usize = 7;

/// One feedback message.
#[derive(Clone, Copy, Debug)]
pub struct Twcc<'a> {
    pub sender: Ssrc,
    pub media: Ssrc,
    pub base: SequenceNumber,
    /// Packets reported, received or not.
    pub status_count: u16,
    /// 24 bits in 64 ms; wraps every 12 days.
    pub reference_time: u32,
    /// Counts messages, so that a lost one is noticed.
    pub feedback_count: u8,
    chunks: Reader<'a>,
    deltas: Reader<'a>,
}

impl<'a> Twcc<'a> {
    /// **Cost**: one step per chunk symbol that is not a run.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(body);
        let mut twcc = Self {
            sender: Ssrc(reader.u32()?),
            media: Ssrc(reader.u32()?),
            base: SequenceNumber(reader.u16()?),
            status_count: reader.u16()?,
            reference_time: reader.u24()?,
            feedback_count: reader.u8()?,
            chunks: reader,
            deltas: reader,
        };
        let count = usize::from(twcc.status_count);
        if count > PACKETS_MAX {
            return Err(WireError::Malformed);
        }
        let (mut covered, mut delta_bytes) = (0, 0);
        while covered < count {
            let chunk = Chunk(reader.u16()?);
            let symbols = chunk.len().min(count - covered);
            delta_bytes += chunk.delta_bytes(symbols)?;
            covered += symbols;
        }
        twcc.deltas = reader;
        reader.take(delta_bytes)?;
        Ok(twcc)
    }

    /// Every reported packet in order, with the ticks from the previous received packet to it, or `None` when it had not
    /// arrived. The first delta counts from the reference time.
    pub fn packets(&self) -> Packets<'a> {
        Packets {
            chunks: self.chunks,
            deltas: self.deltas,
            chunk: Chunk(0),
            position: 0,
            next: self.base,
            left: self.status_count,
        }
    }

    /// As `packets`, with the time of arrival in ticks from the origin of the reference time.
    pub fn arrivals(&self) -> impl Iterator<Item = (SequenceNumber, Option<i64>)> + 'a {
        let mut at = i64::from(self.reference_time) * TICKS_PER_REFERENCE.cast_signed();
        self.packets().map(move |(sequence, delta)| {
            at += i64::from(delta.unwrap_or(0));
            (sequence, delta.map(|_| at))
        })
    }
}

#[derive(Clone, Copy, Debug)]
struct Chunk(u16);

impl Chunk {
    const fn is_run(self) -> bool {
        self.0 & 0x8000 == 0
    }

    const fn len(self) -> usize {
        if self.is_run() {
            (self.0 & 0x1fff) as usize
        } else if self.0 & 0x4000 == 0 {
            ONE_BIT_SYMBOLS
        } else {
            TWO_BIT_SYMBOLS
        }
    }

    fn symbol(self, position: usize) -> u8 {
        let two_bits = |shift: usize| (self.0 >> shift & 3) as u8;
        if self.is_run() {
            two_bits(13)
        } else if self.0 & 0x4000 == 0 {
            (self.0 >> (ONE_BIT_SYMBOLS - 1).saturating_sub(position) & 1) as u8
        } else {
            two_bits(2 * (TWO_BIT_SYMBOLS - 1).saturating_sub(position))
        }
    }

    /// Bytes of the deltas of the first `symbols` symbols.
    fn delta_bytes(self, symbols: usize) -> Result<usize> {
        if self.is_run() {
            return if symbols == 0 { Err(WireError::Malformed) } else { Ok(delta_len(self.symbol(0))? * symbols) };
        }
        (0..symbols).try_fold(0, |sum, position| Ok(sum + delta_len(self.symbol(position))?))
    }
}

const fn delta_len(symbol: u8) -> Result<usize> {
    match symbol {
        NOT_RECEIVED => Ok(0),
        SMALL_DELTA => Ok(1),
        LARGE_DELTA => Ok(2),
        _ => Err(WireError::Malformed),
    }
}

/// See [`Twcc::packets`].
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    chunks: Reader<'a>,
    deltas: Reader<'a>,
    chunk: Chunk,
    position: usize,
    next: SequenceNumber,
    left: u16,
}

impl Iterator for Packets<'_> {
    type Item = (SequenceNumber, Option<i16>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        if self.position >= self.chunk.len() {
            self.chunk = Chunk(self.chunks.u16().ok()?);
            self.position = 0;
        }
        let delta = match self.chunk.symbol(self.position) {
            NOT_RECEIVED => None,
            SMALL_DELTA => Some(i16::from(self.deltas.u8().ok()?)),
            _ => Some(self.deltas.u16().ok()?.cast_signed()),
        };
        let sequence = self.next;
        self.position += 1;
        self.next = sequence.add(1);
        Some((sequence, delta))
    }
}

/// What one message took of the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    pub bytes: usize,
    /// The first sequence number that the message does not report.
    pub next: SequenceNumber,
}

/// Writes feedback for as many of `packets` as `out` has room for and deltas can express.
///
/// **Input**: `packets` by ascending sequence number (with wrap); missing numbers count as not received, repeated or older
/// ones are skipped. The time of arrival is in ticks of 250 µs on any clock of the caller. It is walked a few times.
/// **Output**: `None` when there is no arrival to report.
/// **Errors**: `Capacity` when `out` does not hold a single packet.
/// **Cost**: O(packets up to the first that did not fit).
pub fn write(
    out: &mut [u8],
    sender: Ssrc,
    media: Ssrc,
    feedback_count: u8,
    packets: impl Iterator<Item = (SequenceNumber, Option<u64>)> + Clone,
) -> Result<Option<Written>> {
    let Some(first_arrival) = packets.clone().find_map(|(_, arrival)| arrival) else { return Ok(None) };
    let Some((base, _)) = packets.clone().next() else { return Ok(None) };
    let reference = first_arrival / TICKS_PER_REFERENCE;
    let statuses =
        Statuses { filled: Filled { packets, pending: None, next: base }, previous: reference * TICKS_PER_REFERENCE };
    let count = fitting(statuses.clone(), out.len());
    if count == 0 {
        return Err(WireError::Capacity);
    }
    let statuses = statuses.take(count);
    let bytes = write_message(out, packet_type::TRANSPORT_FEEDBACK, usize::from(FORMAT), |writer| {
        writer.u32(sender.0)?;
        writer.u32(media.0)?;
        writer.u16(base.0)?;
        writer.u16(count as u16)?;
        writer.u24(reference as u32)?;
        writer.u8(feedback_count)?;
        write_chunks(writer, statuses.clone().map(|status| status.symbol))?;
        for status in statuses {
            match status.symbol {
                NOT_RECEIVED => {}
                SMALL_DELTA => writer.u8(status.delta as u8)?,
                _ => writer.u16(status.delta.cast_unsigned())?,
            }
        }
        Ok(())
    })?;
    Ok(Some(Written { bytes, next: base.add(count as u16) }))
}

/// How many statuses fit into `room` bytes. Every chunk but the last covers at least seven symbols, so that
/// ⌈count / 7⌉ chunks suffice.
fn fitting(statuses: impl Iterator<Item = Status>, room: usize) -> usize {
    let mut delta_bytes = 0;
    let mut count = 0;
    for status in statuses.take(PACKETS_MAX) {
        delta_bytes += usize::from(status.symbol);
        let bytes = FIXED_BYTES + 2 * (count + 1usize).div_ceil(TWO_BIT_SYMBOLS) + delta_bytes;
        if bytes.next_multiple_of(4) > room {
            break;
        }
        count += 1;
    }
    count
}

/// Takes of the three kinds of chunk the one that covers most.
fn write_chunks(writer: &mut Writer<'_>, mut symbols: impl Iterator<Item = u8> + Clone) -> Result<()> {
    while let Some(first) = symbols.clone().next() {
        let run = symbols.clone().take(RUN_MAX).take_while(|&symbol| symbol == first).count();
        let window = symbols.clone().take(ONE_BIT_SYMBOLS).count();
        let one_bit = symbols.clone().take(ONE_BIT_SYMBOLS).all(|symbol| symbol != LARGE_DELTA);
        let (kind, width, covered) =
            if one_bit { (0x8000, 1, window) } else { (0xc000, 2, window.min(TWO_BIT_SYMBOLS)) };
        if run >= covered {
            writer.u16(u16::from(first) << 13 | run as u16)?;
            symbols.nth(run - 1);
        } else {
            let mut chunk = kind;
            for position in 1..=covered {
                let symbol = u16::from(symbols.next().unwrap_or(NOT_RECEIVED));
                chunk |= symbol << (14 - width * position);
            }
            writer.u16(chunk)?;
        }
    }
    Ok(())
}

/// How one packet is reported. `symbol` is also the number of bytes of its delta.
#[derive(Clone, Copy, Debug)]
struct Status {
    symbol: u8,
    delta: i16,
}

/// Statuses of the packets; ends at the first delta that 16 bits cannot express.
#[derive(Clone)]
struct Statuses<I> {
    filled: Filled<I>,
    previous: u64,
}

impl<I: Iterator<Item = (SequenceNumber, Option<u64>)>> Iterator for Statuses<I> {
    type Item = Status;

    fn next(&mut self) -> Option<Status> {
        let Some(arrival) = self.filled.next()? else { return Some(Status { symbol: NOT_RECEIVED, delta: 0 }) };
        let delta = i16::try_from(arrival.wrapping_sub(self.previous).cast_signed()).ok()?;
        self.previous = arrival;
        let symbol = if (0..=255).contains(&delta) { SMALL_DELTA } else { LARGE_DELTA };
        Some(Status { symbol, delta })
    }
}

/// Arrivals of contiguous sequence numbers: gaps are filled, repeated and older numbers skipped.
#[derive(Clone)]
struct Filled<I> {
    packets: I,
    pending: Option<(SequenceNumber, Option<u64>)>,
    next: SequenceNumber,
}

impl<I: Iterator<Item = (SequenceNumber, Option<u64>)>> Iterator for Filled<I> {
    type Item = Option<u64>;

    fn next(&mut self) -> Option<Option<u64>> {
        let next = self.next;
        let (sequence, arrival) = match self.pending.take() {
            Some(packet) => packet,
            None => self.packets.find(|(sequence, _)| sequence.distance(next) >= 0)?,
        };
        self.next = next.add(1);
        if sequence == next {
            return Some(arrival);
        }
        self.pending = Some((sequence, arrival));
        Some(None)
    }
}

#[cfg(test)]
mod tests;
