//! The map module under loom: regions are arrays of loom's atomics, so that every interleaving of table, log, ring and slot
//! words is explored. Bytes outside words (ring payloads, packets) are not modelled.

use std::sync::Arc;

use crate::sync::AtomicU64;

#[derive(Clone, Debug)]
pub struct Region {
    words: Arc<Vec<AtomicU64>>,
}

impl Region {
    pub fn anonymous(bytes: usize) -> Self {
        Self { words: Arc::new((0..bytes.div_ceil(8)).map(|_| AtomicU64::new(0)).collect()) }
    }

    pub fn is_writable(&self) -> bool {
        true
    }

    pub fn bytes(&self) -> usize {
        self.words.len() * 8
    }

    pub fn word(&self, offset: usize) -> &AtomicU64 {
        &self.words[offset / 8]
    }

    pub(crate) fn pointer(&self, _offset: usize, bytes: usize) -> *mut u8 {
        assert!(bytes == 0, "bytes are not modelled");
        std::ptr::NonNull::dangling().as_ptr()
    }
}
