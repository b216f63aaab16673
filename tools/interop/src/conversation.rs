//! The conversation that every codec and layout must carry, measured at both ends.

use crate::{Flow, Layout, PATIENCE, Participant, Published, Scene, Take, Video, flows, until};

/// 10 s at 15 frames per second.
const FRAMES: u64 = 150;

/// The share of the frames encoded at one side that must be decoded at the other.
const ARRIVED_PERCENT: u64 = 95;

/// Chromium and Python each publish audio and video of `codec` in `layout` and receive the other's for ten seconds.
///
/// # Panics
/// When less than 95 % of it arrives, or it arrives in another codec or size, or only silence is heard.
pub fn media_flows_both_ways(codec: &'static str, layout: Layout) {
    let scene = Scene::new();
    let options = scene.options().layout(layout);
    let (alice, bob) = (scene.chromium("alice"), scene.python("bob"));
    alice.join(&options);
    bob.join(&options);
    converse([&alice, &bob], &Video::small(codec));
}

/// Both, who have joined, publish audio and `video` and receive the other's for ten seconds.
///
/// # Panics
/// As [`media_flows_both_ways`].
pub fn converse([alice, bob]: [&Participant; 2], video: &Video) {
    for each in [alice, bob] {
        each.publish_audio();
    }
    show_each_other([alice, bob], video);
    for each in [alice, bob] {
        until(&format!("{} hears", each.identity), PATIENCE, || {
            let stats = each.stats();
            let packets =
                stats.received.iter().filter(|track| track.kind == "audio").map(|track| track.packets_received);
            if packets.max().unwrap_or(0) >= 10 { Ok(()) } else { Err(format!("{:?}", stats.received)) }
        });
    }

    let before = (Take::now(alice, bob), Take::now(bob, alice));
    let after = (before.0.after_frames(FRAMES, alice, bob), before.1.after_frames(FRAMES, bob, alice));
    check(video.codec, &flows(&before.0, &after.0));
    check(video.codec, &flows(&before.1, &after.1));
}

/// Both, who have joined, publish `video` and see the other's first frame. What each has published, in this order.
pub fn show_each_other([alice, bob]: [&Participant; 2], video: &Video) -> [Published; 2] {
    let marks = [alice.mark(), bob.mark()];
    let published = [alice, bob].map(|each| each.publish_video(video));
    alice.wait(marks[0], "first_frame", |event| event["sid"] == *published[1].sid);
    bob.wait(marks[1], "first_frame", |event| event["sid"] == *published[0].sid);
    published
}

fn check(codec: &str, flows: &[Flow]) {
    let of = |kind: &str| flows.iter().find(|flow| flow.kind == kind).unwrap_or_else(|| panic!("no {kind}: {flows:?}"));
    let (video, audio) = (of("video"), of("audio"));
    for flow in [video, audio] {
        println!("{} {}: {} of {} arrived", flow.kind, flow.codec, flow.arrived, flow.sent);
        flow.assert_arrived(ARRIVED_PERCENT);
    }
    assert_eq!(video.codec, codec, "{video:?}");
    assert_eq!((video.width, video.height), (640, 360), "{video:?}");
    assert!(audio.energy > 0.0, "only silence is heard: {audio:?}");
}
