//! Protobuf JSON by reflection, as Twirp speaks it: responses with proto names, defaults, enums as names and 64-bit numbers as
//! strings; requests in either naming, unknown fields ignored (PROTOCOL §1.6).

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions};

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let bytes: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/livekit.descriptors"));
    DescriptorPool::decode(bytes).expect("the build script wrote a descriptor set")
});

#[derive(Debug)]
pub enum JsonError {
    /// No message of this name.
    UnknownMessage(String),
    /// The text is no JSON of this message.
    Malformed(String),
}

impl std::fmt::Display for JsonError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownMessage(name) => write!(f, "no message is named {name}"),
            Self::Malformed(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for JsonError {}

pub(crate) fn pool() -> &'static DescriptorPool {
    &POOL
}

fn descriptor(name: &str) -> Result<MessageDescriptor, JsonError> {
    POOL.get_message_by_name(name).ok_or_else(|| JsonError::UnknownMessage(name.to_owned()))
}

/// JSON of a serialized message. **Input**: the full name, e.g. `livekit.Room`.
pub fn from_protobuf(name: &str, bytes: &[u8]) -> Result<String, JsonError> {
    let message =
        DynamicMessage::decode(descriptor(name)?, bytes).map_err(|error| JsonError::Malformed(error.to_string()))?;
    let options =
        SerializeOptions::new().use_proto_field_name(true).skip_default_fields(false).stringify_64_bit_integers(true);
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut out);
    message
        .serialize_with_options(&mut serializer, &options)
        .map_err(|error| JsonError::Malformed(error.to_string()))?;
    String::from_utf8(out).map_err(|error| JsonError::Malformed(error.to_string()))
}

/// The serialized message that `text` describes.
pub fn to_protobuf(name: &str, text: &[u8]) -> Result<Vec<u8>, JsonError> {
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let message = DynamicMessage::deserialize_with_options(descriptor(name)?, &mut deserializer, &options)
        .map_err(|error| JsonError::Malformed(error.to_string()))?;
    deserializer.end().map_err(|error| JsonError::Malformed(error.to_string()))?;
    Ok(prost::Message::encode_to_vec(&message))
}

#[cfg(test)]
mod tests {
    use livekit_protocol as proto;
    use prost::Message;

    use super::*;

    #[test]
    fn responses_have_proto_names_defaults_and_text_for_64_bits() {
        let empty = proto::ListRoomsResponse::default().encode_to_vec();
        assert_eq!(from_protobuf("livekit.ListRoomsResponse", &empty).unwrap(), r#"{"rooms":[]}"#);
        let room = proto::Room { name: "r".into(), creation_time: 1_790_000_000, ..Default::default() }.encode_to_vec();
        let json: serde_json::Value = serde_json::from_str(&from_protobuf("livekit.Room", &room).unwrap()).unwrap();
        assert_eq!(json["creation_time"], "1790000000");
        assert_eq!(json["empty_timeout"], 0);
        assert_eq!(json["active_recording"], false);
        let info = proto::ParticipantInfo { state: 2, ..Default::default() }.encode_to_vec();
        let json: serde_json::Value =
            serde_json::from_str(&from_protobuf("livekit.ParticipantInfo", &info).unwrap()).unwrap();
        assert_eq!(json["state"], "ACTIVE");
    }

    #[test]
    fn requests_take_both_namings_numbers_for_enums_and_unknown_fields() {
        for text in [
            r#"{"room":"r","data":"aGk=","kind":"LOSSY","destination_identities":["a"],"new_field":{"x":1}}"#,
            r#"{"room":"r","data":"aGk=","kind":1,"destinationIdentities":["a"]}"#,
        ] {
            let bytes = to_protobuf("livekit.SendDataRequest", text.as_bytes()).unwrap();
            let request = proto::SendDataRequest::decode(&bytes[..]).unwrap();
            assert_eq!(
                (request.data.as_slice(), request.kind, request.destination_identities.len()),
                (&b"hi"[..], 1, 1)
            );
        }
        assert!(matches!(to_protobuf("livekit.SendDataRequest", b"{"), Err(JsonError::Malformed(_))));
        assert!(matches!(to_protobuf("livekit.SendDataRequest", b"{} x"), Err(JsonError::Malformed(_))));
    }
}
