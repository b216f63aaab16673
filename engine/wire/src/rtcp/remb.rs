//! Receiver estimated maximum bitrate (draft-alvestrand-rmcat-remb-03 §2.2).

use engine_base::Ssrc;

use super::{packet_type, write_message};
use crate::cursor::Reader;
use crate::error::{Result, WireError};

pub(super) const FORMAT: u8 = 15;
const NAME: [u8; 4] = *b"REMB";
const MANTISSA_BITS: u32 = 18;

#[derive(Clone, Copy, Debug)]
pub struct Remb<'a> {
    pub sender: Ssrc,
    /// Always 0 by the draft: the list names the sources.
    pub media: Ssrc,
    /// For all listed sources together; saturates at `u64::MAX`.
    pub bits_per_second: u64,
    sources: &'a [u8],
}

impl<'a> Remb<'a> {
    /// **Errors**: `Unsupported` when it is another application layer feedback.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(body);
        let sender = Ssrc(reader.u32()?);
        let media = Ssrc(reader.u32()?);
        if reader.array() != Ok(&NAME) {
            return Err(WireError::Unsupported);
        }
        let count = reader.u8()?;
        let word = reader.u24()?;
        let (exponent, mantissa) = (word >> MANTISSA_BITS, u64::from(word & ((1 << MANTISSA_BITS) - 1)));
        let fits = mantissa.leading_zeros() >= exponent;
        let bits_per_second = if fits { mantissa << exponent } else { u64::MAX };
        Ok(Self { sender, media, bits_per_second, sources: reader.take(usize::from(count) * 4)? })
    }

    pub fn sources(&self) -> impl Iterator<Item = Ssrc> + 'a {
        self.sources.as_chunks::<4>().0.iter().map(|&ssrc| Ssrc(u32::from_be_bytes(ssrc)))
    }
}

/// Writes an estimate, rounded down to 18 significant bits, for at most 255 sources; returns its length.
pub fn write(out: &mut [u8], sender: Ssrc, bits_per_second: u64, sources: &[Ssrc]) -> Result<usize> {
    let count = u8::try_from(sources.len()).map_err(|_| WireError::Capacity)?;
    let exponent = (u64::BITS - bits_per_second.leading_zeros()).saturating_sub(MANTISSA_BITS);
    write_message(out, packet_type::PAYLOAD_FEEDBACK, usize::from(FORMAT), |writer| {
        writer.u32(sender.0)?;
        writer.u32(0)?;
        writer.bytes(&NAME)?;
        writer.u8(count)?;
        writer.u24(exponent << MANTISSA_BITS | (bits_per_second >> exponent) as u32)?;
        sources.iter().try_for_each(|ssrc| writer.u32(ssrc.0))
    })
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::super::{Compound, Rtcp};
    use super::*;

    #[test]
    fn an_overflowing_estimate_saturates() {
        let packet = [0x8f, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 0, 0xff, 0xff, 0xff];
        let Some(Ok(Rtcp::Remb(remb))) = Compound::new(&packet).next() else { panic!("not an estimate") };
        assert_eq!(remb.bits_per_second, u64::MAX);
    }

    #[test]
    fn another_application_feedback_is_other() {
        let packet = [0x8f, 206, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0, b'L', b'N', b'T', b'F'];
        assert!(matches!(Compound::new(&packet).next(), Some(Ok(Rtcp::Other(_)))));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn what_is_written_is_read(
            bits_per_second in any::<u64>(), shift in 0u32..64, sources in prop::collection::vec(any::<u32>().prop_map(Ssrc), 0..20),
        ) {
            let bits_per_second = bits_per_second >> shift;
            let mut out = [0; 200];
            let len = write(&mut out, Ssrc(9), bits_per_second, &sources).unwrap();
            let Some(Ok(Rtcp::Remb(remb))) = Compound::new(&out[..len]).next() else { panic!("not an estimate") };
            prop_assert!(remb.bits_per_second <= bits_per_second);
            prop_assert!(bits_per_second - remb.bits_per_second <= bits_per_second >> 17);
            prop_assert_eq!(remb.sources().collect::<Vec<_>>(), sources);
        }
    }
}
