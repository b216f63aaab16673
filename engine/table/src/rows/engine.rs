//! Observed rows, written by the worker that owns the transport or ingress; counters lie beside them in words.

use engine_base::limits::LAYERS;
use engine_base::{Ssrc, TimeNs};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::text::SocketAddress;
use crate::table::Row;

/// `state` of an observed transport.
pub mod transport_state {
    pub const NEW: u8 = 0;
    /// An authenticated check came.
    pub const CHECKING: u8 = 1;
    /// A pair is nominated.
    pub const CONNECTED: u8 = 2;
    /// No authenticated packet for 10 s; a check brings it back.
    pub const DISCONNECTED: u8 = 3;
    /// No authenticated packet for 15 s.
    pub const FAILED: u8 = 4;
}

pub const NO_OWNER: u8 = 255;

/// How a worker's packets go, and what seals them: bits of the word `EngineRegion::port`. It is 0 until they are known.
pub mod port_facts {
    pub const IO_URING: u64 = 1;
    /// recvmmsg and sendmmsg.
    pub const MMSG: u64 = 1 << 1;
    /// Frames of an interface's AF_XDP queue, beside one of the above.
    pub const AF_XDP: u64 = 1 << 2;
    /// The sockets take a train in one send (UDP_SEGMENT).
    pub const SEGMENTS: u64 = 1 << 8;
    /// The devices of all local addresses cut trains by themselves; else the kernel does, after its stack.
    pub const DEVICES_SEGMENT: u64 = 1 << 9;
    /// What runs AES, by its name; none is [`LIBRARY`].
    pub const CIPHERS: [(u64, &str); 2] = [(1 << 16, "vaes-256"), (1 << 17, "vaes-512")];
    /// What runs HMAC-SHA1, by its name; none is [`LIBRARY`].
    pub const HASHES: [(u64, &str); 2] = [(1 << 24, "sha-ni-4"), (1 << 25, "avx512-2x16")];
    /// The crypto library, on a processor without the instructions.
    pub const LIBRARY: &str = "library";

    /// The name in `kernels` ([`CIPHERS`] or [`HASHES`]) of what `facts` say.
    pub fn kernel(facts: u64, kernels: &[(u64, &'static str)]) -> &'static str {
        kernels.iter().find(|(bit, _)| facts & bit != 0).map_or(LIBRARY, |(_, name)| *name)
    }
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct TransportObserved {
    pub generation: u32,
    /// Worker, or [`NO_OWNER`].
    pub owner: u8,
    pub state: u8,
    /// Index of the nominated pair's credentials in the desired row.
    pub credentials: u8,
    /// 1 once SRTP keys were taken from the key row.
    pub has_keys: u8,
    /// Nominated pair.
    pub remote: SocketAddress,
    pub socket: u32,
    pub srtp_profile: u16,
    /// Nominations so far.
    pub moves: u16,
    /// Last authenticated check.
    pub last_check: TimeNs,
}
impl Row for TransportObserved {
    const NAME: &'static str = "transport_observed";
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct LayerObserved {
    pub ssrc: Ssrc,
    pub rtx_ssrc: Ssrc,
    /// 1 while packets come.
    pub active: u8,
    /// `engine_base::Codec` of the last packet.
    pub codec: u8,
    pub payload_type: u8,
    pub reserved: u8,
    /// Of the last key frame that told it, else 0.
    pub width: u16,
    pub height: u16,
    /// RFC 3550 interarrival jitter in RTP ticks.
    pub jitter: u32,
    /// Round-trip time to the publisher, microseconds; 0 unknown.
    pub rtt_us: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct IngressObserved {
    pub generation: u32,
    pub reserved: u32,
    pub layers: [LayerObserved; LAYERS],
}
impl Row for IngressObserved {
    const NAME: &'static str = "ingress_observed";
}

/// `state` of an observed egress.
pub mod egress_state {
    pub const IDLE: u8 = 0;
    pub const WAITS_FOR_KEY_FRAME: u8 = 1;
    pub const FORWARDING: u8 = 2;
    pub const PAUSED: u8 = 3;
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct EgressObserved {
    pub generation: u32,
    pub state: u8,
    /// Layer forwarded now; 255 none.
    pub layer: u8,
    /// Layer it wants.
    pub layer_target: u8,
    /// `engine_base::Codec`.
    pub codec: u8,
    /// From the subscriber's receiver reports.
    pub fraction_lost: u8,
    pub temporal: u8,
    pub reserved: u16,
    pub rtt_us: u32,
    /// REMB or other estimate of the subscriber's transport, bit/s; 0 unknown.
    pub estimate_bps: u64,
}
impl Row for EgressObserved {
    const NAME: &'static str = "egress_observed";
}

/// One egress's rewriting state, checkpointed by its worker at turn end so that a successor goes on where it stood. The fields
/// belong to `engine-forward`, which gives them meaning; this crate only keeps the bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct StateRow {
    pub words: [u64; 28],
}
impl Row for StateRow {
    const NAME: &'static str = "state";
}

const _: () = assert!(
    size_of::<TransportObserved>() == 48 && size_of::<IngressObserved>() == 80 && size_of::<EgressObserved>() == 24
);
