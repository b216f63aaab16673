use engine_base::Codec;
use engine_table::ingress_flags;
use signaling_protocol::proto::{self, signal_request, signal_response::Message};
use signaling_room::*;
use signaling_token::VideoGrant;

use crate::sdp::Part;
use crate::stage::*;

fn refusal(messages: &[Message]) -> Option<proto::request_response::Reason> {
    let response = messages.iter().find_map(|message| match message {
        Message::RequestResponse(response) => Some(response.reason),
        _ => None,
    });
    response.and_then(|reason| proto::request_response::Reason::try_from(reason).ok())
}

#[test]
fn a_camera_is_named_bound_and_described_by_its_first_packets() {
    let mut stage = Stage::new();
    let mut client = stage.join("a", Layout::Dual);
    stage.take(&client);
    let track = stage.publish(&mut client, camera("cam"));
    assert!(track.starts_with("TR_VC") && track.len() == 17);
    let messages = stage.take(&client);
    assert_eq!(names(&messages), ["track_published", "update", "answer", "trickle", "trickle"]);
    let Message::TrackPublished(published) = &messages[0] else { panic!() };
    let info = published.track.as_ref().unwrap();
    assert!(info.simulcast && info.stream == "camera");
    assert_eq!(info.codecs[0].mime_type, "video/vp8");
    let ingress = stage.ingress_of(&track).unwrap();
    let row = stage.world.desired.ingresses[&ingress];
    let rids: Vec<&str> = row.layers.iter().map(|layer| layer.rid.as_str()).collect();
    assert_eq!((rids, row.layer_count, row.mid.as_str()), (vec!["q", "h", "f"], 3, "1"));
    assert_eq!(row.payload_types[0].codec, Codec::Vp8 as u8);

    stage.media(ingress, &[(11, Codec::Vp8)]);
    stage.media(ingress, &[(11, Codec::Vp8), (12, Codec::Vp8), (13, Codec::Vp8)]);
    stage.media(ingress, &[(11, Codec::Vp8), (12, Codec::Vp8), (13, Codec::Vp8)]);
    let messages = stage.take(&client);
    assert_eq!(names(&messages), ["update", "update"], "packets that tell nothing new are not told");
    let info = last_info(&messages, "a").unwrap();
    assert!(info.is_publisher);
    let track = &info.tracks[0];
    assert_eq!((track.mime_type.as_str(), track.mid.as_str()), ("video/VP8", "1"));
    let layers: Vec<_> = track.layers.iter().map(|l| (l.ssrc, l.rid.as_str(), l.spatial_layer)).collect();
    assert_eq!(layers, [(11, "q", 0), (12, "h", 1), (13, "f", 2)]);
    assert_eq!(track.codecs[0].layers, track.layers);
}

#[test]
fn a_microphone_is_red_in_the_answer_and_in_its_info() {
    let mut stage = Stage::new();
    let mut client = stage.join("a", Layout::Single);
    let track = stage.publish(&mut client, microphone("mic"));
    let messages = stage.take(&client);
    let sdp = messages.iter().find_map(|message| match message {
        Message::Answer(answer) => Some(answer.sdp.clone()),
        _ => None,
    });
    let sdp = sdp.unwrap();
    let section = sdp.split("m=").nth(8).unwrap();
    assert!(section.starts_with("audio 9 UDP/TLS/RTP/SAVPF 63 111"), "{section}");
    assert!(section.contains("usedtx=1"));
    assert_eq!(last_info(&messages, "a").unwrap().tracks[0].mime_type, "audio/red");
    let row = stage.world.desired.ingresses[&stage.ingress_of(&track).unwrap()];
    assert_ne!(row.flags & ingress_flags::MICROPHONE, 0);
}

#[test]
fn an_answer_waits_a_moment_for_the_add_track_of_its_section() {
    let mut stage = Stage::new();
    let mut client = stage.join("a", Layout::Single);
    stage.take(&client);
    client.parts.push(Part::video("cam"));
    stage.offer(&mut client);
    assert!(stage.take(&client).is_empty());
    let mut request = camera("other");
    request.simulcast_codecs[0].codec = "av1".into();
    request.simulcast_codecs[0].cid.clear();
    stage.signal(&client, signal_request::Message::AddTrack(request));
    let messages = stage.take(&client);
    assert_eq!(names(&messages), ["track_published", "update", "answer"]);
    let Message::Answer(answer) = &messages[2] else { panic!() };
    assert!(answer.sdp.contains("m=video 9 UDP/TLS/RTP/SAVPF 45"), "the announced codec comes first");
    let info = last_info(&messages, "a").unwrap();
    assert_eq!(info.tracks[0].codecs[0].sdp_cid, "cam");

    client.parts.push(Part::audio("mic"));
    stage.offer(&mut client);
    assert!(stage.take(&client).is_empty());
    stage.advance(250);
    assert_eq!(names(&stage.take(&client)), ["answer"]);
    let track = {
        stage.signal(&client, signal_request::Message::AddTrack(microphone("mic")));
        stage.participant("a").unwrap().tracks
    };
    assert_eq!(track.len(), 2, "a late AddTrack still finds its section");
}

#[test]
fn a_track_that_was_given_the_section_of_another_one_moves_to_its_own() {
    let mut stage = Stage::new();
    let mut watcher = stage.join("w", Layout::Single);
    let mut client = stage.join("a", Layout::Single);
    client.parts.push(Part::audio("lost"));
    stage.offer(&mut client);
    stage.signal(&client, signal_request::Message::AddTrack(microphone("mic")));
    let track = stage.participant("a").unwrap().tracks[0].clone();
    assert_eq!((track.mid.as_str(), track.codecs[0].sdp_cid.as_str()), ("7", "lost"), "a section without a request");
    stage.settle_mut(&mut watcher);
    let ingress = stage.ingress_of(&track.sid).unwrap();
    *client.parts.last_mut().unwrap() = Part::Inactive("audio");
    client.parts.push(Part::audio("mic"));
    stage.offer(&mut client);
    let moved = stage.participant("a").unwrap().tracks[0].clone();
    assert_eq!((&moved.sid, moved.mid.as_str(), moved.codecs[0].sdp_cid.as_str()), (&track.sid, "8", ""));
    assert_eq!(stage.ingress_of(&track.sid), Some(ingress));
    assert_eq!(stage.world.desired.ingresses[&ingress].mid.as_str(), "8");
    assert_eq!(stage.egresses_of(&track.sid)[0].ingress, ingress);
}

#[test]
fn requests_beyond_the_grant_or_the_bounds_are_refused_by_name() {
    use proto::request_response::Reason;
    let mut stage = Stage::new();
    let only_camera = VideoGrant { can_publish_sources: vec!["camera".into()], ..grant() };
    let client = stage.join_with("a", Layout::Single, |request| request.claims = claims("a", only_camera));
    let ask = |stage: &mut Stage, request: proto::AddTrackRequest| {
        stage.signal(&client, signal_request::Message::AddTrack(request));
        refusal(&stage.take(&client))
    };
    stage.take(&client);
    assert_eq!(ask(&mut stage, microphone("mic")), Some(Reason::NotAllowed));
    let data = proto::AddTrackRequest { r#type: proto::TrackType::Data as i32, ..camera("d") };
    assert_eq!(ask(&mut stage, data), Some(Reason::UnsupportedType));
    assert_eq!(ask(&mut stage, proto::AddTrackRequest { sid: "TR_x".into(), ..camera("c") }), Some(Reason::NotFound));
    assert_eq!(ask(&mut stage, camera("cam")), None);
    assert_eq!(ask(&mut stage, camera("cam")), Some(Reason::Queued));
    for n in 0..19 {
        assert_eq!(ask(&mut stage, camera(&format!("cam{n}"))), None);
    }
    assert_eq!(ask(&mut stage, camera("more")), Some(Reason::LimitExceeded));
    let mute = proto::MuteTrackRequest { sid: "TR_none".into(), muted: true };
    stage.signal(&client, signal_request::Message::Mute(mute));
    assert_eq!(refusal(&stage.take(&client)), Some(Reason::NotFound));
}

#[test]
fn a_section_that_stops_ends_its_track_and_frees_a_queued_cid() {
    let mut stage = Stage::new();
    let watcher = stage.join("w", Layout::Single);
    let mut client = stage.join("a", Layout::Single);
    let track = stage.publish(&mut client, microphone("mic"));
    stage.settle(&watcher);
    stage.signal(&client, signal_request::Message::AddTrack(microphone("mic")));
    stage.take(&client);
    *client.parts.last_mut().unwrap() = Part::Inactive("audio");
    stage.offer(&mut client);
    let messages = stage.take(&client);
    assert!(names(&messages).contains(&"track_published"), "the queued request is served");
    assert!(last_info(&messages, "a").unwrap().tracks.is_empty());
    assert!(stage.ingress_of(&track).is_none());
    assert!(stage.egresses_of(&track).is_empty());
}

#[test]
fn a_mute_is_told_to_everybody_and_to_the_engine() {
    let mut stage = Stage::new();
    let watcher = stage.join("w", Layout::Dual);
    let mut client = stage.join("a", Layout::Dual);
    let track = stage.publish(&mut client, microphone("mic"));
    stage.settle(&watcher);
    let before = stage.participant("a").unwrap().version;
    stage.signal(&client, signal_request::Message::Mute(proto::MuteTrackRequest { sid: track.clone(), muted: true }));
    for other in [&watcher, &client] {
        let info = last_info(&stage.take(other), "a").unwrap();
        assert!(info.tracks[0].muted && info.version > before);
    }
    let row = stage.world.desired.ingresses[&stage.ingress_of(&track).unwrap()];
    assert_ne!(row.flags & ingress_flags::MUTED, 0);
}

#[test]
fn metadata_of_its_own_is_told_in_the_recorded_order() {
    let mut stage = Stage::new();
    let client = stage.join("a", Layout::Single);
    stage.take(&client);
    let update = proto::UpdateParticipantMetadata {
        metadata: "m".into(),
        attributes: [("k".to_owned(), "v".to_owned())].into(),
        request_id: 9,
        ..Default::default()
    };
    stage.signal(&client, signal_request::Message::UpdateMetadata(update.clone()));
    let messages = stage.take(&client);
    assert_eq!(names(&messages), ["update", "refresh_token", "request_response"]);
    let echo = Some(proto::request_response::Request::UpdateMetadata(update.clone()));
    assert!(matches!(&messages[2], Message::RequestResponse(response)
        if response.request_id == 9 && response.request == echo && response.message.is_empty()));
    let info = last_info(&messages, "a").unwrap();
    assert_eq!((info.metadata.as_str(), info.attributes.get("k").map(String::as_str)), ("m", Some("v")));
    let removal =
        proto::UpdateParticipantMetadata { attributes: [("k".to_owned(), String::new())].into(), ..Default::default() };
    stage.signal(&client, signal_request::Message::UpdateMetadata(removal));
    let info = last_info(&stage.take(&client), "a").unwrap();
    assert!(info.attributes.is_empty() && info.metadata == "m");
    let huge = proto::UpdateParticipantMetadata { metadata: "x".repeat(600 * 1024), ..update };
    stage.signal(&client, signal_request::Message::UpdateMetadata(huge));
    assert_eq!(refusal(&stage.take(&client)), Some(proto::request_response::Reason::LimitExceeded));
}

#[test]
fn speech_is_told_to_those_who_hear_it() {
    let mut stage = Stage::new();
    let listener = stage.join("l", Layout::Single);
    let deaf = stage.join_with("d", Layout::Single, |request| request.auto_subscribe = false);
    let mut client = stage.join("a", Layout::Single);
    let track = stage.publish(&mut client, microphone("mic"));
    stage.settle(&listener);
    for other in [&listener, &deaf, &client] {
        stage.take(other);
    }
    let ingress = stage.ingress_of(&track).unwrap();
    let level = |windows: u64| AudioLevel {
        ingress,
        packets: 20 * windows,
        active_packets: 18 * windows,
        active_level_sum: 18 * 12 * windows,
    };
    for window in 0..3 {
        stage.input(Input::Levels(vec![level(window)]));
    }
    let heard = |messages: Vec<Message>| {
        let speakers = messages.into_iter().filter_map(|message| match message {
            Message::SpeakersChanged(changed) => Some(changed.speakers[0].clone()),
            _ => None,
        });
        speakers.collect::<Vec<_>>()
    };
    let told = heard(stage.take(&listener));
    assert!(told[0].active && told[0].sid == client.sid && (told[0].level * 8.0).fract() == 0.0);
    assert_eq!(heard(stage.take(&client)).len(), told.len());
    assert!(heard(stage.take(&deaf)).is_empty());
    stage.input(Input::Levels(vec![level(2)]));
    assert_eq!(heard(stage.take(&listener)).first().map(|speaker| speaker.active), Some(false));

    stage.input(Input::Levels(vec![level(4)]));
    assert_eq!(heard(stage.take(&listener)).first().map(|speaker| speaker.active), Some(true));
    *client.parts.last_mut().unwrap() = Part::Inactive("audio");
    stage.offer(&mut client);
    let told = heard(stage.take(&listener));
    assert_eq!(
        told.first().map(|speaker| (speaker.active, speaker.level)),
        Some((false, 0.0)),
        "its end ends the voice"
    );
    assert!(heard(stage.take(&deaf)).is_empty());
}
