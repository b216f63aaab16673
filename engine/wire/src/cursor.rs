//! Checked reading and writing of big-endian fields. Nothing here can panic.

use crate::error::{Result, WireError};

/// Reads from the front of a slice; past the end is `Truncated`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len).ok_or(WireError::Truncated)?;
        self.0 = tail;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<&'a [u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(WireError::Truncated)?;
        self.0 = tail;
        Ok(head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        self.array::<1>().map(|bytes| bytes[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16> {
        self.array().copied().map(u16::from_be_bytes)
    }

    pub(crate) fn u24(&mut self) -> Result<u32> {
        self.array::<3>().map(|&[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        self.array().copied().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        self.array().copied().map(u64::from_be_bytes)
    }
}

/// Writes to the front of a slice; past the end is `Capacity`.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    pub(crate) const fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: 0 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn written(&self) -> &[u8] {
        self.out.get(..self.len).unwrap_or_default()
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let end = self.len.checked_add(bytes.len()).ok_or(WireError::Capacity)?;
        self.out.get_mut(self.len..end).ok_or(WireError::Capacity)?.copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }

    pub(crate) fn u8(&mut self, value: u8) -> Result<()> {
        self.bytes(&[value])
    }

    pub(crate) fn u16(&mut self, value: u16) -> Result<()> {
        self.bytes(&value.to_be_bytes())
    }

    /// The low 24 bits of `value`.
    pub(crate) fn u24(&mut self, value: u32) -> Result<()> {
        let [_, a, b, c] = value.to_be_bytes();
        self.bytes(&[a, b, c])
    }

    pub(crate) fn u32(&mut self, value: u32) -> Result<()> {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn u64(&mut self, value: u64) -> Result<()> {
        self.bytes(&value.to_be_bytes())
    }

    /// Zeroes up to the next multiple of 4.
    pub(crate) fn pad_to_word(&mut self) -> Result<()> {
        let pad = self.len.wrapping_neg() % 4;
        self.bytes(&[0; 3][..pad])
    }

    /// Overwrites two bytes already written.
    pub(crate) fn patch_u16(&mut self, at: usize, value: u16) -> Result<()> {
        let end = at.checked_add(2).filter(|&end| end <= self.len).ok_or(WireError::Capacity)?;
        self.out.get_mut(at..end).ok_or(WireError::Capacity)?.copy_from_slice(&value.to_be_bytes());
        Ok(())
    }
}
