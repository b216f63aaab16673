//! The parameter `join_request`: base64url of a WrappedJoinRequest, perhaps with gzip inside (PROTOCOL §1.3).

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flate2::read::GzDecoder;
use signaling_protocol::{
    Message,
    proto::{self, wrapped_join_request::Compression},
};

use crate::refusal::Refusal;

/// Against zip bombs: 50 times the largest request seen.
const JOIN_REQUEST_BYTES_MAX: u64 = 1 << 20;

/// **Input**: with or without padding; SDKs differ.
pub(crate) fn decode(parameter: &str) -> Result<proto::JoinRequest, Refusal> {
    let wrapped = decode_base64(parameter).ok_or_else(|| Refusal::bad_request("cannot base64 decode join_request"))?;
    let wrapped = proto::WrappedJoinRequest::decode(&wrapped[..])
        .map_err(|_| Refusal::bad_request("cannot unmarshal wrapped join_request"))?;
    let bytes = match Compression::try_from(wrapped.compression) {
        Ok(Compression::None) => wrapped.join_request,
        Ok(Compression::Gzip) => gunzip(&wrapped.join_request)?,
        Err(_) => return Err(Refusal::bad_request("unknown compression of join_request")),
    };
    proto::JoinRequest::decode(&bytes[..]).map_err(|_| Refusal::bad_request("cannot unmarshal join_request"))
}

pub(crate) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

fn gunzip(bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut out = Vec::new();
    let mut limited = GzDecoder::new(bytes).take(JOIN_REQUEST_BYTES_MAX + 1);
    limited.read_to_end(&mut out).map_err(|_| Refusal::bad_request("cannot decompress join_request"))?;
    if out.len() as u64 > JOIN_REQUEST_BYTES_MAX {
        return Err(Refusal::bad_request("join_request is too large"));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use base64::engine::general_purpose::URL_SAFE;
    use flate2::{Compression as Level, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn wrap(compression: Compression, join_request: Vec<u8>) -> Vec<u8> {
        proto::WrappedJoinRequest { compression: compression as i32, join_request }.encode_to_vec()
    }

    #[test]
    fn padded_and_unpadded_plain_and_gzip_are_accepted() {
        let request = proto::JoinRequest { participant_sid: "PA_1".into(), ..proto::JoinRequest::default() };
        let plain = request.encode_to_vec();
        for wrapped in [wrap(Compression::None, plain.clone()), wrap(Compression::Gzip, gzip(&plain))] {
            for text in [URL_SAFE.encode(&wrapped), URL_SAFE_NO_PAD.encode(&wrapped)] {
                assert_eq!(decode(&text).unwrap(), request);
            }
        }
    }

    #[test]
    fn a_zip_bomb_is_refused() {
        let bomb = wrap(Compression::Gzip, gzip(&vec![0; 8 << 20]));
        assert_eq!(decode(&URL_SAFE.encode(bomb)).unwrap_err().text, "join_request is too large");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn any_text_is_refused_or_read(text in "\\PC{0,80}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&text);
            let _ = decode(&URL_SAFE.encode(&bytes));
            let _ = decode(&URL_SAFE.encode(wrap(Compression::Gzip, bytes.clone())));
            let _ = decode(&URL_SAFE.encode(wrap(Compression::None, bytes)));
        }
    }
}
