//! Three layers are published and a subscriber chooses among them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{Layout, Participant, Scene, Video, until};

/// A change of quality must show within this, and never hold a picture for longer than the gap.
const CHANGE: Duration = Duration::from_secs(2);
const GAP_MS_MAX: f64 = 500.0;

/// What each quality of a 1280×720 publication is.
const QUALITIES: [(&str, u64); 3] = [("LOW", 320), ("MEDIUM", 640), ("HIGH", 1280)];

/// One publishes three layers, the other asks for each in turn and gets it in time, without a still picture.
///
/// # Panics
/// When a change takes over two seconds, holds a picture for over half a second, or looks like packet loss.
pub fn layers_are_switched(
    scene: &Scene,
    [publisher, subscriber]: [&Participant; 2],
    codec: &'static str,
    layout: Layout,
) {
    let options = scene.options().layout(layout);
    publisher.join(&options);
    subscriber.join(&options);
    let mark = subscriber.mark();
    let video = publisher.publish_video(&Video::simulcast(codec));
    let largest = |event: &Value| event["sid"] == *video.sid && event["width"] == 1280;
    subscriber.wait_within(mark, "resolution", Duration::from_secs(30), largest);

    for index in [1, 0, 2, 0, 1, 2] {
        let (quality, width) = QUALITIES[index];
        subscriber.call("resetGaps", json!([]));
        let mark = subscriber.mark();
        subscriber.set_quality(&video.sid, quality);
        let changed = |event: &Value| event["sid"] == *video.sid && event["width"] == width;
        subscriber.wait_within(mark, "resolution", CHANGE, changed);
        let gap_ms = longest_gap_ms(subscriber, &video.sid, 8);
        println!("{quality}: longest gap {gap_ms:.0} ms");
        assert!(gap_ms <= GAP_MS_MAX, "no picture for {gap_ms:.0} ms at the change to {quality}");
    }
    let stats = subscriber.stats();
    let track = stats.received(&video.sid).expect("the video is received");
    assert_eq!(track.packets_lost, 0, "layer changes look like loss: {track:?}");
}

/// The longest gap since the last reset, once `frames` more pictures were shown.
fn longest_gap_ms(subscriber: &Participant, sid: &str, frames: u64) -> f64 {
    let shown = || subscriber.stats().received(sid).and_then(|track| track.shown.clone()).unwrap_or_default();
    let before = shown().count;
    until("pictures after the change", Duration::from_secs(5), || {
        let now = shown();
        if now.count >= before + frames { Ok(now.gap_ms_max) } else { Err(format!("{} shown", now.count - before)) }
    })
}
