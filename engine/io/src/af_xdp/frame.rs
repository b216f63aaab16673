//! Ethernet frames around datagrams. A destination's headers are made once; a frame is a copy of them with lengths and checksums.
//!
//! ```text
//! Ethernet:14  destination:6 source:6 type:2
//! IPv4:20      version+length:1 tos:1 total:2 id:2 flags+offset:2 ttl:1 protocol:1 checksum:2 source:4 destination:4
//! IPv6:40      version+class+flow:4 payload:2 next:1 hops:1 source:16 destination:16
//! UDP:8        source port:2 destination port:2 length:2 checksum:2
//! ```
//!
//! No options, no VLAN, no fragments. Sums are of 16-bit words in the machine's order, which RFC 1071 §2(B) allows.

use std::net::{IpAddr, SocketAddr};

const ETHERNET_BYTES: usize = 14;
const UDP_BYTES: usize = 8;
const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;
const HEADER_BYTES_MAX: usize = ETHERNET_BYTES + IPV6_BYTES + UDP_BYTES;
const PROTOCOL_UDP: u8 = 17;
const DONT_FRAGMENT: u8 = 0x40;

/// A local UDP socket as its packets show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Local {
    pub address: SocketAddr,
    /// IP_TOS or IPV6_TCLASS.
    pub traffic_class: u8,
    /// IP_TTL or IPV6_UNICAST_HOPS.
    pub hops: u8,
}

/// The next machine on the way to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    pub source: [u8; 6],
    pub destination: [u8; 6],
    /// Longest IP packet.
    pub mtu: u16,
}

/// What every frame from one socket to one IP address begins with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Headers {
    bytes: [u8; HEADER_BYTES_MAX],
    /// 42 or 62.
    length: u8,
    payload_max: u16,
    /// Of the IPv4 header without its total length.
    ip_sum: u32,
    /// Of the pseudo header and the source port, without the UDP length.
    udp_sum: u32,
}

impl Headers {
    /// `None` for two address families, or a link that cannot carry the headers.
    pub(crate) fn new(local: &Local, destination: IpAddr, hop: &Hop) -> Option<Self> {
        let (mut bytes, ip_bytes) = ([0; HEADER_BYTES_MAX], ip_bytes(&local.address.ip()));
        bytes[..6].copy_from_slice(&hop.destination);
        bytes[6..12].copy_from_slice(&hop.source);
        let ip = &mut bytes[ETHERNET_BYTES..ETHERNET_BYTES + ip_bytes];
        let (ether_type, addresses) = match (local.address.ip(), destination) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                (ip[0], ip[1], ip[6]) = (0x45, local.traffic_class, DONT_FRAGMENT);
                (ip[8], ip[9]) = (local.hops, PROTOCOL_UDP);
                ip[12..16].copy_from_slice(&from.octets());
                ip[16..].copy_from_slice(&to.octets());
                (0x0800_u16, 12)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                (ip[0], ip[1]) = (0x60 | local.traffic_class >> 4, local.traffic_class << 4);
                (ip[6], ip[7]) = (PROTOCOL_UDP, local.hops);
                ip[8..24].copy_from_slice(&from.octets());
                ip[24..].copy_from_slice(&to.octets());
                (0x86dd, 8)
            }
            _ => return None,
        };
        let (ip_sum, address_sum) = (fold(sum(ip)), fold(sum(&ip[addresses..])));
        bytes[12..14].copy_from_slice(&ether_type.to_be_bytes());
        let (length, port) = (ETHERNET_BYTES + ip_bytes + UDP_BYTES, local.address.port());
        bytes[length - UDP_BYTES..][..2].copy_from_slice(&port.to_be_bytes());
        let udp_sum = u32::from(address_sum) + u32::from(word(PROTOCOL_UDP.into())) + u32::from(word(port));
        let payload_max = usize::from(hop.mtu).checked_sub(ip_bytes + UDP_BYTES)? as u16;
        Some(Self { bytes, length: length as u8, payload_max, ip_sum: ip_sum.into(), udp_sum })
    }

    /// Longest datagram that goes into one frame; a longer one is the socket's to refuse.
    pub(crate) fn payload_max(&self) -> usize {
        self.payload_max.into()
    }

    /// Writes the frame of one datagram.
    ///
    /// **Input**: `payload` ≤ [`Headers::payload_max`]; `frame` as long as the payload and 62 B. **Output**: bytes of the frame.
    #[inline]
    pub(crate) fn write(&self, frame: &mut [u8], port: u16, payload: &[u8]) -> usize {
        let length = usize::from(self.length);
        frame[..HEADER_BYTES_MAX].copy_from_slice(&self.bytes);
        let udp_bytes = (UDP_BYTES + payload.len()) as u16;
        if length == ETHERNET_BYTES + IPV4_BYTES + UDP_BYTES {
            let total = IPV4_BYTES as u16 + udp_bytes;
            frame[16..18].copy_from_slice(&total.to_be_bytes());
            let checksum = !fold(u64::from(self.ip_sum) + u64::from(word(total)));
            frame[24..26].copy_from_slice(&checksum.to_ne_bytes());
        } else {
            frame[18..20].copy_from_slice(&udp_bytes.to_be_bytes());
        }
        let end = length + payload.len();
        frame[length..end].copy_from_slice(payload);
        // The length stands in the pseudo header and in the UDP header.
        let words = u64::from(self.udp_sum) + u64::from(word(port)) + 2 * u64::from(word(udp_bytes));
        let checksum = match !fold(words + sum(&frame[length..end])) {
            // Zero would mean "none" (RFC 768), which IPv6 does not allow.
            0 => u16::MAX,
            checksum => checksum,
        };
        let udp = &mut frame[length - UDP_BYTES..length];
        udp[2..4].copy_from_slice(&port.to_be_bytes());
        udp[4..6].copy_from_slice(&udp_bytes.to_be_bytes());
        udp[6..8].copy_from_slice(&checksum.to_ne_bytes());
        end
    }
}

fn ip_bytes(address: &IpAddr) -> usize {
    if address.is_ipv4() { IPV4_BYTES } else { IPV6_BYTES }
}

/// A number as the word that it is on the wire.
fn word(number: u16) -> u16 {
    u16::from_ne_bytes(number.to_be_bytes())
}

/// Sum of the 16-bit words, the last one padded with zero, as 32-bit words: the upper halves come back when it is folded. At most
/// 2¹⁴ words of 2³²: no overflow.
#[inline]
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum::<u64>() + u64::from(u32::from_ne_bytes(last))
}

/// Adds the carries (RFC 1071 §1).
#[inline]
fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOP: Hop = Hop { source: [2, 0, 0, 0, 0, 1], destination: [2, 0, 0, 0, 0, 2], mtu: 1_500 };

    fn local(address: &str) -> Local {
        Local { address: address.parse().unwrap(), traffic_class: 0xb8, hops: 64 }
    }

    /// One's complement sum of big-endian words, as RFC 1071 §4.1 writes it.
    fn oracle(parts: &[&[u8]]) -> u16 {
        let mut sum = 0_u32;
        for pair in parts.concat().chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    fn frame(local: &Local, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
        let headers = Headers::new(local, to.ip(), &HOP).unwrap();
        let mut frame = vec![0xaa; 2_048];
        let length = headers.write(&mut frame, to.port(), payload);
        frame.truncate(length);
        frame
    }

    #[test]
    fn the_example_of_the_rfc_sums_up() {
        // RFC 1071 §3.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(u16::from_be_bytes(fold(sum(&bytes)).to_ne_bytes()), 0xddf2);
    }

    #[test]
    fn an_ipv4_frame_is_drawn_byte_by_byte() {
        let frame = frame(&local("192.0.2.1:7882"), "198.51.100.9:5000".parse().unwrap(), b"abc");
        assert_eq!(frame[..14], [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
        assert_eq!(frame[14..24], [0x45, 0xb8, 0, 31, 0, 0, 0x40, 0, 64, 17]);
        assert_eq!(frame[26..34], [192, 0, 2, 1, 198, 51, 100, 9]);
        assert_eq!(frame[34..40], [0x1e, 0xca, 0x13, 0x88, 0, 11]);
        assert_eq!(&frame[42..], b"abc");
    }

    #[test]
    fn families_do_not_mix_and_links_may_be_too_narrow() {
        assert!(Headers::new(&local("192.0.2.1:1"), "2001:db8::1".parse().unwrap(), &HOP).is_none());
        assert!(Headers::new(&local("192.0.2.1:1"), "192.0.2.2".parse().unwrap(), &Hop { mtu: 27, ..HOP }).is_none());
        let headers = Headers::new(&local("[2001:db8::1]:1"), "2001:db8::2".parse().unwrap(), &HOP).unwrap();
        assert_eq!(headers.payload_max(), 1_452);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn checksums_are_those_of_the_definition(
            payload in prop::collection::vec(any::<u8>(), 0..1_453), to in any::<[u8; 16]>(), port in 1_u16.., v4 in any::<bool>(),
        ) {
            let (from, ip) = match v4 {
                true => (local("203.0.113.7:65535"), IpAddr::from([to[0], to[1], to[2], to[3]])),
                false => (local("[2001:db8:ffff::7]:65535"), IpAddr::from(to)),
            };
            let frame = frame(&from, SocketAddr::new(ip, port), &payload);
            let (head, addresses) = if v4 { (34, 26..34) } else { (54, 22..54) };
            if v4 {
                prop_assert_eq!(oracle(&[&frame[14..34]]), 0xffff);
                prop_assert_eq!(usize::from(u16::from_be_bytes([frame[16], frame[17]])), frame.len() - 14);
            }
            let udp_bytes = u16::from_be_bytes([frame[head + 4], frame[head + 5]]);
            prop_assert_eq!(usize::from(udp_bytes), frame.len() - head);
            prop_assert_eq!(oracle(&[&frame[addresses], &[0, 17], &udp_bytes.to_be_bytes(), &frame[head..]]), 0xffff);
            prop_assert!(frame[head + 6..head + 8] != [0, 0]);
            prop_assert_eq!(&frame[head + 8..], &payload[..]);
        }
    }
}
