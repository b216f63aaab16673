//! Rows of the courier: SRTP keys (in a region of their own, never shown), and what became of a transport's DTLS and SCTP.

use engine_base::TransportRef;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::text::{SocketAddress, Text};
use crate::table::Row;

/// SRTP master keys of a transport. `profile` 0: none.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct KeyRow {
    pub generation: u32,
    /// IANA DTLS-SRTP protection profile: 1 AES128_CM_SHA1_80, 7 AEAD_AES_128_GCM, 8 AEAD_AES_256_GCM.
    pub profile: u16,
    pub reserved: u16,
    pub send_key: [u8; 32],
    pub receive_key: [u8; 32],
    pub send_salt: [u8; 16],
    pub receive_salt: [u8; 16],
}
impl Row for KeyRow {
    const NAME: &'static str = "key";
}

/// `dtls` of a session row.
pub mod dtls_state {
    pub const NONE: u8 = 0;
    pub const HANDSHAKE: u8 = 1;
    /// Done, but the client's fingerprint is not known yet or differs.
    pub const UNVERIFIED: u8 = 2;
    pub const CONNECTED: u8 = 3;
    pub const FAILED: u8 = 4;
    pub const CLOSED: u8 = 5;
    /// The courier was restarted and has no state for this transport: the session must be made anew.
    pub const LOST: u8 = 6;
}

/// Bits of `channels`: which data channels are open.
pub mod channel_bits {
    pub const RELIABLE: u8 = 1;
    pub const LOSSY: u8 = 2;
    pub const DATA_TRACK: u8 = 4;
}

/// What became of a transport's DTLS and SCTP.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SessionRow {
    pub generation: u32,
    pub dtls: u8,
    /// 12 or 13 for DTLS 1.2 or 1.3, 0 before.
    pub dtls_version: u8,
    pub channels: u8,
    /// Set when either side had data for a session whose DTLS state is lost: signaling sends leave RECONNECT.
    pub needs_reconnect: u8,
    /// Last reliable sequence received from this participant (`reconnect.last_message_seq`).
    pub last_sequence: u32,
    pub srtp_profile: u16,
    pub reserved: u16,
}
impl Row for SessionRow {
    const NAME: &'static str = "session";
}

/// Kinds of records in the rings worker → courier and courier → worker.
pub mod punt {
    /// A DTLS datagram: [`super::PuntHeader`], then the datagram.
    pub const DTLS: u32 = 1;
}

/// Head of a punted datagram. To the courier: whence it came. From the courier: whither it goes; `address` none means the
/// transport's nominated pair.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct PuntHeader {
    pub transport: TransportRef,
    pub address: SocketAddress,
    /// Index of the local socket (of the node's address list).
    pub socket: u32,
    pub reserved: u32,
}

/// What only the courier may read: the node's certificate and private key, in a sealed memfd of its own.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct IdentityRow {
    /// DER.
    pub certificate: Text<1026>,
    /// PKCS#8 DER of the ECDSA P-256 key.
    pub private_key: Text<510>,
}
impl Row for IdentityRow {
    const NAME: &'static str = "identity";
}

const _: () = assert!(size_of::<KeyRow>() == 104 && size_of::<SessionRow>() == 16 && size_of::<PuntHeader>() == 40);
