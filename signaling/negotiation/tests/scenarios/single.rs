use engine_base::ufrag::LocalUfrag;
use engine_base::{Codec, Kind, Ssrc};
use engine_table::{DTLS_CLIENT, NO_PAYLOAD_TYPE, egress_flags, ingress_flags, transport_flags};
use signaling_negotiation::*;
use signaling_sdp::*;

use crate::scene::*;

const JOIN_SECTIONS: usize = 7;

fn version(sdp: &str) -> u64 {
    sdp.lines().nth(1).unwrap().split(' ').nth(2).unwrap().parse().unwrap()
}

#[test]
fn a_join_offer_is_answered_with_free_sections_and_offered_again() {
    let join = first_sections(CHROMIUM_SINGLE, JOIN_SECTIONS);
    let mut pc = single();
    let offered = offer(&mut pc, 1, &join);
    assert_eq!((offered.receiving, offered.has_application), (SectionCounts { audio: 3, video: 3 }, true));
    assert!(offered.published.is_empty() && !offered.ice_restart);
    let (first, description) = answer(&mut pc, &join);
    assert_eq!((first.id, first.mid_to_track_id.len()), (1, 0));
    assert!(description.sections[..6].iter().all(|section| section.direction == Direction::SendOnly));
    assert!(description.sections.iter().all(|section| section.streams.msid.is_none()));
    assert_eq!(pc.answer(&NODE).unwrap(), None);

    let mut pc = restored(pc);
    assert!(!offer(&mut pc, 2, &join).ice_restart);
    let (second, _) = answer(&mut pc, &join);
    assert_eq!((second.id, version(&second.sdp)), (2, version(&first.sdp) + 1));
    assert_eq!(first.sdp.lines().skip(2).collect::<Vec<_>>(), second.sdp.lines().skip(2).collect::<Vec<_>>());
    assert_eq!(pc.requirement(SectionCounts::default()), None);
}

#[test]
fn published_tracks_are_found_bound_and_become_ingresses() {
    let mut pc = single();
    let join = first_sections(CHROMIUM_SINGLE, JOIN_SECTIONS);
    offer(&mut pc, 1, &join);
    answer(&mut pc, &join);
    let offered = offer(&mut pc, 3, CHROMIUM_SINGLE);
    let [audio, video] = offered.published.as_slice() else { panic!("{:?}", offered.published) };
    assert_eq!((audio.kind, video.kind), (Kind::Audio, Kind::Video));
    assert_eq!(video.layers.iter().map(|layer| layer.rid.as_str()).collect::<Vec<_>>(), ["q", "h", "f"]);
    assert!(!audio.track.is_empty() && audio.layers[0].ssrc != 0 && !video.bound);
    assert!(pc.bind_publish(&video.mid, PublishRequest { codec: Some(Codec::H264), ..PublishRequest::default() }));
    assert!(pc.bind_publish(&audio.mid, PublishRequest::default()));
    assert!(!pc.bind_publish("0", PublishRequest::default()));
    let mut pc = restored(pc);
    let (_, description) = answer(&mut pc, CHROMIUM_SINGLE);
    let first = |mid: &str| description.section(mid).unwrap().formats[0].name.clone();
    assert_eq!((first(&audio.mid).as_str(), first(&video.mid).as_str()), ("red", "H264"));

    let mut row = ingress_row();
    row.flags = ingress_flags::MUTED;
    assert!(pc.fill_ingress(&video.mid, &mut row));
    assert_eq!(row.flags, ingress_flags::MUTED | ingress_flags::NACK | ingress_flags::TRANSPORT_CC);
    assert_eq!((row.layer_count, row.layers[0].rid.as_str(), row.layers[2].rid.as_str()), (3, "q", "f"));
    assert_eq!((row.extensions.mid, row.extensions.rid, row.extensions.transport_cc), (4, 10, 3));
    assert_eq!((row.mid.as_str(), row.transport), (video.mid.as_str(), TRANSPORT));
    assert_eq!(row.payload_types[0].codec, Codec::H264 as u8);
    let formats: Vec<u8> = row.payload_types.iter().take(4).map(|mapping| mapping.format).collect();
    assert_eq!(formats, [3, 4, 1, 2]);

    let mut row = transport_row();
    pc.fill_transport(&mut row);
    assert_eq!((row.dtls_role, row.flags, row.fingerprint.bytes), (DTLS_CLIENT, transport_flags::SCTP, 32));
    assert_eq!(
        (row.receive_extensions.mid, row.receive_extensions.rid, row.receive_extensions.audio_level),
        (4, 10, 1)
    );
}

#[test]
fn placed_tracks_stand_in_the_answer_and_in_the_map() {
    let join = first_sections(CHROMIUM_SINGLE, JOIN_SECTIONS);
    let mut pc = single();
    offer(&mut pc, 1, &join);
    let audio = pc.place(Kind::Audio, track("a", 10, None), &keys(Codec::Opus)).unwrap();
    let video = pc.place(Kind::Video, track("v", 20, Some(21)), &keys(Codec::Vp8)).unwrap();
    assert_eq!((audio.as_str(), video.as_str(), pc.mid_of("TR_v")), ("0", "3", Some("3")));
    assert!(pc.uses_ssrc(21) && !pc.uses_ssrc(22));
    let (answered, description) = answer(&mut restored(pc.clone()), &join);
    let map = [("0".to_owned(), "TR_a".to_owned()), ("3".to_owned(), "TR_v".to_owned())];
    assert_eq!(answered.mid_to_track_id, map.clone().into());
    let streams = &description.section("3").unwrap().streams;
    assert_eq!(streams.rtx_ssrc_of(20), Some(21));
    assert_eq!(streams.msid.as_ref().unwrap().stream, "PA_x|TR_v");
    assert_eq!(description.section("4").unwrap().streams.ssrcs, []);

    let mut row = egress_row();
    row.flags = egress_flags::ENABLED;
    assert!(pc.fill_egress("3", &keys(Codec::Vp8), &mut row));
    let vp8 = row.payload_types[0];
    assert_eq!((vp8.payload_type, vp8.rtx_payload_type, vp8.codec), (96, 97, Codec::Vp8 as u8));
    assert_eq!(row.payload_types[1], Default::default());
    assert_eq!((row.ssrc, row.rtx_ssrc, row.flags), (Ssrc(20), Ssrc(21), egress_flags::ENABLED | egress_flags::NACK));
    assert_eq!((row.mid.as_str(), row.extensions.mid, row.cname.as_str(), row.kind), ("3", 4, "PA_x|TR_v", 1));
    assert!(pc.fill_egress("0", &keys(Codec::Opus), &mut row));
    assert_eq!(
        (row.payload_types[0].rtx_payload_type, row.flags, row.kind),
        (NO_PAYLOAD_TYPE, egress_flags::ENABLED, 0)
    );
    assert!(!pc.fill_egress("3", &keys(Codec::H265), &mut row));
    assert!(!pc.fill_egress("4", &keys(Codec::Vp8), &mut row));
}

#[test]
fn a_freed_section_is_inactive_once_before_it_carries_another_track() {
    let join = first_sections(CHROMIUM_SINGLE, JOIN_SECTIONS);
    let mut pc = single();
    offer(&mut pc, 1, &join);
    pc.place(Kind::Video, track("v", 20, Some(21)), &keys(Codec::Vp8)).unwrap();
    answer(&mut pc, &join);
    assert!(!pc.needs_offer());
    assert!(pc.free("3") && !pc.free("3") && !pc.free("4"));
    let mut pc = restored(pc);
    assert_eq!(pc.requirement(SectionCounts::default()), Some(SectionCounts::default()));
    assert_eq!(pc.requirement(SectionCounts::default()), None);
    assert_eq!(pc.place(Kind::Video, track("w", 30, Some(31)), &keys(Codec::Vp8)).as_deref(), Some("4"));
    offer(&mut pc, 2, &join);
    let (answered, description) = answer(&mut pc, &join);
    assert_eq!(description.section("3").unwrap().direction, Direction::Inactive);
    assert_eq!(answered.mid_to_track_id, [("4".to_owned(), "TR_w".to_owned())].into());
    let mut early = pc.clone();
    let waiting = SectionCounts { audio: 0, video: 1 };
    assert_eq!(early.requirement(waiting), Some(SectionCounts::default()), "an offer shows that the client knows");
    assert_eq!(early.place(Kind::Video, track("x", 40, Some(41)), &keys(Codec::Vp8)).as_deref(), Some("5"));
    pc.note_applied();
    assert_eq!(pc.place(Kind::Video, track("x", 40, Some(41)), &keys(Codec::Vp8)).as_deref(), Some("3"));
}

#[test]
fn an_answer_that_was_lost_with_its_socket_is_told_again_before_a_section_is_reused() {
    let join = first_sections(CHROMIUM_SINGLE, JOIN_SECTIONS);
    let mut pc = single();
    offer(&mut pc, 1, &join);
    pc.place(Kind::Video, track("v", 20, Some(21)), &keys(Codec::Vp8)).unwrap();
    answer(&mut pc, &join);
    assert!(pc.awaits_application());
    assert!(pc.told_tracks().map(|(_, track)| track).eq(["TR_v"]));
    pc.note_applied();
    pc.resumed();
    assert!(!pc.needs_offer(), "what was applied is not doubted");

    pc.free("3");
    assert!(offer(&mut pc, 2, &join).applied);
    answer(&mut pc, &join);
    let mut pc = restored(pc);
    pc.resumed();
    assert!(pc.needs_offer());
    assert_eq!(pc.place(Kind::Video, track("w", 30, Some(31)), &keys(Codec::Vp8)).as_deref(), Some("4"));
    assert!(!offer(&mut pc, 3, &join).applied);
    let (_, description) = answer(&mut pc, &join);
    assert_eq!(description.section("3").unwrap().direction, Direction::Inactive);
    assert!(offer(&mut pc, 4, &join).applied && !pc.needs_offer());
}

#[test]
fn sections_are_asked_for_once() {
    let join = first_sections(CHROMIUM_SINGLE, JOIN_SECTIONS);
    let mut pc = single();
    offer(&mut pc, 1, &join);
    for number in 0..3 {
        pc.place(Kind::Audio, track(&number.to_string(), 10 + number, None), &keys(Codec::Opus)).unwrap();
    }
    assert_eq!(pc.place(Kind::Audio, track("4", 14, None), &keys(Codec::Opus)), None);
    let waiting = |audio| SectionCounts { audio, video: 0 };
    assert_eq!(pc.requirement(waiting(1)), None, "an offer is pending");
    answer(&mut pc, &join);
    assert_eq!(pc.requirement(waiting(1)), Some(waiting(1)));
    assert_eq!(pc.requirement(waiting(1)), None);
    assert_eq!(pc.requirement(waiting(3)), Some(waiting(2)));
    let mut pc = restored(pc);
    offer(&mut pc, 2, &join);
    answer(&mut pc, &join);
    assert_eq!(pc.requirement(waiting(3)), None, "the client's offer crossed the question");

    pc.resumed();
    assert_eq!(pc.requirement(waiting(3)), Some(waiting(0)), "first an offer, to see what the client has heard");
    offer(&mut pc, 3, &join);
    answer(&mut pc, &join);
    assert_eq!(pc.requirement(waiting(3)), Some(waiting(3)));
}

#[test]
fn a_codec_that_no_section_carries_never_asks_for_sections() {
    let join = first_sections(CHROMIUM_SINGLE, JOIN_SECTIONS);
    let mut pc = single();
    assert_eq!(pc.can_receive(Kind::Video, &keys(Codec::H265)), None);
    offer(&mut pc, 1, &join);
    answer(&mut pc, &join);
    assert_eq!(pc.can_receive(Kind::Video, &keys(Codec::H265)), Some(false));
    assert_eq!(pc.can_receive(Kind::Video, &keys(Codec::Vp9)), Some(true));
    assert_eq!(pc.place(Kind::Video, track("v", 1, None), &keys(Codec::H265)), None);
    assert_eq!(pc.place(Kind::Audio, track("v", 1, None), &keys(Codec::Vp8)), None);
    assert_eq!(pc.requirement(SectionCounts { audio: 0, video: 1 }), None);
}

#[test]
fn python_without_rtx_and_with_descending_rids_becomes_an_ingress() {
    let mut pc = single();
    let offered = offer(&mut pc, 0, PYTHON_SINGLE);
    let [audio, video] = offered.published.as_slice() else { panic!("{:?}", offered.published) };
    assert_eq!((audio.track.as_str(), audio.layers[0].ssrc), ("810e49d2-4fd3-4413-b911-fab714069e23", 3_105_571_438));
    assert_eq!(video.codecs, keys(Codec::Vp8));
    let (answered, description) = answer(&mut pc, PYTHON_SINGLE);
    assert_eq!(answered.id, 0);
    assert_eq!(description.section("8").unwrap().streams.simulcast.recv, ["h", "q"]);
    let mut row = ingress_row();
    assert!(pc.fill_ingress("8", &mut row));
    assert_eq!((row.layer_count, row.layers[0].rid.as_str(), row.layers[1].rid.as_str()), (2, "q", "h"));
    assert_eq!(row.payload_types[0].rtx_payload_type, NO_PAYLOAD_TYPE);
    assert_eq!(row.flags, ingress_flags::NACK | ingress_flags::TRANSPORT_CC);
}

#[test]
fn a_section_that_python_stops_sending_on_takes_no_track_of_others() {
    let mut pc = single();
    offer(&mut pc, 0, PYTHON_SINGLE);
    answer(&mut pc, PYTHON_SINGLE);
    let (head, tail) = PYTHON_SINGLE.split_at(PYTHON_SINGLE.rfind("a=sendonly").unwrap());
    let stopped = format!("{head}a=recvonly{}", &tail["a=sendonly".len()..]);
    for _ in 0..2 {
        let offered = offer(&mut pc, 0, &stopped);
        assert_eq!(offered.receiving, SectionCounts { audio: 3, video: 3 });
        let (_, description) = answer(&mut pc, &stopped);
        let section = description.section("8").unwrap();
        assert_eq!((section.direction, section.streams.simulcast.recv.len()), (Direction::Inactive, 2));
    }
    assert_eq!(offer(&mut pc, 0, PYTHON_SINGLE).published.len(), 2);
}

#[test]
fn an_ice_restart_changes_our_credentials_and_keeps_the_former_ones_valid() {
    let join = first_sections(CHROMIUM_SINGLE, JOIN_SECTIONS);
    let mut pc = single();
    offer(&mut pc, 1, &join);
    answer(&mut pc, &join);
    let before = pc.ice().local().clone();
    pc.resumed();
    let mut pc = restored(pc);
    let restarted = ice_restarted(&join);
    assert!(offer(&mut pc, 2, &restarted).ice_restart);
    assert_ne!(*pc.ice().local(), before);
    answer(&mut pc, &restarted);

    let mut row = transport_row();
    pc.fill_transport(&mut row);
    assert_eq!((row.credentials_newest, row.generation), (1, TRANSPORT.generation));
    let [old, new] = &row.credentials;
    assert_eq!((old.local_ufrag.as_str(), old.remote_ufrag.as_str()), (before.ufrag.as_str(), "mr+f"));
    assert_eq!((new.local_ufrag.as_str(), new.remote_ufrag.as_str()), (pc.ice().local().ufrag.as_str(), "new+"));
    let ufrag = LocalUfrag::decode(new.local_ufrag.as_bytes()).unwrap();
    assert_eq!((ufrag.index, ufrag.generation, ufrag.credential, ufrag.node), (5, 3, 1, 77));

    assert!(!offer(&mut pc, 3, &restarted).ice_restart, "the same credentials again are no restart");
    answer(&mut pc, &restarted);
    let trickle = CandidateInit::parse(&pc.ice().trickles(&ADDRESSES)[0]).unwrap();
    assert_eq!((trickle.ufrag.as_deref(), trickle.sdp_mid.as_deref()), (Some(new.local_ufrag.as_str()), Some("0")));
}

#[test]
fn a_section_that_stops_or_changes_its_track_is_told_and_loses_its_binding() {
    let mut pc = single();
    let offered = offer(&mut pc, 1, CHROMIUM_SINGLE);
    let (audio, video) = (offered.published[0].clone(), offered.published[1].clone());
    pc.bind_publish(&audio.mid, PublishRequest::default());
    pc.bind_publish(&video.mid, PublishRequest::default());
    answer(&mut pc, CHROMIUM_SINGLE);
    assert!(offer(&mut pc, 2, CHROMIUM_SINGLE).published.iter().all(|section| section.bound));

    let (head, tail) = CHROMIUM_SINGLE.split_at(CHROMIUM_SINGLE.rfind("a=sendonly").unwrap());
    let stopped = format!("{head}a=inactive{}", &tail["a=sendonly".len()..]).replace(&audio.track, "another-track");
    let offered = offer(&mut pc, 3, &stopped);
    assert_eq!(offered.stopped, [audio.mid.clone(), video.mid.clone()]);
    assert_eq!(offered.published.len(), 1);
    assert!(!offered.published[0].bound && offered.published[0].track == "another-track");
    let (_, description) = answer(&mut pc, &stopped);
    assert_eq!(description.section(&video.mid).unwrap().direction, Direction::Inactive);
}

#[test]
fn a_track_whose_section_the_client_stops_is_evicted() {
    let join = first_sections(CHROMIUM_SINGLE, JOIN_SECTIONS);
    let mut pc = single();
    offer(&mut pc, 1, &join);
    pc.place(Kind::Audio, track("a", 10, None), &keys(Codec::Opus)).unwrap();
    answer(&mut pc, &join);
    let stopped = join.replacen("a=recvonly", "a=inactive", 1);
    assert_eq!(offer(&mut pc, 2, &stopped).evicted, [("0".to_owned(), "TR_a".to_owned())]);
    let (answered, _) = answer(&mut pc, &stopped);
    assert!(answered.mid_to_track_id.is_empty());
}

#[test]
fn every_format_of_a_source_finds_its_way_into_a_mapping() {
    let mut publisher = single();
    offer(&mut publisher, 1, CHROMIUM_SINGLE);
    let source = publisher.codec_keys("8");
    let mut pc = single();
    offer(&mut pc, 0, PYTHON_SINGLE);
    let mid = pc.place(Kind::Video, track("v", 20, Some(21)), &source).unwrap();
    let mut row = egress_row();
    assert!(pc.fill_egress(&mid, &source, &mut row));
    let mut ingress = ingress_row();
    publisher.fill_ingress("8", &mut ingress);
    for source in ingress.payload_types.iter().filter(|mapping| mapping.codec != 0) {
        let same = row.payload_types.iter().any(|to| (to.codec, to.format) == (source.codec, source.format));
        assert!(same, "{source:?} in {:?}", row.payload_types);
    }
}
