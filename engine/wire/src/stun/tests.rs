use core::net::{Ipv4Addr, Ipv6Addr};
use std::vec;
use std::vec::Vec;

use aws_lc_rs::hmac;
use proptest::prelude::*;

use super::writer::StunError;
use super::*;

/// RFC 5769 §2.
const PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";
const TRANSACTION: TransactionId =
    TransactionId([0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae]);

/// RFC 5769 §2.1.
const REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74002400046e0001ff\
    80290008932ff9b151263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2\
    80280004e57a3bcf";
/// RFC 5769 §2.2.
const RESPONSE_IPV4: &str = "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f722000200008\
    0001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";
/// RFC 5769 §2.3.
const RESPONSE_IPV6: &str = "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f722000200014\
    0002a1470113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c";

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes().chunks(2).map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

fn sign(parts: &[&[u8]]) -> [u8; 20] {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, PASSWORD);
    let mut context = hmac::Context::with_key(&key);
    parts.iter().for_each(|part| context.update(part));
    context.sign().as_ref().try_into().unwrap()
}

fn assert_authentic(message: &StunMessage<'_>) {
    assert!(message.has_integrity() && message.has_fingerprint());
    assert!(message.verify_integrity(sign));
    assert!(message.verify_fingerprint());
    assert!(!message.verify_integrity(|_| [0; 20]));
}

#[test]
fn rfc_5769_request_is_read_and_verified() {
    let bytes = bytes(REQUEST);
    let message = StunMessage::parse(&bytes).unwrap();
    assert!(message.is_binding_request());
    assert_eq!(message.transaction, TRANSACTION);
    assert_eq!(message.username, Some(&b"evtj:h6vY"[..]));
    assert_eq!(message.priority, Some(0x6e00_01ff));
    assert_eq!(message.role, Some(IceRole::Controlled(0x932f_f9b1_5126_3b36)));
    assert!(!message.use_candidate && message.unknown.as_slice().is_empty());
    assert_authentic(&message);
}

#[test]
fn rfc_5769_responses_are_read_and_verified() {
    let ipv6 = Ipv6Addr::new(0x2001, 0xdb8, 0x1234, 0x5678, 0x11, 0x2233, 0x4455, 0x6677);
    for (hex, ip) in [(RESPONSE_IPV4, Ipv4Addr::new(192, 0, 2, 1).into()), (RESPONSE_IPV6, ipv6.into())] {
        let bytes = bytes(hex);
        let message = StunMessage::parse(&bytes).unwrap();
        assert_eq!((message.class, message.method), (MessageClass::Success, BINDING));
        assert_eq!(message.mapped_address, Some(SocketAddr::new(ip, 32853)));
        assert_authentic(&message);
    }
}

#[test]
fn one_changed_bit_breaks_integrity_and_fingerprint() {
    for at in [30, 60] {
        let mut bytes = bytes(REQUEST);
        bytes[at] ^= 1;
        let message = StunMessage::parse(&bytes).unwrap();
        assert!(!message.verify_integrity(sign));
        assert!(!message.verify_fingerprint());
    }
}

#[test]
fn attributes_behind_integrity_are_ignored() {
    let mut out = [0; 200];
    let mut writer = StunWriter::new(&mut out, MessageClass::Request, TRANSACTION).unwrap();
    writer.attribute(attribute::MESSAGE_INTEGRITY, &[0; 20]).unwrap();
    writer.use_candidate().unwrap();
    writer.username(b"a:b").unwrap();
    let len = writer.finish_unsigned().unwrap();
    let message = StunMessage::parse(&out[..len]).unwrap();
    assert!(!message.use_candidate && message.username.is_none() && message.verify_fingerprint());
}

#[test]
fn nothing_may_follow_the_fingerprint() {
    let mut out = [0; 200];
    let mut writer = StunWriter::new(&mut out, MessageClass::Request, TRANSACTION).unwrap();
    writer.attribute(attribute::FINGERPRINT, &[0; 4]).unwrap();
    let len = writer.finish_unsigned().unwrap();
    assert_eq!(StunMessage::parse(&out[..len]).unwrap_err(), WireError::Malformed);
}

#[test]
fn unknown_required_attributes_are_listed_and_answered_with_420() {
    let mut out = [0; 400];
    let mut writer = StunWriter::new(&mut out, MessageClass::Request, TRANSACTION).unwrap();
    for unknown in 0x7f00..0x7f00 + 10 {
        writer.attribute(unknown, &[1, 2, 3]).unwrap();
    }
    // GOOG-NOMINATION and NETWORK-COST are optional.
    writer.attribute(0xc001, &[0; 4]).unwrap();
    writer.attribute(0xc057, &[0; 4]).unwrap();
    let len = writer.finish(sign).unwrap();
    let unknown = StunMessage::parse(&out[..len]).unwrap().unknown;
    assert_eq!(unknown.as_slice(), [0x7f00, 0x7f01, 0x7f02, 0x7f03, 0x7f04, 0x7f05, 0x7f06, 0x7f07]);

    let len = write_signed_error(&mut out, TRANSACTION, StunError::UnknownAttribute, &[0x7f00], sign).unwrap();
    let answer = StunMessage::parse(&out[..len]).unwrap();
    assert_eq!((answer.class, answer.error.unwrap().code), (MessageClass::Error, 420));
    assert_authentic(&answer);
    assert_eq!(out[48..54], [0, 0x0a, 0, 2, 0x7f, 0]);
}

#[test]
fn every_error_comes_back() {
    for error in
        [StunError::BadRequest, StunError::Unauthenticated, StunError::UnknownAttribute, StunError::RoleConflict]
    {
        let mut out = [0; 200];
        let len = write_error(&mut out, TRANSACTION, error, &[]).unwrap();
        let message = StunMessage::parse(&out[..len]).unwrap();
        assert_eq!(message.class, MessageClass::Error);
        assert_eq!(message.error, Some(ErrorCode { code: error.code(), reason: error.reason().as_bytes() }));
        assert!(!message.has_integrity() && message.verify_fingerprint());
    }
}

#[test]
fn a_message_must_fill_its_datagram() {
    let mut bytes = bytes(REQUEST);
    bytes.push(0);
    assert_eq!(StunMessage::parse(&bytes).unwrap_err(), WireError::Malformed);
    bytes.truncate(bytes.len() - 2);
    assert_eq!(StunMessage::parse(&bytes).unwrap_err(), WireError::Truncated);
    bytes[4] = 0;
    assert_eq!(StunMessage::parse(&bytes).unwrap_err(), WireError::Unsupported);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_attributes_never_panic(
        message_type in any::<u16>(), body in prop::collection::vec(any::<u8>(), 0..120), raw in any::<bool>(),
    ) {
        let mut bytes = vec![];
        bytes.extend((message_type & 0x3fff).to_be_bytes());
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(MAGIC_COOKIE.to_be_bytes());
        bytes.extend([7; 12]);
        bytes.extend(&body);
        if let Ok(message) = StunMessage::parse(if raw { &body } else { &bytes }) {
            message.verify_fingerprint();
            message.verify_integrity(sign);
        }
    }

    #[test]
    fn mutated_messages_never_panic(at in 0usize..108, value in any::<u8>(), len in 0usize..=108) {
        let mut bytes = bytes(REQUEST);
        bytes[at] = value;
        StunMessage::parse(&bytes).ok();
        StunMessage::parse(&bytes[..len]).ok();
    }

    #[test]
    fn what_is_written_is_read(
        id in any::<[u8; 12]>(), username in prop::collection::vec(any::<u8>(), 0..80), priority in any::<u32>(),
        controlling in any::<bool>(), tie_breaker in any::<u64>(), use_candidate in any::<bool>(),
        ip in any::<core::net::IpAddr>(), port in any::<u16>(),
    ) {
        let role = if controlling { IceRole::Controlling(tie_breaker) } else { IceRole::Controlled(tie_breaker) };
        let request = BindingRequest { transaction: TransactionId(id), username: &username, priority, role, use_candidate };
        let mut out = [0; 300];
        let len = request.write(&mut out, sign).unwrap();
        let message = StunMessage::parse(&out[..len]).unwrap();
        assert_authentic(&message);
        prop_assert!(message.is_binding_request());
        let read = BindingRequest {
            transaction: message.transaction, username: message.username.unwrap(), priority: message.priority.unwrap(),
            role: message.role.unwrap(), use_candidate: message.use_candidate,
        };
        prop_assert_eq!(read, request);

        let source = SocketAddr::new(ip, port);
        let len = write_success(&mut out, TransactionId(id), source, sign).unwrap();
        let message = StunMessage::parse(&out[..len]).unwrap();
        assert_authentic(&message);
        prop_assert_eq!((message.class, message.mapped_address), (MessageClass::Success, Some(source)));
        prop_assert!(write_success(&mut out[..len - 1], TransactionId(id), source, sign).is_err());
    }
}
