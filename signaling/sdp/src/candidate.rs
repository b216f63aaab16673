//! ICE candidates (RFC 8839 §5.1): parsed, made and written.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::error::SdpError;

/// One candidate. Related addresses and unknown extensions are not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub foundation: String,
    /// 1 is RTP (and RTCP when muxed), 2 RTCP.
    pub component: u16,
    pub protocol: Protocol,
    pub priority: u32,
    pub address: CandidateAddress,
    pub port: u16,
    pub kind: CandidateKind,
    pub tcp_type: Option<TcpType>,
    pub ufrag: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Udp,
    Tcp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CandidateAddress {
    Ip(IpAddr),
    /// An mDNS name of a browser: it cannot be resolved by a server.
    Name(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CandidateKind {
    Host,
    ServerReflexive,
    PeerReflexive,
    Relay,
}

/// RFC 6544 §4.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpType {
    Active,
    Passive,
    SimultaneousOpen,
}

/// No client writes longer ones.
const CANDIDATE_BYTES_MAX: usize = 1_024;
const UFRAG_BYTES_MAX: usize = 256;

impl Candidate {
    /// A UDP host candidate of component 1. `index` counts the node's addresses: an earlier one is preferred
    /// (RFC 8445 §5.1.2.1: type preference 126, local preference 65,535 − index).
    pub fn host_udp(address: SocketAddr, index: u16, ufrag: &str) -> Self {
        let ip = address.ip();
        Self {
            foundation: foundation(ip).to_string(),
            component: 1,
            protocol: Protocol::Udp,
            priority: (126 << 24) | (u32::from(u16::MAX - index) << 8) | 255,
            address: CandidateAddress::Ip(ip),
            port: address.port(),
            kind: CandidateKind::Host,
            tcp_type: None,
            ufrag: Some(ufrag.to_owned()),
        }
    }

    /// Reads `candidate:…`, with or without `a=` in front.
    pub fn parse(text: &str) -> Result<Self, SdpError> {
        let text = text.trim();
        let text = text.strip_prefix("a=").unwrap_or(text);
        let value = text.strip_prefix("candidate:").unwrap_or(text);
        parse(value).ok_or(SdpError::Malformed { line: 1, what: "candidate" })
    }

    /// `None` for an mDNS name.
    pub fn socket_address(&self) -> Option<SocketAddr> {
        match self.address {
            CandidateAddress::Ip(ip) => Some(SocketAddr::new(ip, self.port)),
            CandidateAddress::Name(_) => None,
        }
    }
}

/// Candidates of one type, base address and protocol share it (RFC 8445 §5.1.1.3). FNV-1a over the address.
fn foundation(ip: IpAddr) -> u32 {
    let fold = |bytes: &[u8]| {
        bytes.iter().fold(0x811c_9dc5_u32, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    };
    match ip {
        IpAddr::V4(ip) => fold(&ip.octets()),
        IpAddr::V6(ip) => fold(&ip.octets()),
    }
}

fn parse(value: &str) -> Option<Candidate> {
    if value.len() > CANDIDATE_BYTES_MAX || value.contains(|c: char| c.is_control()) {
        return None;
    }
    let mut words = value.split_ascii_whitespace();
    let foundation = words.next()?;
    let component = words.next()?.parse().ok()?;
    let protocol = match words.next()? {
        word if word.eq_ignore_ascii_case("udp") => Protocol::Udp,
        word if word.eq_ignore_ascii_case("tcp") => Protocol::Tcp,
        _ => return None,
    };
    let priority = words.next()?.parse().ok()?;
    let address = words.next()?;
    let address = address.parse().map_or_else(|_| CandidateAddress::Name(address.to_owned()), CandidateAddress::Ip);
    let port = words.next()?.parse().ok()?;
    if words.next()? != "typ" {
        return None;
    }
    let kind = match words.next()? {
        "host" => CandidateKind::Host,
        "srflx" => CandidateKind::ServerReflexive,
        "prflx" => CandidateKind::PeerReflexive,
        "relay" => CandidateKind::Relay,
        _ => return None,
    };
    let foundation = foundation.to_owned();
    let mut candidate =
        Candidate { foundation, component, protocol, priority, address, port, kind, tcp_type: None, ufrag: None };
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        match name {
            "tcptype" => candidate.tcp_type = Some(tcp_type(value)?),
            "ufrag" if value.len() <= UFRAG_BYTES_MAX => candidate.ufrag = Some(value.to_owned()),
            _ => {}
        }
    }
    Some(candidate)
}

fn tcp_type(word: &str) -> Option<TcpType> {
    Some(match word {
        "active" => TcpType::Active,
        "passive" => TcpType::Passive,
        "so" => TcpType::SimultaneousOpen,
        _ => return None,
    })
}

/// `candidate:…`, as in `candidateInit` and after `a=`.
impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Udp => "udp",
            Protocol::Tcp => "tcp",
        };
        write!(f, "candidate:{} {} {protocol} {} ", self.foundation, self.component, self.priority)?;
        match &self.address {
            CandidateAddress::Ip(ip) => write!(f, "{ip}")?,
            CandidateAddress::Name(name) => f.write_str(name)?,
        }
        let kind = match self.kind {
            CandidateKind::Host => "host",
            CandidateKind::ServerReflexive => "srflx",
            CandidateKind::PeerReflexive => "prflx",
            CandidateKind::Relay => "relay",
        };
        write!(f, " {} typ {kind}", self.port)?;
        match self.tcp_type {
            Some(TcpType::Active) => f.write_str(" tcptype active")?,
            Some(TcpType::Passive) => f.write_str(" tcptype passive")?,
            Some(TcpType::SimultaneousOpen) => f.write_str(" tcptype so")?,
            None => {}
        }
        match &self.ufrag {
            Some(ufrag) => write!(f, " ufrag {ufrag}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_of_chromium_and_the_reference_are_read() {
        let text =
            "candidate:1767190674 1 udp 2122194687 192.0.2.2 35374 typ host generation 0 ufrag mr+f network-id 1";
        let candidate = Candidate::parse(text).unwrap();
        assert_eq!(candidate.socket_address(), Some("192.0.2.2:35374".parse().unwrap()));
        assert_eq!(candidate.ufrag.as_deref(), Some("mr+f"));
        let text = "candidate:1 1 tcp 1671430143 fd00::2 27881 typ host tcptype passive ufrag x";
        let candidate = Candidate::parse(text).unwrap();
        assert_eq!(candidate.tcp_type, Some(TcpType::Passive));
        assert_eq!(candidate.to_string(), text);
    }

    #[test]
    fn an_mdns_name_has_no_socket_address() {
        let text = "candidate:1 1 UDP 2122260223 5a7c0f52-7ab1-4cf4-b2e9-c8b9ce9ff5d2.local 50000 typ host";
        assert_eq!(Candidate::parse(text).unwrap().socket_address(), None);
    }

    #[test]
    fn our_host_candidate_has_the_highest_priority_and_comes_back() {
        let ours = Candidate::host_udp("192.0.2.1:7882".parse().unwrap(), 0, "abcd");
        assert_eq!(ours.priority, 2_130_706_431);
        assert_eq!(Candidate::parse(&ours.to_string()).unwrap(), ours);
        assert!(Candidate::host_udp("192.0.2.1:7882".parse().unwrap(), 1, "abcd").priority < ours.priority);
    }

    #[test]
    fn broken_candidates_are_refused() {
        for text in
            ["", "candidate:", "candidate:1 1 udp x 1.2.3.4 5 typ host", "candidate:1 1 sctp 1 1.2.3.4 5 typ host"]
        {
            assert!(Candidate::parse(text).is_err(), "{text}");
        }
    }
}
