//! Report blocks of sender and receiver reports (RFC 3550 §6.4.1).

use engine_base::Ssrc;

use crate::cursor::{Reader, Writer};
use crate::error::Result;

pub const REPORT_BLOCK_BYTES: usize = 24;
/// The count field has 5 bits.
pub const REPORT_BLOCKS_MAX: usize = 31;

/// What a receiver saw of one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    pub ssrc: Ssrc,
    /// Lost since the last report, in 256ths.
    pub fraction_lost: u8,
    /// Lost since the beginning; 24 bits, negative when duplicates came. Clamped when written.
    pub cumulative_lost: i32,
    /// Roll-over count in the upper half, highest sequence number in the lower.
    pub highest_sequence: u32,
    /// Interarrival jitter in ticks of the media clock.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last sender report; 0 when there was none.
    pub last_sender_report: u32,
    /// From the arrival of that report to this one in 1/65,536 s.
    pub delay: u32,
}

const LOST_MAX: i32 = (1 << 23) - 1;

impl ReportBlock {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let ssrc = Ssrc(reader.u32()?);
        let fraction_lost = reader.u8()?;
        // Sign-extends the 24 bits.
        let cumulative_lost = (reader.u24()? << 8).cast_signed() >> 8;
        Ok(Self {
            ssrc,
            fraction_lost,
            cumulative_lost,
            highest_sequence: reader.u32()?,
            jitter: reader.u32()?,
            last_sender_report: reader.u32()?,
            delay: reader.u32()?,
        })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) -> Result<()> {
        writer.u32(self.ssrc.0)?;
        writer.u8(self.fraction_lost)?;
        writer.u24(self.cumulative_lost.clamp(-LOST_MAX - 1, LOST_MAX).cast_unsigned())?;
        writer.u32(self.highest_sequence)?;
        writer.u32(self.jitter)?;
        writer.u32(self.last_sender_report)?;
        writer.u32(self.delay)
    }
}

/// Report blocks in their order.
#[derive(Clone, Copy, Debug)]
pub struct ReportBlocks<'a>(Reader<'a>);

impl<'a> ReportBlocks<'a> {
    /// `count` blocks; what follows is a profile's extension and ignored.
    pub(super) fn parse(count: u8, reader: &mut Reader<'a>) -> Result<Self> {
        reader.take(usize::from(count) * REPORT_BLOCK_BYTES).map(|bytes| Self(Reader::new(bytes)))
    }
}

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        ReportBlock::read(&mut self.0).ok()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub fn report_block() -> impl Strategy<Value = ReportBlock> {
        (any::<u32>(), any::<u8>(), -LOST_MAX - 1..=LOST_MAX, any::<[u32; 4]>()).prop_map(
            |(ssrc, fraction_lost, cumulative_lost, [highest_sequence, jitter, last_sender_report, delay])| {
                ReportBlock {
                    ssrc: Ssrc(ssrc),
                    fraction_lost,
                    cumulative_lost,
                    highest_sequence,
                    jitter,
                    last_sender_report,
                    delay,
                }
            },
        )
    }

    #[test]
    fn cumulative_loss_is_clamped_to_24_bits() {
        let mut out = [0; REPORT_BLOCK_BYTES];
        ReportBlock { cumulative_lost: i32::MAX, ..ReportBlock::default() }.write(&mut Writer::new(&mut out)).unwrap();
        assert_eq!(out[5..8], [0x7f, 0xff, 0xff]);
    }
}
