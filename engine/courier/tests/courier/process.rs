//! The loop itself, in a thread, with real eventfds: the test is the worker at the other end of the rings.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use engine_base::{Limits, TimeNs, TransportRef};
use engine_courier::clock::Clock;
use engine_courier::courier::Regions;
use engine_courier::session::{Phase, Role};
use engine_courier::{CourierStart, Session, Settings, Versions, run};
use engine_table::*;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::identity::{fingerprint, identity};
use crate::node::address;

const TRANSPORT: TransportRef = TransportRef::new(3, 5);

fn wait(fd: &OwnedFd) -> bool {
    let timeout = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    let ready = poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timeout)).unwrap() > 0;
    if ready {
        rustix::io::read(fd, &mut [0u8; 8]).unwrap();
    }
    ready
}

#[test]
fn a_handshake_passes_through_the_rings_and_the_sleeping_worker_is_woken() {
    let limits = Limits { workers: 1, transports: 8, ingresses: 1, egresses: 1, datas: 8 };
    let regions = Regions {
        signaling: SignalingRegion::anonymous(&limits),
        courier: CourierRegion::anonymous(&limits),
        keys: KeyRegion::anonymous(&limits),
        engine: EngineRegion::anonymous(&limits),
    };
    let make = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
    let [wake, worker_wake, signaling_wake, shutdown] = [make(), make(), make(), make()];
    let (identity, client_identity) = (identity(), identity());
    let start = CourierStart {
        regions: regions.clone(),
        identity,
        wake: wake.try_clone().unwrap(),
        worker_wakes: vec![worker_wake.try_clone().unwrap()],
        signaling_wake: Some(signaling_wake.try_clone().unwrap()),
        shutdown: shutdown.try_clone().unwrap(),
    };
    let courier = std::thread::spawn(move || run(start));

    regions.engine.sleeping(0).store(1, Ordering::SeqCst);
    let mut row = TransportRow::new_zeroed();
    (row.state, row.dtls_role, row.generation) = (ROW_ACTIVE, DTLS_CLIENT, TRANSPORT.generation);
    row.fingerprint = fingerprint(&client_identity);
    regions.signaling.transports().publish(TRANSPORT.index, &row);
    regions.signaling.log().push(TableId::Transport, TRANSPORT.index);
    let mut observed = TransportObserved::new_zeroed();
    (observed.generation, observed.state, observed.remote) =
        (TRANSPORT.generation, transport_state::CONNECTED, address());
    regions.engine.transports().publish(TRANSPORT.index, &observed);
    regions.engine.log(0).push(TableId::TransportObserved, TRANSPORT.index);
    rustix::io::write(&wake, &1u64.to_ne_bytes()).unwrap();

    let clock = Clock::starting_at(TimeNs(1));
    let settings = Settings::new(&client_identity, Versions::Auto, clock).unwrap();
    let role = Role { dtls_client: false, sctp: false, initiate: false, open_channels: false };
    let mut client = Session::new(&settings, role, fingerprint(&identity), TimeNs(1));
    let mut punts = regions.engine.punt_ring(&regions.courier, 0).producer();
    let mut ring = regions.courier.worker_ring(&regions.engine, 0).consumer();
    let (began, mut woken, mut buffer) = (Instant::now(), 0, [0; 2048]);
    while client.phase() != Phase::Connected || regions.keys.keys().own(TRANSPORT.index).profile == 0 {
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", client.phase());
        woken += u32::from(wait(&worker_wake));
        let now = clock.time(Instant::now());
        while let Some((kind, length)) = ring.pop(&mut buffer) {
            let (header, datagram) = PuntHeader::read_from_prefix(&buffer[..length]).unwrap();
            assert_eq!((kind, header.transport), (punt::DTLS, TRANSPORT));
            client.handle_packet(datagram, now);
        }
        client.handle_timeout(now);
        while let Some(datagram) = client.poll_transmit() {
            let header = PuntHeader { transport: TRANSPORT, address: address(), socket: 0, reserved: 0 };
            assert!(punts.push(punt::DTLS, &[header.as_bytes(), &datagram]));
            rustix::io::write(&wake, &1u64.to_ne_bytes()).unwrap();
        }
    }
    assert!(woken >= 2, "a ClientHello and the keys: {woken}");
    assert!(wait(&signaling_wake));
    assert_eq!(regions.courier.adopted().load(Ordering::Acquire), 1);
    let mut keys = regions.courier.log().reader(0);
    let mut changes = std::iter::from_fn(|| match keys.next_change() {
        Changes::One(change) => Some(change),
        _ => None,
    });
    assert!(changes.any(|change| change == Change { table: TableId::Key, index: TRANSPORT.index }));
    rustix::io::write(&shutdown, &1u64.to_ne_bytes()).unwrap();
    courier.join().unwrap().unwrap();
    assert_ne!(regions.keys.keys().own(TRANSPORT.index).profile, 0, "media goes on");
}

#[test]
fn a_wrong_number_of_workers_is_refused_with_the_remedy() {
    let limits = Limits { workers: 2, transports: 1, ingresses: 1, egresses: 1, datas: 1 };
    let start = CourierStart {
        regions: Regions {
            signaling: SignalingRegion::anonymous(&limits),
            courier: CourierRegion::anonymous(&limits),
            keys: KeyRegion::anonymous(&limits),
            engine: EngineRegion::anonymous(&limits),
        },
        identity: identity(),
        wake: eventfd(0, EventfdFlags::CLOEXEC).unwrap(),
        worker_wakes: Vec::new(),
        signaling_wake: None,
        shutdown: eventfd(0, EventfdFlags::CLOEXEC).unwrap(),
    };
    assert!(run(start).unwrap_err().to_string().contains("one executable"));
}
