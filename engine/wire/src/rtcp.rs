//! RTCP (RFC 3550 §6): iteration over compound packets, reduced-size ones included (RFC 5506), and one file per message.
//! Sealing, scheduling and the rule that a compound begins with a report are the caller's.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---+-+---------+---------------+-------------------------------+
//! | 2 |P|  count  |  packet type  |     length in words minus 1   |
//! +---+-+---------+---------------+-------------------------------+
//! ```
//! `count` is the number of reports or sources, or the format of a feedback message (RFC 4585 §6.1).

pub mod bye;
pub mod fir;
pub mod nack;
pub mod pli;
pub mod remb;
pub mod report_block;
pub mod rr;
pub mod sdes;
pub mod sr;
pub mod twcc;
pub mod xr;

use engine_base::Ssrc;

use crate::cursor::{Reader, Writer};
use crate::error::{Result, WireError};

pub const HEADER_BYTES: usize = 4;

/// RTCP packet types.
pub mod packet_type {
    pub const SENDER_REPORT: u8 = 200;
    pub const RECEIVER_REPORT: u8 = 201;
    pub const SOURCE_DESCRIPTION: u8 = 202;
    pub const GOODBYE: u8 = 203;
    /// RFC 4585 §6.2.
    pub const TRANSPORT_FEEDBACK: u8 = 205;
    /// RFC 4585 §6.3.
    pub const PAYLOAD_FEEDBACK: u8 = 206;
    /// RFC 3611 §2.
    pub const EXTENDED_REPORT: u8 = 207;
}

/// One message of a compound packet.
#[derive(Clone, Copy, Debug)]
pub enum Rtcp<'a> {
    SenderReport(sr::SenderReport<'a>),
    ReceiverReport(rr::ReceiverReport<'a>),
    SourceDescription(sdes::SourceDescription<'a>),
    Goodbye(bye::Goodbye<'a>),
    Nack(nack::Nack<'a>),
    Pli(pli::Pli),
    Fir(fir::Fir<'a>),
    Twcc(twcc::Twcc<'a>),
    Remb(remb::Remb<'a>),
    ExtendedReport(xr::ExtendedReport<'a>),
    /// Well framed, but of a kind that this crate does not read.
    Other(RawMessage<'a>),
}

/// A message behind its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawMessage<'a> {
    pub packet_type: u8,
    /// The 5 bits behind version and padding.
    pub count: u8,
    /// Without the header and without padding.
    pub body: &'a [u8],
}

impl<'a> RawMessage<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self> {
        let &[first, packet_type, high, low] = reader.array::<HEADER_BYTES>()?;
        if first >> 6 != 2 {
            return Err(WireError::Malformed);
        }
        let mut body = reader.take(usize::from(u16::from_be_bytes([high, low])) * 4)?;
        if first & 0x20 != 0 {
            let padding = usize::from(*body.last().ok_or(WireError::Malformed)?);
            let len = body.len().checked_sub(padding).filter(|_| padding != 0).ok_or(WireError::Malformed)?;
            body = body.get(..len).ok_or(WireError::Malformed)?;
        }
        Ok(Self { packet_type, count: first & 31, body })
    }

    /// Reads the body by packet type and format.
    pub fn interpret(self) -> Result<Rtcp<'a>> {
        Ok(match (self.packet_type, self.count) {
            (packet_type::SENDER_REPORT, count) => Rtcp::SenderReport(sr::SenderReport::parse(count, self.body)?),
            (packet_type::RECEIVER_REPORT, count) => Rtcp::ReceiverReport(rr::ReceiverReport::parse(count, self.body)?),
            (packet_type::SOURCE_DESCRIPTION, count) => {
                Rtcp::SourceDescription(sdes::SourceDescription::parse(count, self.body)?)
            }
            (packet_type::GOODBYE, count) => Rtcp::Goodbye(bye::Goodbye::parse(count, self.body)?),
            (packet_type::TRANSPORT_FEEDBACK, nack::FORMAT) => Rtcp::Nack(nack::Nack::parse(self.body)?),
            (packet_type::TRANSPORT_FEEDBACK, twcc::FORMAT) => Rtcp::Twcc(twcc::Twcc::parse(self.body)?),
            (packet_type::PAYLOAD_FEEDBACK, pli::FORMAT) => Rtcp::Pli(pli::Pli::parse(self.body)?),
            (packet_type::PAYLOAD_FEEDBACK, fir::FORMAT) => Rtcp::Fir(fir::Fir::parse(self.body)?),
            (packet_type::PAYLOAD_FEEDBACK, remb::FORMAT) => match remb::Remb::parse(self.body) {
                // Format 15 is shared by all application layer feedback (RFC 4585 §6.4).
                Err(WireError::Unsupported) => Rtcp::Other(self),
                remb => Rtcp::Remb(remb?),
            },
            (packet_type::EXTENDED_REPORT, _) => Rtcp::ExtendedReport(xr::ExtendedReport::parse(self.body)?),
            _ => Rtcp::Other(self),
        })
    }
}

/// The messages of one RTCP packet. A message that is framed well but reads badly is an error item, and the next one
/// follows; a broken frame ends the iteration with an error.
#[derive(Clone, Debug)]
pub struct Compound<'a> {
    reader: Reader<'a>,
}

impl<'a> Compound<'a> {
    pub const fn new(packet: &'a [u8]) -> Self {
        Self { reader: Reader::new(packet) }
    }
}

impl<'a> Iterator for Compound<'a> {
    type Item = Result<Rtcp<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        match RawMessage::read(&mut self.reader) {
            Ok(message) => Some(message.interpret()),
            Err(error) => {
                self.reader = Reader::new(&[]);
                Some(Err(error))
            }
        }
    }
}

/// The SSRC of the first message's sender, which SRTCP keys its index by (RFC 3711 §3.4).
pub fn sender_ssrc(packet: &[u8]) -> Result<Ssrc> {
    let mut reader = Reader::new(packet);
    reader.array::<HEADER_BYTES>()?;
    reader.u32().map(Ssrc)
}

/// Writes one message to the front of `out`: header, then the body that `fill` writes in whole words.
fn write_message(
    out: &mut [u8],
    packet_type: u8,
    count: usize,
    fill: impl FnOnce(&mut Writer<'_>) -> Result<()>,
) -> Result<usize> {
    if count > 31 {
        return Err(WireError::Capacity);
    }
    let mut writer = Writer::new(out);
    writer.bytes(&[0x80 | count as u8, packet_type, 0, 0])?;
    fill(&mut writer)?;
    writer.pad_to_word()?;
    let len = writer.len();
    writer.patch_u16(2, u16::try_from(len / 4 - 1).map_err(|_| WireError::Capacity)?)?;
    Ok(len)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// Walks every iterator that a message has.
    fn exhaust(message: Rtcp<'_>) -> usize {
        match message {
            Rtcp::SenderReport(report) => report.blocks().count(),
            Rtcp::ReceiverReport(report) => report.blocks().count(),
            Rtcp::SourceDescription(sdes) => sdes.chunks().map(|chunk| chunk.cname.map_or(0, <[u8]>::len)).sum(),
            Rtcp::Goodbye(bye) => bye.sources().count() + bye.reason.len(),
            Rtcp::Nack(nack) => nack.lost().count(),
            Rtcp::Pli(_) | Rtcp::Other(_) => 0,
            Rtcp::Fir(fir) => fir.entries().count(),
            Rtcp::Twcc(twcc) => twcc.packets().count(),
            Rtcp::Remb(remb) => remb.sources().count(),
            Rtcp::ExtendedReport(report) => report
                .blocks()
                .map(|block| match block {
                    xr::Block::LastReceiverReports(entries) => entries.iter().count(),
                    _ => 0,
                })
                .sum(),
        }
    }

    #[test]
    fn a_broken_frame_ends_the_iteration() {
        let packet = [0x80, 203, 0, 0, 0x80, 200, 0, 9, 0, 0, 0, 0];
        let items: Vec<_> = Compound::new(&packet).collect();
        assert!(matches!(items[..], [Ok(Rtcp::Goodbye(_)), Err(WireError::Truncated)]));
    }

    #[test]
    fn a_bad_message_does_not_hide_the_next() {
        let packet = [0x80, 206 - 6, 0, 0, 0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];
        let items: Vec<_> = Compound::new(&packet).collect();
        assert!(matches!(items[..], [Err(WireError::Truncated), Ok(Rtcp::Pli(_))]));
    }

    #[test]
    fn padding_is_cut() {
        let packet = [0xa1, 206, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 4];
        assert!(matches!(Compound::new(&packet).next(), Some(Ok(Rtcp::Pli(_)))));
        let packet = [0xa1, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 9];
        assert!(matches!(Compound::new(&packet).next(), Some(Err(WireError::Malformed))));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
            for message in Compound::new(&bytes).flatten() {
                exhaust(message);
            }
            sender_ssrc(&bytes).ok();
        }

        #[test]
        fn arbitrary_bodies_never_panic(
            packet_type in 200u8..208, count in 0u8..32, bytes in prop::collection::vec(any::<u8>(), 0..128),
        ) {
            let message = RawMessage { packet_type, count, body: &bytes };
            message.interpret().map(exhaust).ok();
        }
    }
}
