//! Desired rows, written by signaling: what the engine and the courier shall do.

use engine_base::extension_ids::ExtensionIds;
use engine_base::limits::LAYERS;
use engine_base::{IngressRef, Ssrc, TransportRef};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::text::Text;
use crate::table::Row;

/// `state` of a desired row.
pub const ROW_FREE: u8 = 0;
pub const ROW_ACTIVE: u8 = 1;

/// `dtls_role`: who sends the ClientHello.
pub const DTLS_CLIENT: u8 = 1;
pub const DTLS_SERVER: u8 = 2;

/// One generation of ICE credentials. An empty local ufrag means that this generation does not exist.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct IceCredentials {
    pub local_ufrag: Text<18>,
    pub local_password: Text<34>,
    /// Empty until the client's description is known; checks are answered before that.
    pub remote_ufrag: Text<66>,
    pub remote_password: Text<130>,
}

/// Certificate fingerprint of a description. `bytes` 0 means not known yet: the key row is withheld until it is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Fingerprint {
    /// 1 SHA-256, 2 SHA-384, 3 SHA-512.
    pub algorithm: u8,
    pub bytes: u8,
    pub reserved: [u8; 6],
    pub digest: [u8; 64],
}

/// `flags` of a transport row.
pub mod transport_flags {
    /// An SCTP association is negotiated (`m=application`).
    pub const SCTP: u8 = 1;
    /// The server opens `_reliable`, `_lossy` and `_data_track` (dual subscriber PC); otherwise the client does.
    pub const OPEN_CHANNELS: u8 = 2;
    /// The session is ending: the courier closes DTLS, the engine stops answering once that is sent.
    pub const CLOSING: u8 = 4;
}

/// A client peer connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct TransportRow {
    pub state: u8,
    pub dtls_role: u8,
    /// Which of `credentials` is the newest.
    pub credentials_newest: u8,
    pub flags: u8,
    pub generation: u32,
    /// The newest and, until a pair of the newest is nominated, the one before.
    pub credentials: [IceCredentials; 2],
    pub fingerprint: Fingerprint,
    /// Extension ids of packets from the client (one map for the BUNDLE): mid, rid and repaired rid find the ingress of an
    /// unknown SSRC, transport-cc feeds the transport-wide feedback.
    pub receive_extensions: ExtensionIds,
    /// Participant sid, for ctl.
    pub label: Text<24>,
}
impl Row for TransportRow {
    const NAME: &'static str = "transport";
}

/// A payload type and what it carries.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct PayloadMapping {
    pub payload_type: u8,
    /// [`NO_PAYLOAD_TYPE`] without RTX.
    pub rtx_payload_type: u8,
    /// `engine_base::Codec`; 0 ends the list.
    pub codec: u8,
    /// Distinguishes formats of one codec that must not be mixed: H264 packetization mode and profile, VP9 profile. An ingress
    /// format is forwarded to the egress mapping with the same codec and format, else of the same codec and format 0.
    pub format: u8,
}

pub const NO_PAYLOAD_TYPE: u8 = 255;

/// A simulcast layer by its rid, or the only stream by its SSRC. Index 0 is the lowest quality.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct IngressLayer {
    /// Unknown (0) when the offer had no `a=ssrc`: found by mid and rid.
    pub ssrc: Ssrc,
    pub rtx_ssrc: Ssrc,
    /// Empty without simulcast.
    pub rid: Text<18>,
    pub reserved: [u8; 6],
}

/// `flags` of an ingress row.
pub mod ingress_flags {
    /// The publisher resends what is NACKed.
    pub const NACK: u8 = 1;
    /// transport-cc was accepted: feedback is due.
    pub const TRANSPORT_CC: u8 = 2;
    /// The publisher muted the track: silence is expected.
    pub const MUTED: u8 = 4;
    /// One spatial layer holds several (SVC): forwarded whole.
    pub const SVC: u8 = 8;
    /// Microphone: its audio level feeds the active speakers.
    pub const MICROPHONE: u8 = 16;
}

/// A published track in one codec.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct IngressRow {
    pub state: u8,
    /// `engine_base::Kind`.
    pub kind: u8,
    /// Layers in use, 1 to 3.
    pub layer_count: u8,
    pub flags: u8,
    pub generation: u32,
    pub transport: TransportRef,
    pub layers: [IngressLayer; LAYERS],
    pub payload_types: [PayloadMapping; 16],
    pub extensions: ExtensionIds,
    pub mid: Text<18>,
    pub reserved: [u8; 6],
    /// Track sid, for ctl.
    pub label: Text<24>,
}
impl Row for IngressRow {
    const NAME: &'static str = "ingress";
}

/// `flags` of an egress row.
pub mod egress_flags {
    /// Packets flow; cleared by `track_setting{disabled}` and by missing permission.
    pub const ENABLED: u8 = 1;
    /// NACK was negotiated (and RTX, without which it never is).
    pub const NACK: u8 = 2;
}

/// A track forwarded to one subscriber.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct EgressRow {
    pub state: u8,
    pub kind: u8,
    pub flags: u8,
    /// 1 low … 255 high.
    pub priority: u8,
    pub generation: u32,
    pub transport: TransportRef,
    pub ingress: IngressRef,
    pub ssrc: Ssrc,
    pub rtx_ssrc: Ssrc,
    /// Highest simulcast layer wanted, 0 to 2.
    pub layer_max: u8,
    /// Highest temporal layer wanted, 0 to 3.
    pub temporal_max: u8,
    pub reserved: [u8; 6],
    pub payload_types: [PayloadMapping; 8],
    pub extensions: ExtensionIds,
    /// For the mid extension where it is negotiated (single PC).
    pub mid: Text<18>,
    /// SDES CNAME, equal to the SDP's.
    pub cname: Text<54>,
    /// Track sid, for ctl.
    pub label: Text<24>,
}
impl Row for EgressRow {
    const NAME: &'static str = "egress";
}

/// `flags` of a data row.
pub mod data_flags {
    pub const CAN_PUBLISH: u16 = 1;
    /// The sender's identity and sid are left blank.
    pub const HIDDEN: u16 = 2;
    /// Agents may send transcriptions and name another participant as the sender of some packets.
    pub const AGENT: u16 = 4;
    /// Receives what is addressed to it or to everybody. LiveKit's permission to subscribe does not matter here.
    pub const CAN_RECEIVE: u16 = 8;
}

/// A participant's part in data packets.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct DataRow {
    pub state: u8,
    pub reserved: u8,
    pub flags: u16,
    pub generation: u32,
    /// The room: packets go to rows of the same group.
    pub group: u64,
    /// Where the participant's packets come from (publisher or single PC).
    pub uplink: TransportRef,
    /// Where its packets go to (subscriber or single PC).
    pub downlink: TransportRef,
    pub sid: Text<24>,
    pub identity: Text<264>,
}
impl Row for DataRow {
    const NAME: &'static str = "data";
}

/// Kinds of records in the ring signaling → courier.
pub mod data_command {
    /// Payload: [`super::DataCommand`], then a serialized `livekit.DataPacket` to send as it is.
    pub const SEND: u32 = 1;
    /// Payload: [`super::ReplayCommand`]: resend the reliable packets of a sender after `last_sequence` to a receiver.
    pub const REPLAY: u32 = 2;
}

/// Head of a SEND record; the packet follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct DataCommand {
    pub to: engine_base::DataRef,
    /// 1 reliable, 0 lossy.
    pub reliable: u32,
    pub reserved: u32,
}

/// Body of a REPLAY record.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ReplayCommand {
    pub to: engine_base::DataRef,
    pub last_sequence: u32,
    pub reserved: u32,
    pub sender_sid: Text<24>,
}

const _: () = {
    assert!(size_of::<TransportRow>() == 616 && size_of::<IngressRow>() == 240 && size_of::<EgressRow>() == 184);
    assert!(size_of::<DataRow>() == 320);
    assert!(
        std::mem::offset_of!(TransportRow, credentials) == 8 && std::mem::offset_of!(TransportRow, fingerprint) == 504
    );
    assert!(std::mem::offset_of!(IngressRow, layers) == 16 && std::mem::offset_of!(IngressRow, payload_types) == 112);
    assert!(std::mem::offset_of!(EgressRow, ssrc) == 24 && std::mem::offset_of!(EgressRow, payload_types) == 40);
};
