//! The messages that clients send, as prost writes and reads them: an oracle for our edits of the wire form.

#[derive(Clone, PartialEq, prost::Message)]
pub struct DataPacket {
    #[prost(int32, tag = "1")]
    pub kind: i32,
    #[prost(string, tag = "4")]
    pub participant_identity: String,
    #[prost(string, repeated, tag = "5")]
    pub destination_identities: Vec<String>,
    #[prost(uint32, tag = "16")]
    pub sequence: u32,
    #[prost(string, tag = "17")]
    pub participant_sid: String,
    #[prost(oneof = "Value", tags = "2, 3, 6, 7, 8, 9, 13")]
    pub value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Value {
    #[prost(message, tag = "2")]
    User(User),
    #[prost(bytes, tag = "3")]
    Speaker(Vec<u8>),
    #[prost(bytes, tag = "6")]
    SipDtmf(Vec<u8>),
    #[prost(bytes, tag = "7")]
    Transcription(Vec<u8>),
    #[prost(bytes, tag = "8")]
    Metrics(Vec<u8>),
    #[prost(message, tag = "9")]
    Chat(Chat),
    #[prost(message, tag = "13")]
    StreamHeader(StreamHeader),
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct User {
    #[prost(string, tag = "1")]
    pub participant_sid: String,
    #[prost(bytes = "vec", tag = "2")]
    pub payload: Vec<u8>,
    #[prost(string, repeated, tag = "3")]
    pub destination_sids: Vec<String>,
    #[prost(string, optional, tag = "4")]
    pub topic: Option<String>,
    #[prost(string, tag = "5")]
    pub participant_identity: String,
    #[prost(string, repeated, tag = "6")]
    pub destination_identities: Vec<String>,
    #[prost(bytes = "vec", tag = "11")]
    pub nonce: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Chat {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "4")]
    pub message: String,
    #[prost(bool, tag = "6")]
    pub generated: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct StreamHeader {
    #[prost(string, tag = "1")]
    pub stream_id: String,
    #[prost(message, optional, tag = "9")]
    pub text: Option<TextHeader>,
    #[prost(bytes = "vec", optional, tag = "10")]
    pub byte: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct TextHeader {
    #[prost(int32, tag = "1")]
    pub operation: i32,
    #[prost(bool, tag = "5")]
    pub generated: bool,
}

impl DataPacket {
    pub fn user(payload: &[u8]) -> Self {
        let user = User { payload: payload.to_vec(), ..User::default() };
        Self { value: Some(Value::User(user)), ..Self::default() }
    }

    pub fn payload(&self) -> &[u8] {
        match &self.value {
            Some(Value::User(user)) => &user.payload,
            _ => &[],
        }
    }
}

mod rewriting {
    use engine_base::Drop as DropReason;
    use engine_courier::data::packet::{Packet, Sender};
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    const ALICE: Sender<'_> = Sender { identity: b"alice", sid: b"PA_alice", hidden: false, agent: false };

    fn rewrite(packet: &DataPacket, sender: Sender<'_>, reliable: bool) -> Result<DataPacket, DropReason> {
        let bytes = packet.encode_to_vec();
        let rewritten = Packet::parse(&bytes)?.rewrite(sender, reliable)?;
        Ok(DataPacket::decode(rewritten.as_slice()).unwrap())
    }

    fn user() -> impl Strategy<Value = User> {
        let texts = prop::collection::vec("[a-zé]{1,6}", 0..3);
        let parts = (any::<Vec<u8>>(), "[a-z]{0,5}", "[a-z]{0,5}", texts.clone(), texts, any::<Option<String>>());
        parts.prop_map(|(payload, participant_sid, participant_identity, destination_sids, identities, topic)| User {
            participant_sid,
            payload,
            destination_sids,
            topic,
            participant_identity,
            destination_identities: identities,
            nonce: vec![1; 16],
        })
    }

    fn packet() -> impl Strategy<Value = DataPacket> {
        let texts = prop::collection::vec("[a-z]{1,6}", 0..3);
        (user(), "[a-z]{0,5}", "[a-z]{0,5}", texts, any::<u32>(), 0..2i32).prop_map(
            |(user, participant_identity, participant_sid, destination_identities, sequence, kind)| DataPacket {
                kind,
                participant_identity,
                destination_identities,
                sequence,
                participant_sid,
                value: Some(Value::User(user)),
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn only_kind_and_sender_change(packet in packet(), reliable: bool) {
            let mut expected = packet.clone();
            expected.kind = i32::from(!reliable);
            expected.participant_identity = "alice".into();
            expected.participant_sid = "PA_alice".into();
            if let Some(Value::User(user)) = &mut expected.value {
                user.participant_identity = "alice".into();
                user.participant_sid = "PA_alice".into();
            }
            prop_assert_eq!(rewrite(&packet, ALICE, reliable), Ok(expected));
        }

        #[test]
        fn a_hidden_sender_leaves_no_trace(packet in packet()) {
            let rewritten = rewrite(&packet, Sender { hidden: true, ..ALICE }, true).unwrap();
            prop_assert_eq!((rewritten.participant_identity.as_str(), rewritten.participant_sid.as_str()), ("", ""));
            prop_assert_eq!(rewritten.sequence, 0);
            let Some(Value::User(user)) = rewritten.value else { panic!("user") };
            prop_assert_eq!((user.participant_identity.as_str(), user.participant_sid.as_str()), ("", ""));
        }

        #[test]
        fn destinations_are_those_of_the_packet_else_of_the_user(packet in packet()) {
            let bytes = packet.encode_to_vec();
            let read = Packet::parse(&bytes).unwrap();
            let Some(Value::User(user)) = &packet.value else { panic!("user") };
            let wanted = match packet.destination_identities.is_empty() {
                true => &user.destination_identities,
                false => &packet.destination_identities,
            };
            let bytes = |texts: &[String]| texts.iter().map(|text| text.clone().into_bytes()).collect::<std::collections::BTreeSet<_>>();
            prop_assert_eq!(read.destinations.identities, bytes(wanted));
            prop_assert_eq!(read.destinations.sids, bytes(&user.destination_sids));
            prop_assert_eq!(read.sequence, packet.sequence);
        }

        #[test]
        fn unknown_fields_stay_where_they_are(payload: Vec<u8>, number in 100u32..10_000, unknown: Vec<u8>) {
            let mut bytes = DataPacket::user(&payload).encode_to_vec();
            prost::encoding::bytes::encode(number, &unknown, &mut bytes);
            let rewritten = Packet::parse(&bytes).unwrap().rewrite(ALICE, true).unwrap();
            let mut field = Vec::new();
            prost::encoding::bytes::encode(number, &unknown, &mut field);
            prop_assert!(rewritten.windows(field.len()).any(|window| window == field));
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
            if let Ok(packet) = Packet::parse(&bytes) {
                let _ = packet.rewrite(ALICE, true);
            }
        }

        #[test]
        fn a_cut_or_changed_packet_never_panics(packet in packet(), at in any::<prop::sample::Index>(), byte: u8) {
            let mut bytes = packet.encode_to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            for end in [at, bytes.len()] {
                if let Ok(packet) = Packet::parse(&bytes[..end]) {
                    let _ = packet.rewrite(ALICE, true);
                }
            }
        }
    }

    #[test]
    fn only_agents_send_transcriptions_and_nobody_sends_speakers() {
        let with = |value| DataPacket { value: Some(value), ..DataPacket::default() };
        let transcription = with(Value::Transcription(vec![]));
        assert_eq!(rewrite(&transcription, ALICE, true), Err(DropReason::DataKind));
        assert!(rewrite(&transcription, Sender { agent: true, ..ALICE }, true).is_ok());
        assert_eq!(rewrite(&with(Value::Speaker(vec![])), ALICE, true), Err(DropReason::DataKind));
        assert_eq!(rewrite(&DataPacket::default(), ALICE, true), Err(DropReason::DataKind));
        assert!(rewrite(&with(Value::SipDtmf(vec![])), ALICE, true).is_ok());
    }

    #[test]
    fn a_value_hidden_behind_another_is_judged_too() {
        let mut bytes =
            DataPacket { value: Some(Value::Transcription(vec![])), ..DataPacket::default() }.encode_to_vec();
        bytes.extend(DataPacket::user(b"x").encode_to_vec());
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.rewrite(ALICE, true), Err(DropReason::DataKind));
    }

    #[test]
    fn agents_may_speak_for_another_in_chat_and_text_streams_only() {
        let agent = Sender { agent: true, ..ALICE };
        let with =
            |value| DataPacket { value: Some(value), participant_identity: "bob".into(), ..DataPacket::default() };
        let chat = with(Value::Chat(Chat { message: "hello".into(), ..Chat::default() }));
        let rewritten = rewrite(&chat, agent, true).unwrap();
        assert_eq!((rewritten.participant_identity.as_str(), rewritten.participant_sid.as_str()), ("bob", "PA_alice"));
        assert!(matches!(rewritten.value, Some(Value::Chat(Chat { generated: true, .. }))));
        assert_eq!(rewrite(&chat, ALICE, true).unwrap().participant_identity, "alice");

        let header = |text, byte| with(Value::StreamHeader(StreamHeader { stream_id: "s".into(), text, byte }));
        let text = rewrite(&header(Some(TextHeader { operation: 2, generated: false }), None), agent, true).unwrap();
        assert_eq!(text.participant_identity, "bob");
        let Some(Value::StreamHeader(StreamHeader { text: Some(text), .. })) = text.value else { panic!("text") };
        assert_eq!(text, TextHeader { operation: 2, generated: true });
        assert_eq!(rewrite(&header(None, Some(vec![])), agent, true).unwrap().participant_identity, "alice");
        assert_eq!(rewrite(&with(Value::User(User::default())), agent, true).unwrap().participant_identity, "alice");
    }
}
