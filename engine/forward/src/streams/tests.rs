use engine_base::Kind;
use engine_wire::extension::ExtensionWriter;
use engine_wire::rtp::RtpHeader;
use proptest::prelude::*;

use super::*;
use crate::fixtures::{EXTENSIONS, INGRESS, ingress_row};

fn bytes(ssrc: u32, payload_type: u8, elements: &[(u8, &[u8])]) -> Vec<u8> {
    let header = RtpHeader { payload_type, ssrc: Ssrc(ssrc), ..RtpHeader::default() };
    let mut out = [0; 128];
    let fill = |block: &mut ExtensionWriter<'_>| elements.iter().try_for_each(|(id, data)| block.put(*id, data));
    let len = header.write_with(&mut out, None, fill).unwrap();
    out[..len].to_vec()
}

fn learn(map: &mut StreamMap, row: &IngressRow, bytes: &[u8]) -> Option<StreamId> {
    map.learn(&RtpPacket::parse_sealed(bytes).unwrap(), &EXTENSIONS, [(INGRESS, row)])
}

const fn id(layer: u8, rtx: bool) -> Option<StreamId> {
    Some(StreamId { ingress: INGRESS, layer, rtx })
}

#[test]
fn simulcast_layers_and_their_rtx_are_learned_in_any_order() {
    let (mut map, row) = (StreamMap::new(), ingress_row(Kind::Video, 3));
    assert_eq!(learn(&mut map, &row, &bytes(31, 97, &[(1, b"0"), (3, b"f")])), id(2, true));
    assert_eq!(learn(&mut map, &row, &bytes(30, 96, &[(1, b"0"), (2, b"f")])), id(2, false));
    assert_eq!(learn(&mut map, &row, &bytes(10, 96, &[(1, b"0"), (2, b"q\0")])), id(0, false));
    assert_eq!((map.find(Ssrc(31)), map.find(Ssrc(30)), map.find(Ssrc(10))), (id(2, true), id(2, false), id(0, false)));
    assert_eq!(map.ssrc(id(2, false).unwrap()), Some(Ssrc(30)));
}

#[test]
fn a_single_stream_is_learned_by_mid_and_its_rtx_by_payload_type() {
    let (mut map, row) = (StreamMap::new(), ingress_row(Kind::Video, 1));
    assert_eq!(learn(&mut map, &row, &bytes(10, 96, &[(1, b"0")])), id(0, false));
    assert_eq!(learn(&mut map, &row, &bytes(11, 97, &[(1, b"0")])), id(0, true));
}

#[test]
fn what_names_no_row_or_layer_is_not_learned() {
    let (mut map, row) = (StreamMap::new(), ingress_row(Kind::Video, 3));
    for elements in [&[(1, &b"1"[..]), (2, b"q")][..], &[(2, b"q")], &[(1, b"0")], &[(1, b"0"), (2, b"x")], &[]] {
        assert_eq!(learn(&mut map, &row, &bytes(10, 96, elements)), None);
    }
    assert_eq!(map.find(Ssrc(10)), None);
}

#[test]
fn declared_ssrcs_are_known_and_forgotten_with_their_row() {
    let (mut map, mut row) = (StreamMap::new(), ingress_row(Kind::Video, 1));
    (row.layers[0].ssrc, row.layers[0].rtx_ssrc) = (Ssrc(10), Ssrc(11));
    map.bind(INGRESS, &row);
    map.bind(INGRESS, &row);
    assert_eq!((map.find(Ssrc(10)), map.find(Ssrc(11)), map.len), (id(0, false), id(0, true), 2));
    map.bind(9, &IngressRow { layers: ingress_row(Kind::Audio, 1).layers, ..row });
    map.unbind(INGRESS);
    assert_eq!((map.find(Ssrc(10)), map.len), (None, 0));
}

#[test]
fn a_stream_that_changes_its_ssrc_keeps_one_entry() {
    let (mut map, row) = (StreamMap::new(), ingress_row(Kind::Video, 3));
    for ssrc in 1..1_000 {
        assert_eq!(learn(&mut map, &row, &bytes(ssrc, 96, &[(1, b"0"), (2, b"h")])), id(1, false));
        assert_eq!((map.find(Ssrc(ssrc - 1)), map.len), (None, 1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn arbitrary_packets_never_panic_nor_outgrow_the_map(packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 12..60), 0..40)) {
        let (mut map, row) = (StreamMap::new(), ingress_row(Kind::Video, 3));
        for mut packet in packets {
            packet[0] = 0x90;
            if let Ok(packet) = RtpPacket::parse_sealed(&packet) {
                map.learn(&packet, &EXTENSIONS, [(INGRESS, &row)]);
            }
        }
        prop_assert!(map.len <= 6);
    }
}
