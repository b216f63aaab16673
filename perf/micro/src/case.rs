//! What is measured: one row of the table.

use clap::ValueEnum;
use engine_srtp::Profile;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// Packets end in memory: what the engine itself costs.
    Memory,
    /// io_uring to a device that discards (`ifb`, in a network namespace that ends with the run). Needs root and iproute2.
    IoUring,
    /// The same with a connected socket for every subscriber; a node has 256.
    Connected,
    /// The same as `io-uring` by sendmmsg.
    Mmsg,
    /// The same by AF_XDP: each datagram a frame.
    Xdp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cipher {
    AesCm,
    Gcm128,
    Gcm256,
}

impl Cipher {
    pub(crate) fn profile(self) -> Profile {
        match self {
            Self::AesCm => Profile::Aes128CmSha1_80,
            Self::Gcm128 => Profile::AeadAes128Gcm,
            Self::Gcm256 => Profile::AeadAes256Gcm,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    pub way: Way,
    pub srtp: Cipher,
    /// Subscribers of the one publisher, each under its own keys.
    pub subscribers: u32,
    /// Packets of a frame, which arrive together.
    pub burst: u32,
    /// Bytes of RTP payload.
    pub payload: usize,
}
