//! RTP packets (RFC 3550 §5.1): a view that cannot panic after `parse`, and a header writer.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---+-+-+-------+-+-------------+-------------------------------+
//! | 2 |P|X|  CC   |M|     PT      |           sequence            |
//! +---+-+-+-------+-+-------------+-------------------------------+
//! |                           timestamp                           |
//! |                             SSRC                              |
//! |                       CSRC  (CC times)                        |
//! |       profile (X only)        |        length in words        |
//! |                 extension, payload, padding                   |
//! ```

use core::ops::Range;

use engine_base::{RtpTimestamp, SequenceNumber, Ssrc};

use crate::cursor::{Reader, Writer};
use crate::error::{Result, WireError};
use crate::extension::{ExtensionBlock, ExtensionWriter};

pub const FIXED_HEADER_BYTES: usize = 12;
const VERSION_2: u8 = 2 << 6;
const PADDING: u8 = 1 << 5;
const EXTENSION: u8 = 1 << 4;

/// One RTP packet.
#[derive(Clone, Copy, Debug)]
pub struct RtpPacket<'a> {
    bytes: &'a [u8],
    fixed: &'a [u8; FIXED_HEADER_BYTES],
    csrcs: &'a [u8],
    extension: Option<ExtensionBlock<'a>>,
    payload: &'a [u8],
    padding_len: usize,
}

impl<'a> RtpPacket<'a> {
    /// A plain packet: padding is checked and taken off the payload.
    ///
    /// **Errors**: `Unsupported` version, `Truncated` header or extension, `Malformed` padding.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut packet = Self::parse_sealed(bytes)?;
        if packet.has_padding() {
            let padding_len = usize::from(*packet.payload.last().ok_or(WireError::Malformed)?);
            let len = packet.payload.len().checked_sub(padding_len).ok_or(WireError::Malformed)?;
            if padding_len == 0 {
                return Err(WireError::Malformed);
            }
            packet.payload = packet.payload.get(..len).ok_or(WireError::Malformed)?;
            packet.padding_len = padding_len;
        }
        Ok(packet)
    }

    /// An SRTP packet: everything behind the header is ciphertext, so the payload still has padding and tag.
    pub fn parse_sealed(bytes: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let fixed = reader.array::<FIXED_HEADER_BYTES>()?;
        if fixed[0] >> 6 != 2 {
            return Err(WireError::Unsupported);
        }
        let csrcs = reader.take(usize::from(fixed[0] & 15) * 4)?;
        let extension = if fixed[0] & EXTENSION == 0 {
            None
        } else {
            let profile = reader.u16()?;
            let words = reader.u16()?;
            Some(ExtensionBlock { profile, bytes: reader.take(usize::from(words) * 4)? })
        };
        Ok(Self { bytes, fixed, csrcs, extension, payload: reader.rest(), padding_len: 0 })
    }

    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub const fn ssrc(&self) -> Ssrc {
        let [.., a, b, c, d] = *self.fixed;
        Ssrc(u32::from_be_bytes([a, b, c, d]))
    }

    pub const fn sequence(&self) -> SequenceNumber {
        SequenceNumber(u16::from_be_bytes([self.fixed[2], self.fixed[3]]))
    }

    pub const fn timestamp(&self) -> RtpTimestamp {
        RtpTimestamp(u32::from_be_bytes([self.fixed[4], self.fixed[5], self.fixed[6], self.fixed[7]]))
    }

    pub const fn payload_type(&self) -> u8 {
        self.fixed[1] & 0x7f
    }

    pub const fn marker(&self) -> bool {
        self.fixed[1] & 0x80 != 0
    }

    /// The P bit, before padding is checked.
    pub const fn has_padding(&self) -> bool {
        self.fixed[0] & PADDING != 0
    }

    pub fn csrcs(&self) -> impl Iterator<Item = Ssrc> + 'a {
        self.csrcs.as_chunks::<4>().0.iter().map(|&csrc| Ssrc(u32::from_be_bytes(csrc)))
    }

    pub const fn extension(&self) -> Option<ExtensionBlock<'a>> {
        self.extension
    }

    /// The value of the header extension `id`; `None` also for id 0, "not negotiated".
    pub fn find_extension(&self, id: u8) -> Option<&'a [u8]> {
        self.extension.and_then(|block| block.find(id))
    }

    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Where `payload` lies in the packet.
    pub const fn payload_range(&self) -> Range<usize> {
        self.header_len()..self.header_len() + self.payload.len()
    }

    /// Fixed header, CSRCs and extension block.
    pub const fn header_len(&self) -> usize {
        self.bytes.len() - self.payload.len() - self.padding_len
    }

    /// Padding bytes including their count byte; 0 without P bit.
    pub const fn padding_len(&self) -> usize {
        self.padding_len
    }
}

/// A retransmission's payload as original sequence number and original payload (RFC 4588 §4). `None` when it is empty,
/// which is a bandwidth probe, or too short.
pub fn split_retransmission(payload: &[u8]) -> Option<(SequenceNumber, &[u8])> {
    let (&sequence, original) = payload.split_first_chunk::<2>()?;
    Some((SequenceNumber(u16::from_be_bytes(sequence)), original))
}

/// Fields of an RTP header to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RtpHeader<'a> {
    /// The P bit; the caller appends the padding itself.
    pub padding: bool,
    pub marker: bool,
    pub payload_type: u8,
    pub sequence: SequenceNumber,
    pub timestamp: RtpTimestamp,
    pub ssrc: Ssrc,
    /// At most 15.
    pub csrcs: &'a [Ssrc],
    /// Ignored by `write_with`. Its length is a multiple of 4.
    pub extension: Option<ExtensionBlock<'a>>,
}

impl RtpHeader<'_> {
    /// Writes the header to the front of `out` and returns its length.
    ///
    /// **Errors**: `Capacity` when `out` is too short or a field does not fit.
    pub fn write(&self, out: &mut [u8]) -> Result<usize> {
        let mut writer = Writer::new(out);
        self.write_fixed(&mut writer, self.extension.is_some())?;
        if let Some(block) = self.extension {
            let words = u16::try_from(block.bytes.len() / 4).map_err(|_| WireError::Capacity)?;
            if block.bytes.len() % 4 != 0 {
                return Err(WireError::Capacity);
            }
            writer.u16(block.profile)?;
            writer.u16(words)?;
            writer.bytes(block.bytes)?;
        }
        Ok(writer.len())
    }

    /// Writes the header with an extension block that `fill` puts in place. `block_len` fixes the size of the block (its
    /// 4-byte header included, a multiple of 4) by zero padding; with `None` it is as small as possible, and absent when
    /// `fill` put nothing.
    pub fn write_with(
        &self,
        out: &mut [u8],
        block_len: Option<usize>,
        fill: impl FnOnce(&mut ExtensionWriter<'_>) -> Result<()>,
    ) -> Result<usize> {
        let fixed_len = FIXED_HEADER_BYTES + 4 * self.csrcs.len();
        let (fixed, rest) = out.split_at_mut_checked(fixed_len).ok_or(WireError::Capacity)?;
        let mut extension = ExtensionWriter::new(rest);
        fill(&mut extension)?;
        let block = match block_len {
            Some(len) => extension.finish_padded(len)?,
            None => extension.finish()?,
        };
        self.write_fixed(&mut Writer::new(fixed), block != 0)?;
        Ok(fixed_len + block)
    }

    fn write_fixed(&self, writer: &mut Writer<'_>, extension: bool) -> Result<()> {
        if self.csrcs.len() > 15 || self.payload_type > 127 {
            return Err(WireError::Capacity);
        }
        let first = VERSION_2 | u8::from(self.padding) << 5 | u8::from(extension) << 4 | self.csrcs.len() as u8;
        writer.u8(first)?;
        writer.u8(u8::from(self.marker) << 7 | self.payload_type)?;
        writer.u16(self.sequence.0)?;
        writer.u32(self.timestamp.0)?;
        writer.u32(self.ssrc.0)?;
        self.csrcs.iter().try_for_each(|csrc| writer.u32(csrc.0))
    }
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn padding_is_taken_off_and_counted() {
        let mut bytes = vec![0xa0, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 7, 8, 0, 0, 3];
        let packet = RtpPacket::parse(&bytes).unwrap();
        assert_eq!((packet.payload(), packet.padding_len(), packet.payload_range()), (&[7, 8][..], 3, 12..14));
        assert_eq!(packet.header_len(), 12);
        *bytes.last_mut().unwrap() = 6;
        assert_eq!(RtpPacket::parse(&bytes).unwrap_err(), WireError::Malformed);
        *bytes.last_mut().unwrap() = 0;
        assert_eq!(RtpPacket::parse(&bytes).unwrap_err(), WireError::Malformed);
    }

    #[test]
    fn a_padding_only_packet_has_an_empty_payload() {
        let bytes = [0xa0, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 2];
        let packet = RtpPacket::parse(&bytes).unwrap();
        assert!(packet.payload().is_empty());
        assert_eq!(packet.padding_len(), 2);
    }

    #[test]
    fn a_retransmission_names_its_original() {
        assert_eq!(split_retransmission(&[1, 2, 9]), Some((SequenceNumber(0x102), &[9][..])));
        assert_eq!((split_retransmission(&[]), split_retransmission(&[1])), (None, None));
    }

    #[test]
    fn other_versions_are_unsupported() {
        assert_eq!(RtpPacket::parse(&[0x40; 12]).unwrap_err(), WireError::Unsupported);
    }

    #[test]
    fn write_with_fixes_the_size_of_the_block() {
        let header = RtpHeader { payload_type: 96, ssrc: Ssrc(7), ..RtpHeader::default() };
        let mut out = [0xff; 64];
        let len = header.write_with(&mut out, Some(20), |block| block.put(5, &[1, 2])).unwrap();
        assert_eq!(len, 32);
        let packet = RtpPacket::parse(&out[..len]).unwrap();
        assert_eq!(packet.find_extension(5), Some(&[1, 2][..]));
        let len = header.write_with(&mut out, None, |_| Ok(())).unwrap();
        assert_eq!(len, 12);
        assert!(RtpPacket::parse(&out[..len]).unwrap().extension().is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..80), force in any::<bool>()) {
            if force && let Some(first) = bytes.first_mut() {
                *first = *first & 0x3f | 0x80;
            }
            for packet in [RtpPacket::parse(&bytes), RtpPacket::parse_sealed(&bytes)].into_iter().flatten() {
                prop_assert_eq!(bytes.get(packet.payload_range()).unwrap(), packet.payload());
                prop_assert_eq!(packet.header_len() + packet.payload().len() + packet.padding_len(), bytes.len());
                prop_assert!(packet.csrcs().count() <= 15);
                packet.find_extension(3);
            }
        }

        #[test]
        fn what_is_written_is_read(
            marker in any::<bool>(), payload_type in 0u8..128, sequence in any::<u16>(), timestamp in any::<u32>(),
            ssrc in any::<u32>(), csrcs in prop::collection::vec(any::<u32>().prop_map(Ssrc), 0..16),
            words in prop::option::of(0usize..9), payload in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let extension_bytes = vec![0x10; words.unwrap_or(0) * 4];
            let header = RtpHeader {
                padding: false, marker, payload_type, sequence: SequenceNumber(sequence),
                timestamp: RtpTimestamp(timestamp), ssrc: Ssrc(ssrc), csrcs: &csrcs,
                extension: words.map(|_| ExtensionBlock { profile: 0xbede, bytes: &extension_bytes }),
            };
            let mut out = [0; 200];
            let len = header.write(&mut out).unwrap();
            out[len..len + payload.len()].copy_from_slice(&payload);
            let packet = RtpPacket::parse(&out[..len + payload.len()]).unwrap();
            prop_assert_eq!(packet.header_len(), len);
            prop_assert_eq!(packet.payload(), &payload[..]);
            let read = RtpHeader {
                padding: packet.has_padding(), marker: packet.marker(), payload_type: packet.payload_type(),
                sequence: packet.sequence(), timestamp: packet.timestamp(), ssrc: packet.ssrc(),
                csrcs: &packet.csrcs().collect::<Vec<_>>(), extension: packet.extension(),
            };
            prop_assert_eq!(read, header);
            prop_assert_eq!(header.write(&mut [0; 11]), Err(WireError::Capacity));
        }
    }
}
