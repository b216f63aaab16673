//! Sizes of the shared tables and every other constant bound, with its arithmetic.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Sizes of the shared tables, fixed when the node starts. Memory is sparse: an unused row costs address space only.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Limits {
    /// Packet workers, one per core.
    pub workers: u32,
    /// Peer connections: two per participant in the dual layout, one in the single.
    pub transports: u32,
    /// Published tracks, per codec.
    pub ingresses: u32,
    /// Subscribed tracks.
    pub egresses: u32,
    /// Participants that may send or receive data.
    pub datas: u32,
}

impl Limits {
    /// 4,096 participants on two peer connections each, 2,048 tracks, 16 subscribed tracks per participant.
    pub const DEFAULT: Self = Self { workers: 2, transports: 8_192, ingresses: 2_048, egresses: 65_536, datas: 4_096 };
    /// What a ufrag can carry bounds `transports`; the others are bounded so that offsets fit.
    pub const ROWS_MAX: u32 = 1 << 22;
    pub const WORKERS_MAX: u32 = 64;
}

/// Simulcast layers of an ingress: `q`, `h`, `f`.
pub const LAYERS: usize = 3;

/// A datagram slot: 1,500 B of Ethernet payload fit, with 64 B for the header record in front: 1,600 = 25 × 64, an odd
/// multiple of 64 so that slots spread over the sets of the L1 cache.
pub const SLOT_BYTES: usize = 1_600;
/// Header record at the start of a slot.
pub const SLOT_HEADER_BYTES: usize = 64;
/// Packet bytes in a slot.
pub const SLOT_PAYLOAD_BYTES: usize = SLOT_BYTES - SLOT_HEADER_BYTES;
/// Slots per video layer at most: 1 s of 5 Mbit/s in 1,200 B packets is 520. A ring begins with 64 and grows as its layer needs.
pub const VIDEO_SLOTS: usize = 512;
/// Slots of an audio track: 50 packets/s, more than 1 s.
pub const AUDIO_SLOTS: usize = 64;
/// Packets an egress remembers for retransmission: 1 s of video (own sequence → slot).
pub const NACK_ENTRIES: usize = 512;
/// Egress packets in one datagram may grow by extensions (20), RTX (2) and tag (16).
pub const SEND_BYTES: usize = 1_600;
/// A train, datagrams to one destination in one send (UDP_SEGMENT): 32 of 1,250 B.
pub const TRAIN_BYTES: usize = 40_000;
/// Datagrams of a train: the kernel's `UDP_MAX_SEGMENTS` before Linux 6.9.
pub const TRAIN_PACKETS: usize = 64;
/// Changed rows that a worker takes in one turn, so that a burst of joins cannot starve packets.
pub const ROWS_PER_TURN: usize = 64;

/// Silence after which a transport is disconnected, then failed (PROTOCOL §6.4: 10 s and 5 s more).
pub const DISCONNECTED_AFTER_MS: u64 = 10_000;
pub const FAILED_AFTER_MS: u64 = 15_000;
