//! Questions to the kernel's routing tables, and its notices of changes. For start-up and the resolver's thread: it allocates and
//! blocks.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{self, RecvFlags, SendFlags, SocketFlags, SocketType};

/// The kernel sends at most this much at once (`NLMSG_GOODSIZE` and more for dumps, which are not asked for).
const BUFFER_BYTES: usize = 32 << 10;
/// The kernel answers within the call; this only ends a wait for an answer that was lost for want of memory.
const ANSWER_WAIT: Duration = Duration::from_secs(1);

/// Groups of notices, linux/rtnetlink.h: links, neighbours, addresses, routes and rules of both families.
pub(super) const CHANGES: u32 = 0x1 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 1 << 18;

pub(super) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    buffer: Box<[u8]>,
}

impl Netlink {
    /// `groups` of notices; 0 for questions only.
    pub(super) fn open(groups: u32) -> io::Result<Self> {
        let socket = net::socket_with(net::AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        net::bind(&socket, &SocketAddrNetlink::new(0, groups))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_WAIT))?;
        Ok(Self { socket, sequence: 0, buffer: vec![0; BUFFER_BYTES].into() })
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// **Errors**: the kernel's answer, e.g. ENOENT or ENETUNREACH.
    fn ask(&mut self, question: Message) -> io::Result<Message> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        (header.flags, header.sequence_number) = (NLM_F_REQUEST, self.sequence);
        let mut question = NetlinkMessage::new(header, NetlinkPayload::from(question));
        question.finalize();
        let mut bytes = vec![0; question.buffer_len()];
        question.serialize(&mut bytes);
        net::send(&self.socket, &bytes, SendFlags::empty())?;
        loop {
            let (count, _) = net::recv(&self.socket, &mut self.buffer[..], RecvFlags::empty())?;
            let answer = self.buffer.get(..count).unwrap_or_default();
            let answer = NetlinkMessage::<Message>::deserialize(answer);
            let (header, payload) = answer.map_err(io::Error::other)?.into_parts();
            match payload {
                _ if header.sequence_number != self.sequence => {}
                NetlinkPayload::InnerMessage(message) => return Ok(message),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    /// Shows every notice that has come; one that cannot be read as `None`. Never sleeps.
    ///
    /// **Errors**: ENOBUFS when notices were lost.
    pub(super) fn take_notices(&mut self, mut each: impl FnMut(Option<Message>)) -> io::Result<()> {
        loop {
            let count = match net::recv(&self.socket, &mut self.buffer[..], RecvFlags::DONTWAIT) {
                Ok((count, _)) => count,
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            };
            let mut rest = self.buffer.get(..count).unwrap_or_default();
            while !rest.is_empty() {
                let notice = NetlinkMessage::<Message>::deserialize(rest);
                let length = rest.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes) as usize);
                match notice.map(NetlinkMessage::into_parts) {
                    Ok((_, NetlinkPayload::InnerMessage(message))) => each(Some(message)),
                    Ok(_) => {}
                    Err(_) => each(None),
                }
                // Messages begin at multiples of 4; the shortest has 16 B.
                rest = rest.get(length.max(16).next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

/// An interface as frames need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub index: u32,
    pub mac: [u8; 6],
    pub mtu: u16,
    pub is_up: bool,
    /// Neighbours need no resolution: every frame carries the interface's own address (net/ipv4/arp.c, arp_constructor).
    pub no_arp: bool,
    pub is_ethernet: bool,
}

impl Link {
    /// **Errors**: no such interface.
    pub(super) fn find(netlink: &mut Netlink, name: &str) -> io::Result<Self> {
        let mut question = LinkMessage::default();
        question.attributes.push(LinkAttribute::IfName(name.to_owned()));
        match netlink.ask(Message::GetLink(question))? {
            Message::NewLink(link) => Ok(Self::read(&link)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    pub(super) fn read(message: &LinkMessage) -> Self {
        let (header, mut mac, mut mtu) = (&message.header, [0; 6], 0);
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::Address(bytes) => mac = bytes.as_slice().try_into().unwrap_or(mac),
                LinkAttribute::Mtu(bytes) => mtu = u16::try_from(*bytes).unwrap_or(u16::MAX),
                _ => {}
            }
        }
        Self {
            index: header.index,
            mac,
            mtu,
            is_up: header.flags.contains(LinkFlags::Up),
            no_arp: header.flags.contains(LinkFlags::Noarp),
            is_ethernet: header.link_layer_type == LinkLayerType::Ether,
        }
    }
}

/// Where the kernel would send a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub interface: u32,
    pub next_hop: IpAddr,
    /// Of the path, where the kernel has learnt one.
    pub mtu: Option<u16>,
}

impl Route {
    /// `None` for destinations that are no plain unicast: this machine, groups, tunnels.
    ///
    /// **Errors**: the kernel's: no route, a bad source.
    pub(super) fn find(netlink: &mut Netlink, source: IpAddr, destination: IpAddr) -> io::Result<Option<Self>> {
        let mut question = RouteMessage::default();
        question.header.address_family = family(destination);
        let bits = if destination.is_ipv4() { 32 } else { 128 };
        (question.header.destination_prefix_length, question.header.source_prefix_length) = (bits, bits);
        question.attributes.push(RouteAttribute::Destination(destination.into()));
        question.attributes.push(RouteAttribute::Source(source.into()));
        match netlink.ask(Message::GetRoute(question))? {
            Message::NewRoute(answer) if answer.header.kind == RouteType::Unicast => {
                Ok(Self::read(&answer, destination))
            }
            _ => Ok(None),
        }
    }

    fn read(answer: &RouteMessage, destination: IpAddr) -> Option<Self> {
        let (mut interface, mut next_hop, mut mtu) = (None, destination, None);
        for attribute in &answer.attributes {
            match attribute {
                RouteAttribute::Oif(index) => interface = Some(*index),
                RouteAttribute::Gateway(RouteAddress::Inet(ip)) | RouteAttribute::Via(RouteVia::Inet(ip)) => {
                    next_hop = (*ip).into();
                }
                RouteAttribute::Gateway(RouteAddress::Inet6(ip)) | RouteAttribute::Via(RouteVia::Inet6(ip)) => {
                    next_hop = (*ip).into();
                }
                RouteAttribute::Metrics(metrics) => {
                    mtu = metrics.iter().find_map(|metric| match metric {
                        RouteMetric::Mtu(bytes) => u16::try_from(*bytes).ok(),
                        _ => None,
                    });
                }
                // The packet would be wrapped into something else.
                RouteAttribute::EncapType(_) | RouteAttribute::Encap(_) => return None,
                _ => {}
            }
        }
        Some(Self { interface: interface?, next_hop, mtu })
    }
}

/// What the kernel knows of a machine on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Neighbour {
    pub ip: IpAddr,
    /// `None` while it is being asked for, and when it did not answer.
    pub mac: Option<[u8; 6]>,
}

impl Neighbour {
    /// **Errors**: ENOENT when the kernel knows nothing.
    pub(super) fn find(netlink: &mut Netlink, interface: u32, ip: IpAddr) -> io::Result<Option<Self>> {
        let mut question = NeighbourMessage::default();
        (question.header.family, question.header.ifindex) = (family(ip), interface);
        question.attributes.push(NeighbourAttribute::Destination(match ip {
            IpAddr::V4(ip) => NeighbourAddress::Inet(ip),
            IpAddr::V6(ip) => NeighbourAddress::Inet6(ip),
        }));
        match netlink.ask(Message::GetNeighbour(question))? {
            Message::NewNeighbour(answer) => Ok(Self::read(&answer)),
            _ => Ok(None),
        }
    }

    /// `None` for entries without an IP address, e.g. of a bridge.
    pub(super) fn read(message: &NeighbourMessage) -> Option<Self> {
        use NeighbourState::{Delay, Noarp, Permanent, Probe, Reachable, Stale};
        let (mut ip, mut mac) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => ip = Some((*v4).into()),
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => ip = Some((*v6).into()),
                NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.as_slice().try_into().ok(),
                _ => {}
            }
        }
        let is_valid = matches!(message.header.state, Reachable | Stale | Delay | Probe | Permanent | Noarp);
        Some(Self { ip: ip?, mac: mac.filter(|_| is_valid) })
    }
}

fn family(ip: IpAddr) -> AddressFamily {
    if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}
