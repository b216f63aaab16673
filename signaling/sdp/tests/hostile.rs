//! What no client writes: refused or ignored, never a panic.

use proptest::prelude::*;
use signaling_sdp::*;

const OFFER: &str = include_str!("fixtures/chromium-dual-publisher-offer.sdp");

fn section(lines: &str) -> Result<SessionDescription, SdpError> {
    SessionDescription::parse(&format!("v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:0\r\n{lines}\r\n"))
}

/// Parses, and if that works, answers and offers nothing that our own parser refuses.
fn survive(text: &str) {
    let Ok(offer) = SessionDescription::parse(text) else { return };
    let policy = AnswerPolicy::single_pc(EnabledCodecs::ALL);
    let decisions: Vec<_> = offer
        .sections
        .iter()
        .map(|section| match section.kind {
            MediaKind::Application => SectionAnswer::Application,
            MediaKind::Other => SectionAnswer::Rejected,
            _ => SectionAnswer::Publish(negotiate_publish(section, &policy, &PublishRequest::default())),
        })
        .collect();
    let ice = IceCredentials { ufrag: "aaaa".into(), password: "b".repeat(22) };
    let fingerprint = Fingerprint::sha256([1; 32]);
    let local = LocalDescription {
        session_id: 1,
        version: 1,
        setup: answer_setup(&offer),
        ice: &ice,
        fingerprint: &fingerprint,
        candidates: &[],
        ice_lite: true,
    };
    let answer = write_answer(&offer, &local, &decisions).unwrap();
    let answer = SessionDescription::parse(&answer).unwrap();
    assert_eq!(answer.sections.len(), offer.sections.len());
    for (ours, theirs) in answer.sections.iter().zip(&offer.sections) {
        assert_eq!((&ours.mid, ours.kind), (&theirs.mid, theirs.kind));
    }
    read_answer(&offer, &SubscriberMedia::new(EnabledCodecs::ALL));
}

#[test]
fn text_that_is_no_description_is_refused() {
    for text in
        ["", "\r\n", "hello", "v=1\r\n", "o=- 1 1 IN IP4 0.0.0.0\r\n", "v=0\r\nnonsense\r\n", "v=0\r\na=x\u{0}y\r\n"]
    {
        assert!(matches!(SessionDescription::parse(text), Err(SdpError::Malformed { .. })), "{text:?}");
    }
}

#[test]
fn broken_values_of_known_attributes_name_their_line() {
    for line in [
        "a=rtpmap:96",
        "a=rtpmap:96 VP8/x",
        "a=fingerprint:sha-256 00:11",
        "a=setup:maybe",
        "a=ssrc:many cname:x",
        "a=rid:a b c",
        "a=rid:q/ send",
        "a=extmap:x urn:y",
        "a=ice-ufrag:",
        "a=simulcast:send",
        "a=max-message-size:big",
    ] {
        assert!(matches!(section(line), Err(SdpError::Malformed { line: 4, .. })), "{line}");
    }
}

#[test]
fn unknown_attributes_values_and_lines_are_ignored() {
    let lines = "a=sctp-init:AQAAHlw=\r\na=rtcp-xr:rcvr-rtt=all\r\na=candidate:1 1 quic 1 192.0.2.1 1 typ host\r\n\
        b=AS:1\r\ni=x\r\na=fingerprint:md5 00\r\na=extmap:4096 urn:x\r\na=rtpmap:55 x/1\r\na=ice-options:trickle goog-sped-v1";
    let description = section(lines).unwrap();
    assert!(description.sections[0].extensions.is_empty() && description.candidates().next().is_none());
}

#[test]
fn mids_are_needed_and_unique() {
    let media = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n";
    assert!(SessionDescription::parse(&format!("v=0\r\n{media}")).is_err());
    assert!(SessionDescription::parse(&format!("v=0\r\n{media}a=mid:a\r\n{media}a=mid:a\r\n")).is_err());
    assert!(SessionDescription::parse(&format!("v=0\r\n{media}a=mid:a\r\n{media}a=mid:b\r\n")).is_ok());
}

#[test]
fn everything_that_can_be_repeated_is_bounded() {
    for (line, count) in [
        ("a=ssrc:{} cname:x\r\n", 65),
        ("a=ssrc-group:FID {} 2\r\n", 33),
        ("a=rid:r{} send\r\n", 17),
        ("a=extmap:{} urn:x\r\n", 65),
        ("a=rtcp-fb:96 x{}\r\n", 33),
    ] {
        let lines: String = (1..=count).map(|i| line.replace("{}", &i.to_string())).collect();
        assert!(matches!(section(&lines), Err(SdpError::Capacity { .. })), "{line}");
    }
    let sections: String = (0..257).map(|i| format!("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:{i}\r\n")).collect();
    assert!(matches!(SessionDescription::parse(&format!("v=0\r\n{sections}")), Err(SdpError::Capacity { .. })));
    assert!(matches!(SessionDescription::parse(&"v=0\r\n".repeat(1 << 18)), Err(SdpError::Capacity { .. })));
}

#[test]
fn session_level_values_reach_every_section() {
    let text = format!(
        "v=0\r\na=ice-ufrag:uf\r\na=ice-pwd:pw\r\na=fingerprint:SHA-256 {}\r\na=setup:passive\r\na=recvonly\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 8\r\na=mid:1\r\na=sendonly\r\n",
        ["0F"; 32].join(":")
    );
    let description = SessionDescription::parse(&text).unwrap();
    for section in &description.sections {
        assert_eq!(section.transport.ice.as_ref().unwrap().ufrag, "uf");
        assert_eq!(section.transport.fingerprints[0].as_sha256(), Some([15; 32]));
        assert_eq!(section.transport.setup, Some(Setup::Passive));
    }
    assert_eq!(description.sections[0].direction, Direction::RecvOnly);
    assert_eq!(description.sections[1].direction, Direction::SendOnly);
    assert!(description.sections[0].format(0).unwrap().is("pcmu"));
}

#[test]
fn a_client_that_insists_on_active_gets_a_passive_server() {
    let offer = section("a=setup:active").unwrap();
    assert_eq!(answer_setup(&offer), Setup::Passive);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,300}") {
        survive(&text);
        survive(&format!("v=0\r\n{text}"));
    }

    #[test]
    fn arbitrary_lines_in_a_section_never_panic(
        lines in prop::collection::vec(
            ("(rtpmap|fmtp|rtcp-fb|extmap|rid|simulcast|ssrc|ssrc-group|msid|candidate|fingerprint|setup|mid|group|ice-pwd)",
             "[ -~]{0,40}"), 0..12)
    ) {
        let lines: String = lines.iter().map(|(name, value)| format!("a={name}:{value}\r\n")).collect();
        survive(&format!("v=0\r\n{lines}m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:0\r\na=rtpmap:96 VP8/90000\r\n{lines}"));
    }

    #[test]
    fn a_damaged_offer_never_panics(at in 0..OFFER.len(), cut in 0usize..200, with in "[ -~\r\n]{0,8}") {
        let mut text = OFFER.to_owned();
        text.replace_range(at..(at + cut).min(OFFER.len()), &with);
        survive(&text);
    }

    #[test]
    fn candidates_never_panic(text in "[ -~]{0,120}") {
        let _ = Candidate::parse(&text);
        let _ = Candidate::parse(&format!("candidate:1 1 udp 1 192.0.2.1 1 typ host {text}"));
        let _ = CandidateInit::parse(&text);
    }
}
