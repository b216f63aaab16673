//! Writing STUN messages in place: attributes in call order, then MESSAGE-INTEGRITY and FINGERPRINT.

use core::net::SocketAddr;

use super::{
    BINDING, HEADER_BYTES, INTEGRITY_BYTES, IceRole, MAGIC_COOKIE, MessageClass, TransactionId, address, attribute,
    fingerprint,
};
use crate::cursor::Writer;
use crate::error::{Result, WireError};

/// RFC 8489 §14.8, RFC 8445 §7.3.1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StunError {
    BadRequest,
    Unauthenticated,
    UnknownAttribute,
    RoleConflict,
}

impl StunError {
    pub const fn code(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthenticated => 401,
            Self::UnknownAttribute => 420,
            Self::RoleConflict => 487,
        }
    }

    pub const fn reason(self) -> &'static str {
        match self {
            Self::BadRequest => "Bad Request",
            Self::Unauthenticated => "Unauthenticated",
            Self::UnknownAttribute => "Unknown Attribute",
            Self::RoleConflict => "Role Conflict",
        }
    }
}

/// Builds one Binding message. Every call is `Capacity` when `out` is too short.
#[derive(Debug)]
pub struct StunWriter<'a> {
    writer: Writer<'a>,
    transaction: TransactionId,
}

impl<'a> StunWriter<'a> {
    pub fn new(out: &'a mut [u8], class: MessageClass, transaction: TransactionId) -> Result<Self> {
        let class_bits = match class {
            MessageClass::Request => 0,
            MessageClass::Indication => 0x0010,
            MessageClass::Success => 0x0100,
            MessageClass::Error => 0x0110,
        };
        let mut writer = Writer::new(out);
        writer.u16(class_bits | BINDING)?;
        writer.u16(0)?;
        writer.u32(MAGIC_COOKIE)?;
        writer.bytes(&transaction.0)?;
        Ok(Self { writer, transaction })
    }

    /// Any attribute by its type.
    pub fn attribute(&mut self, attribute: u16, value: &[u8]) -> Result<()> {
        self.begin(attribute, u16::try_from(value.len()).map_err(|_| WireError::Capacity)?)?;
        self.writer.bytes(value)?;
        self.writer.pad_to_word()
    }

    pub fn username(&mut self, username: &[u8]) -> Result<()> {
        self.attribute(attribute::USERNAME, username)
    }

    pub fn priority(&mut self, priority: u32) -> Result<()> {
        self.attribute(attribute::PRIORITY, &priority.to_be_bytes())
    }

    pub fn use_candidate(&mut self) -> Result<()> {
        self.attribute(attribute::USE_CANDIDATE, &[])
    }

    pub fn role(&mut self, role: IceRole) -> Result<()> {
        match role {
            IceRole::Controlling(tie_breaker) => self.attribute(attribute::ICE_CONTROLLING, &tie_breaker.to_be_bytes()),
            IceRole::Controlled(tie_breaker) => self.attribute(attribute::ICE_CONTROLLED, &tie_breaker.to_be_bytes()),
        }
    }

    pub fn xor_mapped_address(&mut self, address: SocketAddr) -> Result<()> {
        self.begin(attribute::XOR_MAPPED_ADDRESS, address::value_len(address))?;
        address::write_xor(&mut self.writer, address, self.transaction)
    }

    pub fn error(&mut self, error: StunError) -> Result<()> {
        let reason = error.reason().as_bytes();
        self.begin(attribute::ERROR_CODE, u16::try_from(4 + reason.len()).map_err(|_| WireError::Capacity)?)?;
        let (hundreds, rest) = (error.code() / 100, error.code() % 100);
        self.writer.u16(0)?;
        self.writer.u16(hundreds << 8 | rest)?;
        self.writer.bytes(reason)?;
        self.writer.pad_to_word()
    }

    pub fn unknown_attributes(&mut self, types: &[u16]) -> Result<()> {
        self.begin(attribute::UNKNOWN_ATTRIBUTES, u16::try_from(2 * types.len()).map_err(|_| WireError::Capacity)?)?;
        types.iter().try_for_each(|&attribute| self.writer.u16(attribute))?;
        self.writer.pad_to_word()
    }

    /// Appends MESSAGE-INTEGRITY and FINGERPRINT; returns the message's length. `hmac` is HMAC-SHA1 over the parts.
    pub fn finish(mut self, hmac: impl FnOnce(&[&[u8]]) -> [u8; INTEGRITY_BYTES]) -> Result<usize> {
        self.patch_length(4 + INTEGRITY_BYTES)?;
        let value = hmac(&[self.writer.written()]);
        self.attribute(attribute::MESSAGE_INTEGRITY, &value)?;
        self.finish_unsigned()
    }

    /// Appends FINGERPRINT only.
    pub fn finish_unsigned(mut self) -> Result<usize> {
        self.patch_length(8)?;
        let value = fingerprint::fingerprint(&[self.writer.written()]);
        self.attribute(attribute::FINGERPRINT, &value.to_be_bytes())?;
        Ok(self.writer.len())
    }

    fn begin(&mut self, attribute: u16, len: u16) -> Result<()> {
        self.writer.u16(attribute)?;
        self.writer.u16(len)
    }

    /// The header's length with `coming` bytes still to be written.
    fn patch_length(&mut self, coming: usize) -> Result<()> {
        let length = self.writer.len() + coming - HEADER_BYTES;
        self.writer.patch_u16(2, u16::try_from(length).map_err(|_| WireError::Capacity)?)
    }
}

/// The answer to a connectivity check: the source address that it was seen from.
pub fn write_success(
    out: &mut [u8],
    transaction: TransactionId,
    source: SocketAddr,
    hmac: impl FnOnce(&[&[u8]]) -> [u8; INTEGRITY_BYTES],
) -> Result<usize> {
    let mut writer = StunWriter::new(out, MessageClass::Success, transaction)?;
    writer.xor_mapped_address(source)?;
    writer.finish(hmac)
}

/// An error answer to a request that was not authenticated (400, 401). `unknown` goes into a 420 only.
pub fn write_error(out: &mut [u8], transaction: TransactionId, error: StunError, unknown: &[u16]) -> Result<usize> {
    begin_error(out, transaction, error, unknown)?.finish_unsigned()
}

/// An error answer to an authenticated request (420, 487).
pub fn write_signed_error(
    out: &mut [u8],
    transaction: TransactionId,
    error: StunError,
    unknown: &[u16],
    hmac: impl FnOnce(&[&[u8]]) -> [u8; INTEGRITY_BYTES],
) -> Result<usize> {
    begin_error(out, transaction, error, unknown)?.finish(hmac)
}

fn begin_error<'a>(
    out: &'a mut [u8],
    transaction: TransactionId,
    error: StunError,
    unknown: &[u16],
) -> Result<StunWriter<'a>> {
    let mut writer = StunWriter::new(out, MessageClass::Error, transaction)?;
    writer.error(error)?;
    if error == StunError::UnknownAttribute {
        writer.unknown_attributes(unknown)?;
    }
    Ok(writer)
}

/// A connectivity check to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindingRequest<'a> {
    pub transaction: TransactionId,
    /// `<receiver's ufrag>:<sender's ufrag>`.
    pub username: &'a [u8],
    pub priority: u32,
    pub role: IceRole,
    pub use_candidate: bool,
}

impl BindingRequest<'_> {
    pub fn write(&self, out: &mut [u8], hmac: impl FnOnce(&[&[u8]]) -> [u8; INTEGRITY_BYTES]) -> Result<usize> {
        let mut writer = StunWriter::new(out, MessageClass::Request, self.transaction)?;
        writer.username(self.username)?;
        writer.role(self.role)?;
        if self.use_candidate {
            writer.use_candidate()?;
        }
        writer.priority(self.priority)?;
        writer.finish(hmac)
    }
}
