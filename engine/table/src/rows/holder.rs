//! Rows of the holder: what the node is, and how its processes are.

use engine_base::{Limits, WallOffset};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::text::{SocketAddress, Text};
use crate::table::Row;

/// Local UDP addresses of a node: 16 interfaces with 4 ports each, or one with 64. A worker has a socket on each.
pub const ADDRESSES_MAX: usize = 64;

/// The node: written once, before the first child starts.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct NodeRow {
    pub wall_offset: WallOffset,
    pub started_ns: u64,
    pub limits: Limits,
    /// 18-bit tag in every local ufrag.
    pub node_tag: u32,
    /// SHA-256 of the node's certificate.
    pub fingerprint: [u8; 32],
    pub address_count: u32,
    pub http_port: u32,
    /// Longest time that video waits for longer trains, under load.
    pub video_hold_us: u32,
    /// From this percentage of a core on.
    pub video_hold_load: u32,
    /// UDP addresses, port by port; one socket per worker is bound to each.
    pub addresses: [SocketAddress; ADDRESSES_MAX],
    /// What candidates say instead (`rtc.node_ip`); none where it is the address itself.
    pub advertised: [SocketAddress; ADDRESSES_MAX],
    /// `ND_…`
    pub node_id: Text<24>,
    pub version: Text<24>,
}
impl Row for NodeRow {
    const NAME: &'static str = "node";
}

/// The children, in the order of their rows.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Engine = 0,
    Courier = 1,
    Signaling = 2,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Engine, Self::Courier, Self::Signaling];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Courier => "courier",
            Self::Signaling => "signaling",
        }
    }
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ChildRow {
    pub process_id: u32,
    /// Deaths so far.
    pub restarts: u32,
    pub started_ns: u64,
    /// Wait status of the last death.
    pub last_status: u32,
    pub reserved: u32,
}
impl Row for ChildRow {
    const NAME: &'static str = "child";
}

const _: () = assert!(size_of::<NodeRow>() == 3208 && size_of::<ChildRow>() == 24);
