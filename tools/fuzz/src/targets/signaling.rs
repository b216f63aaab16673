//! Text and messages of the signal connection: descriptions, candidates, requests.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use engine_base::{Codec, Kind, TransportRef};
use engine_table::{EgressRow, IngressRow, TransportRow};
use signaling_negotiation::{IceRandom, Layout, LocalIce, LocalNode, OfferedPc, SubscriberPc};
use signaling_protocol::{Message, proto};
use signaling_sdp::{
    AnswerPolicy, Candidate, CandidateInit, CodecKey, EnabledCodecs, PublishRequest, SendTrack, SessionDescription,
};
use zerocopy::FromZeros;

use super::{Outcome, Target};

const CHROMIUM: &str = include_str!("../../../../signaling/sdp/tests/fixtures/chromium-single-offer.sdp");
const PYTHON: &str = include_str!("../../../../signaling/sdp/tests/fixtures/python-single-offer.sdp");
const PUBLISHER: &str = include_str!("../../../../signaling/sdp/tests/fixtures/chromium-dual-publisher-offer.sdp");
const ANSWER: &str = include_str!("../../../../signaling/sdp/tests/fixtures/chromium-dual-subscriber-answer.sdp");

const ADDRESSES: [SocketAddr; 1] = [SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)), 7_882)];
const NODE: LocalNode<'static> = LocalNode { fingerprint: [7; 32], addresses: &ADDRESSES, ice_lite: true };

pub fn targets() -> Vec<Target> {
    vec![
        Target { name: "sdp", what: "session descriptions", seeds: descriptions, run: sdp },
        Target {
            name: "offer",
            what: "a client's offer, answered, after one that was good",
            seeds: descriptions,
            run: offer,
        },
        Target { name: "answer", what: "a client's answer to our offer", seeds: descriptions, run: answer },
        Target { name: "candidate", what: "trickled candidates, bare and as JSON", seeds: candidates, run: candidate },
        Target { name: "signal", what: "signal requests and join requests in protobuf", seeds: requests, run: request },
    ]
}

fn descriptions() -> Vec<Vec<u8>> {
    [CHROMIUM, PYTHON, PUBLISHER, ANSWER].map(|text| text.as_bytes().to_vec()).into()
}

fn sdp(bytes: &[u8]) -> u64 {
    let mut outcome = Outcome::new();
    match SessionDescription::parse(&String::from_utf8_lossy(bytes)) {
        Ok(description) => {
            outcome.count(description.sections.len());
            outcome.count(description.candidates().count());
            outcome.add(u64::from(description.ice().is_some()) << 1 | u64::from(description.fingerprint().is_some()));
            for section in &description.sections {
                outcome.count(section.formats.len());
                outcome.count(section.streams.ssrcs.len());
            }
        }
        Err(error) => outcome.named(&error),
    }
    outcome.0
}

fn ice() -> LocalIce {
    LocalIce::new(TransportRef { index: 5, generation: 3 }, 77, random(1))
}

fn random(seed: u8) -> IceRandom {
    IceRandom { ufrag: u32::from(seed) * 0x01_0101, password: [seed; 24] }
}

fn track(name: &str, ssrc: u32) -> SendTrack {
    let (stream_id, track_id) = (format!("PA_x|TR_{name}"), format!("TR_{name}"));
    SendTrack { ssrc, rtx_ssrc: Some(ssrc + 1), cname: stream_id.clone(), stream_id, track_id }
}

/// Whatever an offer says, it is refused, or answered with a description that our own parser reads.
fn offer(bytes: &[u8]) -> u64 {
    let mut outcome = Outcome::new();
    let text = String::from_utf8_lossy(bytes);
    let mut pc = OfferedPc::new(Layout::Single, AnswerPolicy::single_pc(EnabledCodecs::ALL), ice(), 99);
    for (id, text) in [(1, CHROMIUM), (2, &*text)] {
        let offered = match pc.handle_offer(id, text, random(3), None) {
            Ok(offered) => offered,
            Err(error) => {
                outcome.named(&error);
                continue;
            }
        };
        for section in &offered.published {
            outcome.count(section.layers.len());
            pc.bind_publish(&section.mid, PublishRequest { stereo: true, ..PublishRequest::default() });
            pc.fill_ingress(&section.mid, &mut IngressRow::new_zeroed());
        }
        pc.place(Kind::Audio, track("a", 10), &[CodecKey::of(Codec::Opus)]);
        pc.place(Kind::Video, track("v", 20), &[CodecKey::of(Codec::Vp8)]);
        pc.fill_transport(&mut TransportRow::new_zeroed());
        let answer = pc.answer(&NODE).expect("an offer that was taken is answered").expect("it is pending");
        outcome.count(SessionDescription::parse(&answer.sdp).expect("our own answer").sections.len());
    }
    outcome.0
}

fn answer(bytes: &[u8]) -> u64 {
    let mut outcome = Outcome::new();
    let mut pc = SubscriberPc::new(EnabledCodecs::ALL, ice(), 1, 1);
    pc.add(Kind::Audio, track("a", 10), &[CodecKey::of(Codec::Opus)]);
    pc.add(Kind::Video, track("v", 20), &[CodecKey::of(Codec::Vp8)]);
    let Ok(Some(offer)) = pc.offer(&NODE) else { return 0 };
    match pc.handle_answer(offer.id, &String::from_utf8_lossy(bytes)) {
        Ok(Some(answered)) => {
            outcome.count(answered.accepted.len());
            outcome.count(answered.refused.len());
            pc.fill_egress("1", &[CodecKey::of(Codec::Vp8)], &mut EgressRow::new_zeroed());
            pc.fill_transport(&mut TransportRow::new_zeroed());
        }
        Ok(None) => outcome.add(1u8),
        Err(error) => outcome.named(&error),
    }
    outcome.0
}

fn candidates() -> Vec<Vec<u8>> {
    let host = "candidate:1 1 udp 2130706431 192.0.2.7 50000 typ host generation 0 ufrag abcd network-id 1";
    let tcp = "candidate:2 1 tcp 1518280447 2001:db8::1 9 typ srflx raddr 0.0.0.0 rport 0 tcptype active";
    let json = format!(r#"{{"candidate":"{host}","sdpMid":"0","sdpMLineIndex":0,"usernameFragment":null}}"#);
    [host, tcp, &json].map(|text| text.as_bytes().to_vec()).into()
}

fn candidate(bytes: &[u8]) -> u64 {
    let mut outcome = Outcome::new();
    let text = String::from_utf8_lossy(bytes);
    match Candidate::parse(&text) {
        Ok(candidate) => {
            outcome.named(&candidate.kind);
            outcome.add(u64::from(candidate.socket_address().is_some()));
        }
        Err(error) => outcome.named(&error),
    }
    match CandidateInit::parse(&text) {
        Ok(init) => outcome.count(init.to_json().len()),
        Err(error) => outcome.named(&error),
    }
    outcome.0
}

fn requests() -> Vec<Vec<u8>> {
    use proto::signal_request::Message as Request;
    let description = proto::SessionDescription { r#type: "offer".into(), sdp: "v=0".into(), ..Default::default() };
    let add = proto::AddTrackRequest { cid: "c".into(), name: "camera".into(), width: 640, ..Default::default() };
    let settings = proto::UpdateTrackSettings { track_sids: vec!["TR_1".into()], ..Default::default() };
    let list = [Request::Offer(description), Request::AddTrack(add), Request::TrackSetting(settings), Request::Ping(9)];
    let mut seeds: Vec<Vec<u8>> =
        list.into_iter().map(|message| proto::SignalRequest { message: Some(message) }.encode_to_vec()).collect();
    let join = proto::JoinRequest { participant_sid: "PA_1".into(), metadata: "m".into(), ..Default::default() };
    let wrapped = proto::WrappedJoinRequest { compression: 0, join_request: join.encode_to_vec() };
    seeds.push(wrapped.encode_to_vec());
    seeds
}

fn request(bytes: &[u8]) -> u64 {
    let mut outcome = Outcome::new();
    match proto::SignalRequest::decode(bytes) {
        Ok(request) => {
            let kind = request.message.as_ref().map(std::mem::discriminant);
            outcome.named(&kind);
            outcome.count(request.encoded_len());
        }
        Err(_) => outcome.add(1u8),
    }
    let wrapped = proto::WrappedJoinRequest::decode(bytes);
    let join = wrapped.map(|wrapped| proto::JoinRequest::decode(&wrapped.join_request[..]));
    outcome.add(u64::from(join.is_ok_and(|join| join.is_ok())));
    outcome.0
}
