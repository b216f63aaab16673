//! Checked reading of bit fields, most significant bit first.

use crate::error::{Result, WireError};

#[derive(Clone, Copy, Debug)]
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    /// Bits taken so far.
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn flag(&mut self) -> Result<bool> {
        let byte = *self.bytes.get(self.at / 8).ok_or(WireError::Truncated)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Ok(bit != 0)
    }

    /// `f(count)` of the specifications; at most 32 bits.
    pub(crate) fn take(&mut self, count: u32) -> Result<u32> {
        debug_assert!(count <= 32);
        (0..count).try_fold(0, |value: u32, _| Ok(value << 1 | u32::from(self.flag()?)))
    }

    /// At most 8 bits.
    pub(crate) fn take_u8(&mut self, count: u32) -> Result<u8> {
        debug_assert!(count <= 8);
        self.take(count).map(|value| value as u8)
    }

    /// A number below `n` with as few bits as its value allows: `ns(n)` of the AV1 specification §4.10.7.
    pub(crate) fn non_symmetric(&mut self, n: u32) -> Result<u32> {
        let width = u32::BITS - n.leading_zeros();
        let short = (1u32 << width).wrapping_sub(n);
        let value = self.take(width.saturating_sub(1))?;
        if value < short {
            return Ok(value);
        }
        Ok((value << 1).wrapping_sub(short) + u32::from(self.flag()?))
    }

    /// `ue(v)` of H.264 §9.1.
    pub(crate) fn exp_golomb(&mut self) -> Result<u32> {
        let mut zeroes = 0;
        while !self.flag()? {
            zeroes += 1;
            if zeroes > 31 {
                return Err(WireError::Malformed);
            }
        }
        Ok((1u32 << zeroes) - 1 + self.take(zeroes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_codes_are_those_of_the_standard() {
        // 1, 010, 011, 00100, then padding.
        let mut reader = BitReader::new(&[0b1010_0110, 0b0100_0000]);
        assert_eq!([(); 4].map(|()| reader.exp_golomb().unwrap()), [0, 1, 2, 3]);
        assert_eq!(BitReader::new(&[0; 8]).exp_golomb(), Err(WireError::Malformed));
    }

    #[test]
    fn non_symmetric_numbers_use_fewer_bits_for_small_values() {
        // n = 5: 00, 01, 10, 110, 111.
        let mut reader = BitReader::new(&[0b0001_1011, 0b0111_0000]);
        assert_eq!([(); 5].map(|()| reader.non_symmetric(5).unwrap()), [0, 1, 2, 3, 4]);
        assert_eq!(BitReader::new(&[]).non_symmetric(1), Ok(0));
    }

    #[test]
    fn the_end_is_an_error() {
        let mut reader = BitReader::new(&[0xff]);
        assert_eq!(reader.take(8), Ok(255));
        assert_eq!(reader.flag(), Err(WireError::Truncated));
    }
}
