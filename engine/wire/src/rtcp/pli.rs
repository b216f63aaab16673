//! Picture loss indication (RFC 4585 §6.3.1).

use engine_base::Ssrc;

use super::{packet_type, write_message};
use crate::cursor::Reader;
use crate::error::Result;

pub(super) const FORMAT: u8 = 1;
pub const PLI_BYTES: usize = 12;

/// `sender` asks the source `media` for a key frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pli {
    pub sender: Ssrc,
    pub media: Ssrc,
}

impl Pli {
    pub(super) fn parse(body: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(body);
        Ok(Self { sender: Ssrc(reader.u32()?), media: Ssrc(reader.u32()?) })
    }

    /// Writes 12 bytes.
    pub fn write(&self, out: &mut [u8]) -> Result<usize> {
        write_message(out, packet_type::PAYLOAD_FEEDBACK, usize::from(FORMAT), |writer| {
            writer.u32(self.sender.0)?;
            writer.u32(self.media.0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Compound, Rtcp};
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let pli = Pli { sender: Ssrc(0x0102_0304), media: Ssrc(0xfffe_fdfc) };
        let mut out = [0; PLI_BYTES];
        assert_eq!(pli.write(&mut out), Ok(PLI_BYTES));
        assert_eq!(out, [0x81, 206, 0, 2, 1, 2, 3, 4, 0xff, 0xfe, 0xfd, 0xfc]);
        assert!(matches!(Compound::new(&out).next(), Some(Ok(Rtcp::Pli(read))) if read == pli));
    }
}
