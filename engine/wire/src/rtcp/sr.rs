//! Sender report (RFC 3550 §6.4.1).

use engine_base::{NtpTime, RtpTimestamp, Ssrc};

use super::report_block::{ReportBlock, ReportBlocks};
use super::{packet_type, write_message};
use crate::cursor::Reader;
use crate::error::Result;

/// What the sender says of its own stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderInfo {
    pub ssrc: Ssrc,
    pub ntp: NtpTime,
    /// The same instant as `ntp` on the media clock.
    pub timestamp: RtpTimestamp,
    /// Since the stream began; wraps.
    pub packets: u32,
    /// Payload without header and padding, since the stream began; wraps.
    pub payload_bytes: u32,
}

#[derive(Clone, Copy, Debug)]
pub struct SenderReport<'a> {
    pub info: SenderInfo,
    blocks: ReportBlocks<'a>,
}

impl<'a> SenderReport<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(body);
        let info = SenderInfo {
            ssrc: Ssrc(reader.u32()?),
            ntp: NtpTime(reader.u64()?),
            timestamp: RtpTimestamp(reader.u32()?),
            packets: reader.u32()?,
            payload_bytes: reader.u32()?,
        };
        Ok(Self { info, blocks: ReportBlocks::parse(count, &mut reader)? })
    }

    pub const fn blocks(&self) -> ReportBlocks<'a> {
        self.blocks
    }
}

/// Writes a sender report with at most 31 blocks and returns its length.
pub fn write(out: &mut [u8], info: &SenderInfo, blocks: &[ReportBlock]) -> Result<usize> {
    write_message(out, packet_type::SENDER_REPORT, blocks.len(), |writer| {
        writer.u32(info.ssrc.0)?;
        writer.u64(info.ntp.0)?;
        writer.u32(info.timestamp.0)?;
        writer.u32(info.packets)?;
        writer.u32(info.payload_bytes)?;
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
    use crate::error::WireError;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn what_is_written_is_read(
            ssrc in any::<u32>(), ntp in any::<u64>(), timestamp in any::<u32>(), packets in any::<u32>(),
            payload_bytes in any::<u32>(), blocks in prop::collection::vec(report_block(), 0..=31),
        ) {
            let info = SenderInfo {
                ssrc: Ssrc(ssrc), ntp: NtpTime(ntp), timestamp: RtpTimestamp(timestamp), packets, payload_bytes,
            };
            let mut out = [0; 1000];
            let len = write(&mut out, &info, &blocks).unwrap();
            let mut compound = Compound::new(&out[..len]);
            let Some(Ok(Rtcp::SenderReport(report))) = compound.next() else { panic!("not a sender report") };
            prop_assert_eq!(report.info, info);
            prop_assert_eq!(report.blocks().collect::<Vec<_>>(), blocks);
            prop_assert!(compound.next().is_none());
        }
    }

    #[test]
    fn thirty_two_blocks_are_refused() {
        assert_eq!(
            write(&mut [0; 1000], &SenderInfo::default(), &[ReportBlock::default(); 32]),
            Err(WireError::Capacity)
        );
    }
}
