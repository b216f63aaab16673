use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::*;

const LOCALHOST: [IpAddr; 1] = [IpAddr::V4(Ipv4Addr::LOCALHOST)];

fn udp(socket: OwnedFd) -> UdpSocket {
    UdpSocket::from(socket)
}

#[test]
fn workers_share_one_port_and_its_packets() {
    let bound = bind(&BindRequest::new(&LOCALHOST, 0, 2)).unwrap();
    let address = bound.addresses[0];
    let senders: Vec<_> = (0..64).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    for sender in &senders {
        sender.send_to(b"x", address).unwrap();
    }
    let mut counts = Vec::new();
    for mut sockets in bound.workers {
        let socket = udp(sockets.remove(0));
        socket.set_nonblocking(true).unwrap();
        counts.push(std::iter::from_fn(|| socket.recv_from(&mut [0; 4]).ok()).count());
    }
    assert_eq!(counts.iter().sum::<usize>(), 64);
    assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
}

#[test]
fn a_port_in_use_is_noticed_whoever_has_it() {
    let node = bind(&BindRequest::new(&LOCALHOST, 0, 2)).unwrap();
    let port = node.addresses[0].port();
    let error = bind(&BindRequest::new(&LOCALHOST, port, 2)).unwrap_err();
    assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().lines().last().unwrap().contains("rtc.udp_port"));
    drop(node);
    let wildcard = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    wildcard.set_reuse_port(true).unwrap();
    wildcard.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into()).unwrap();
    let port = wildcard.local_addr().unwrap().as_socket().unwrap().port();
    assert!(bind(&BindRequest::new(&LOCALHOST, port, 1)).is_err());
}

#[test]
fn one_port_on_every_address() {
    let addresses = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2))];
    let bound = bind(&BindRequest::new(&addresses, 0, 3)).unwrap();
    assert_eq!(bound.addresses[0].port(), bound.addresses[1].port());
    assert_ne!(bound.addresses[0].port(), 0);
    assert!(bound.workers.len() == 3 && bound.workers.iter().all(|sockets| sockets.len() == 2));
    let local = udp(bound.workers.into_iter().next().unwrap().remove(1)).local_addr().unwrap();
    assert_eq!(local, bound.addresses[1]);
}

#[test]
fn every_port_of_a_range_is_bound_on_every_address() {
    let addresses = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2))];
    // A neighbour of a port that was free a moment ago is most likely free, too.
    let bind_two = |_| {
        let port = bind(&BindRequest::new(&addresses, 0, 1)).unwrap().addresses[0].port();
        bind(&BindRequest { ports: 2, ..BindRequest::new(&addresses, port, 3) }).ok()
    };
    let bound = (0..20).find_map(bind_two).unwrap();
    let port = bound.addresses[0].port();
    let expected = [port, port + 1].map(|port| addresses.map(|ip| SocketAddr::new(ip, port))).concat();
    assert_eq!(bound.addresses, expected);
    for sockets in bound.workers {
        let local = sockets.into_iter().map(|socket| udp(socket).local_addr().unwrap());
        assert!(local.eq(expected.iter().copied()));
    }
}

#[test]
fn both_address_families_take_the_same_port() {
    let localhost = IpAddr::V6(Ipv6Addr::LOCALHOST);
    if !local_addresses(true).unwrap().contains(&localhost) {
        assert_eq!(bind(&BindRequest::new(&[localhost], 0, 1)).unwrap_err().address.ip(), localhost);
        return;
    }
    let bound = bind(&BindRequest::new(&[localhost, LOCALHOST[0]], 0, 1)).unwrap();
    assert_eq!(bound.addresses[0].port(), bound.addresses[1].port());
}

#[test]
fn a_wildcard_is_refused() {
    let wildcard = [IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
    assert_eq!(bind(&BindRequest::new(&wildcard, 0, 1)).unwrap_err().source.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn sockets_close_on_exec() {
    let bound = bind(&BindRequest::new(&LOCALHOST, 0, 2)).unwrap();
    for socket in bound.workers.iter().flatten() {
        assert!(rustix::io::fcntl_getfd(socket).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    }
}

#[test]
fn kernel_drops_are_counted_when_the_buffer_is_full() {
    let request = BindRequest { receive_buffer_bytes: 4_096, ..BindRequest::new(&LOCALHOST, 0, 1) };
    let bound = bind(&request).unwrap();
    let socket = &bound.workers[0][0];
    assert_eq!(kernel_drops(socket).unwrap(), 0);
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..64 {
        sender.send_to(&[0; 1_000], bound.addresses[0]).unwrap();
    }
    let dropped = kernel_drops(socket).unwrap();
    let socket = udp(bound.workers.into_iter().next().unwrap().remove(0));
    socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let received = std::iter::from_fn(|| socket.recv_from(&mut [0; 1_500]).ok()).count();
    assert!(dropped > 0);
    assert_eq!(received + dropped as usize, 64);
}

#[test]
fn a_shortfall_names_the_sysctl() {
    let shortfall = Shortfall {
        receive_buffer_bytes: 212_992,
        send_buffer_bytes: 212_992,
        receive_wanted_bytes: SOCKET_BUFFER_BYTES,
        send_wanted_bytes: SOCKET_BUFFER_BYTES,
    };
    assert!(shortfall.to_string().contains("net.core.rmem_max=8388608"));
}
