//! Source description (RFC 3550 §6.5). Of the items only CNAME is read and written.

use engine_base::Ssrc;

use super::{packet_type, write_message};
use crate::cursor::Reader;
use crate::error::{Result, WireError};

const END: u8 = 0;
const CNAME: u8 = 1;

/// One source and its canonical name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    pub ssrc: Ssrc,
    /// At most 255 bytes; by RFC 3550 UTF-8, here unchecked.
    pub cname: Option<&'a [u8]>,
}

#[derive(Clone, Copy, Debug)]
pub struct SourceDescription<'a> {
    chunks: Chunks<'a>,
}

impl<'a> SourceDescription<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Result<Self> {
        let chunks = Chunks { reader: Reader::new(body), left: count };
        let mut reader = chunks.reader;
        (0..count).try_for_each(|_| read_chunk(&mut reader).map(drop))?;
        Ok(Self { chunks })
    }

    pub const fn chunks(&self) -> Chunks<'a> {
        self.chunks
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Chunks<'a> {
    reader: Reader<'a>,
    left: u8,
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Chunk<'a>;

    fn next(&mut self) -> Option<Chunk<'a>> {
        self.left = self.left.checked_sub(1)?;
        read_chunk(&mut self.reader).ok()
    }
}

fn read_chunk<'a>(reader: &mut Reader<'a>) -> Result<Chunk<'a>> {
    let begin = reader.rest().len();
    let mut chunk = Chunk { ssrc: Ssrc(reader.u32()?), cname: None };
    loop {
        match reader.u8()? {
            END => break,
            item => {
                let len = reader.u8()?;
                let text = reader.take(usize::from(len))?;
                if item == CNAME {
                    chunk.cname = Some(text);
                }
            }
        }
    }
    // Zeroes up to the next word; a chunk begins on a word.
    reader.take((begin - reader.rest().len()).wrapping_neg() % 4)?;
    Ok(chunk)
}

/// Writes a source description of one source and returns its length.
///
/// **Errors**: `Capacity` for a `cname` above 255 bytes or a short `out`.
pub fn write(out: &mut [u8], ssrc: Ssrc, cname: &[u8]) -> Result<usize> {
    let len = u8::try_from(cname.len()).map_err(|_| WireError::Capacity)?;
    write_message(out, packet_type::SOURCE_DESCRIPTION, 1, |writer| {
        writer.u32(ssrc.0)?;
        writer.bytes(&[CNAME, len])?;
        writer.bytes(cname)?;
        writer.u8(END)
    })
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::super::{Compound, Rtcp};
    use super::*;

    fn chunks(packet: &[u8]) -> Vec<Chunk<'_>> {
        let Some(Ok(Rtcp::SourceDescription(sdes))) = Compound::new(packet).next() else { panic!("not a description") };
        sdes.chunks().collect()
    }

    #[test]
    fn the_cname_is_found_behind_other_items_and_chunks() {
        let packet = [
            0x82, 202, 0, 6, // header
            0, 0, 0, 1, 2, 1, b'n', 0, // NAME, END
            0, 0, 0, 2, 6, 1, b't', 1, 3, b'a', b'b', b'c', 0, 0, 0, 0, // TOOL, CNAME, END and padding
        ];
        let expected = [Chunk { ssrc: Ssrc(1), cname: None }, Chunk { ssrc: Ssrc(2), cname: Some(&b"abc"[..]) }];
        assert_eq!(chunks(&packet), expected);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn what_is_written_is_read(ssrc in any::<u32>(), cname in prop::collection::vec(any::<u8>(), 0..256)) {
            let mut out = [0; 300];
            let len = write(&mut out, Ssrc(ssrc), &cname).unwrap();
            prop_assert_eq!(chunks(&out[..len]), [Chunk { ssrc: Ssrc(ssrc), cname: Some(&cname) }]);
        }
    }
}
