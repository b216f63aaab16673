//! Extended reports (RFC 3611), of which the pair that gives a receiver its round-trip time: receiver reference time
//! (§4.4) and the answer to it, delay since the last receiver report (§4.5).

use engine_base::{NtpTime, Ssrc};

use super::{packet_type, write_message};
use crate::cursor::Reader;
use crate::error::Result;

const RECEIVER_REFERENCE_TIME: u8 = 4;
const DELAY_SINCE_LAST_RECEIVER_REPORT: u8 = 5;
const ENTRY_BYTES: usize = 12;

/// One entry of the delay block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastReceiverReport {
    /// The receiver that is answered.
    pub ssrc: Ssrc,
    /// Middle 32 bits of its reference time; 0 when none came.
    pub last: u32,
    /// From its arrival to this report in 1/65,536 s.
    pub delay: u32,
}

#[derive(Clone, Copy, Debug)]
pub enum Block<'a> {
    ReceiverReferenceTime(NtpTime),
    LastReceiverReports(LastReceiverReports<'a>),
    Other { block_type: u8, body: &'a [u8] },
}

#[derive(Clone, Copy, Debug)]
pub struct LastReceiverReports<'a>(&'a [u8]);

impl<'a> LastReceiverReports<'a> {
    pub fn iter(&self) -> impl Iterator<Item = LastReceiverReport> + 'a {
        self.0.as_chunks::<ENTRY_BYTES>().0.iter().map(|&[a, b, c, d, e, f, g, h, i, j, k, l]| LastReceiverReport {
            ssrc: Ssrc(u32::from_be_bytes([a, b, c, d])),
            last: u32::from_be_bytes([e, f, g, h]),
            delay: u32::from_be_bytes([i, j, k, l]),
        })
    }
}

#[derive(Clone, Copy, Debug)]
pub struct ExtendedReport<'a> {
    pub sender: Ssrc,
    blocks: Blocks<'a>,
}

impl<'a> ExtendedReport<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(body);
        let sender = Ssrc(reader.u32()?);
        let blocks = Blocks(reader);
        while !reader.is_empty() {
            read_block(&mut reader)?;
        }
        Ok(Self { sender, blocks })
    }

    pub const fn blocks(&self) -> Blocks<'a> {
        self.blocks
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Blocks<'a>(Reader<'a>);

impl<'a> Iterator for Blocks<'a> {
    type Item = Block<'a>;

    fn next(&mut self) -> Option<Block<'a>> {
        read_block(&mut self.0).ok()
    }
}

fn read_block<'a>(reader: &mut Reader<'a>) -> Result<Block<'a>> {
    let &[block_type, _, high, low] = reader.array::<4>()?;
    let body = reader.take(usize::from(u16::from_be_bytes([high, low])) * 4)?;
    Ok(match block_type {
        RECEIVER_REFERENCE_TIME => Block::ReceiverReferenceTime(NtpTime(Reader::new(body).u64()?)),
        DELAY_SINCE_LAST_RECEIVER_REPORT => Block::LastReceiverReports(LastReceiverReports(body)),
        _ => Block::Other { block_type, body },
    })
}

/// Writes a report with one receiver reference time block.
pub fn write_reference_time(out: &mut [u8], sender: Ssrc, time: NtpTime) -> Result<usize> {
    write_message(out, packet_type::EXTENDED_REPORT, 0, |writer| {
        writer.u32(sender.0)?;
        writer.bytes(&[RECEIVER_REFERENCE_TIME, 0, 0, 2])?;
        writer.u64(time.0)
    })
}

/// Writes a report with one block of delays since the last receiver report.
pub fn write_delays(out: &mut [u8], sender: Ssrc, entries: &[LastReceiverReport]) -> Result<usize> {
    let words = u16::try_from(entries.len() * ENTRY_BYTES / 4).map_err(|_| crate::WireError::Capacity)?;
    write_message(out, packet_type::EXTENDED_REPORT, 0, |writer| {
        writer.u32(sender.0)?;
        writer.bytes(&[DELAY_SINCE_LAST_RECEIVER_REPORT, 0])?;
        writer.u16(words)?;
        entries.iter().try_for_each(|entry| {
            writer.u32(entry.ssrc.0)?;
            writer.u32(entry.last)?;
            writer.u32(entry.delay)
        })
    })
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::super::{Compound, Rtcp};
    use super::*;

    fn report(packet: &[u8]) -> ExtendedReport<'_> {
        let Some(Ok(Rtcp::ExtendedReport(report))) = Compound::new(packet).next() else { panic!("not a report") };
        report
    }

    #[test]
    fn the_reference_time_comes_back() {
        let mut out = [0; 32];
        let len = write_reference_time(&mut out, Ssrc(3), NtpTime(0x0123_4567_89ab_cdef)).unwrap();
        let report = report(&out[..len]);
        assert_eq!(report.sender, Ssrc(3));
        let blocks: Vec<_> = report.blocks().collect();
        assert!(matches!(blocks[..], [Block::ReceiverReferenceTime(NtpTime(0x0123_4567_89ab_cdef))]));
    }

    #[test]
    fn delays_come_back() {
        let entries = [
            LastReceiverReport { ssrc: Ssrc(1), last: 2, delay: 3 },
            LastReceiverReport { ssrc: Ssrc(u32::MAX), last: 5, delay: 6 },
        ];
        let mut out = [0; 64];
        let len = write_delays(&mut out, Ssrc(3), &entries).unwrap();
        let Some(Block::LastReceiverReports(read)) = report(&out[..len]).blocks().next() else { panic!("no delays") };
        assert_eq!(read.iter().collect::<Vec<_>>(), entries);
    }
}
