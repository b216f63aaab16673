//! Generic NACK (RFC 4585 §6.2.1): pairs of a lost sequence number and a mask of the 16 that follow it.

use engine_base::{SequenceNumber, Ssrc};

use super::{packet_type, write_message};
use crate::cursor::Reader;
use crate::error::Result;

pub(super) const FORMAT: u8 = 1;
/// Header and the two SSRCs.
pub const FIXED_BYTES: usize = 12;
pub const PAIR_BYTES: usize = 4;

#[derive(Clone, Copy, Debug)]
pub struct Nack<'a> {
    pub sender: Ssrc,
    pub media: Ssrc,
    pairs: &'a [u8],
}

impl<'a> Nack<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(body);
        Ok(Self { sender: Ssrc(reader.u32()?), media: Ssrc(reader.u32()?), pairs: reader.rest() })
    }

    /// The lost sequence numbers in the sender's order; at most 17 per 4 bytes.
    pub fn lost(&self) -> impl Iterator<Item = SequenceNumber> + 'a {
        self.pairs.as_chunks::<PAIR_BYTES>().0.iter().flat_map(|&[a, b, c, d]| {
            let first = SequenceNumber(u16::from_be_bytes([a, b]));
            let mask = u16::from_be_bytes([c, d]);
            let following = (0..16u16).filter(move |bit| mask >> bit & 1 != 0).map(move |bit| first.add(bit + 1));
            core::iter::once(first).chain(following)
        })
    }
}

/// What one NACK message took of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    pub bytes: usize,
    /// Sequence numbers of `lost` that are in the message.
    pub taken: usize,
}

/// Writes a NACK for as much of `lost` as `out` has room for. `lost` is in ascending order (with wrap); other orders are
/// correct but larger.
///
/// **Errors**: `Capacity` when `out` cannot hold a single pair.
pub fn write(out: &mut [u8], sender: Ssrc, media: Ssrc, lost: &[SequenceNumber]) -> Result<Written> {
    let mut pairs_left = out.len().saturating_sub(FIXED_BYTES) / PAIR_BYTES;
    let mut taken = 0;
    let bytes = write_message(out, packet_type::TRANSPORT_FEEDBACK, usize::from(FORMAT), |writer| {
        writer.u32(sender.0)?;
        writer.u32(media.0)?;
        let mut rest = lost;
        while let Some((&first, mut tail)) = rest.split_first() {
            if pairs_left == 0 && taken != 0 {
                break;
            }
            let mut mask = 0u16;
            while let Some((next, behind)) = tail.split_first()
                && let offset @ 1..=16 = next.distance(first)
            {
                mask |= 1 << (offset - 1);
                tail = behind;
            }
            writer.u16(first.0)?;
            writer.u16(mask)?;
            pairs_left = pairs_left.saturating_sub(1);
            taken = lost.len() - tail.len();
            rest = tail;
        }
        Ok(())
    })?;
    Ok(Written { bytes, taken })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::super::{Compound, Rtcp};
    use super::*;
    use crate::error::WireError;

    fn lost(packet: &[u8]) -> Vec<SequenceNumber> {
        let Some(Ok(Rtcp::Nack(nack))) = Compound::new(packet).next() else { panic!("not a nack") };
        assert_eq!((nack.sender, nack.media), (Ssrc(1), Ssrc(2)));
        nack.lost().collect()
    }

    #[test]
    fn seventeen_in_a_row_over_the_wrap_are_one_pair() {
        let list: Vec<_> = (0..17).map(|i| SequenceNumber(65_530).add(i)).collect();
        let mut out = [0; 64];
        let written = write(&mut out, Ssrc(1), Ssrc(2), &list).unwrap();
        assert_eq!(written, Written { bytes: 16, taken: 17 });
        assert_eq!(out[12..16], [0xff, 0xfa, 0xff, 0xff]);
        assert_eq!(lost(&out[..16]), list);
    }

    #[test]
    fn what_does_not_fit_is_left_for_the_next_message() {
        let list = [1, 100, 200].map(SequenceNumber);
        let mut out = [0; 20];
        assert_eq!(write(&mut out, Ssrc(1), Ssrc(2), &list), Ok(Written { bytes: 20, taken: 2 }));
        assert_eq!(lost(&out), list[..2]);
        assert_eq!(write(&mut [0; 15], Ssrc(1), Ssrc(2), &list), Err(WireError::Capacity));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn what_is_written_is_read(start in any::<u16>(), offsets in prop::collection::btree_set(0u16..600, 1..100)) {
            let offsets: BTreeSet<u16> = offsets;
            let list: Vec<_> = offsets.iter().map(|&offset| SequenceNumber(start).add(offset)).collect();
            let mut out = [0; 600];
            let written = write(&mut out, Ssrc(1), Ssrc(2), &list).unwrap();
            prop_assert_eq!(written.taken, list.len());
            prop_assert_eq!(lost(&out[..written.bytes]), list);
        }
    }
}
