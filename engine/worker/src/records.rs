//! What workers tell each other through their rings. Fan-out records and raw datagrams are data: overflow is a counted drop. The
//! rest are hints or requests that are made again.

use engine_base::{IngressRef, TransportRef};
use engine_table::{SlotRef, SocketAddress};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::addresses::Pair;

/// Kinds of records between workers.
pub mod kind {
    /// [`super::FanOut`]: a packet is in a slot.
    pub const FAN_OUT: u32 = 1;
    /// [`super::Addressed`], then a datagram as it came from the network, for the owner of its transport.
    pub const DATAGRAM: u32 = 2;
    /// [`super::Addressed`]: the transport was nominated on the sender's pair; hand it over.
    pub const MOVE: u32 = 3;
    /// [`super::IngressRef`](engine_base::IngressRef): look at its key-frame demand now.
    pub const DEMAND: u32 = 4;
    /// [`super::Addressed`], then a datagram of the courier for the owner to send.
    pub const SEND: u32 = 5;
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FanOut {
    pub ingress: IngressRef,
    pub slot: SlotRef,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Addressed {
    pub transport: TransportRef,
    pub remote: SocketAddress,
    pub socket: u32,
    /// Of a MOVE: index of the credentials that the check named.
    pub credentials: u32,
}

impl Addressed {
    pub fn new(transport: TransportRef, pair: Pair, credentials: u8) -> Self {
        Self { transport, remote: pair.remote, socket: pair.socket, credentials: u32::from(credentials) }
    }

    pub fn pair(&self) -> Pair {
        Pair { remote: self.remote, socket: self.socket }
    }
}

/// Longest record: a datagram with its head.
pub const RECORD_BYTES_MAX: usize = size_of::<Addressed>() + engine_io::RECEIVE_PAYLOAD_BYTES;

const _: () = assert!(size_of::<FanOut>() == 24 && size_of::<Addressed>() == 40);
