//! Messages put together from parts that are encoded already: on the wire a message inside a message is bytes.

use prost::Message;
use prost::bytes::Bytes;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len, message};

use crate::proto;

/// `SignalResponse.join`.
const JOIN: u32 = 1;
/// `JoinResponse.other_participants`.
const OTHER_PARTICIPANTS: u32 = 3;

/// Appends one of the `other_participants` of a join, as [`join_response`] takes them.
pub fn put_participant(info: &proto::ParticipantInfo, out: &mut Vec<u8>) {
    message::encode(OTHER_PARTICIPANTS, info, out);
}

/// A serialized SignalResponse in parts: `join` and, behind its own, what [`put_participant`] made. A join of a room of a thousand
/// must not encode or copy a thousand participants.
pub fn join_response(join: &proto::JoinResponse, others: Vec<Bytes>) -> Vec<Bytes> {
    let inner = join.encoded_len() + others.iter().map(Bytes::len).sum::<usize>();
    let mut head = Vec::with_capacity(key_len(JOIN) + encoded_len_varint(inner as u64) + join.encoded_len());
    encode_key(JOIN, WireType::LengthDelimited, &mut head);
    encode_varint(inner as u64, &mut head);
    join.encode_raw(&mut head);
    std::iter::once(head.into()).chain(others.into_iter().filter(|part| !part.is_empty())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{JoinResponse, ParticipantInfo, SignalResponse, signal_response};

    #[test]
    fn an_assembled_join_reads_as_an_encoded_one() {
        let info = |n: u32| ParticipantInfo { sid: format!("PA_{n}"), version: n, ..ParticipantInfo::default() };
        for count in [0, 1, 3] {
            let join = JoinResponse { server_version: "1".into(), sif_trailer: vec![7; 3], ..JoinResponse::default() };
            let parts = |numbers: std::ops::Range<u32>| {
                let mut part = Vec::new();
                numbers.for_each(|n| put_participant(&info(n), &mut part));
                part
            };
            let bytes = join_response(&join, vec![parts(0..count / 2).into(), parts(count / 2..count).into()]).concat();
            let whole = JoinResponse { other_participants: (0..count).map(info).collect(), ..join };
            let whole = SignalResponse { message: Some(signal_response::Message::Join(whole)) };
            assert_eq!(SignalResponse::decode(&bytes[..]).unwrap(), whole);
        }
    }
}
