//! Short texts and socket addresses as fixed bytes.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Up to N − 2 bytes of text; the first two bytes are the length (little endian). A length that another process broke reads as
/// the empty text.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Text<const N: usize>([u8; N]);

impl<const N: usize> Text<N> {
    pub const CAPACITY: usize = N - 2;
    pub const EMPTY: Self = Self([0; N]);

    /// `None` when `text` is longer than the capacity.
    pub fn new(text: &[u8]) -> Option<Self> {
        if text.len() > Self::CAPACITY {
            return None;
        }
        let mut out = Self::EMPTY;
        out.0[..2].copy_from_slice(&(text.len() as u16).to_le_bytes());
        out.0[2..2 + text.len()].copy_from_slice(text);
        Some(out)
    }

    /// The first bytes of `text` that fit: for labels.
    pub fn cut(text: &str) -> Self {
        let mut end = text.len().min(Self::CAPACITY);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self::new(&text.as_bytes()[..end]).unwrap_or(Self::EMPTY)
    }

    pub fn as_bytes(&self) -> &[u8] {
        let length = usize::from(u16::from_le_bytes([self.0[0], self.0[1]]));
        self.0.get(2..2 + length).unwrap_or(&[])
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or("")
    }

    pub fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<const N: usize> std::fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// An address and port; IPv4 is stored mapped into IPv6. Port 0 means none.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SocketAddress {
    pub ip: [u8; 16],
    pub port: u16,
    pub reserved: [u8; 6],
}

impl SocketAddress {
    pub const NONE: Self = Self { ip: [0; 16], port: 0, reserved: [0; 6] };

    pub fn is_none(&self) -> bool {
        self.port == 0
    }

    pub fn new(address: SocketAddr) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Self { ip: ip.octets(), port: address.port(), reserved: [0; 6] }
    }

    /// IPv4 again where it was mapped.
    pub fn get(&self) -> Option<SocketAddr> {
        (!self.is_none()).then(|| SocketAddr::new(Ipv6Addr::from(self.ip).to_canonical(), self.port))
    }
}

impl std::fmt::Debug for SocketAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.get() {
            Some(address) => write!(f, "{address}"),
            None => write!(f, "none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_length_reads_as_empty() {
        assert_eq!(Text::<8>([255; 8]).as_bytes(), b"");
        assert_eq!(Text::<8>::new(b"abcdef").unwrap().as_bytes(), b"abcdef");
        assert!(Text::<8>::new(b"abcdefg").is_none());
        assert_eq!(Text::<8>::cut("ééé€").as_str(), "ééé");
    }

    #[test]
    fn addresses_come_back() {
        for text in ["127.0.0.1:7882", "[2001:db8::1]:9"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(SocketAddress::new(address).get(), Some(address));
        }
    }
}
