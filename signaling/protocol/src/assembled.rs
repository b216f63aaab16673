//! Messages put together from parts that are encoded already: on the wire a message inside a message is bytes.

use prost::Message;
use prost::bytes::Bytes;

use crate::proto;

#[derive(Clone, PartialEq, Message)]
struct OtherParticipants {
    #[prost(bytes = "bytes", repeated, tag = "3")]
    other_participants: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
struct Join {
    #[prost(bytes = "vec", tag = "1")]
    join: Vec<u8>,
}

/// A serialized SignalResponse with `join` and, behind its own, these `other_participants`: serialized ParticipantInfos.
/// **Cost**: copies; a join of a room of a thousand must not encode a thousand participants.
pub fn join_response(join: &proto::JoinResponse, other_participants: Vec<Bytes>) -> Vec<u8> {
    let mut inner = join.encode_to_vec();
    let others = OtherParticipants { other_participants };
    inner.reserve_exact(others.encoded_len());
    others.encode_raw(&mut inner);
    Join { join: inner }.encode_to_vec()
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
            let bytes = join_response(&join, (0..count).map(|n| info(n).encode_to_vec().into()).collect());
            let whole = JoinResponse { other_participants: (0..count).map(info).collect(), ..join };
            let whole = SignalResponse { message: Some(signal_response::Message::Join(whole)) };
            assert_eq!(SignalResponse::decode(&bytes[..]).unwrap(), whole);
        }
    }
}
