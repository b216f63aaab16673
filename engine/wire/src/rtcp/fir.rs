//! Full intra request (RFC 5104 §4.3.1).

use engine_base::Ssrc;

use super::{packet_type, write_message};
use crate::cursor::Reader;
use crate::error::{Result, WireError};

pub(super) const FORMAT: u8 = 4;
const ENTRY_BYTES: usize = 8;

/// `ssrc` is asked for a key frame; a repetition of one request keeps its `sequence`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub ssrc: Ssrc,
    pub sequence: u8,
}

#[derive(Clone, Copy, Debug)]
pub struct Fir<'a> {
    pub sender: Ssrc,
    /// Unused by RFC 5104 and normally 0: the entries name the sources.
    pub media: Ssrc,
    entries: &'a [u8],
}

impl<'a> Fir<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(body);
        let fir = Self { sender: Ssrc(reader.u32()?), media: Ssrc(reader.u32()?), entries: reader.rest() };
        if fir.entries.len() < ENTRY_BYTES {
            return Err(WireError::Truncated);
        }
        Ok(fir)
    }

    pub fn entries(&self) -> impl Iterator<Item = Entry> + 'a {
        self.entries
            .as_chunks::<ENTRY_BYTES>()
            .0
            .iter()
            .map(|&[a, b, c, d, sequence, ..]| Entry { ssrc: Ssrc(u32::from_be_bytes([a, b, c, d])), sequence })
    }
}

/// Writes a request and returns its length.
pub fn write(out: &mut [u8], sender: Ssrc, entries: &[Entry]) -> Result<usize> {
    write_message(out, packet_type::PAYLOAD_FEEDBACK, usize::from(FORMAT), |writer| {
        writer.u32(sender.0)?;
        writer.u32(0)?;
        entries.iter().try_for_each(|entry| {
            writer.u32(entry.ssrc.0)?;
            writer.bytes(&[entry.sequence, 0, 0, 0])
        })
    })
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::super::{Compound, Rtcp};
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let entries = [Entry { ssrc: Ssrc(7), sequence: 255 }, Entry { ssrc: Ssrc(8), sequence: 0 }];
        let mut out = [0; 64];
        let len = write(&mut out, Ssrc(1), &entries).unwrap();
        let Some(Ok(Rtcp::Fir(fir))) = Compound::new(&out[..len]).next() else { panic!("not a request") };
        assert_eq!((fir.sender, fir.media), (Ssrc(1), Ssrc(0)));
        assert_eq!(fir.entries().collect::<Vec<_>>(), entries);
    }
}
