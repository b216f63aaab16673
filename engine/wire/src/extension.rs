//! RTP header extension blocks in the one-byte and two-byte forms (RFC 8285 §4.2, §4.3): iteration and a writer. What the
//! values mean is in [`value`].

pub mod value;

use core::ops::Range;

use crate::error::{Result, WireError};

/// `profile` of a block whose elements have one-byte headers.
pub const ONE_BYTE: u16 = 0xbede;
/// `profile` of a block whose elements have two-byte headers; the low 4 bits are application bits.
pub const TWO_BYTE: u16 = 0x1000;
/// profile and length in words.
pub const BLOCK_HEADER_BYTES: usize = 4;

/// The extension block of an RTP packet without its 4-byte header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtensionBlock<'a> {
    pub profile: u16,
    pub bytes: &'a [u8],
}

/// One element of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element<'a> {
    pub id: u8,
    pub data: &'a [u8],
    /// Where `data` begins in the block's bytes.
    pub at: usize,
}

impl<'a> ExtensionBlock<'a> {
    /// The elements in their order; nothing for a profile other than RFC 8285's.
    pub fn iter(&self) -> Elements<'a> {
        let two_byte = self.profile & 0xfff0 == TWO_BYTE;
        let bytes = if two_byte || self.profile == ONE_BYTE { self.bytes } else { &[] };
        Elements { bytes, at: 0, two_byte }
    }

    /// The first element with `id`; `None` for id 0.
    pub fn find(&self, id: u8) -> Option<&'a [u8]> {
        self.iter().find(|element| element.id == id).map(|element| element.data)
    }

    /// Where the first element with `id` has its data in `bytes`.
    pub fn locate(&self, id: u8) -> Option<Range<usize>> {
        self.iter().find(|element| element.id == id).map(|element| element.at..element.at + element.data.len())
    }
}

/// Elements of a block. It ends at the first element that cannot be read: those before it count (RFC 8285 §4.2).
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    bytes: &'a [u8],
    at: usize,
    two_byte: bool,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        while *self.bytes.get(self.at)? == 0 {
            self.at += 1;
        }
        let first = *self.bytes.get(self.at)?;
        let (id, len, header) = if self.two_byte {
            (first, usize::from(*self.bytes.get(self.at + 1)?), 2)
        } else {
            (first >> 4, usize::from(first & 15) + 1, 1)
        };
        let start = self.at + header;
        let ends = !self.two_byte && (id == 0 || id == 15);
        let data = if ends { None } else { self.bytes.get(start..start + len) };
        self.at = if data.is_some() { start + len } else { self.bytes.len() };
        Some(Element { id, data: data?, at: start })
    }
}

/// Builds an extension block with its 4-byte header in place. It starts in the one-byte form and changes to the two-byte
/// form at the first element that needs it (id above 14, or a length other than 1–16); a receiver must have negotiated
/// `extmap-allow-mixed` for that (RFC 8285 §4.1.2).
#[derive(Debug)]
pub struct ExtensionWriter<'a> {
    out: &'a mut [u8],
    len: usize,
    elements: usize,
    two_byte: bool,
}

impl<'a> ExtensionWriter<'a> {
    pub const fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: BLOCK_HEADER_BYTES, elements: 0, two_byte: false }
    }

    /// Appends an element; id 0 ("not negotiated") is skipped.
    ///
    /// **Errors**: `Capacity` when it does not fit; what was put before stays.
    pub fn put(&mut self, id: u8, data: &[u8]) -> Result<()> {
        if id == 0 {
            return Ok(());
        }
        let len = u8::try_from(data.len()).map_err(|_| WireError::Capacity)?;
        if !self.two_byte && (id > 14 || len == 0 || len > 16) {
            self.widen()?;
        }
        if self.two_byte { self.append(&[id, len], data) } else { self.append(&[id << 4 | (len - 1)], data) }
    }

    /// Writes the block's header, pads to a word and returns the length in bytes; 0 when nothing was put.
    pub fn finish(self) -> Result<usize> {
        let len = if self.elements == 0 { 0 } else { self.len.next_multiple_of(4) };
        self.close(len)
    }

    /// As `finish`, with `block_len` bytes in all, a multiple of 4: zeroes fill what the elements leave.
    ///
    /// **Errors**: `Capacity` when the elements need more.
    pub fn finish_padded(self, block_len: usize) -> Result<usize> {
        if block_len < self.len || !block_len.is_multiple_of(4) {
            return Err(WireError::Capacity);
        }
        self.close(block_len)
    }

    /// Bytes so far, header included, before padding.
    pub const fn len(&self) -> usize {
        self.len
    }

    pub const fn is_empty(&self) -> bool {
        self.elements == 0
    }

    fn append(&mut self, header: &[u8], data: &[u8]) -> Result<()> {
        let start = self.len + header.len();
        let end = start + data.len();
        self.out.get_mut(self.len..start).ok_or(WireError::Capacity)?.copy_from_slice(header);
        self.out.get_mut(start..end).ok_or(WireError::Capacity)?.copy_from_slice(data);
        self.len = end;
        self.elements += 1;
        Ok(())
    }

    /// One-byte to two-byte headers in place: shift everything right by one byte per element, then move each element left
    /// again. The write position stays at least one byte behind the read position of the element that is moved.
    fn widen(&mut self) -> Result<()> {
        let shift = self.elements;
        let end = self.len + shift;
        self.out
            .get_mut(..end)
            .ok_or(WireError::Capacity)?
            .copy_within(BLOCK_HEADER_BYTES..self.len, BLOCK_HEADER_BYTES + shift);
        let (mut read, mut write) = (BLOCK_HEADER_BYTES + shift, BLOCK_HEADER_BYTES);
        while read < end {
            let first = *self.out.get(read).ok_or(WireError::Capacity)?;
            let len = usize::from(first & 15) + 1;
            let block = self.out.get_mut(..end).ok_or(WireError::Capacity)?;
            block.get_mut(write..write + 2).ok_or(WireError::Capacity)?.copy_from_slice(&[first >> 4, len as u8]);
            block.copy_within(read + 1..read + 1 + len, write + 2);
            read += 1 + len;
            write += 2 + len;
        }
        self.len = end;
        self.two_byte = true;
        Ok(())
    }

    fn close(self, block_len: usize) -> Result<usize> {
        if block_len == 0 {
            return Ok(0);
        }
        self.out.get_mut(self.len..block_len).ok_or(WireError::Capacity)?.fill(0);
        let words = u16::try_from(block_len / 4 - 1).map_err(|_| WireError::Capacity)?;
        let profile = if self.two_byte { TWO_BYTE } else { ONE_BYTE };
        let header = self.out.first_chunk_mut::<BLOCK_HEADER_BYTES>().ok_or(WireError::Capacity)?;
        let ([a, b], [c, d]) = (profile.to_be_bytes(), words.to_be_bytes());
        *header = [a, b, c, d];
        Ok(block_len)
    }
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn block(profile: u16, bytes: &[u8]) -> ExtensionBlock<'_> {
        ExtensionBlock { profile, bytes }
    }

    fn read(bytes: &[u8]) -> ExtensionBlock<'_> {
        assert_eq!(usize::from(bytes[3]) * 4 + 4, bytes.len());
        block(u16::from_be_bytes([bytes[0], bytes[1]]), &bytes[4..])
    }

    #[test]
    fn one_byte_padding_is_skipped_and_id_15_ends() {
        let bytes = [0x10, 0xaa, 0, 0, 0x21, 1, 2, 0xf0, 0x30, 9];
        let found: Vec<_> = block(ONE_BYTE, &bytes).iter().map(|e| (e.id, e.data.to_vec(), e.at)).collect();
        assert_eq!(found, [(1, vec![0xaa], 1), (2, vec![1, 2], 5)]);
    }

    #[test]
    fn id_0_with_a_length_ends_the_one_byte_form() {
        assert_eq!(block(ONE_BYTE, &[0x10, 1, 0x01, 2, 3, 0x20, 4]).iter().count(), 1);
    }

    #[test]
    fn two_byte_elements_may_be_empty() {
        let bytes = [1, 0, 0, 200, 1, 7];
        let found: Vec<_> = block(TWO_BYTE | 3, &bytes).iter().map(|e| (e.id, e.data)).collect();
        assert_eq!(found, [(1, &[][..]), (200, &[7][..])]);
    }

    #[test]
    fn another_profile_has_no_elements() {
        assert_eq!(block(0x9999, &[0x10, 1]).iter().count(), 0);
    }

    #[test]
    fn put_of_id_0_writes_nothing() {
        let mut out = [0; 16];
        let mut writer = ExtensionWriter::new(&mut out);
        writer.put(0, &[1]).unwrap();
        assert_eq!(writer.finish(), Ok(0));
    }

    #[test]
    fn a_fixed_size_that_is_too_small_is_refused() {
        let mut out = [0; 32];
        let mut writer = ExtensionWriter::new(&mut out);
        writer.put(1, &[1, 2, 3, 4]).unwrap();
        assert_eq!(writer.finish_padded(8), Err(WireError::Capacity));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn arbitrary_bytes_never_panic(
            profile in prop_oneof![Just(ONE_BYTE), Just(TWO_BYTE), any::<u16>()],
            bytes in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            for element in block(profile, &bytes).iter() {
                prop_assert_eq!(&bytes[element.at..element.at + element.data.len()], element.data);
            }
        }

        #[test]
        fn what_is_put_is_found(
            elements in prop::collection::vec((1u8..20, prop::collection::vec(any::<u8>(), 0..20)), 1..8),
            extra_words in 0usize..4,
        ) {
            let mut out = [0xee; 400];
            let mut writer = ExtensionWriter::new(&mut out);
            for (id, data) in &elements {
                writer.put(*id, data).unwrap();
            }
            let block_len = writer.len().next_multiple_of(4) + extra_words * 4;
            let len = writer.finish_padded(block_len).unwrap();
            prop_assert_eq!(len, block_len);
            let block = read(&out[..len]);
            let one_byte = elements.iter().all(|(id, data)| *id <= 14 && (1..=16).contains(&data.len()));
            prop_assert_eq!(block.profile == ONE_BYTE, one_byte);
            let found: Vec<_> = block.iter().map(|e| (e.id, e.data.to_vec())).collect();
            prop_assert_eq!(&found, &elements);
            for (id, _) in &elements {
                prop_assert_eq!(block.locate(*id).map(|range| &block.bytes[range]), block.find(*id));
            }
        }

        #[test]
        fn a_short_buffer_is_an_error_never_a_panic(room in 0usize..40, elements in prop::collection::vec((1u8..20, 0usize..20), 1..6)) {
            let mut out = vec![0; room];
            let mut writer = ExtensionWriter::new(&mut out);
            let all = elements.iter().try_for_each(|(id, len)| writer.put(*id, &vec![1; *len]));
            if let Ok(len) = writer.finish() {
                prop_assert!(len <= room);
                prop_assert!(all.is_ok() || len <= room);
            }
        }
    }
}
