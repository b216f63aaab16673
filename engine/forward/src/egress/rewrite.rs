//! What becomes of a packet on an egress.

use engine_base::{Drop, ExtendedSequence, RtpTimestamp};
use engine_table::PacketHeader;

use super::Epoch;

/// What forwarding decided for one packet and one egress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not sent; count the reason.
    Drop(Drop),
    Forward(Rewrite),
}

/// The fields in which the subscriber's packet differs from the source's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// Own number; also the SRTP index.
    pub sequence: ExtendedSequence,
    pub timestamp: RtpTimestamp,
    pub payload_type: u8,
    pub marker: bool,
    /// The mid extension is still needed: the subscriber has not reported on the stream.
    pub with_mid: bool,
    pub payload: Payload,
    pub vp8: Option<Vp8Fields>,
    pub(crate) epoch: u8,
}

/// Which part of the source's payload is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    Whole,
    /// The primary encoding of a RED packet.
    Primary,
    /// None: padding takes the number of a packet that is not wanted.
    Fill,
}

/// Values of the VP8 payload descriptor; those that the source's descriptor does not have are not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vp8Fields {
    /// Always sent with 15 bits.
    pub picture_id: u16,
    pub tl0_picture_index: u8,
    /// 5 bits.
    pub key_index: u8,
}

impl Vp8Fields {
    pub(crate) const fn new(header: &PacketHeader, picture_id: u16, epoch: &Epoch) -> Self {
        Self {
            picture_id,
            tl0_picture_index: header.picture.tl0_index.wrapping_add(epoch.tl0_offset),
            key_index: header.picture.key_index.wrapping_add(epoch.key_index_offset) & 0x1f,
        }
    }
}

impl Rewrite {
    /// Payload bytes as sender reports count them.
    pub(crate) fn payload_bytes(&self, header: &PacketHeader) -> u32 {
        match self.payload {
            Payload::Whole => u32::from(header.payload_bytes),
            Payload::Primary => u32::from(header.payload_bytes.saturating_sub(header.primary_offset)),
            Payload::Fill => 0,
        }
    }
}
