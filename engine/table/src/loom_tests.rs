//! Interleavings of writers and readers: `cargo test -p engine-table --features loom`.

use engine_base::{ExtendedSequence, Kind, Limits};
use loom::thread;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::change_log::{self, ChangeLog, Changes, TableId};
use crate::map::Region;
use crate::ring::{ByteRing, ring_bytes};
use crate::slots::{PacketHeader, SlotStream, Slots, slots_bytes, turns_bytes};
use crate::table::{Row, Table};

#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
struct Pair([u64; 2]);
impl Row for Pair {
    const NAME: &'static str = "pair";
}

fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

#[test]
fn a_row_is_whole_in_every_interleaving() {
    explore(|| {
        let region = Region::anonymous(Table::<Pair>::bytes(1));
        let table = Table::<Pair>::new(&region, 0, 1);
        let writer = table.clone();
        let thread = thread::spawn(move || {
            for n in 1..4 {
                writer.publish(0, &Pair([n, n]));
            }
        });
        if let Some((_, row)) = table.read(0) {
            assert_eq!(row.0[0], row.0[1]);
        }
        thread.join().unwrap();
    });
}

#[test]
fn a_reader_of_the_log_sees_the_row_that_was_published_before_its_name() {
    explore(|| {
        let region = Region::anonymous(Table::<Pair>::bytes(1) + change_log::BYTES);
        let table = Table::<Pair>::new(&region, 0, 1);
        let log = ChangeLog::new(&region, Table::<Pair>::bytes(1));
        let mut reader = log.reader(0);
        let (writer, writer_log) = (table.clone(), log.clone());
        let thread = thread::spawn(move || {
            writer.publish(0, &Pair([7, 7]));
            writer_log.push(TableId::Egress, 0);
        });
        if reader.next_change() != Changes::None {
            assert_eq!(table.read(0).unwrap().1.0, [7, 7]);
        }
        thread.join().unwrap();
    });
}

#[test]
fn an_overtaken_reader_of_the_log_never_sees_a_wrong_name() {
    explore(|| {
        let log = ChangeLog::new(&Region::anonymous(change_log::BYTES), 0);
        log.push(TableId::Egress, 0);
        let mut reader = log.reader(0);
        let writer = log.clone();
        let thread = thread::spawn(move || {
            for index in 1..=change_log::CAPACITY as u32 {
                writer.push(TableId::Egress, index);
            }
        });
        match reader.next_change() {
            Changes::One(change) => assert_eq!(change.index, 0),
            Changes::All => assert!(reader.position() > 1),
            Changes::None => panic!("a name was there"),
        }
        thread.join().unwrap();
    });
}

#[test]
fn the_ends_of_a_ring_never_meet() {
    explore(|| {
        let (data, cursor) = (Region::anonymous(ring_bytes(16)), Region::anonymous(8));
        let ring = ByteRing::new(&data, 0, 16, &cursor, 0);
        let mut producer = ring.producer();
        let thread = thread::spawn(move || {
            let mut sent = 0;
            for kind in 1..=3 {
                sent += u32::from(producer.push(kind, &[]));
            }
            sent
        });
        let mut consumer = ring.consumer();
        let mut last = 0;
        let mut taken = 0;
        for _ in 0..2 {
            if let Some((kind, length)) = consumer.pop(&mut []) {
                assert!(kind > last && length == 0);
                (last, taken) = (kind, taken + 1);
            }
        }
        let sent = thread.join().unwrap();
        while let Some((kind, _)) = consumer.pop(&mut []) {
            assert!(kind > last);
            (last, taken) = (kind, taken + 1);
        }
        assert_eq!(taken, sent);
    });
}

#[test]
fn a_packet_does_not_change_inside_a_turn() {
    explore(|| {
        let limits = Limits { workers: 1, transports: 1, ingresses: 1, egresses: 1, datas: 1 };
        let media = Region::anonymous(slots_bytes(&limits));
        let turns = Region::anonymous(turns_bytes(&limits));
        let slots = Slots::new(&media, 0, &turns, 0, &limits);
        let mut stream = SlotStream::take_over(&slots, 0, 0, 0, Kind::Audio);
        let write = |stream: &mut SlotStream, n: u64| {
            stream.write(|_| Some(PacketHeader { sequence: ExtendedSequence(n), ..Default::default() }))
        };
        let first = write(&mut stream, 1).unwrap().unwrap();
        let reader = thread::spawn(move || {
            let turn = slots.begin_turn(0);
            if let Some((header, _)) = turn.packet(first) {
                assert_eq!(header.sequence.0, 1);
                let again = slots.read_header(slots.slot_offset(first.stream, first.slot));
                assert_eq!(again.sequence.0, 1, "written inside the turn that read it");
            }
        });
        for n in 2..12 {
            let _ = write(&mut stream, n);
        }
        reader.join().unwrap();
    });
}
