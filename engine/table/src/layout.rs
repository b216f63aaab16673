//! Places sections in a region and hashes what was placed, so that two builds with different layouts refuse each other.

use engine_base::Limits;

use crate::map::HEADER_BYTES;
use crate::table::{Row, Table};

/// Builds a region's layout section by section.
#[derive(Clone, Debug)]
pub struct Layout {
    bytes: usize,
    hash: u64,
}

impl Layout {
    pub fn new(limits: &Limits) -> Self {
        let mut layout = Self { bytes: HEADER_BYTES, hash: 0xcbf2_9ce4_8422_2325 };
        for number in [limits.workers, limits.transports, limits.ingresses, limits.egresses, limits.datas] {
            layout.mix(u64::from(number));
        }
        layout
    }

    /// Reserves `bytes` and returns their offset, a multiple of 64.
    pub fn section(&mut self, name: &str, bytes: usize) -> usize {
        let offset = self.bytes.next_multiple_of(64);
        self.bytes = offset.checked_add(bytes).expect("limits are bounded, so offsets fit");
        name.bytes().for_each(|byte| self.mix(u64::from(byte)));
        self.mix(bytes as u64);
        offset
    }

    pub fn table<R: Row>(&mut self, rows: u32) -> usize {
        self.mix(size_of::<R>() as u64);
        self.section(R::NAME, Table::<R>::bytes(rows))
    }

    /// Whole pages.
    pub fn total_bytes(&self) -> usize {
        self.bytes.next_multiple_of(4096)
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// FNV-1a, 64 bits at a time.
    fn mix(&mut self, value: u64) {
        self.hash = (self.hash ^ value).wrapping_mul(0x0000_0100_0000_01b3);
    }
}
