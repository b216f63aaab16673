use super::*;
use crate::fixtures::{egress_row, mapping};

#[test]
fn formats_of_one_codec_are_not_mixed() {
    let mut row = egress_row(Kind::Video);
    let payload = |row: &EgressRow, codec: Codec, format| {
        EgressPlan::compile(row).unwrap().payload(codec as u8, format).map(|payload| payload.payload_type)
    };
    assert_eq!(payload(&row, Codec::H264, 1), Some(102));
    assert_eq!(payload(&row, Codec::H264, 2), Some(104));
    assert_eq!(payload(&row, Codec::H264, 3), None);
    assert_eq!(payload(&row, Codec::Av1, 0), None);
    assert_eq!(payload(&row, Codec::None, 0), None);
    row.payload_types[6] = mapping(106, 107, Codec::H264, 0);
    assert_eq!(payload(&row, Codec::H264, 3), Some(106));
    assert_eq!(payload(&row, Codec::H264, 1), Some(102));
}

#[test]
fn a_free_or_broken_row_has_no_plan() {
    assert_eq!(EgressPlan::compile(&EgressRow { state: 0, ..egress_row(Kind::Video) }), None);
    assert_eq!(EgressPlan::compile(&EgressRow { kind: 9, ..egress_row(Kind::Video) }), None);
}

#[test]
fn the_extension_block_has_one_size_with_the_mid_and_one_without() {
    let plan = EgressPlan::compile(&egress_row(Kind::Audio)).unwrap();
    // 4 + send time 4, transport-cc 3, level 2, descriptor 4, mid 2.
    assert_eq!((plan.extension_block_bytes(true), plan.extension_block_bytes(false)), (20, 20));
    let mut row = egress_row(Kind::Video);
    row.extensions = ExtensionIds { mid: 1, ..ExtensionIds::NONE };
    let plan = EgressPlan::compile(&row).unwrap();
    assert_eq!((plan.extension_block_bytes(true), plan.extension_block_bytes(false)), (8, 0));
}
