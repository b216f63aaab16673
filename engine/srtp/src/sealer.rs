//! Seals many packets at once. It decides nothing about them: each is a [`Job`] that passed its checks.
//!
//! ```text
//! jobs ─▶ window: encrypt each, GCM is done ─▶ tags of AES-CM: sorted by blocks, in groups of as many as there are lanes
//! ```

use crate::kernel::Set;
use crate::kernel::hmac::{DIGEST_BYTES, LANES_MAX, Message, Tail};
use crate::send_keys::Sealed;
use crate::{Job, Kernels, aes_cm};

/// Jobs that are encrypted before their tags are made: 128 × 1,200 B are 150 KB, which a second-level cache of 512 KB
/// keeps, and four groups of the widest kernel.
const WINDOW: usize = 128;

/// Messages from which on lanes are taken, filled or not: with fewer, one round of the other kernel or two do.
const LANES_LEAST: usize = 8;

/// Scratch and the kernels chosen for this machine. One per worker, made at start.
pub struct Sealer {
    kernels: Kernels,
    tails: [Tail; LANES_MAX],
    digests: [[u8; DIGEST_BYTES]; LANES_MAX],
}

impl Sealer {
    /// Jobs that one call is meant for; more are sealed all the same.
    pub const JOBS_MAX: usize = 1_024;

    pub fn new() -> Self {
        Self::with_kernels(Kernels::detect())
    }

    /// With other kernels than the fastest, for tests and comparisons.
    pub fn with_kernels(kernels: Kernels) -> Self {
        Self { kernels, tails: [[0; _]; LANES_MAX], digests: [[0; DIGEST_BYTES]; LANES_MAX] }
    }

    pub fn kernels(&self) -> Kernels {
        self.kernels
    }

    /// Seals every job; contexts, profiles and lengths may be mixed, and the order does not matter.
    ///
    /// **Output** each job's `out` is the whole sealed packet.
    /// **Cost** no allocation. AES-CM is cheapest if the packets of a call can be divided into groups of equal length.
    pub fn seal(&mut self, jobs: &mut [Job<'_>]) {
        let Some(set) = self.kernels.set else {
            for job in jobs {
                job.context.rtp().seal(job);
            }
            return;
        };
        for window in jobs.chunks_mut(WINDOW) {
            self.seal_window(set, window);
        }
    }

    fn seal_window(&mut self, set: Set, jobs: &mut [Job<'_>]) {
        let (mut order, mut count) = ([0u32; WINDOW], 0);
        for (at, job) in jobs.iter_mut().enumerate() {
            if job.context.rtp().encrypt(job) == Sealed::ButForTag {
                let blocks = Message::blocks(job.authenticated_len());
                // 65,535 B are 1,025 blocks, and a window has 128 jobs: 18 bits.
                order[count] = (blocks * WINDOW + at) as u32;
                count += 1;
            }
        }
        let order = &mut order[..count];
        order.sort_unstable();
        for group in order.chunks(LANES_MAX) {
            self.authenticate(set, group, jobs);
        }
    }

    /// Makes the tags of up to as many jobs as there are lanes.
    fn authenticate(&mut self, set: Set, group: &[u32], jobs: &mut [Job<'_>]) {
        let mut messages = [Message::NONE; LANES_MAX];
        for (message, &order) in messages.iter_mut().zip(group) {
            let job = &jobs[order as usize % WINDOW];
            if let Some(key) = job.context.rtp().hmac_key() {
                *message = job.message(key);
            }
        }
        let messages = &messages[..group.len()];
        match set.lanes {
            Some(lanes) if group.len() >= LANES_LEAST => lanes.hash(messages, &mut self.tails, &mut self.digests),
            _ => set.hash.hash(messages, &mut self.tails, &mut self.digests),
        }
        for (&order, digest) in group.iter().zip(&self.digests) {
            jobs[order as usize % WINDOW].set_tag(&digest[..aes_cm::TAG_LEN]);
        }
    }
}

impl Default for Sealer {
    fn default() -> Self {
        Self::new()
    }
}
