//! AV1 aggregation header and the OBUs behind it (RTP Payload Format For AV1 §4.3, §4.4). Layers are told by the
//! dependency descriptor only.
//!
//! ```text
//! |Z|Y| W |N|-|-|-|   then W elements, the last without a length; with W = 0 all have one
//! ```

use crate::cursor::Reader;
use crate::error::{Result, WireError};

/// obu_type (AV1 specification §6.2.2).
pub mod obu_type {
    pub const SEQUENCE_HEADER: u8 = 1;
    pub const TEMPORAL_DELIMITER: u8 = 2;
    pub const FRAME_HEADER: u8 = 3;
    pub const FRAME: u8 = 6;
}

/// The aggregation header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Z: the first element continues an OBU of the packet before.
    pub continues: bool,
    /// Y: the last element is continued in the next packet.
    pub continued: bool,
    /// W: 0 when every element has a length.
    pub elements: u8,
    /// N: the first packet of a coded video sequence, so of a key frame.
    pub new_sequence: bool,
}

impl Header {
    /// The header and the elements behind it.
    ///
    /// **Errors**: `Malformed` when N and Z are both set (§4.4 forbids it).
    pub fn parse(payload: &[u8]) -> Result<(Self, Elements<'_>)> {
        let mut reader = Reader::new(payload);
        let byte = reader.u8()?;
        let header = Self {
            continues: byte & 0x80 != 0,
            continued: byte & 0x40 != 0,
            elements: byte >> 4 & 3,
            new_sequence: byte & 0x08 != 0,
        };
        if header.new_sequence && header.continues {
            return Err(WireError::Malformed);
        }
        let left = if header.elements == 0 { None } else { Some(header.elements) };
        Ok((header, Elements { reader, left }))
    }

    /// The packet begins a key frame.
    pub const fn is_key_frame_start(&self) -> bool {
        self.new_sequence
    }
}

/// OBU elements; ends at the first that cannot be read.
#[derive(Clone, Copy, Debug)]
pub struct Elements<'a> {
    reader: Reader<'a>,
    /// `None`: until the payload ends.
    left: Option<u8>,
}

impl<'a> Elements<'a> {
    /// The packet carries the beginning of a sequence header. `header` is the packet's.
    pub fn has_sequence_header(self, header: Header) -> bool {
        self.skip(usize::from(header.continues))
            .any(|element| element.first().is_some_and(|first| first >> 3 & 15 == obu_type::SEQUENCE_HEADER))
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(1)?;
        }
        if self.reader.is_empty() {
            return None;
        }
        let len = match self.left {
            Some(0) => self.reader.rest().len(),
            _ => leb128(&mut self.reader).ok()?,
        };
        self.reader.take(len).ok()
    }
}

/// AV1 specification §4.10.5, at most 8 bytes.
fn leb128(reader: &mut Reader<'_>) -> Result<usize> {
    let mut value = 0u64;
    for shift in 0..8 {
        let byte = reader.u8()?;
        value |= u64::from(byte & 0x7f) << (7 * shift);
        if byte & 0x80 == 0 {
            return usize::try_from(value).map_err(|_| WireError::Malformed);
        }
    }
    Err(WireError::Malformed)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_frame_begins_with_n_and_a_sequence_header() {
        let payload = [0b0010_1000, 2, obu_type::SEQUENCE_HEADER << 3, 0xaa, obu_type::FRAME << 3, 1, 2];
        let (header, elements) = Header::parse(&payload).unwrap();
        assert!(header.is_key_frame_start() && elements.has_sequence_header(header));
        assert_eq!(elements.map(<[u8]>::len).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn without_w_every_element_has_a_length() {
        let (header, elements) = Header::parse(&[0, 1, obu_type::FRAME << 3, 0x82, 0x00, 7, 8]).unwrap();
        assert!(!header.is_key_frame_start() && !elements.has_sequence_header(header));
        assert_eq!(elements.collect::<Vec<_>>(), [&[obu_type::FRAME << 3][..], &[7, 8]]);
    }

    #[test]
    fn a_continuation_is_not_read_as_an_obu_header() {
        let (header, elements) = Header::parse(&[0b1001_0000, obu_type::SEQUENCE_HEADER << 3]).unwrap();
        assert!(!elements.has_sequence_header(header));
        assert_eq!(Header::parse(&[0x88]).unwrap_err(), WireError::Malformed);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn arbitrary_bytes_never_panic(payload in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok((header, elements)) = Header::parse(&payload) {
                elements.has_sequence_header(header);
                prop_assert!(elements.map(<[u8]>::len).sum::<usize>() < payload.len());
            }
        }
    }
}
