//! Receiver report (RFC 3550 §6.4.2).

use engine_base::Ssrc;

use super::report_block::{ReportBlock, ReportBlocks};
use super::{packet_type, write_message};
use crate::cursor::Reader;
use crate::error::Result;

#[derive(Clone, Copy, Debug)]
pub struct ReceiverReport<'a> {
    pub sender: Ssrc,
    blocks: ReportBlocks<'a>,
}

impl<'a> ReceiverReport<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(body);
        let sender = Ssrc(reader.u32()?);
        Ok(Self { sender, blocks: ReportBlocks::parse(count, &mut reader)? })
    }

    pub const fn blocks(&self) -> ReportBlocks<'a> {
        self.blocks
    }
}

/// Writes a receiver report with at most 31 blocks and returns its length.
pub fn write(out: &mut [u8], sender: Ssrc, blocks: &[ReportBlock]) -> Result<usize> {
    write_message(out, packet_type::RECEIVER_REPORT, blocks.len(), |writer| {
        writer.u32(sender.0)?;
        blocks.iter().try_for_each(|block| block.write(writer))
    })
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::super::report_block::tests::report_block;
    use super::super::{Compound, Rtcp};
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn what_is_written_is_read(ssrc in any::<u32>(), blocks in prop::collection::vec(report_block(), 0..=31)) {
            let mut out = [0; 1000];
            let len = write(&mut out, Ssrc(ssrc), &blocks).unwrap();
            let Some(Ok(Rtcp::ReceiverReport(report))) = Compound::new(&out[..len]).next() else {
                panic!("not a receiver report")
            };
            prop_assert_eq!(report.sender, Ssrc(ssrc));
            prop_assert_eq!(report.blocks().collect::<Vec<_>>(), blocks);
        }
    }
}
