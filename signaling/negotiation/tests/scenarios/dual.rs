use engine_base::{Codec, ExtensionIds, Kind, Ssrc};
use engine_table::{DTLS_SERVER, egress_flags, transport_flags};
use signaling_negotiation::*;
use signaling_sdp::*;

use crate::scene::*;

fn subscriber() -> SubscriberPc {
    SubscriberPc::new(EnabledCodecs::ALL, ice(), 99, 200)
}

fn next_offer(pc: &mut SubscriberPc) -> (Offer, SessionDescription) {
    let offer = pc.offer(&NODE).unwrap().unwrap();
    let description = SessionDescription::parse(&offer.sdp).unwrap();
    (offer, description)
}

fn add(pc: &mut SubscriberPc, kind: Kind, name: &str, ssrc: u32) -> String {
    let codec = if kind == Kind::Audio { Codec::Opus } else { Codec::Vp8 };
    pc.add(kind, track(name, ssrc, (kind == Kind::Video).then_some(ssrc + 1)), &keys(codec)).unwrap()
}

#[test]
fn the_publisher_connection_takes_data_first_and_tracks_later() {
    let data = first_sections(CHROMIUM_PUBLISHER, 1);
    let mut pc = publisher();
    let offered = offer(&mut pc, 1, &data);
    assert!(offered.has_application && offered.published.is_empty());
    answer(&mut pc, &data);
    let mut pc = restored(pc);
    let offered = offer(&mut pc, 2, CHROMIUM_PUBLISHER);
    assert!(!offered.ice_restart);
    let video = &offered.published[1];
    pc.bind_publish(&video.mid, PublishRequest { codec: Some(Codec::Vp8), ..PublishRequest::default() });
    let (answered, description) = answer(&mut pc, CHROMIUM_PUBLISHER);
    assert_eq!((answered.id, answered.mid_to_track_id.len()), (2, 0));
    assert_eq!(description.section("2").unwrap().streams.simulcast.recv, ["q", "h", "f"]);
    assert_eq!(pc.requirement(SectionCounts { audio: 1, video: 1 }), None);
    assert_eq!(pc.place(Kind::Audio, track("a", 1, None), &keys(Codec::Opus)), None);
}

#[test]
fn the_first_offer_is_data_only_and_one_is_outstanding_at_a_time() {
    let mut pc = subscriber();
    let (first, description) = next_offer(&mut pc);
    assert_eq!((first.id, description.sections.len(), description.setup()), (200, 1, Some(Setup::ActPass)));
    assert_eq!(pc.offer(&NODE).unwrap(), None);
    let mid = add(&mut pc, Kind::Audio, "a", 10);
    assert_eq!((mid.as_str(), pc.offer(&NODE).unwrap(), pc.needs_offer()), ("1", None, true));
    let mut pc = restored(pc);
    assert_eq!(pc.handle_answer(199, &client_answer(&first.sdp)).unwrap(), None);
    let answered = pc.handle_answer(200, &client_answer(&first.sdp)).unwrap().unwrap();
    assert!(answered.first && answered.accepted.is_empty());
    assert_eq!(pc.handle_answer(200, &client_answer(&first.sdp)).unwrap(), None);
    let (second, description) = next_offer(&mut pc);
    assert_eq!((second.id, description.sections.len()), (201, 2));
    assert_eq!(second.mid_to_track_id, [("1".to_owned(), "TR_a".to_owned())].into());
    let answered = pc.handle_answer(0, &client_answer(&second.sdp)).unwrap().unwrap();
    assert_eq!(answered.accepted, [("1".to_owned(), "TR_a".to_owned())]);
    assert_eq!(pc.offer(&NODE).unwrap(), None);

    let mut row = transport_row();
    pc.fill_transport(&mut row);
    assert_eq!((row.dtls_role, row.flags), (DTLS_SERVER, transport_flags::SCTP | transport_flags::OPEN_CHANNELS));
    assert_eq!((row.fingerprint.bytes, row.receive_extensions), (32, ExtensionIds::NONE));
}

#[test]
fn a_recorded_answer_reduces_what_is_offered() {
    let mut pc = subscriber();
    for (index, kind) in [Kind::Audio, Kind::Video, Kind::Video, Kind::Audio, Kind::Video].into_iter().enumerate() {
        add(&mut pc, kind, &index.to_string(), 100 + 10 * index as u32);
    }
    assert!(pc.remove("TR_0") && pc.remove("TR_1") && !pc.remove("TR_1"));
    assert!(pc.can_receive(Kind::Video, &keys(Codec::H265)));
    let (offer, _) = next_offer(&mut pc);
    let mut pc = restored(pc);
    let answered = pc.handle_answer(offer.id, CHROMIUM_SUBSCRIBER).unwrap().unwrap();
    assert!(answered.media_reduced);
    assert!(!pc.can_receive(Kind::Video, &keys(Codec::H265)), "this Chromium has no H265");
    assert_eq!(answered.accepted.len() + answered.refused.len(), 3);
    let mut row = egress_row();
    assert!(pc.fill_egress("3", &keys(Codec::Vp8), &mut row));
    let vp8 = row.payload_types[0];
    assert_eq!((vp8.payload_type, vp8.rtx_payload_type, row.ssrc), (96, 97, Ssrc(120)));
    assert_eq!((row.flags & egress_flags::NACK, row.extensions.mid), (egress_flags::NACK, 0));
}

#[test]
fn a_section_is_reused_for_its_kind_after_the_client_saw_it_free() {
    let mut pc = subscriber();
    add(&mut pc, Kind::Audio, "a", 10);
    add(&mut pc, Kind::Video, "v", 20);
    let (offer, _) = next_offer(&mut pc);
    pc.handle_answer(offer.id, &client_answer(&offer.sdp)).unwrap();
    pc.remove("TR_v");
    assert_eq!(add(&mut pc, Kind::Video, "w", 30), "3", "the client still has the former track in section 2");
    let (offer, description) = next_offer(&mut pc);
    assert_eq!(description.section("2").unwrap().direction, Direction::RecvOnly);
    assert!(description.section("2").unwrap().streams.ssrcs.is_empty());
    let mut pc = restored(pc);
    pc.handle_answer(offer.id, &client_answer(&offer.sdp)).unwrap();
    assert_eq!(add(&mut pc, Kind::Audio, "b", 40), "4", "section 2 is a video section");
    assert_eq!(add(&mut pc, Kind::Video, "x", 50), "2");
    let (offer, description) = next_offer(&mut pc);
    assert_eq!(description.section("2").unwrap().streams.rtx_ssrc_of(50), Some(51));
    assert_eq!(offer.mid_to_track_id.len(), 4);
    assert_eq!(pc.mid_of("TR_x"), Some("2"));
}

#[test]
fn a_rejected_section_stays_rejected_and_its_track_is_refused() {
    let mut pc = subscriber();
    add(&mut pc, Kind::Audio, "a", 10);
    add(&mut pc, Kind::Video, "v", 20);
    let (offer, _) = next_offer(&mut pc);
    let rejecting = client_answer(&offer.sdp).replace("m=video 9", "m=video 0");
    let answered = pc.handle_answer(offer.id, &rejecting).unwrap().unwrap();
    assert_eq!(answered.refused, [("2".to_owned(), "TR_v".to_owned())]);
    assert_eq!(add(&mut pc, Kind::Video, "w", 30), "3");
    let (offer, description) = next_offer(&mut pc);
    assert!(description.section("2").unwrap().rejected && !description.bundle.contains(&"2".to_owned()));
    let answered = pc.handle_answer(offer.id, &client_answer(&offer.sdp)).unwrap().unwrap();
    assert_eq!(answered.accepted.len(), 2);
}

#[test]
fn an_inactive_answer_refuses_the_track() {
    let mut pc = subscriber();
    add(&mut pc, Kind::Audio, "a", 10);
    let (offer, _) = next_offer(&mut pc);
    let inactive = client_answer(&offer.sdp).replace("a=recvonly", "a=inactive");
    let answered = pc.handle_answer(offer.id, &inactive).unwrap().unwrap();
    assert_eq!((answered.refused.len(), answered.accepted.len()), (1, 0));
}

#[test]
fn a_resume_offers_new_credentials_and_forgets_the_outstanding_offer() {
    let mut pc = subscriber();
    let (offer, _) = next_offer(&mut pc);
    pc.handle_answer(offer.id, &client_answer(&offer.sdp)).unwrap();
    add(&mut pc, Kind::Audio, "a", 10);
    let (lost, _) = next_offer(&mut pc);
    let before = pc.ice().local().clone();
    let mut pc = restored(pc);
    pc.restart_ice(random(2), None);
    let (again, description) = next_offer(&mut pc);
    assert_eq!((again.id, again.mid_to_track_id.len()), (lost.id + 1, 1));
    assert_ne!(description.ice().unwrap(), &before);
    assert_eq!(pc.handle_answer(lost.id, &client_answer(&lost.sdp)).unwrap(), None);
    let answered = pc.handle_answer(again.id, &client_answer(&again.sdp)).unwrap().unwrap();
    assert!(!answered.first && answered.accepted.len() == 1);
    let mut row = transport_row();
    pc.fill_transport(&mut row);
    assert_eq!(row.credentials_newest, 1);
    assert_eq!(row.credentials[0].local_ufrag.as_str(), before.ufrag);
    assert!(!row.credentials[1].remote_ufrag.is_empty());
}

#[test]
fn an_answer_with_other_sections_is_refused_and_changes_nothing() {
    let mut pc = subscriber();
    add(&mut pc, Kind::Audio, "a", 10);
    let (offer, _) = next_offer(&mut pc);
    let before = pc.clone();
    let answer = client_answer(&offer.sdp);
    for wrong in [first_sections(&answer, 1), answer.replace("a=mid:1", "a=mid:9"), answer.replace("ice-pwd", "x")] {
        assert!(pc.handle_answer(offer.id, &wrong).is_err());
        assert_eq!(pc, before);
    }
    assert!(pc.handle_answer(offer.id, &answer).unwrap().is_some());
}
