use engine_base::{Codec, Kind};
use proptest::prelude::*;
use signaling_negotiation::*;
use signaling_sdp::*;

use crate::scene::*;

#[test]
fn offers_that_contradict_the_first_are_refused_and_change_nothing() {
    let mut pc = single();
    offer(&mut pc, 1, CHROMIUM_SINGLE);
    answer(&mut pc, CHROMIUM_SINGLE);
    let before = pc.clone();
    let other_fingerprint = CHROMIUM_SINGLE.replace("a=fingerprint:sha-256 51:", "a=fingerprint:sha-256 52:");
    let cases = [
        ("fewer sections", first_sections(CHROMIUM_SINGLE, 3)),
        ("another mid", CHROMIUM_SINGLE.replace("a=mid:4", "a=mid:x")),
        ("another kind", CHROMIUM_SINGLE.replacen("m=audio", "m=video", 1)),
        ("another certificate", other_fingerprint),
        ("no credentials", CHROMIUM_SINGLE.replace("a=ice-ufrag", "a=x")),
        ("another role", CHROMIUM_SINGLE.replace("a=setup:actpass", "a=setup:active")),
        ("too long a ufrag", CHROMIUM_SINGLE.replace("a=ice-ufrag:", &format!("a=ice-ufrag:{}", "u".repeat(70)))),
        ("no description", "hello".to_owned()),
    ];
    for (name, text) in cases {
        assert!(pc.handle_offer(2, &text, random(2), None).is_err(), "{name}");
        assert_eq!(pc, before, "{name}");
    }
    offer(&mut pc, 2, CHROMIUM_SINGLE);
}

#[test]
fn a_sha1_certificate_alone_is_unsupported() {
    let line = |line: &str| match line.starts_with("a=fingerprint:") {
        true => format!("a=fingerprint:sha-1 {}", ["AB"; 20].join(":")),
        false => line.to_owned(),
    };
    let text: Vec<String> = CHROMIUM_SINGLE.lines().map(line).collect();
    let refused = single().handle_offer(1, &text.join("\r\n"), random(1), None);
    assert!(matches!(refused, Err(NegotiationError::Unsupported { .. })));
}

#[test]
fn sections_outside_the_bundle_and_of_unknown_kinds_are_rejected() {
    let join = first_sections(CHROMIUM_SINGLE, 7);
    let text = join.replacen("m=audio 9", "m=text 9", 1).replace("BUNDLE 0 1 2 3 4 5 6", "BUNDLE 0 1 2 3 4 6");
    let mut pc = single();
    let offered = offer(&mut pc, 1, &text);
    assert_eq!(offered.receiving, SectionCounts { audio: 2, video: 2 });
    let (_, description) = answer(&mut pc, &text);
    let rejected = |mid: &str| description.section(mid).unwrap().rejected;
    assert!(rejected("1") && rejected("5") && !rejected("0"));
}

#[test]
fn a_track_in_a_section_that_loses_rtx_is_still_answered() {
    let join = first_sections(CHROMIUM_SINGLE, 7);
    let mut pc = single();
    offer(&mut pc, 1, &join);
    pc.place(Kind::Video, track("v", 20, Some(21)), &keys(Codec::Vp8)).unwrap();
    answer(&mut pc, &join);
    let bare = join.replace(" rtx/90000", " none/90000");
    offer(&mut pc, 2, &bare);
    let (_, description) = answer(&mut pc, &bare);
    assert_eq!(description.section("3").unwrap().streams.ssrcs.len(), 1);
}

/// Whatever an offer says, it is refused or answered.
fn drive(pc: &mut OfferedPc, text: &str) {
    let Ok(offered) = pc.handle_offer(1, text, random(3), None) else { return };
    for section in &offered.published {
        pc.bind_publish(&section.mid, PublishRequest { stereo: true, ..PublishRequest::default() });
        assert!(pc.fill_ingress(&section.mid, &mut ingress_row()));
    }
    pc.place(Kind::Audio, track("a", 10, None), &keys(Codec::Opus));
    pc.place(Kind::Video, track("v", 20, Some(21)), &keys(Codec::Vp8));
    pc.fill_transport(&mut transport_row());
    let answer = pc.answer(&NODE).unwrap().unwrap();
    SessionDescription::parse(&answer.sdp).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn shuffled_and_damaged_lines_never_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..4_u8), 1..12),
        python in any::<bool>(),
    ) {
        let source = if python { PYTHON_SINGLE } else { CHROMIUM_PUBLISHER };
        let mut lines: Vec<&str> = source.lines().collect();
        for (at, from, edit) in edits {
            let (at, from) = (at.index(lines.len()), from.index(lines.len()));
            match edit {
                0 => lines.swap(at, from),
                1 => { lines.remove(at); }
                2 => lines.insert(at, lines[from]),
                _ => lines[at] = &lines[at][..lines[at].len() / 2],
            }
        }
        let text = lines.join("\r\n");
        drive(&mut single(), &text);
        let mut pc = single();
        drive(&mut pc, source);
        drive(&mut pc, &text);
        drive(&mut pc, source);
    }

    #[test]
    fn damaged_answers_never_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<bool>()), 1..8),
    ) {
        let mut pc = SubscriberPc::new(EnabledCodecs::ALL, ice(), 1, 1);
        pc.add(Kind::Audio, track("a", 10, None), &keys(Codec::Opus)).unwrap();
        pc.add(Kind::Video, track("v", 20, Some(21)), &keys(Codec::Vp8)).unwrap();
        let offer = pc.offer(&NODE).unwrap().unwrap();
        let answer = client_answer(&offer.sdp);
        let mut lines: Vec<&str> = answer.lines().collect();
        for (at, from, swap) in edits {
            let (at, from) = (at.index(lines.len()), from.index(lines.len()));
            if swap { lines.swap(at, from) } else { lines.remove(at); }
        }
        if pc.handle_answer(offer.id, &lines.join("\r\n")).is_ok() {
            pc.add(Kind::Audio, track("b", 30, None), &keys(Codec::Opus));
            pc.fill_egress("1", &keys(Codec::Opus), &mut egress_row());
            pc.offer(&NODE).unwrap();
        }
    }
}
