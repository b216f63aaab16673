//! SRTP and SRTCP (RFC 3711, RFC 7714) for the three profiles that the DTLS library negotiates: master keys to session
//! keys, protection one packet at a time and in batches, its removal one at a time, index estimation and replay windows.
//!
//! It holds no per-packet state: contexts are immutable, the caller stores every index and window. It does not parse RTP
//! beyond the header's length, does no I/O, and after a context is built it never allocates.
//!
//! ```text
//! MasterKey ──kdf──▶ SessionKeys ──▶ SendContext     index from the caller's counter
//!                               └──▶ ReceiveContext  index from RtpWindow::estimate, RtcpWindow after the fact
//!
//! SendContext + packet ──▶ Job ┐
//! …                            ├──▶ Sealer::seal, one per worker
//! SendContext + packet ──▶ Job ┘
//! ```
#![no_std]
#![deny(unsafe_code)] // allowed in kernel/x86 alone
#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code, unreachable_code, reason = "kernels cannot be made"))]

// For the detection of processor features, a box around the library's keys, and tests; nothing per packet needs more than
// core.
extern crate std;

mod aes_cm;
mod aes_gcm;
mod context;
mod error;
mod header;
mod job;
mod kdf;
mod kernel;
mod master;
mod profile;
mod replay;
mod sealer;
mod send_keys;
mod suite;
#[cfg(test)]
mod vectors;

pub use context::{ReceiveContext, SendContext};
pub use error::SrtpError;
pub use job::Job;
pub use kernel::Kernels;
pub use master::{MasterKey, split_exported};
pub use profile::Profile;
pub use replay::{Replay, RtcpWindow, RtpWindow};
pub use sealer::Sealer;

/// Largest packet index: ROC (32 bits) ‖ SEQ (16 bits), RFC 3711 §3.3.1. Beyond it the master key is exhausted.
pub const RTP_INDEX_MAX: u64 = (1 << 48) - 1;
/// Largest SRTCP index: 31 bits beside the E flag, RFC 3711 §3.4.
pub const RTCP_INDEX_MAX: u32 = (1 << 31) - 1;
