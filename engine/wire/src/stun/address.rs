//! XOR-MAPPED-ADDRESS (RFC 8489 §14.2): an address that no middlebox recognises and rewrites.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{MAGIC_COOKIE, TransactionId};
use crate::cursor::{Reader, Writer};
use crate::error::{Result, WireError};

const FAMILY_IPV4: u8 = 1;
const FAMILY_IPV6: u8 = 2;
const PORT_MASK: u16 = (MAGIC_COOKIE >> 16) as u16;

/// The cookie and the transaction id, as one mask of 128 bits.
fn ipv6_mask(TransactionId(id): TransactionId) -> u128 {
    let id = id.iter().fold(0, |mask: u128, &byte| mask << 8 | u128::from(byte));
    u128::from(MAGIC_COOKIE) << 96 | id
}

pub(super) fn read_xor(value: &[u8], transaction: TransactionId) -> Result<SocketAddr> {
    let mut reader = Reader::new(value);
    let &[_, family] = reader.array()?;
    let port = reader.u16()? ^ PORT_MASK;
    let address = match family {
        FAMILY_IPV4 => IpAddr::V4(Ipv4Addr::from_bits(reader.u32()? ^ MAGIC_COOKIE)),
        FAMILY_IPV6 => {
            let bits = u128::from_be_bytes(*reader.array()?);
            IpAddr::V6(Ipv6Addr::from_bits(bits ^ ipv6_mask(transaction)))
        }
        _ => return Err(WireError::Malformed),
    };
    if !reader.is_empty() {
        return Err(WireError::Malformed);
    }
    Ok(SocketAddr::new(address, port))
}

pub(super) const fn value_len(address: SocketAddr) -> u16 {
    if address.is_ipv4() { 8 } else { 20 }
}

pub(super) fn write_xor(writer: &mut Writer<'_>, address: SocketAddr, transaction: TransactionId) -> Result<()> {
    writer.bytes(&[0, if address.is_ipv4() { FAMILY_IPV4 } else { FAMILY_IPV6 }])?;
    writer.u16(address.port() ^ PORT_MASK)?;
    match address.ip() {
        IpAddr::V4(ip) => writer.u32(ip.to_bits() ^ MAGIC_COOKIE),
        IpAddr::V6(ip) => writer.bytes(&(ip.to_bits() ^ ipv6_mask(transaction)).to_be_bytes()),
    }
}
