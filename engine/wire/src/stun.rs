//! STUN Binding messages as ICE uses them (RFC 8489 §5, §14; RFC 8445 §16). HMAC-SHA1 is the caller's: it is passed in as
//! a closure over the parts that are covered. Retransmission and credentials are not here.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---+---------------------------+-------------------------------+
//! |0 0|  method and class         |  bytes behind this header     |
//! |                     magic cookie 0x2112a442                   |
//! |                   transaction id (96 bits)                    |
//! |  attribute type               |  value length, then the value |
//! |  padded to a word, and so on                                  |
//! ```

pub mod address;
pub mod fingerprint;
pub mod writer;

use core::net::SocketAddr;

use crate::cursor::Reader;
use crate::error::{Result, WireError};

pub use writer::{BindingRequest, StunWriter, write_error, write_signed_error, write_success};

pub const HEADER_BYTES: usize = 20;
pub const MAGIC_COOKIE: u32 = 0x2112_a442;
pub const BINDING: u16 = 1;
pub const INTEGRITY_BYTES: usize = 20;
/// Unknown comprehension-required attributes that are kept for the 420 answer.
pub const UNKNOWN_MAX: usize = 8;

/// Attribute types (RFC 8489 §18.3, RFC 8445 §20.1).
pub mod attribute {
    pub const MAPPED_ADDRESS: u16 = 0x0001;
    pub const USERNAME: u16 = 0x0006;
    pub const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub const ERROR_CODE: u16 = 0x0009;
    pub const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    pub const REALM: u16 = 0x0014;
    pub const NONCE: u16 = 0x0015;
    pub const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
    pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub const PRIORITY: u16 = 0x0024;
    pub const USE_CANDIDATE: u16 = 0x0025;
    pub const FINGERPRINT: u16 = 0x8028;
    pub const ICE_CONTROLLED: u16 = 0x8029;
    pub const ICE_CONTROLLING: u16 = 0x802a;
    /// Types below this one must be understood.
    pub const OPTIONAL_FROM: u16 = 0x8000;
}

/// 96 bits that pair a response with its request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TransactionId(pub [u8; 12]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageClass {
    Request,
    Indication,
    Success,
    Error,
}

/// The sender's ICE role with its tie-breaker (RFC 8445 §16.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IceRole {
    Controlling(u64),
    Controlled(u64),
}

/// ERROR-CODE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode<'a> {
    /// 300–699.
    pub code: u16,
    pub reason: &'a [u8],
}

/// Comprehension-required attributes that this crate does not know; the first eight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnknownAttributes {
    types: [u16; UNKNOWN_MAX],
    count: usize,
}

impl UnknownAttributes {
    pub fn as_slice(&self) -> &[u16] {
        self.types.get(..self.count).unwrap_or_default()
    }

    fn push(&mut self, attribute: u16) {
        if let Some(slot) = self.types.get_mut(self.count) {
            *slot = attribute;
            self.count += 1;
        }
    }
}

/// A STUN message whose attributes were read once. Nothing in it is authentic before `verify_integrity`.
#[derive(Clone, Copy, Debug)]
pub struct StunMessage<'a> {
    pub class: MessageClass,
    pub method: u16,
    pub transaction: TransactionId,
    /// `<receiver's ufrag>:<sender's ufrag>` in a connectivity check.
    pub username: Option<&'a [u8]>,
    pub priority: Option<u32>,
    pub use_candidate: bool,
    pub role: Option<IceRole>,
    pub mapped_address: Option<SocketAddr>,
    pub error: Option<ErrorCode<'a>>,
    pub unknown: UnknownAttributes,
    bytes: &'a [u8],
    integrity: Option<Signature<'a, INTEGRITY_BYTES>>,
    fingerprint: Option<Signature<'a, 4>>,
}

/// An attribute over everything before it.
#[derive(Clone, Copy, Debug)]
struct Signature<'a, const N: usize> {
    /// Message bytes between the header's length field and the attribute.
    covered: &'a [u8],
    /// The header's length as if the attribute were the last.
    length: [u8; 2],
    value: &'a [u8; N],
}

impl<'a> StunMessage<'a> {
    /// **Input**: one datagram. **Errors**: `Truncated`, `Malformed`; `Unsupported` without magic cookie (RFC 3489).
    /// **Cost**: one pass over the attributes, no checksum.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let message_type = reader.u16()?;
        let length = usize::from(reader.u16()?);
        let cookie = reader.u32()?;
        let transaction = TransactionId(*reader.array()?);
        if message_type >> 14 != 0 {
            return Err(WireError::Malformed);
        }
        if cookie != MAGIC_COOKIE {
            return Err(WireError::Unsupported);
        }
        match reader.rest().len() {
            rest if rest < length => return Err(WireError::Truncated),
            rest if rest > length || !length.is_multiple_of(4) => return Err(WireError::Malformed),
            _ => {}
        }
        let mut message = Self {
            class: class(message_type),
            method: method(message_type),
            transaction,
            username: None,
            priority: None,
            use_candidate: false,
            role: None,
            mapped_address: None,
            error: None,
            unknown: UnknownAttributes::default(),
            bytes,
            integrity: None,
            fingerprint: None,
        };
        while !reader.is_empty() {
            message.read_attribute(&mut reader)?;
        }
        Ok(message)
    }

    fn read_attribute(&mut self, reader: &mut Reader<'a>) -> Result<()> {
        // RFC 8489 §14.7: FINGERPRINT is the last attribute.
        if self.fingerprint.is_some() {
            return Err(WireError::Malformed);
        }
        let at = self.bytes.len() - reader.rest().len();
        let attribute = reader.u16()?;
        let len = usize::from(reader.u16()?);
        let value = reader.take(len)?;
        reader.take(len.wrapping_neg() % 4)?;
        if attribute == attribute::FINGERPRINT {
            self.fingerprint = Some(self.signature(at, value)?);
            return Ok(());
        }
        // RFC 8489 §14.5: what follows MESSAGE-INTEGRITY is not covered, so it is ignored.
        if self.integrity.is_some() {
            return Ok(());
        }
        let mut value_reader = Reader::new(value);
        match attribute {
            attribute::MESSAGE_INTEGRITY => self.integrity = Some(self.signature(at, value)?),
            attribute::USERNAME => self.username = Some(value),
            attribute::PRIORITY => self.priority = Some(value_reader.u32()?),
            attribute::USE_CANDIDATE => self.use_candidate = true,
            attribute::ICE_CONTROLLING => self.role = Some(IceRole::Controlling(value_reader.u64()?)),
            attribute::ICE_CONTROLLED => self.role = Some(IceRole::Controlled(value_reader.u64()?)),
            attribute::XOR_MAPPED_ADDRESS => self.mapped_address = Some(address::read_xor(value, self.transaction)?),
            attribute::ERROR_CODE => self.error = Some(read_error(value)?),
            attribute::MAPPED_ADDRESS
            | attribute::UNKNOWN_ATTRIBUTES
            | attribute::REALM
            | attribute::NONCE
            | attribute::MESSAGE_INTEGRITY_SHA256 => {}
            unknown if unknown < attribute::OPTIONAL_FROM => self.unknown.push(unknown),
            _ => {}
        }
        Ok(())
    }

    fn signature<const N: usize>(&self, at: usize, value: &'a [u8]) -> Result<Signature<'a, N>> {
        let length = u16::try_from(at - HEADER_BYTES + 4 + N).map_err(|_| WireError::Malformed)?;
        Ok(Signature {
            covered: self.bytes.get(4..at).ok_or(WireError::Truncated)?,
            length: length.to_be_bytes(),
            value: value.try_into().map_err(|_| WireError::Malformed)?,
        })
    }

    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub const fn is_binding_request(&self) -> bool {
        matches!(self.class, MessageClass::Request) && self.method == BINDING
    }

    pub const fn has_integrity(&self) -> bool {
        self.integrity.is_some()
    }

    pub const fn has_fingerprint(&self) -> bool {
        self.fingerprint.is_some()
    }

    /// Whether MESSAGE-INTEGRITY is there and right. `hmac` is HMAC-SHA1 over the parts in their order; it is not called
    /// when the attribute is missing. The comparison takes the same time for every wrong value.
    pub fn verify_integrity(&self, hmac: impl FnOnce(&[&[u8]]) -> [u8; INTEGRITY_BYTES]) -> bool {
        let Some(signature) = self.integrity else { return false };
        let Some(message_type) = self.bytes.get(..2) else { return false };
        let computed = hmac(&[message_type, &signature.length, signature.covered]);
        computed.iter().zip(signature.value).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }

    /// Whether FINGERPRINT is there and right.
    pub fn verify_fingerprint(&self) -> bool {
        let Some(signature) = self.fingerprint else { return false };
        let Some(message_type) = self.bytes.get(..2) else { return false };
        fingerprint::fingerprint(&[message_type, &signature.length, signature.covered]).to_be_bytes()
            == *signature.value
    }
}

/// RFC 8489 §5: the class bits lie at 0x0100 and 0x0010 between the method's bits.
const fn class(message_type: u16) -> MessageClass {
    match (message_type & 0x0100 != 0, message_type & 0x0010 != 0) {
        (false, false) => MessageClass::Request,
        (false, true) => MessageClass::Indication,
        (true, false) => MessageClass::Success,
        (true, true) => MessageClass::Error,
    }
}

const fn method(message_type: u16) -> u16 {
    message_type & 0x000f | (message_type & 0x00e0) >> 1 | (message_type & 0x3e00) >> 2
}

fn read_error(value: &[u8]) -> Result<ErrorCode<'_>> {
    let mut reader = Reader::new(value);
    let &[_, _, hundreds, rest] = reader.array()?;
    let hundreds = u16::from(hundreds & 7);
    if !(3..=6).contains(&hundreds) || rest > 99 {
        return Err(WireError::Malformed);
    }
    Ok(ErrorCode { code: hundreds * 100 + u16::from(rest), reason: reader.rest() })
}

#[cfg(test)]
mod tests;
