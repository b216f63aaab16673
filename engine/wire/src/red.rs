//! Redundant audio (RFC 2198 §3): older copies of earlier packets, then the primary encoding.
//!
//! ```text
//! |1|  block PT   |  timestamp offset (14)   | block length (10) |  for each redundant block
//! |0|  block PT   |                                               for the primary, which has the rest
//! ```

use crate::cursor::Reader;
use crate::error::{Result, WireError};

/// More redundancy than anybody sends; it bounds the work for one packet.
pub const BLOCKS_MAX: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    pub payload_type: u8,
    /// How much older than the packet's timestamp; 0 for the primary.
    pub timestamp_offset: u16,
    pub data: &'a [u8],
}

/// A payload whose block headers agree with its length.
#[derive(Clone, Copy, Debug)]
pub struct Red<'a> {
    headers: Reader<'a>,
    data: Reader<'a>,
}

impl<'a> Red<'a> {
    pub fn parse(payload: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(payload);
        let mut redundant_bytes = 0;
        for _ in 0..BLOCKS_MAX {
            if reader.u8()? & 0x80 == 0 {
                let red = Self { headers: Reader::new(payload), data: reader };
                reader.take(redundant_bytes)?;
                return Ok(red);
            }
            redundant_bytes += usize::from(reader.u24()? as u16 & 0x3ff);
        }
        Err(WireError::Malformed)
    }

    /// Oldest first; the primary is the last.
    pub const fn blocks(&self) -> Blocks<'a> {
        Blocks { headers: self.headers, data: self.data, ended: false }
    }

    /// The encoding that the packet is about.
    pub fn primary(&self) -> Option<Block<'a>> {
        self.blocks().last()
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Blocks<'a> {
    headers: Reader<'a>,
    data: Reader<'a>,
    ended: bool,
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Block<'a>;

    fn next(&mut self) -> Option<Block<'a>> {
        if self.ended {
            return None;
        }
        let first = self.headers.u8().ok()?;
        let payload_type = first & 0x7f;
        if first & 0x80 == 0 {
            self.ended = true;
            return Some(Block { payload_type, timestamp_offset: 0, data: self.data.rest() });
        }
        let word = self.headers.u24().ok()?;
        let data = self.data.take((word & 0x3ff) as usize).ok()?;
        Some(Block { payload_type, timestamp_offset: (word >> 10) as u16, data })
    }
}

/// Replaces the payload type `from` by `to` in the block headers, for a receiver that negotiated other numbers.
///
/// **Errors**: `Capacity` for a `to` above 127; otherwise as [`Red::parse`], and nothing is changed.
pub fn renumber(payload: &mut [u8], from: u8, to: u8) -> Result<()> {
    if to > 127 {
        return Err(WireError::Capacity);
    }
    Red::parse(payload)?;
    let mut at = 0;
    while let Some(header) = payload.get_mut(at) {
        let redundant = *header & 0x80;
        if *header & 0x7f == from {
            *header = redundant | to;
        }
        if redundant == 0 {
            break;
        }
        at += 4;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_primary_stands_behind_the_redundant_blocks() {
        let payload = [0x80 | 111, 0x0f, 0x00, 0x02, 111, 1, 2, 3, 4, 5];
        let red = Red::parse(&payload).unwrap();
        let expected = [
            Block { payload_type: 111, timestamp_offset: 960, data: &[1, 2] },
            Block { payload_type: 111, timestamp_offset: 0, data: &[3, 4, 5] },
        ];
        assert_eq!(red.blocks().collect::<Vec<_>>(), expected);
        assert_eq!(red.primary(), Some(expected[1]));
    }

    #[test]
    fn renumbering_changes_the_headers_only() {
        let mut payload = [0x80 | 111, 0x0f, 0x00, 0x02, 111, 111, 2, 3, 4, 5];
        renumber(&mut payload, 111, 96).unwrap();
        assert_eq!(payload, [0x80 | 96, 0x0f, 0x00, 0x02, 96, 111, 2, 3, 4, 5]);
        assert_eq!(renumber(&mut payload, 96, 128), Err(WireError::Capacity));
        assert_eq!(renumber(&mut payload[..4], 96, 97), Err(WireError::Truncated));
        assert_eq!(payload[0], 0x80 | 96);
    }

    #[test]
    fn endless_headers_and_missing_data_are_refused() {
        assert_eq!(Red::parse(&[0x80; 400]).unwrap_err(), WireError::Malformed);
        assert_eq!(Red::parse(&[0x80, 0, 0, 2, 0, 1]).unwrap_err(), WireError::Truncated);
        assert_eq!(Red::parse(&[]).unwrap_err(), WireError::Truncated);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn arbitrary_bytes_never_panic(payload in prop::collection::vec(any::<u8>(), 0..60), short in any::<bool>()) {
            let mut payload = payload;
            if short {
                payload.iter_mut().skip(2).step_by(4).for_each(|byte| *byte = 0);
            }
            if let Ok(red) = Red::parse(&payload) {
                let data: usize = red.blocks().map(|block| block.data.len()).sum();
                prop_assert_eq!(data + 4 * red.blocks().count() - 3, payload.len());
            }
        }

        #[test]
        fn blocks_come_back(
            redundant in prop::collection::vec((0u8..128, 0u16..1 << 14, prop::collection::vec(any::<u8>(), 0..50)), 0..5),
            primary in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            let mut payload = vec![];
            for (payload_type, offset, data) in &redundant {
                let word = u32::from(*offset) << 10 | data.len() as u32;
                payload.push(0x80 | payload_type);
                payload.extend(&word.to_be_bytes()[1..]);
            }
            payload.push(63);
            redundant.iter().for_each(|(_, _, data)| payload.extend(data));
            payload.extend(&primary);
            let red = Red::parse(&payload).unwrap();
            for (block, (payload_type, offset, data)) in red.blocks().zip(&redundant) {
                prop_assert_eq!(block, Block { payload_type: *payload_type, timestamp_offset: *offset, data });
            }
            prop_assert_eq!(red.primary(), Some(Block { payload_type: 63, timestamp_offset: 0, data: &primary }));
        }
    }
}
