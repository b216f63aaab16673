//! Socket addresses as the kernel reads and writes them (sockaddr_in, sockaddr_in6).

use engine_table::SocketAddress;

/// Longest of the two: `sizeof(struct sockaddr_in6)`.
pub(crate) const NAME_BYTES: usize = 28;
const NAME_V4_BYTES: usize = 16;
const V4_MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// ```text
/// sockaddr_in   family:2 port:2(be) address:4 zero:8
/// sockaddr_in6  family:2 port:2(be) flow:4 address:16 scope:4
/// ```
///
/// **Output**: bytes written.
#[inline]
pub(crate) fn write_name(name: &mut [u8; NAME_BYTES], address: &SocketAddress) -> usize {
    name[2..4].copy_from_slice(&address.port.to_be_bytes());
    if address.ip[..12] == V4_MAPPED {
        name[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
        name[4..8].copy_from_slice(&address.ip[12..]);
        name[8..16].fill(0);
        NAME_V4_BYTES
    } else {
        name[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
        name[4..8].fill(0);
        name[8..24].copy_from_slice(&address.ip);
        name[24..28].fill(0);
        NAME_BYTES
    }
}

/// `None` for another address family. The name is zero padded, so its length is not needed.
#[inline]
pub(crate) fn read_name(name: &[u8; NAME_BYTES]) -> Option<SocketAddress> {
    let mut ip = [0; 16];
    match i32::from(u16::from_ne_bytes([name[0], name[1]])) {
        libc::AF_INET => {
            ip[..12].copy_from_slice(&V4_MAPPED);
            ip[12..].copy_from_slice(&name[4..8]);
        }
        libc::AF_INET6 => ip.copy_from_slice(&name[8..24]),
        _ => return None,
    }
    Some(SocketAddress { ip, port: u16::from_be_bytes([name[2], name[3]]), reserved: [0; 6] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_whatever_was_in_the_slot_before() {
        let mut name = [0xaa; NAME_BYTES];
        for (text, bytes) in [("192.0.2.7:7882", 16), ("[2001:db8::9]:1", 28), ("10.1.2.3:65535", 16)] {
            let address = SocketAddress::new(text.parse().unwrap());
            assert_eq!(write_name(&mut name, &address), bytes);
            assert_eq!(read_name(&name), Some(address));
        }
        name[0] = 200;
        assert_eq!(read_name(&name), None);
    }
}
