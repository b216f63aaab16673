//! Seals many packets at once. It decides nothing about them: each is a [`Job`] that passed its checks.

use core::fmt;

use crate::Job;

/// The kernels that seal on this machine, by name, for logs and `ctl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernels {
    cipher: &'static str,
    hash: &'static str,
}

impl Kernels {
    /// What runs AES, for AES-CM and GCM alike.
    pub fn cipher(&self) -> &'static str {
        self.cipher
    }

    /// What runs HMAC-SHA1 over a batch.
    pub fn hash(&self) -> &'static str {
        self.hash
    }
}

impl fmt::Display for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "aes {}, hmac-sha1 {}", self.cipher, self.hash)
    }
}

/// Scratch and the kernels chosen for this machine. One per worker, made at start.
pub struct Sealer {
    kernels: Kernels,
}

impl Sealer {
    /// Jobs that one call is meant for; more are sealed all the same.
    pub const JOBS_MAX: usize = 1_024;

    pub fn new() -> Self {
        Self { kernels: Kernels { cipher: "library", hash: "library" } }
    }

    pub fn kernels(&self) -> Kernels {
        self.kernels
    }

    /// Seals every job; contexts, profiles and lengths may be mixed, and the order does not matter.
    ///
    /// **Output** each job's `out` is the whole sealed packet.
    /// **Cost** no allocation.
    pub fn seal(&mut self, jobs: &mut [Job<'_>]) {
        for job in jobs {
            seal_one(job);
        }
    }
}

impl Default for Sealer {
    fn default() -> Self {
        Self::new()
    }
}

/// The library refuses nothing that passed [`Job::new`]. If it ever does, zeros go out instead of plain bytes.
fn seal_one(job: &mut Job<'_>) {
    let suite = job.context.rtp();
    let sealed = if job.prefix_len == 0 && job.padding == 0 {
        suite.seal_rtp_from(job.out, job.header_len.into(), job.payload, job.index)
    } else {
        job.place_payload();
        suite.seal_rtp(job.out, job.header_len.into(), job.index)
    };
    if sealed.is_err() {
        job.out.fill(0);
    }
}
