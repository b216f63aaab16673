//! `kill -9` of the engine: its successor takes over paths, keys, numbers and streams, and nobody negotiates anew.

use std::time::Duration;

use serde_json::Value;
use tools_interop::{Layout, Scene, Take, Video, flows, show_each_other, until};

/// DESIGN §8 allows a gap of 50 ms. A machine whose cores are shared may be late with anything by several times that.
const GAP_MS_MAX: f64 = 250.0;

/// No picture may be held for longer.
const PICTURE_MS_MAX: f64 = 500.0;

#[test]
fn nobody_negotiates_or_waits_for_a_picture() {
    for layout in [Layout::Single, Layout::Dual] {
        let scene = Scene::own();
        let options = scene.options().layout(layout);
        let (alice, bob) = (scene.chromium("alice"), scene.python("bob"));
        for each in [&alice, &bob] {
            each.join(&options);
        }
        show_each_other([&alice, &bob], &Video::small("vp8"));
        let settled = [Take::now(&alice, &bob), Take::now(&bob, &alice)];
        let before = [settled[0].after_frames(15, &alice, &bob), settled[1].after_frames(15, &bob, &alice)];
        let established = scene.node.handshakes();
        let marks = [alice.mark(), bob.mark()];
        for each in [&alice, &bob] {
            each.call("resetGaps", serde_json::json!([]));
        }

        let old = scene.node.kill("engine");
        scene.node.wait_restarted("engine", old, Duration::from_secs(1));
        let after = [before[0].after_frames(75, &alice, &bob), before[1].after_frames(75, &bob, &alice)];
        for flow in [0, 1].into_iter().flat_map(|side| flows(&before[side], &after[side])) {
            // What the engine had read and not yet sent is lost with it, and asked for again.
            flow.assert_arrived(95);
        }
        for (each, mark) in [&alice, &bob].into_iter().zip(marks) {
            for track in each.stats().received.iter().filter(|track| track.kind == "video") {
                let gap_ms = track.shown.as_ref().map_or(0.0, |shown| shown.gap_ms_max);
                println!("{layout:?}: longest time without a new picture at {}: {gap_ms:.0} ms", each.identity);
                assert!(gap_ms <= PICTURE_MS_MAX, "no picture for {gap_ms:.0} ms at {}", each.identity);
            }
            for event in ["reconnecting", "reconnected", "disconnected", "signal_first"] {
                assert!(each.named_since(mark, event).is_empty(), "{} noticed: {event}", each.identity);
            }
        }
        assert_eq!(scene.node.handshakes(), established, "a new DTLS handshake in {layout:?}");
    }
}

/// The load generator checks every sequence number, and stamps packets with the time at which they were sent: one that waited in a
/// socket for the successor shows how long nobody forwarded.
#[test]
fn packets_wait_for_the_successor() {
    /// What the engine had read when it was killed, and clients would ask for again: both cameras' frames at the most.
    const TURN_PACKETS: u64 = 16;
    const SUBSCRIBERS: u64 = 8;
    let scene = Scene::own();
    let subscribers = SUBSCRIBERS.to_string();
    let load = ["load", "--url", &scene.node.url, "--video-publishers", "2", "--audio-publishers", "2"];
    let rest =
        ["--subscribers", &subscribers, "--num-per-second", "20", "--duration", "6s", "--sample-every", "1", "--json"];
    let arguments: Vec<&str> = load.into_iter().chain(rest).collect();
    let report = std::thread::scope(|threads| {
        let load = threads.spawn(|| scene.node.command(&arguments));
        // About two seconds of media.
        until("media flows", Duration::from_secs(20), || {
            let sent = forwarded(&scene);
            if sent >= 10_000 { Ok(()) } else { Err(format!("{sent} packets")) }
        });
        let old = scene.node.kill("engine");
        scene.node.wait_restarted("engine", old, Duration::from_secs(1));
        load.join().expect("the load ends by itself")
    });
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let gap_ms = report["latency_us"]["max"].as_f64().expect("samples") / 1_000.0;
    println!("longest wait {gap_ms:.1} ms, lost {} of {}", report["lost"], report["received_packets"]);
    assert_eq!(report["failed"], 0, "somebody was cut off: {report}");
    let lost = report["lost"].as_u64().expect("a count");
    assert!(lost <= SUBSCRIBERS * TURN_PACKETS, "{lost} packets were lost: {report}");
    assert!(gap_ms <= GAP_MS_MAX, "nothing was forwarded for {gap_ms:.0} ms");
}

/// Packets that the engine has sent so far.
fn forwarded(scene: &Scene) -> u64 {
    let status = scene.node.status();
    let workers = status["counters"]["workers"].as_array().unwrap_or_else(|| panic!("no workers in {status}"));
    workers.iter().filter_map(|worker| worker["sent"].as_u64()).sum()
}
