//! Descriptions of real clients and of the reference server: parsed, answered, and compared with the recorded answers.

use engine_base::Codec;
use engine_base::extension_ids::uri;
use signaling_sdp::*;

const CHROMIUM_SINGLE_OFFER: &str = include_str!("fixtures/chromium-single-offer.sdp");
const CHROMIUM_SINGLE_ANSWER: &str = include_str!("fixtures/chromium-single-answer.sdp");
const CHROMIUM_PUBLISHER_OFFER: &str = include_str!("fixtures/chromium-dual-publisher-offer.sdp");
const CHROMIUM_PUBLISHER_ANSWER: &str = include_str!("fixtures/chromium-dual-publisher-answer.sdp");
const CHROMIUM_SUBSCRIBER_OFFER: &str = include_str!("fixtures/chromium-dual-subscriber-offer.sdp");
const CHROMIUM_SUBSCRIBER_ANSWER: &str = include_str!("fixtures/chromium-dual-subscriber-answer.sdp");
const PYTHON_SINGLE_OFFER: &str = include_str!("fixtures/python-single-offer.sdp");
const PYTHON_SINGLE_ANSWER: &str = include_str!("fixtures/python-single-answer.sdp");

const ALL: [&str; 8] = [
    CHROMIUM_SINGLE_OFFER,
    CHROMIUM_SINGLE_ANSWER,
    CHROMIUM_PUBLISHER_OFFER,
    CHROMIUM_PUBLISHER_ANSWER,
    CHROMIUM_SUBSCRIBER_OFFER,
    CHROMIUM_SUBSCRIBER_ANSWER,
    PYTHON_SINGLE_OFFER,
    PYTHON_SINGLE_ANSWER,
];

fn parse(text: &str) -> SessionDescription {
    SessionDescription::parse(text).unwrap()
}

fn ice() -> IceCredentials {
    IceCredentials { ufrag: "AAAABBBBCCCCDDDD".into(), password: "0123456789012345678901234567890a".into() }
}

/// A local description around which a test answers or offers.
fn with_local<T>(setup: Setup, write: impl FnOnce(&LocalDescription<'_>) -> T) -> T {
    let (ice, fingerprint) = (ice(), Fingerprint::sha256([7; 32]));
    let candidates = [Candidate::host_udp("192.0.2.9:7882".parse().unwrap(), 0, &ice.ufrag)];
    write(&LocalDescription {
        session_id: 42,
        version: 3,
        setup,
        ice: &ice,
        fingerprint: &fingerprint,
        candidates: &candidates,
        ice_lite: true,
    })
}

fn track(ssrc: u32, rtx_ssrc: Option<u32>) -> SendTrack {
    SendTrack { ssrc, rtx_ssrc, stream_id: "PA_x|TR_y".into(), track_id: "TR_y".into(), cname: "PA_x|TR_y".into() }
}

/// Answers as a room would: the client's sending sections are taken, the first of each receiving kind carries a track.
fn decide(offer: &SessionDescription, policy: &AnswerPolicy, request: &PublishRequest) -> Vec<SectionAnswer> {
    let mut used = Vec::new();
    offer
        .sections
        .iter()
        .map(|section| match (section.kind, section.direction) {
            (MediaKind::Application, _) => SectionAnswer::Application,
            (_, Direction::SendOnly | Direction::SendRecv) => {
                SectionAnswer::Publish(negotiate_publish(section, policy, request))
            }
            (kind, Direction::RecvOnly) if !used.contains(&kind) => {
                used.push(kind);
                let rtx = (kind == MediaKind::Video).then_some(2_000);
                SectionAnswer::Send(negotiate_send(section, policy), track(1_000, rtx))
            }
            (_, Direction::RecvOnly) => SectionAnswer::SendFree(negotiate_send(section, policy)),
            (_, Direction::Inactive) => SectionAnswer::Inactive(negotiate_send(section, policy)),
        })
        .collect()
}

fn answer(offer: &SessionDescription, policy: &AnswerPolicy, request: &PublishRequest) -> SessionDescription {
    let decisions = decide(offer, policy, request);
    let text = with_local(answer_setup(offer), |local| write_answer(offer, local, &decisions)).unwrap();
    parse(&text)
}

fn numbers(section: &MediaSection) -> Vec<u8> {
    section.formats.iter().map(|format| format.payload_type).collect()
}

fn has_extension(section: &MediaSection, uri: &str) -> bool {
    section.extensions.iter().any(|extension| extension.uri == uri)
}

#[test]
fn every_recorded_description_is_read_whole() {
    for text in ALL {
        let description = parse(text);
        assert_eq!(description.sections.len(), text.matches("\r\nm=").count());
        assert_eq!(description.bundle, description.sections.iter().map(|s| s.mid.clone()).collect::<Vec<_>>());
        assert!(description.ice().is_some() && description.setup().is_some());
        assert!(description.fingerprint().unwrap().as_sha256().is_some());
        assert_eq!(description.candidates().count(), text.matches("a=candidate:").count());
        for section in &description.sections {
            assert_eq!(section.kind == MediaKind::Application, section.data.is_some());
            assert!(section.formats.iter().all(|format| !format.name.is_empty() && format.clock_rate > 0));
        }
    }
}

#[test]
fn a_chromium_simulcast_section_says_everything() {
    let offer = parse(CHROMIUM_SINGLE_OFFER);
    let video = offer.section("8").unwrap();
    assert_eq!((video.kind, video.direction, video.rejected), (MediaKind::Video, Direction::SendOnly, false));
    assert_eq!(video.rtx_of(96), Some(97));
    assert_eq!(video.format(102).unwrap().parameters.get("profile-level-id"), Some("42001f"));
    assert_eq!(video.format(96).unwrap().feedback, ["goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"]);
    assert_eq!(video.streams.msid.as_ref().unwrap().track, "d223ca4c-b871-45ad-828e-94fa71431995");
    assert_eq!(video.streams.simulcast.send, ["q", "h", "f"]);
    assert!(video.streams.ssrcs.is_empty());
    let audio = offer.section("7").unwrap();
    assert_eq!(audio.streams.ssrcs[0].cname.as_deref(), Some("g7lvCIMqO7kEL84E"));
    assert_eq!(offer.section("6").unwrap().data.unwrap().max_message_size, 262_144);
}

#[test]
fn our_answer_has_the_sections_of_the_recorded_one() {
    for (offer, recorded) in [
        (CHROMIUM_SINGLE_OFFER, CHROMIUM_SINGLE_ANSWER),
        (CHROMIUM_PUBLISHER_OFFER, CHROMIUM_PUBLISHER_ANSWER),
        (PYTHON_SINGLE_OFFER, PYTHON_SINGLE_ANSWER),
    ] {
        let (offer, recorded) = (parse(offer), parse(recorded));
        let ours = answer(&offer, &AnswerPolicy::single_pc(EnabledCodecs::ALL), &PublishRequest::default());
        assert_eq!(ours.bundle, recorded.bundle);
        assert_eq!(ours.setup(), Some(Setup::Active));
        for (ours, recorded) in ours.sections.iter().zip(&recorded.sections) {
            assert_eq!((&ours.mid, ours.kind, ours.direction), (&recorded.mid, recorded.kind, recorded.direction));
            assert_eq!(ours.streams.rids, recorded.streams.rids, "mid {}", ours.mid);
            assert_eq!(ours.streams.simulcast, recorded.streams.simulcast, "mid {}", ours.mid);
            assert_eq!(ours.data, recorded.data);
        }
    }
}

#[test]
fn the_published_payload_types_are_the_recorded_ones() {
    for (offer, recorded, policy) in [
        (CHROMIUM_PUBLISHER_OFFER, CHROMIUM_PUBLISHER_ANSWER, AnswerPolicy::dual_publisher(EnabledCodecs::ALL)),
        (PYTHON_SINGLE_OFFER, PYTHON_SINGLE_ANSWER, AnswerPolicy::single_pc(EnabledCodecs::ALL)),
    ] {
        let (offer, recorded) = (parse(offer), parse(recorded));
        let ours = answer(&offer, &policy, &PublishRequest::default());
        for (ours, recorded) in
            ours.sections.iter().zip(&recorded.sections).filter(|(s, _)| s.direction == Direction::RecvOnly)
        {
            let mut expected = numbers(recorded);
            assert_eq!(numbers(ours)[0], expected[0], "mid {}", ours.mid);
            expected.sort_unstable();
            let mut kept = numbers(ours);
            kept.sort_unstable();
            assert_eq!(kept, expected, "mid {}", ours.mid);
            for format in &ours.formats {
                let theirs = recorded.format(format.payload_type).unwrap();
                assert_eq!((&format.name, &format.parameters), (&theirs.name, &theirs.parameters));
                let mut feedback = [format.feedback.clone(), theirs.feedback.clone()];
                feedback.iter_mut().for_each(|list| list.sort());
                assert_eq!(feedback[0], feedback[1], "mid {} pt {}", ours.mid, format.payload_type);
            }
            let uris = |section: &MediaSection| {
                let mut uris: Vec<_> = section.extensions.iter().map(|e| (e.id, e.uri.clone())).collect();
                uris.sort();
                uris
            };
            assert_eq!(uris(ours), uris(recorded), "mid {}", ours.mid);
        }
    }
}

#[test]
fn red_comes_first_unless_disabled_or_another_codec_is_named() {
    let offer = parse(CHROMIUM_SINGLE_OFFER);
    let policy = AnswerPolicy::single_pc(EnabledCodecs::ALL);
    let first = |request: &PublishRequest| numbers(answer(&offer, &policy, request).section("7").unwrap());
    assert_eq!(first(&PublishRequest::default()), [63, 111, 0, 8]);
    assert_eq!(first(&PublishRequest { red: false, ..PublishRequest::default() })[..2], [111, 63]);
    let named = PublishRequest { codec: Some(Codec::Opus), ..PublishRequest::default() };
    assert_eq!(first(&named)[0], 111);
    let without_red = AnswerPolicy::single_pc(EnabledCodecs::ALL.without(Codec::Red));
    assert_eq!(numbers(answer(&offer, &without_red, &PublishRequest::default()).section("7").unwrap()), [111, 0, 8]);
}

#[test]
fn the_announced_codec_comes_first_with_its_rtx() {
    let offer = parse(CHROMIUM_SINGLE_OFFER);
    let policy = AnswerPolicy::single_pc(EnabledCodecs::ALL);
    for (codec, expected) in
        [(Codec::Vp8, [96, 97]), (Codec::H264, [102, 103]), (Codec::Vp9, [98, 99]), (Codec::Av1, [45, 46])]
    {
        let request = PublishRequest { codec: Some(codec), ..PublishRequest::default() };
        assert_eq!(numbers(answer(&offer, &policy, &request).section("8").unwrap())[..2], expected);
    }
}

#[test]
fn dtx_and_stereo_stand_in_our_answer() {
    let offer = parse(CHROMIUM_SINGLE_OFFER);
    let policy = AnswerPolicy::single_pc(EnabledCodecs::ALL);
    let fmtp = |request: &PublishRequest| {
        answer(&offer, &policy, request).section("7").unwrap().format(111).unwrap().parameters.raw().to_owned()
    };
    assert_eq!(fmtp(&PublishRequest::default()), "minptime=10;useinbandfec=1;usedtx=1");
    let music = PublishRequest { dtx: false, stereo: true, red: false, codec: None };
    assert_eq!(fmtp(&music), "minptime=10;useinbandfec=1;stereo=1;maxaveragebitrate=510000");
}

#[test]
fn sections_that_we_send_on_have_remb_and_no_transport_cc() {
    let offer = parse(CHROMIUM_SINGLE_OFFER);
    let ours = answer(&offer, &AnswerPolicy::single_pc(EnabledCodecs::ALL), &PublishRequest::default());
    let (sent, published) = (ours.section("3").unwrap(), ours.section("8").unwrap());
    assert_eq!(sent.direction, Direction::SendOnly);
    assert_eq!(sent.format(96).unwrap().feedback, ["goog-remb", "ccm fir", "nack", "nack pli"]);
    assert!(has_extension(sent, uri::ABS_SEND_TIME) && has_extension(sent, uri::MID));
    for needed_to_publish in [uri::RID, uri::REPAIRED_RID, uri::TRANSPORT_CC] {
        assert!(has_extension(sent, needed_to_publish) && has_extension(published, needed_to_publish));
    }
    assert!(published.format(96).unwrap().feedback.contains(&"transport-cc".to_owned()));
}

#[test]
fn ids_and_payload_types_mean_the_same_in_the_whole_bundle() {
    for offer in [CHROMIUM_SINGLE_OFFER, PYTHON_SINGLE_OFFER, CHROMIUM_PUBLISHER_OFFER] {
        let offer = parse(offer);
        let ours = answer(&offer, &AnswerPolicy::single_pc(EnabledCodecs::ALL), &PublishRequest::default());
        let mut ids = std::collections::HashMap::new();
        let mut payload_types = std::collections::HashMap::new();
        for section in &ours.sections {
            for extension in &section.extensions {
                assert_eq!(ids.entry(extension.id).or_insert(extension.uri.clone()), &extension.uri);
            }
            for format in &section.formats {
                let meaning =
                    (section.kind.name(), format.name.clone(), format.parameters.get("apt").map(str::to_owned));
                assert_eq!(payload_types.entry(format.payload_type).or_insert(meaning.clone()), &meaning);
            }
        }
    }
}

#[test]
fn a_sent_track_has_its_ssrcs_and_names() {
    let offer = parse(CHROMIUM_SINGLE_OFFER);
    let ours = answer(&offer, &AnswerPolicy::single_pc(EnabledCodecs::ALL), &PublishRequest::default());
    let streams = &ours.section("3").unwrap().streams;
    assert_eq!(streams.rtx_ssrc_of(1_000), Some(2_000));
    assert_eq!(streams.msid, Some(Msid { stream: "PA_x|TR_y".into(), track: "TR_y".into() }));
    assert_eq!(streams.ssrcs.iter().map(|info| info.ssrc).collect::<Vec<_>>(), [1_000, 2_000]);
    let free = &ours.section("4").unwrap();
    assert_eq!((free.direction, free.streams.msid.is_none(), free.streams.ssrcs.len()), (Direction::SendOnly, true, 0));
}

#[test]
fn candidates_stand_in_the_first_living_section_only() {
    let mut offer = parse(CHROMIUM_PUBLISHER_OFFER);
    offer.sections[0].rejected = true;
    let ours = answer(&offer, &AnswerPolicy::dual_publisher(EnabledCodecs::ALL), &PublishRequest::default());
    assert!(ours.ice_lite && ours.extmap_allow_mixed);
    assert!(ours.sections[0].rejected && ours.sections[0].transport.candidates.is_empty());
    assert_eq!(ours.sections[1].transport.candidates.len(), 1);
    assert!(ours.sections[1].transport.end_of_candidates && ours.sections[2].transport.candidates.is_empty());
    assert_eq!(ours.bundle, ["1", "2"]);
    assert_eq!(ours.ice(), Some(&ice()));
}

#[test]
fn without_a_common_codec_a_section_is_rejected_with_its_formats() {
    let offer = parse(CHROMIUM_PUBLISHER_OFFER);
    let policy = AnswerPolicy::dual_publisher(EnabledCodecs::NONE.with(Codec::Opus));
    let ours = answer(&offer, &policy, &PublishRequest::default());
    assert!(ours.sections[2].rejected && !ours.sections[1].rejected);
    assert_eq!(numbers(&ours.sections[2]), numbers(&offer.sections[2]));
}

#[test]
fn rust_publishers_without_rtx_keep_nack_but_are_not_sent_it() {
    let offer = parse(PYTHON_SINGLE_OFFER);
    let policy = AnswerPolicy::single_pc(EnabledCodecs::ALL);
    let section = offer.section("8").unwrap();
    let taken = negotiate_publish(section, &policy, &PublishRequest::default());
    assert_eq!((taken.payload_types.len(), taken.payload_types[0].rtx), (1, None));
    assert!(taken.payload_types[0].has_feedback("nack"));
    assert_eq!(taken.rids, ["h", "q"]);
    assert_eq!(taken.rids.iter().map(|rid| layer_of_rid(rid)).collect::<Vec<_>>(), [Some(1), Some(0)]);
    assert_eq!(taken.extension_ids().repaired_rid, 11);
    let sent = negotiate_send(section, &policy);
    assert!(!sent.payload_types[0].has_feedback("nack") && sent.payload_types[0].has_feedback("nack pli"));
}

#[test]
fn start_bitrate_hints_are_echoed_to_senders_only() {
    let offer = parse(PYTHON_SINGLE_OFFER);
    let policy = AnswerPolicy::single_pc(EnabledCodecs::ALL);
    let ours = answer(&offer, &policy, &PublishRequest::default());
    let hint = |mid: &str, pt| {
        ours.section(mid).unwrap().format(pt).unwrap().parameters.get("x-google-start-bitrate").is_some()
    };
    assert!(hint("8", 96) && !hint("3", 96) && !hint("3", 103));
    assert_eq!(ours.section("3").unwrap().format(103).unwrap().parameters.get("packetization-mode"), Some("1"));
}

#[test]
fn a_track_takes_the_best_fitting_payload_type() {
    let offer = parse(CHROMIUM_SINGLE_OFFER);
    let kept = negotiate_send(offer.section("3").unwrap(), &AnswerPolicy::single_pc(EnabledCodecs::ALL));
    let wanted = |profile_level_id, packetization_mode| CodecKey {
        codec: Codec::H264,
        h264: Some(H264 { profile_level_id, packetization_mode }),
    };
    assert_eq!(kept.payload_type_for(&wanted(0x42e01f, 1)).unwrap().payload_type, 108);
    assert_eq!(kept.payload_type_for(&wanted(0x42001f, 0)).unwrap().payload_type, 104);
    assert_eq!(kept.payload_type_for(&CodecKey::of(Codec::Vp8)).unwrap().rtx, Some(97));
    assert_eq!(kept.payload_type_for(&CodecKey::of(Codec::H265)), None);
}

#[test]
fn our_subscriber_offer_is_shaped_as_the_recorded_one() {
    let media = SubscriberMedia::new(EnabledCodecs::ALL.without(Codec::H265));
    let sections = [
        OfferSection { mid: "0".into(), state: OfferState::Data },
        OfferSection { mid: "1".into(), state: OfferState::Free(MediaKind::Audio) },
        OfferSection { mid: "2".into(), state: OfferState::Free(MediaKind::Video) },
        OfferSection { mid: "3".into(), state: OfferState::Send(MediaKind::Video, track(5, Some(6))) },
    ];
    let text = with_local(Setup::ActPass, |local| write_offer(local, &media, &sections)).unwrap();
    let (ours, recorded) = (parse(&text), parse(CHROMIUM_SUBSCRIBER_OFFER));
    assert_eq!(ours.setup(), Some(Setup::ActPass));
    assert_eq!(ours.sections[0].transport.candidates.len(), 1);
    for (ours, recorded) in ours.sections.iter().zip(&recorded.sections) {
        assert_eq!((&ours.mid, ours.kind, ours.direction), (&recorded.mid, recorded.kind, recorded.direction));
        for format in &ours.formats {
            let theirs = recorded.format(format.payload_type).unwrap();
            assert_eq!((&format.name, &format.parameters), (&theirs.name, &theirs.parameters));
        }
    }
    assert_eq!(ours.sections[3].streams.rtx_ssrc_of(5), Some(6));
    assert!(!has_extension(&ours.sections[3], uri::MID));
}

#[test]
fn the_clients_answer_reduces_what_we_offer() {
    let media = SubscriberMedia::new(EnabledCodecs::ALL);
    let accepted = read_answer(&parse(CHROMIUM_SUBSCRIBER_ANSWER), &media);
    let video = accepted.iter().find(|section| section.mid == "3").unwrap();
    assert_eq!((video.direction, video.rejected), (Direction::RecvOnly, false));
    assert!(video.media.payload_types.iter().all(|pt| pt.codec != Codec::H265));
    assert_eq!(video.media.payload_type_for(&CodecKey::of(Codec::Vp8)).unwrap().rtx, Some(97));
    let ids = video.media.extension_ids();
    assert_eq!((ids.dependency_descriptor, ids.abs_send_time, ids.mid), (1, 3, 0));
    assert_eq!(accepted.iter().find(|section| section.mid == "1").unwrap().direction, Direction::Inactive);
}

#[test]
fn decisions_that_do_not_fit_are_misuse() {
    let offer = parse(CHROMIUM_PUBLISHER_OFFER);
    let misuse = |decisions: &[SectionAnswer], setup| {
        matches!(with_local(setup, |local| write_answer(&offer, local, decisions)), Err(SdpError::Misuse { .. }))
    };
    let fitting = decide(&offer, &AnswerPolicy::dual_publisher(EnabledCodecs::ALL), &PublishRequest::default());
    assert!(!misuse(&fitting, Setup::Active));
    assert!(misuse(&fitting, Setup::ActPass));
    assert!(misuse(&fitting[1..], Setup::Active));
    let applications = [SectionAnswer::Application, SectionAnswer::Application, SectionAnswer::Application];
    assert!(misuse(&applications, Setup::Active));
}
