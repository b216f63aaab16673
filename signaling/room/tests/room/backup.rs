use std::collections::BTreeMap;

use engine_base::{Codec, IngressRef};
use engine_table::egress_flags;
use proto::BackupCodecPolicy::{PreferRegression, Regression, Simulcast};
use signaling_protocol::proto::{self, signal_request, signal_response::Message};
use signaling_room::*;

use crate::sdp::{self, Part};
use crate::stage::*;

/// AV1, and VP8 for those who need it.
fn camera_with_backup(policy: proto::BackupCodecPolicy) -> proto::AddTrackRequest {
    let codec = |codec: &str, cid: &str| proto::SimulcastCodec {
        codec: codec.into(),
        cid: cid.into(),
        ..proto::SimulcastCodec::default()
    };
    proto::AddTrackRequest {
        simulcast_codecs: vec![codec("av1", "cam"), codec("vp8", "")],
        backup_codec_policy: policy as i32,
        ..camera("cam")
    }
}

fn backup_of(track: &str, cid: &str, codec: &str) -> signal_request::Message {
    let named = proto::SimulcastCodec { codec: codec.into(), cid: cid.into(), ..Default::default() };
    signal_request::Message::AddTrack(proto::AddTrackRequest {
        sid: track.to_owned(),
        simulcast_codecs: vec![named],
        ..camera(cid)
    })
}

fn publish_backup(stage: &mut Stage, publisher: &mut Client, track: &str) -> IngressRef {
    let before: Vec<IngressRef> = stage.world.desired.ingresses.keys().copied().collect();
    stage.signal(publisher, backup_of(track, "vp8-cam", "vp8"));
    publisher.parts.push(Part::video("vp8-cam"));
    stage.offer(publisher);
    let new =
        stage.world.desired.ingresses.iter().find(|(at, row)| !before.contains(at) && row.label.as_str() == track);
    *new.expect("an ingress of the backup").0
}

fn join_decoding_vp8(stage: &mut Stage, name: &str, layout: Layout) -> Client {
    let mut client = stage.enter(name, layout, |request| {
        if let Some(offer) = &mut request.publisher_offer {
            offer.sdp = sdp::decoding_vp8(&offer.sdp);
        }
    });
    client.only_vp8 = true;
    for transport in stage.transports_of(&client.sid) {
        stage.connect(transport);
    }
    stage.settle_mut(&mut client);
    client
}

/// Codecs of the last `subscribed_quality_update`, and whether they are wanted.
fn wanted(messages: &[Message]) -> Option<BTreeMap<String, bool>> {
    let mut updates = messages.iter().filter_map(|message| match message {
        Message::SubscribedQualityUpdate(update) => Some(update),
        _ => None,
    });
    let update = updates.next_back()?;
    let codecs = &update.subscribed_codecs;
    assert_eq!(codecs[0].qualities, update.subscribed_qualities, "the first codec is what old clients read");
    assert!(codecs.iter().all(|codec| codec.qualities.iter().all(|it| it.enabled == codec.qualities[0].enabled)));
    Some(codecs.iter().map(|codec| (codec.codec.clone(), codec.qualities[0].enabled)).collect())
}

fn codecs(av1: bool, vp8: bool) -> Option<BTreeMap<String, bool>> {
    Some(BTreeMap::from([("av1".to_owned(), av1), ("vp8".to_owned(), vp8)]))
}

/// What flows of a track: ingress and codec, in order.
fn flowing(stage: &Stage, track: &str) -> Vec<(IngressRef, Codec)> {
    let rows = stage.egresses_of(track);
    let enabled = rows.iter().filter(|row| row.flags & egress_flags::ENABLED != 0);
    let mut flowing: Vec<_> =
        enabled.map(|row| (row.ingress, Codec::from_u8(row.payload_types[0].codec).unwrap())).collect();
    flowing.sort_by_key(|(ingress, _)| ingress.index);
    flowing
}

fn refusal(messages: &[Message]) -> Option<i32> {
    messages.iter().find_map(|message| match message {
        Message::RequestResponse(response) => Some(response.reason),
        _ => None,
    })
}

fn both(test: impl Fn(Layout)) {
    test(Layout::Dual);
    test(Layout::Single);
}

#[test]
fn who_cannot_decode_the_first_codec_gets_the_backup_and_the_others_stay() {
    both(|layout| {
        let mut stage = Stage::new();
        let mut publisher = stage.join("p", layout);
        let track = stage.publish(&mut publisher, camera_with_backup(Simulcast));
        let first = stage.ingress_of(&track).unwrap();
        stage.media(first, &[(1, Codec::Av1)]);
        let mut able = stage.join("able", layout);
        stage.settle_mut(&mut able);
        assert_eq!(wanted(&stage.take(&publisher)), codecs(true, false), "nobody needs the backup");

        let mut unable = join_decoding_vp8(&mut stage, "unable", layout);
        assert_eq!(flowing(&stage, &track), [(first, Codec::Av1)]);
        assert_eq!(wanted(&stage.take(&publisher)), codecs(true, true));
        stage.restart();
        stage.resume(&mut publisher, |_| {});
        assert_eq!(wanted(&stage.take(&publisher)), codecs(true, true), "a restart forgets no need");
        stage.resume(&mut able, |_| {});
        stage.resume(&mut unable, |_| {});
        stage.settle_mut(&mut able);
        stage.settle_mut(&mut unable);

        let second = publish_backup(&mut stage, &mut publisher, &track);
        let named = stage.take(&publisher);
        let info = last_info(&named, "p").unwrap().tracks[0].clone();
        assert!(names(&named).contains(&"track_published"));
        let described: Vec<_> = info.codecs.iter().map(|it| (it.mime_type.as_str(), it.cid.as_str())).collect();
        assert_eq!(described, [("video/AV1", "cam"), ("video/VP8", "vp8-cam")]);
        assert!(info.mime_type == "video/AV1" && info.codecs[1].mid != info.mid && !info.codecs[1].mid.is_empty());
        stage.media(second, &[(2, Codec::Vp8)]);
        stage.settle_mut(&mut unable);
        stage.settle_mut(&mut able);
        assert_eq!(flowing(&stage, &track), [(first, Codec::Av1), (second, Codec::Vp8)]);
        stage.restart();

        stage.resume(&mut publisher, |_| {});
        stage.resume(&mut unable, |_| {});
        assert_eq!(wanted(&stage.take(&publisher)), codecs(true, true));
        stage.signal(&unable, signal_request::Message::Leave(proto::LeaveRequest::default()));
        assert_eq!(wanted(&stage.take(&publisher)), codecs(true, false));
        let mut again = join_decoding_vp8(&mut stage, "again", layout);
        stage.settle_mut(&mut again);
        assert_eq!(wanted(&stage.take(&publisher)), codecs(true, true));
        assert_eq!(flowing(&stage, &track).last(), Some(&(second, Codec::Vp8)), "it is still published");
    });
}

#[test]
fn a_policy_of_regression_moves_everybody_to_the_backup_once_it_has_packets() {
    for (policy, people, moves) in
        [(Regression, 6, true), (PreferRegression, 4, true), (PreferRegression, 5, false), (Simulcast, 3, false)]
    {
        let mut stage = Stage::new();
        let mut publisher = stage.join("p", Layout::Single);
        let track = stage.publish(&mut publisher, camera_with_backup(policy));
        let first = stage.ingress_of(&track).unwrap();
        stage.media(first, &[(1, Codec::Av1)]);
        let mut others: Vec<Client> =
            (2..people).map(|number| stage.join(&format!("able{number}"), Layout::Dual)).collect();
        others.push(join_decoding_vp8(&mut stage, "unable", Layout::Single));
        let second = publish_backup(&mut stage, &mut publisher, &track);
        others.iter_mut().for_each(|other| drop(stage.settle_mut(other)));
        assert_eq!(flowing(&stage, &track)[0], (first, Codec::Av1), "nothing has come of the backup");
        stage.take(&publisher);
        stage.media(second, &[(2, Codec::Vp8)]);
        others.iter_mut().for_each(|other| drop(stage.settle_mut(other)));
        let of_first = flowing(&stage, &track).iter().filter(|flow| **flow == (first, Codec::Av1)).count();
        assert_eq!(flowing(&stage, &track).len(), people - 1);
        assert_eq!(of_first, if moves { 0 } else { people - 2 }, "{policy:?} of {people}");
        let told = wanted(&stage.take(&publisher));
        assert_eq!(told, if moves { codecs(false, true) } else { None });
        stage.restart();
    }
}

#[test]
fn a_backup_that_ends_is_asked_for_again_and_ends_with_its_track() {
    both(|layout| {
        let mut stage = Stage::new();
        let mut publisher = stage.join("p", layout);
        let track = stage.publish(&mut publisher, camera_with_backup(Simulcast));
        let mut unable = join_decoding_vp8(&mut stage, "unable", layout);
        publish_backup(&mut stage, &mut publisher, &track);
        stage.settle_mut(&mut unable);
        assert_eq!(flowing(&stage, &track).len(), 1);
        stage.take(&publisher);

        *publisher.parts.last_mut().unwrap() = Part::Inactive("video");
        stage.offer(&mut publisher);
        assert_eq!(stage.egresses_of(&track).len(), 0);
        assert_eq!(stage.world.desired.ingresses.len(), 1, "the first codec goes on");
        assert_eq!(wanted(&stage.take(&publisher)), codecs(true, true));
        assert!(stage.participant("p").unwrap().tracks[0].codecs[1].mid.is_empty());
        stage.restart();
        stage.resume(&mut publisher, |_| {});
        publish_backup(&mut stage, &mut publisher, &track);

        let sections = publisher.parts.iter_mut().filter(|part| matches!(part, Part::Send { .. }));
        sections.for_each(|part| *part = Part::Inactive("video"));
        stage.offer(&mut publisher);
        assert!(stage.world.desired.ingresses.is_empty() && stage.participant("p").unwrap().tracks.is_empty());
    });
}

#[test]
fn a_backup_needs_a_track_that_announced_its_codec() {
    use proto::request_response::Reason;
    let mut stage = Stage::new();
    let mut publisher = stage.join("p", Layout::Single);
    let track = stage.publish(&mut publisher, camera_with_backup(Simulcast));
    let plain = stage.publish(&mut publisher, camera("plain"));
    stage.take(&publisher);
    let mut ask = |message| {
        stage.signal(&publisher, message);
        refusal(&stage.take(&publisher))
    };
    assert_eq!(ask(backup_of("TR_unknown", "x", "vp8")), Some(Reason::NotFound as i32));
    assert_eq!(ask(backup_of(&track, "x", "h264")), Some(Reason::UnsupportedType as i32));
    assert_eq!(ask(backup_of(&plain, "x", "vp8")), Some(Reason::UnsupportedType as i32));
    assert_eq!(
        ask(backup_of(&track, "plain", "vp8")),
        Some(Reason::UnsupportedType as i32),
        "the cid of another track"
    );
    assert_eq!(ask(backup_of(&track, "x", "vp8")), None);
    assert_eq!(ask(backup_of(&track, "x", "vp8")), None, "asked twice");
}

#[test]
fn a_client_that_can_decode_neither_codec_is_told() {
    let mut stage = Stage::new();
    let mut publisher = stage.join("p", Layout::Single);
    let mut request = camera_with_backup(Simulcast);
    request.simulcast_codecs[1].codec = "h264".into();
    let mut client = stage.join("s", Layout::Single);
    client.only_vp8 = true;
    stage.offer(&mut client);
    stage.settle_mut(&mut client);
    stage.publish(&mut publisher, request);
    let heard = stage.settle_mut(&mut client);
    let unsupported = |message: &Message| match message {
        Message::SubscriptionResponse(response) => response.err == proto::SubscriptionError::SeCodecUnsupported as i32,
        _ => false,
    };
    assert!(heard.iter().any(unsupported), "{:?}", names(&heard));
    assert_eq!(wanted(&stage.take(&publisher)), None);
}
