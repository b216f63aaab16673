//! A node, tracks, and what clients would say next.

use std::net::SocketAddr;

use engine_base::{Codec, TransportRef};
use engine_table::{EgressRow, IngressRow, TransportRow};
use serde::Serialize;
use serde::de::DeserializeOwned;
use signaling_negotiation::*;
use signaling_sdp::*;
use zerocopy::FromZeros;

pub const CHROMIUM_SINGLE: &str = include_str!("../../../sdp/tests/fixtures/chromium-single-offer.sdp");
pub const PYTHON_SINGLE: &str = include_str!("../../../sdp/tests/fixtures/python-single-offer.sdp");
pub const CHROMIUM_PUBLISHER: &str = include_str!("../../../sdp/tests/fixtures/chromium-dual-publisher-offer.sdp");
pub const CHROMIUM_SUBSCRIBER: &str = include_str!("../../../sdp/tests/fixtures/chromium-dual-subscriber-answer.sdp");

pub const ADDRESSES: [SocketAddr; 1] =
    [SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 9)), 7_882)];
pub const NODE: LocalNode<'static> = LocalNode { fingerprint: [7; 32], addresses: &ADDRESSES, ice_lite: true };
pub const TRANSPORT: TransportRef = TransportRef { index: 5, generation: 3 };

pub fn random(seed: u8) -> IceRandom {
    IceRandom { ufrag: u32::from(seed) * 0x01_0101, password: [seed; 24] }
}

pub fn ice() -> LocalIce {
    LocalIce::new(TRANSPORT, 77, random(1))
}

pub fn single() -> OfferedPc {
    OfferedPc::new(Layout::Single, AnswerPolicy::single_pc(EnabledCodecs::ALL), ice(), 99)
}

pub fn publisher() -> OfferedPc {
    OfferedPc::new(Layout::Publisher, AnswerPolicy::dual_publisher(EnabledCodecs::ALL), ice(), 99)
}

pub fn track(name: &str, ssrc: u32, rtx_ssrc: Option<u32>) -> SendTrack {
    let (stream_id, track_id) = (format!("PA_x|TR_{name}"), format!("TR_{name}"));
    SendTrack { ssrc, rtx_ssrc, cname: stream_id.clone(), stream_id, track_id }
}

pub fn keys(codec: Codec) -> Vec<CodecKey> {
    vec![CodecKey::of(codec)]
}

/// The first `count` sections of a description, the BUNDLE with them.
pub fn first_sections(text: &str, count: usize) -> String {
    let mut sections = 0;
    let mut kept: Vec<String> = Vec::new();
    for line in text.lines() {
        sections += usize::from(line.starts_with("m="));
        if sections > count {
            break;
        }
        let bundle = line.strip_prefix("a=group:BUNDLE ");
        kept.push(bundle.map_or(line.to_owned(), |mids| {
            let mids: Vec<&str> = mids.split(' ').take(count).collect();
            format!("a=group:BUNDLE {}", mids.join(" "))
        }));
    }
    kept.join("\r\n") + "\r\n"
}

/// The same description after an ICE restart.
pub fn ice_restarted(text: &str) -> String {
    let line = |line: &str| match line.split_once(':') {
        Some(("a=ice-ufrag", _)) => "a=ice-ufrag:new+".to_owned(),
        Some(("a=ice-pwd", _)) => "a=ice-pwd:newpasswordnewpasswordnewp".to_owned(),
        _ => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\r\n") + "\r\n"
}

/// What a client that takes every track answers to our offer.
pub fn client_answer(offer: &str) -> String {
    let line = |line: &str| match line {
        "a=sendrecv" => Some("a=recvonly".to_owned()),
        "a=recvonly" => Some("a=inactive".to_owned()),
        "a=setup:actpass" => Some("a=setup:active".to_owned()),
        "a=ice-lite" => None,
        _ => match line.split_once(':') {
            Some(("a=ssrc" | "a=ssrc-group" | "a=msid" | "a=candidate", _)) => None,
            Some(("a=fingerprint", _)) => Some(format!("a=fingerprint:{}", Fingerprint::sha256([9; 32]))),
            Some(("a=ice-ufrag", ufrag)) => Some(format!("a=ice-ufrag:c{}", &ufrag[8..])),
            Some(("a=ice-pwd", password)) => Some(format!("a=ice-pwd:client{password}")),
            _ => Some(line.to_owned()),
        },
    };
    offer.lines().filter_map(line).collect::<Vec<_>>().join("\r\n") + "\r\n"
}

/// Through the journal and back.
pub fn restored<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(state: T) -> T {
    let bytes = postcard::to_allocvec(&state).unwrap();
    let again: T = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(again, state);
    again
}

pub fn offer(pc: &mut OfferedPc, id: u32, text: &str) -> Offered {
    pc.handle_offer(id, text, random(id as u8), None).unwrap()
}

/// The answer, which must be a description with one ICE generation and one section per offered section.
pub fn answer(pc: &mut OfferedPc, offered: &str) -> (Answer, SessionDescription) {
    let answer = pc.answer(&NODE).unwrap().unwrap();
    let description = SessionDescription::parse(&answer.sdp).unwrap();
    let mids = |text: &SessionDescription| text.sections.iter().map(|s| s.mid.clone()).collect::<Vec<_>>();
    assert_eq!(mids(&description), mids(&SessionDescription::parse(offered).unwrap()));
    for section in description.sections.iter().filter(|section| !section.rejected) {
        assert_eq!(section.transport.ice.as_ref(), Some(pc.ice().local()));
        assert_eq!(section.transport.setup, pc.dtls_role());
    }
    assert_eq!(description.candidates().count(), 1);
    (answer, description)
}

pub fn transport_row() -> TransportRow {
    TransportRow::new_zeroed()
}

pub fn ingress_row() -> IngressRow {
    IngressRow::new_zeroed()
}

pub fn egress_row() -> EgressRow {
    EgressRow::new_zeroed()
}
