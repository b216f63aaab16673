use engine_base::Codec;
use engine_table::egress_flags;
use signaling_protocol::proto::{self, signal_request, signal_response::Message};
use signaling_room::*;

use crate::sdp::Part;
use crate::stage::*;

fn enabled(row: &engine_table::EgressRow) -> bool {
    row.flags & egress_flags::ENABLED != 0
}

fn subscribe(track: &str, on: bool) -> signal_request::Message {
    signal_request::Message::Subscription(proto::UpdateSubscription {
        track_sids: vec![track.to_owned()],
        subscribe: on,
        participant_tracks: Vec::new(),
    })
}

fn both(test: impl Fn(Layout)) {
    test(Layout::Dual);
    test(Layout::Single);
}

#[test]
fn a_published_track_reaches_a_subscriber_after_the_update_that_names_it() {
    both(|layout| {
        let mut stage = Stage::new();
        let mut subscriber = stage.join("s", layout);
        let mut publisher = stage.join("p", layout);
        stage.take(&subscriber);
        let track = stage.publish(&mut publisher, camera("cam"));
        let first = stage.take(&subscriber);
        let carries = |name: &str| ["offer", "media_sections_requirement"].contains(&name);
        let named = names(&first).iter().position(|name| *name == "update").unwrap();
        let carried = names(&first).iter().position(|name| carries(name)).unwrap();
        assert!(named < carried, "{:?}", names(&first));
        let row = &stage.egresses_of(&track)[0];
        assert!(!enabled(row), "nothing flows before the client knows the section");
        stage.world.sent.insert(subscriber.connection, first);
        stage.settle_mut(&mut subscriber);
        let row = &stage.egresses_of(&track)[0];
        assert!(enabled(row));
        assert_eq!(row.cname.as_str(), format!("{}|{track}", publisher.sid));
        assert_eq!(row.payload_types[0].codec, Codec::Vp8 as u8);
        assert_eq!(row.layer_max, 2);
        assert_ne!(row.rtx_ssrc, row.ssrc);
        let told = names(&stage.take(&publisher));
        assert!(told.contains(&"track_subscribed") && told.contains(&"subscribed_quality_update"));
        let ingress = stage.ingress_of(&track).unwrap();
        stage.media(ingress, &[(1, Codec::Vp8)]);
        assert!(!names(&stage.take(&subscriber)).contains(&"stream_state_update"), "nothing was forwarded");
        stage.forward(&track);
        stage.forward(&track);
        assert_eq!(names(&stage.take(&subscriber)), ["stream_state_update"]);
        stage.resume(&mut subscriber, |_| {});
        assert!(names(&stage.take(&subscriber)).contains(&"stream_state_update"));
    });
}

#[test]
fn in_the_single_layout_nothing_flows_before_the_client_can_have_applied_the_answer() {
    use proto::client_info::Sdk;
    for (sdk, ms) in [(Sdk::Js, 50), (Sdk::Python, 100)] {
        let mut stage = Stage::new();
        let mut subscriber = stage.join_with("s", Layout::Single, |request| request.client.sdk = sdk as i32);
        let mut publisher = stage.join("p", Layout::Single);
        let (first, second) =
            (stage.publish(&mut publisher, camera("one")), stage.publish(&mut publisher, microphone("two")));
        stage.take(&subscriber);
        stage.offer(&mut subscriber);
        assert!(names(&stage.take(&subscriber)).contains(&"answer"));
        assert!(!enabled(&stage.egresses_of(&first)[0]), "the answer is on its way");
        stage.advance(ms - 1);
        assert!(!enabled(&stage.egresses_of(&first)[0]));
        stage.advance(1);
        assert!(enabled(&stage.egresses_of(&first)[0]) && enabled(&stage.egresses_of(&second)[0]));

        let third = stage.publish(&mut publisher, microphone("three"));
        stage.offer(&mut subscriber);
        assert!(!enabled(&stage.egresses_of(&third)[0]));
        stage.offer(&mut subscriber);
        assert!(enabled(&stage.egresses_of(&third)[0]), "an offer can only follow the answer to the one before");
    }
}

#[test]
fn video_rests_from_the_announcement_of_video_until_the_offer_where_that_remakes_receivers() {
    let mut stage = Stage::new();
    let mut publisher = stage.join("p", Layout::Single);
    let (video, audio) = (stage.publish(&mut publisher, camera("v")), stage.publish(&mut publisher, microphone("a")));
    let rest = |stage: &mut Stage, name: &str, layout: Layout, sdk: proto::client_info::Sdk| {
        let mut client = stage.join_with(name, layout, |request| request.client.sdk = sdk as i32);
        stage.settle_mut(&mut client);
        let flows = |stage: &Stage| {
            [&video, &audio].map(|track| stage.egresses_of(track).iter().filter(|row| enabled(row)).count())
        };
        let before = flows(stage);
        stage.signal(&client, signal_request::Message::AddTrack(camera(&format!("{name}-cam"))));
        let rested = before[0] - flows(stage)[0];
        assert_eq!(flows(stage)[1], before[1], "audio goes on");
        if layout == Layout::Single {
            stage.offer(&mut client);
            assert_eq!(before[0] - flows(stage)[0], rested, "an offer that was on its way ends no rest");
        }
        if name == "late" {
            stage.restart();
            stage.advance(999);
            assert_eq!(before[0] - flows(stage)[0], rested);
            stage.advance(1);
        } else {
            client.parts.push(Part::video(&format!("{name}-cam")));
            stage.offer(&mut client);
        }
        assert_eq!(flows(stage), before);
        rested
    };
    use proto::client_info::Sdk;
    assert_eq!(rest(&mut stage, "python", Layout::Single, Sdk::Python), 1);
    assert_eq!(rest(&mut stage, "late", Layout::Single, Sdk::Rust), 1);
    assert_eq!(rest(&mut stage, "js", Layout::Single, Sdk::Js), 0);
    assert_eq!(rest(&mut stage, "dual", Layout::Dual, Sdk::Python), 0);
}

#[test]
fn an_answer_that_may_be_lost_enables_nothing_until_another_one_is_given() {
    let mut stage = Stage::new();
    let mut subscriber = stage.join("s", Layout::Single);
    let mut publisher = stage.join("p", Layout::Single);
    let track = stage.publish(&mut publisher, camera("cam"));
    stage.take(&subscriber);
    stage.offer(&mut subscriber);
    stage.input(Input::SocketLost { connection: subscriber.connection });
    stage.advance(5_000);
    assert!(!enabled(&stage.egresses_of(&track)[0]));
    stage.resume(&mut subscriber, |_| {});
    let messages = stage.take(&subscriber);
    let asked = names(&messages).iter().filter(|name| **name == "media_sections_requirement").count();
    assert_eq!(asked, 1, "the client is asked for an offer: {:?}", names(&messages));
    stage.offer(&mut subscriber);
    assert!(!enabled(&stage.egresses_of(&track)[0]), "this offer may have crossed the lost answer");
    stage.advance(50);
    assert!(enabled(&stage.egresses_of(&track)[0]));
}

#[test]
fn each_subscription_has_new_ssrcs_and_its_own_permission_update() {
    both(|layout| {
        let mut stage = Stage::new();
        let mut subscriber = stage.join("s", layout);
        let mut publisher = stage.join("p", layout);
        let track = stage.publish(&mut publisher, camera("cam"));
        stage.settle_mut(&mut subscriber);
        let first = stage.egresses_of(&track)[0];
        stage.signal(&subscriber, subscribe(&track, false));
        assert!(stage.egresses_of(&track).is_empty());
        stage.settle_mut(&mut subscriber);
        stage.signal(&subscriber, subscribe(&track, true));
        let messages = stage.settle_mut(&mut subscriber);
        assert!(names(&messages).contains(&"subscription_permission_update"));
        let second = stage.egresses_of(&track)[0];
        assert!(enabled(&second));
        assert!(first.ssrc != second.ssrc && first.rtx_ssrc != second.rtx_ssrc);
        let subscribed = names(&stage.take(&publisher)).into_iter().filter(|name| *name == "track_subscribed");
        assert_eq!(subscribed.count(), 1);
    });
}

#[test]
fn more_tracks_than_sections_are_asked_for_once() {
    let mut stage = Stage::new();
    let mut subscriber = stage.join("s", Layout::Single);
    let mut publisher = stage.join("p", Layout::Single);
    let tracks: Vec<String> = (0..5).map(|n| stage.publish(&mut publisher, camera(&format!("cam{n}")))).collect();
    let mut asked = (0, 0);
    for message in stage.settle_mut(&mut subscriber) {
        if let Message::MediaSectionsRequirement(need) = message {
            asked = (asked.0 + need.num_audios, asked.1 + need.num_videos);
        }
    }
    assert_eq!(asked, (0, 2));
    assert_eq!(subscriber.parts.len(), 9);
    assert!(tracks.iter().all(|track| enabled(&stage.egresses_of(track)[0])));
}

#[test]
fn settings_become_layers_without_negotiation() {
    let mut stage = Stage::new();
    let mut subscriber = stage.join_with("s", Layout::Single, |request| request.adaptive_stream = true);
    let mut publisher = stage.join("p", Layout::Single);
    let track = stage.publish(&mut publisher, camera("cam"));
    stage.settle_mut(&mut subscriber);
    assert_eq!(stage.egresses_of(&track)[0].layer_max, 0, "an adaptive client begins low");
    let set = |stage: &mut Stage, setting: proto::UpdateTrackSettings| {
        let setting = proto::UpdateTrackSettings { track_sids: vec![track.clone()], ..setting };
        stage.signal(&subscriber, signal_request::Message::TrackSetting(setting));
        stage.egresses_of(&track)[0]
    };
    let row = set(&mut stage, proto::UpdateTrackSettings { width: 640, height: 360, fps: 10, ..Default::default() });
    assert_eq!((row.layer_max, row.temporal_max, enabled(&row)), (1, 1, true));
    let row = set(&mut stage, proto::UpdateTrackSettings { disabled: true, quality: 2, ..Default::default() });
    assert!(!enabled(&row));
    let row = set(&mut stage, proto::UpdateTrackSettings { quality: 2, ..Default::default() });
    assert_eq!((row.layer_max, enabled(&row)), (2, true));
    assert!(stage.take(&subscriber).is_empty());
}

#[test]
fn an_unknown_track_is_waited_for_and_then_given_up() {
    let mut stage = Stage::new();
    let subscriber = stage.join_with("s", Layout::Single, |request| request.auto_subscribe = false);
    stage.take(&subscriber);
    stage.signal(&subscriber, subscribe("TR_VCnobody", true));
    stage.advance(59_000);
    assert!(!names(&stage.take(&subscriber)).contains(&"subscription_response"));
    stage.advance(2_000);
    let messages = stage.take(&subscriber);
    let failed = messages.iter().find_map(|message| match message {
        Message::SubscriptionResponse(response) => Some(response.err),
        _ => None,
    });
    assert_eq!(failed, Some(proto::SubscriptionError::SeTrackNotfound as i32));
}

#[test]
fn without_auto_subscribe_only_what_is_asked_for_comes() {
    let mut stage = Stage::new();
    let mut subscriber = stage.join_with("s", Layout::Dual, |request| request.auto_subscribe = false);
    let mut publisher = stage.join("p", Layout::Dual);
    let audio = stage.publish(&mut publisher, microphone("mic"));
    let video = stage.publish(&mut publisher, camera("cam"));
    stage.settle_mut(&mut subscriber);
    assert!(stage.world.desired.egresses.is_empty());
    stage.signal(&subscriber, subscribe(&audio, true));
    stage.settle_mut(&mut subscriber);
    assert_eq!((stage.egresses_of(&audio).len(), stage.egresses_of(&video).len()), (1, 0));
}

#[test]
fn a_publisher_decides_who_may_subscribe_and_the_wish_outlives_the_denial() {
    both(|layout| {
        let mut stage = Stage::new();
        let mut subscriber = stage.join("s", layout);
        let mut publisher = stage.join("p", layout);
        let track = stage.publish(&mut publisher, microphone("mic"));
        stage.settle_mut(&mut subscriber);
        let rule = |all_participants: bool| {
            signal_request::Message::SubscriptionPermission(proto::SubscriptionPermission {
                all_participants,
                track_permissions: Vec::new(),
            })
        };
        stage.signal(&publisher, rule(true));
        assert!(stage.take(&subscriber).is_empty(), "what JS says on each join changes nothing");
        stage.signal(&publisher, rule(false));
        let messages = stage.settle_mut(&mut subscriber);
        assert!(messages.iter().any(|message| matches!(
            message,
            Message::SubscriptionPermissionUpdate(update) if !update.allowed && update.track_sid == track
        )));
        assert!(stage.egresses_of(&track).is_empty());
        stage.signal(&publisher, rule(true));
        stage.settle_mut(&mut subscriber);
        assert!(enabled(&stage.egresses_of(&track)[0]));
    });
}

#[test]
fn a_codec_that_the_subscriber_lacks_is_said_so() {
    both(|layout| {
        let mut stage = Stage::new();
        let mut publisher = stage.join("p", layout);
        let mut request = camera("cam");
        request.simulcast_codecs[0].codec = "av1".into();
        let track = stage.publish(&mut publisher, request);
        let without_av1 = |sdp: &str| {
            let lines =
                sdp.lines().filter(|line| !line.contains("AV1") && !line.contains(":45 ") && !line.contains(":46 "));
            let lines = lines.map(|line| line.replace(" 45 46", "").replace(" 35 36", ""));
            lines.map(|line| line + "\r\n").collect::<String>()
        };
        let mut subscriber = stage.enter("s", layout, |request| {
            if let Some(offer) = &mut request.publisher_offer {
                offer.sdp = without_av1(&offer.sdp);
            }
        });
        let mut all = stage.take(&subscriber);
        for _ in 0..4 {
            let messages = std::mem::take(&mut all);
            for message in &messages {
                if let Message::Offer(offer) = message {
                    let sdp = without_av1(&crate::sdp::answer(&offer.sdp, "s0s"));
                    let answer = proto::SessionDescription { sdp, id: offer.id, ..Default::default() };
                    stage.signal(&subscriber, signal_request::Message::Answer(answer));
                }
                if let Message::SubscriptionResponse(response) = message {
                    assert_eq!(response.err, proto::SubscriptionError::SeCodecUnsupported as i32);
                    assert!(stage.egresses_of(&track).iter().all(|row| !enabled(row)));
                    return;
                }
            }
            all = stage.take(&subscriber);
        }
        stage.settle_mut(&mut subscriber);
        panic!("no subscription_response in {layout:?}");
    });
}

#[test]
fn offers_wait_for_the_answer_of_the_one_before_and_a_silent_client_begins_anew() {
    let mut stage = Stage::new();
    let subscriber = stage.join("s", Layout::Dual);
    let mut publisher = stage.join("p", Layout::Dual);
    stage.take(&subscriber);
    stage.publish(&mut publisher, microphone("mic"));
    stage.publish(&mut publisher, camera("cam"));
    let offers = names(&stage.take(&subscriber)).into_iter().filter(|name| *name == "offer").count();
    assert_eq!(offers, 1);
    stage.advance(16_000);
    let messages = stage.take(&subscriber);
    let Some(Message::Leave(leave)) = messages.last() else { panic!("{:?}", names(&messages)) };
    assert_eq!(leave.action, proto::leave_request::Action::Reconnect as i32);
    assert_eq!(leave.reason, proto::DisconnectReason::StateMismatch as i32);
}
