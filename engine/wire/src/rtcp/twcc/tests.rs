use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::super::{Compound, Rtcp};
use super::*;

fn read(packet: &[u8]) -> Twcc<'_> {
    let mut compound = Compound::new(packet);
    let Some(Ok(Rtcp::Twcc(twcc))) = compound.next() else { panic!("not feedback") };
    assert!(compound.next().is_none());
    twcc
}

fn numbered(base: u16, arrivals: &[Option<u64>]) -> Vec<(SequenceNumber, Option<u64>)> {
    arrivals.iter().enumerate().map(|(i, &arrival)| (SequenceNumber(base).add(i as u16), arrival)).collect()
}

fn chunks_of(arrivals: &[Option<u64>]) -> Vec<u16> {
    let mut out = [0; 1500];
    let written = write(&mut out, Ssrc(1), Ssrc(2), 0, numbered(0, arrivals).into_iter()).unwrap().unwrap();
    let twcc = read(&out[..written.bytes]);
    let len = twcc.chunks.rest().len() - twcc.deltas.rest().len();
    twcc.chunks.rest()[..len].chunks(2).map(|two| u16::from_be_bytes([two[0], two[1]])).collect()
}

#[test]
fn a_run_is_one_chunk() {
    assert_eq!(chunks_of(&[Some(5); 200]), [1 << 13 | 200]);
}

#[test]
fn few_losses_take_one_bit_chunks() {
    let mut arrivals = [Some(5); 14];
    arrivals[13] = None;
    assert_eq!(chunks_of(&arrivals), [0b10_11111111111110]);
}

#[test]
fn a_large_delta_takes_a_two_bit_chunk() {
    let arrivals = [Some(0), Some(1000), None, Some(999), Some(999), None, Some(1000)];
    assert_eq!(chunks_of(&arrivals), [0b11_01_10_00_10_01_00_01]);
}

#[test]
fn bytes_are_as_the_draft_draws_them() {
    let packets = numbered(0xfffe, &[Some(256 * 0x010203 + 7), None, Some(256 * 0x010203 + 7 + 300)]);
    let mut out = [0xff; 64];
    let written = write(&mut out, Ssrc(1), Ssrc(2), 9, packets.into_iter()).unwrap().unwrap();
    assert_eq!(written, Written { bytes: 28, next: SequenceNumber(1) });
    let expected = [
        0x8f,
        205,
        0,
        6,
        0,
        0,
        0,
        1,
        0,
        0,
        0,
        2, // header, SSRCs
        0xff,
        0xfe,
        0,
        3,
        1,
        2,
        3,
        9, // base, count, reference time, feedback count
        0b11_01_00_10,
        0,
        7,
        1,
        44,
        0,
        0,
        0, // two-bit chunk, deltas 7 and 300, zeroes
    ];
    assert_eq!(out[..28], expected);
    let arrivals: Vec<_> = read(&expected).arrivals().collect();
    assert_eq!(arrivals[0], (SequenceNumber(0xfffe), Some(256 * 0x010203 + 7)));
    assert_eq!(arrivals[2], (SequenceNumber(0), Some(256 * 0x010203 + 307)));
}

#[test]
fn a_gap_in_time_ends_the_message() {
    let packets = numbered(10, &[Some(0), Some(40_000), Some(40_001)]);
    let mut out = [0; 64];
    let written = write(&mut out, Ssrc(1), Ssrc(2), 0, packets.iter().copied()).unwrap().unwrap();
    assert_eq!(written.next, SequenceNumber(11));
    let rest = packets.into_iter().skip(1);
    assert_eq!(write(&mut out, Ssrc(1), Ssrc(2), 1, rest).unwrap().unwrap().next, SequenceNumber(13));
}

#[test]
fn missing_numbers_are_not_received_and_repeated_ones_are_skipped() {
    let packets =
        [(5, Some(1)), (8, Some(2)), (8, Some(3)), (7, Some(4)), (9, Some(5))].map(|(s, a)| (SequenceNumber(s), a));
    let mut out = [0; 64];
    let written = write(&mut out, Ssrc(1), Ssrc(2), 0, packets.into_iter()).unwrap().unwrap();
    let received: Vec<_> = read(&out[..written.bytes]).arrivals().map(|(s, a)| (s.0, a)).collect();
    assert_eq!(received, [(5, Some(1)), (6, None), (7, None), (8, Some(2)), (9, Some(5))]);
}

#[test]
fn nothing_received_is_no_message() {
    assert_eq!(write(&mut [0; 64], Ssrc(1), Ssrc(2), 0, numbered(0, &[None, None]).into_iter()), Ok(None));
    assert_eq!(write(&mut [0; 64], Ssrc(1), Ssrc(2), 0, core::iter::empty()), Ok(None));
    assert_eq!(write(&mut [0; 20], Ssrc(1), Ssrc(2), 0, numbered(0, &[Some(1)]).into_iter()), Err(WireError::Capacity));
}

#[test]
fn reserved_symbols_and_missing_deltas_are_refused() {
    let message = |chunk: u16, tail: &[u8]| {
        let mut body = vec![0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0];
        body.extend(chunk.to_be_bytes());
        body.extend(tail);
        Twcc::parse(&body).map(drop)
    };
    assert_eq!(message(3 << 13 | 1, &[0, 0]), Err(WireError::Malformed));
    assert_eq!(message(1 << 13, &[0, 0]), Err(WireError::Malformed));
    assert_eq!(message(2 << 13 | 1, &[0]), Err(WireError::Truncated));
    assert_eq!(message(2 << 13 | 1, &[0, 0]), Ok(()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_chunks_never_panic(count in any::<u16>(), tail in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut body = vec![0, 0, 0, 1, 0, 0, 0, 2, 0, 0];
        body.extend(count.to_be_bytes());
        body.extend([0, 0, 0, 0]);
        body.extend(tail);
        if let Ok(twcc) = Twcc::parse(&body) {
            prop_assert_eq!(twcc.packets().count(), usize::from(count));
        }
    }

    #[test]
    fn what_is_written_is_read(
        base in any::<u16>(),
        start in 0u64..1 << 40,
        steps in prop::collection::vec(prop_oneof![
            3 => (0i64..200).prop_map(Some),
            2 => Just(None),
            1 => (-300i64..2000).prop_map(Some),
        ], 1..300),
        room in 24usize..600,
    ) {
        let mut at = start + 1_000_000;
        let arrivals: Vec<_> = steps.iter().map(|step| step.map(|step| { at = at.wrapping_add_signed(step); at })).collect();
        let packets = numbered(base, &arrivals);
        let mut out = vec![0; room];
        match write(&mut out, Ssrc(1), Ssrc(2), 3, packets.iter().copied()) {
            Ok(None) => prop_assert!(arrivals.iter().all(Option::is_none)),
            Err(error) => prop_assert_eq!(error, WireError::Capacity),
            Ok(Some(written)) => {
                let twcc = read(&out[..written.bytes]);
                let count = usize::from(twcc.status_count);
                prop_assert!(count == packets.len() || room < 24 + 2 * 43 + 600);
                prop_assert_eq!(twcc.base.add(twcc.status_count), written.next);
                let first = arrivals.iter().flatten().next().copied().unwrap_or(0);
                let origin = ((first / 256) >> 24 << 24) * 256;
                let got: Vec<_> = twcc.arrivals().map(|(s, a)| (s, a.map(|a| a as u64 + origin))).collect();
                prop_assert_eq!(&got[..], &packets[..count]);
            }
        }
    }
}
