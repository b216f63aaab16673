//! The engine as the holder starts it: memfds, sockets and eventfds in, a served check, an orderly end.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use engine_base::ufrag::{LocalUfrag, password};
use engine_base::{Limits, TransportRef};
use engine_daemon::EngineStart;
use engine_io::socket::{BindRequest, bind, pool};
use engine_io::{Backend, Choice};
use engine_table::map::{create_memfd, read_only};
use engine_table::{
    CourierRegion, EngineRegion, HolderRegion, KeyRegion, MediaRegion, NodeRow, ROW_ACTIVE, SignalingRegion, TableId,
    Text, TransportRow, port_facts, transport_state,
};
use engine_wire::stun::{BindingRequest, IceRole, MessageClass, StunMessage, TransactionId};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use zerocopy::FromZeros;

const LIMITS: Limits = Limits { workers: 2, transports: 16, ingresses: 4, egresses: 16, datas: 4 };

fn eventfd() -> OwnedFd {
    rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap()
}

fn ring(fd: &OwnedFd) {
    rustix::io::write(fd, &1u64.to_ne_bytes()).unwrap();
}

fn sign(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key));
    parts.iter().for_each(|part| context.update(part));
    context.sign().as_ref().try_into().unwrap()
}

/// Sends a nominating check and reads the answer.
fn check_connectivity(ufrag: &[u8], server: SocketAddr) {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let request = BindingRequest {
        transaction: TransactionId([1; 12]),
        username: &[ufrag, b":client"].concat(),
        priority: 1,
        role: IceRole::Controlling(1),
        use_candidate: true,
    };
    let mut datagram = [0; 512];
    let bytes = request.write(&mut datagram, |parts| sign(&password([7; 24]), parts)).unwrap();
    client.send_to(&datagram[..bytes], server).unwrap();
    let bytes = client.recv(&mut datagram).unwrap();
    let answer = StunMessage::parse(&datagram[..bytes]).unwrap();
    assert_eq!((answer.class, answer.mapped_address), (MessageClass::Success, Some(client.local_addr().unwrap())));
}

#[test]
fn the_engine_serves_until_it_is_told_to_end() {
    assert_eq!(serve(Choice::Auto, engine_daemon::engine::run) & 3, port_facts::IO_URING);
}

#[test]
fn the_engine_serves_without_io_uring_when_told_to() {
    assert_eq!(serve(Choice::Only(Backend::Mmsg), engine_daemon::engine::run) & 3, port_facts::MMSG);
}

/// As in a container: its workers are threads of the filtered one and inherit the filter.
#[test]
fn the_engine_serves_where_io_uring_is_forbidden() {
    let refused = [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];
    let refused = refused.into_iter().map(|number| (number, Vec::new())).collect();
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(refused, SeccompAction::Allow, SeccompAction::Errno(libc::EPERM as u32), arch);
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    let facts = serve(Choice::Auto, move |start| {
        apply_filter(&program).unwrap();
        engine_daemon::engine::run(start)
    });
    assert_eq!(facts & 3, port_facts::MMSG);
    assert_ne!(facts & port_facts::SEGMENTS, 0);
}

/// A whole life of the engine. **Output**: what it told of its ports.
fn serve(choice: Choice, run: impl FnOnce(EngineStart) -> anyhow::Result<()> + Send + 'static) -> u64 {
    let fd = |name, bytes| create_memfd(name, bytes).unwrap();
    let holder = fd("holder", HolderRegion::region_bytes(&LIMITS));
    let signaling = fd("signaling", SignalingRegion::region_bytes(&LIMITS));
    let courier = fd("courier", CourierRegion::region_bytes(&LIMITS));
    let keys = fd("keys", KeyRegion::region_bytes(&LIMITS));
    let engine = fd("engine", EngineRegion::region_bytes(&LIMITS));
    let media = fd("media", MediaRegion::region_bytes(&LIMITS));
    let mut node = NodeRow::new_zeroed();
    (node.limits, node.node_tag, node.address_count) = (LIMITS, 5, 1);
    HolderRegion::map(&holder, &LIMITS, true).unwrap().node().publish(0, &node);
    let desired = SignalingRegion::map(&signaling, &LIMITS, true).unwrap();
    CourierRegion::map(&courier, &LIMITS, true).unwrap();
    KeyRegion::map(&keys, &LIMITS, true).unwrap();
    let observed = EngineRegion::map(&engine, &LIMITS, true).unwrap();

    let bound = bind(&BindRequest::new(&[IpAddr::V4(Ipv4Addr::LOCALHOST)], 0, 2)).unwrap();
    let (wakes, shutdown, signaling_wake) = ([eventfd(), eventfd()], eventfd(), eventfd());
    let start = EngineStart {
        limits: LIMITS,
        holder: read_only(&holder).unwrap(),
        signaling: read_only(&signaling).unwrap(),
        courier: read_only(&courier).unwrap(),
        keys: read_only(&keys).unwrap(),
        engine,
        media,
        worker_wakes: wakes.iter().map(|wake| wake.try_clone().unwrap()).collect(),
        courier_wake: eventfd(),
        signaling_wake: signaling_wake.try_clone().unwrap(),
        sockets: bound.workers,
        pool: pool(&[IpAddr::V4(Ipv4Addr::LOCALHOST)], 2, 4).unwrap(),
        shutdown: shutdown.try_clone().unwrap(),
        pin_cores: true,
        packet_io: choice,
        xdp_interface: None,
    };
    let process = std::thread::spawn(move || run(start));

    let transport = TransportRef::new(3, 9);
    let ufrag = LocalUfrag { index: 3, generation: 9, credential: 0, node: 5, random: 1 }.encode();
    let mut row = TransportRow::new_zeroed();
    (row.state, row.generation) = (ROW_ACTIVE, transport.generation);
    row.credentials[0].local_ufrag = Text::new(&ufrag).unwrap();
    row.credentials[0].local_password = Text::new(&password([7; 24])).unwrap();
    desired.transports().publish(3, &row);
    desired.log().push(TableId::Transport, 3);
    wakes.iter().for_each(ring);

    check_connectivity(&ufrag, bound.addresses[0]);

    let end = Instant::now() + Duration::from_secs(10);
    let head = desired.log().head();
    while observed.transports().read(3).is_none() || !observed.all_adopted(head) {
        assert!(Instant::now() < end, "the row is observed in 10 s");
        std::thread::yield_now();
    }
    assert_eq!(observed.transports().own(3).state, transport_state::CONNECTED);
    // Signaling was told.
    let mut count = [0; 8];
    rustix::io::read(&signaling_wake, &mut count).unwrap();
    ring(&shutdown);
    process.join().unwrap().unwrap();
    observed.port(1).load(Ordering::Relaxed)
}

#[test]
fn a_region_of_another_build_is_refused_with_a_reason() {
    let tiny = || create_memfd("tiny", 4096).unwrap();
    let start = EngineStart {
        limits: LIMITS,
        holder: tiny(),
        signaling: tiny(),
        courier: tiny(),
        keys: tiny(),
        engine: tiny(),
        media: tiny(),
        worker_wakes: vec![eventfd(), eventfd()],
        courier_wake: eventfd(),
        signaling_wake: eventfd(),
        sockets: vec![Vec::new(), Vec::new()],
        pool: vec![Vec::new(), Vec::new()],
        shutdown: eventfd(),
        pin_cores: false,
        packet_io: Choice::Auto,
        xdp_interface: None,
    };
    let error = format!("{:#}", engine_daemon::engine::run(start).unwrap_err());
    assert!(error.contains("region") && error.contains("start all processes"), "{error}");
}
