//! The rest of the matrix of codecs, layouts and clients; `cargo xtask interop --all` runs it, `cargo xtask test` does not.

use tools_interop::{Layout, Scene, Video, converse, layers_are_switched, media_flows_both_ways};

#[test]
fn vp9_flows_both_ways_in_the_dual_layout() {
    media_flows_both_ways("vp9", Layout::Dual);
}

#[test]
fn av1_flows_both_ways_in_the_dual_layout() {
    media_flows_both_ways("av1", Layout::Dual);
}

#[test]
fn every_codec_flows_between_two_layouts() {
    for codec in ["vp8", "h264", "vp9", "av1"] {
        for (of_alice, of_bob) in [(Layout::Single, Layout::Dual), (Layout::Dual, Layout::Single)] {
            let scene = Scene::new();
            let (alice, bob) = (scene.chromium("alice"), scene.python("bob"));
            alice.join(&scene.options().layout(of_alice));
            bob.join(&scene.options().layout(of_bob));
            converse([&alice, &bob], &Video::small(codec));
        }
    }
}

#[test]
fn every_codec_flows_between_two_pages_of_chromium() {
    for codec in ["vp8", "h264", "vp9", "av1"] {
        let scene = Scene::new();
        let (alice, carol) = (scene.chromium("alice"), scene.chromium("carol"));
        alice.join(&scene.options());
        carol.join(&scene.options().layout(Layout::Dual));
        converse([&alice, &carol], &Video::small(codec));
    }
}

#[test]
fn every_codec_flows_between_two_clients_of_python() {
    for codec in ["vp8", "h264", "vp9", "av1"] {
        let scene = Scene::new();
        let (bob, dave) = (scene.python("bob"), scene.python("dave"));
        bob.join(&scene.options());
        dave.join(&scene.options().layout(Layout::Dual));
        converse([&bob, &dave], &Video::small(codec));
    }
}

#[test]
fn spatial_layers_in_one_stream_are_decoded() {
    for codec in ["vp9", "av1"] {
        let scene = Scene::new();
        let (alice, carol) = (scene.chromium("alice"), scene.chromium("carol"));
        alice.join(&scene.options());
        carol.join(&scene.options());
        converse([&alice, &carol], &Video { scalability: Some("L3T3_KEY"), ..Video::small(codec) });
    }
}

#[test]
fn layers_of_h264_are_switched() {
    let scene = Scene::new();
    let (bob, alice) = (scene.chromium("bob"), scene.chromium("alice"));
    layers_are_switched(&scene, [&bob, &alice], "h264", Layout::Single);
}

#[test]
fn layers_of_vp8_are_switched_between_clients_of_python_in_the_dual_layout() {
    let scene = Scene::new();
    let (bob, dave) = (scene.python("bob"), scene.python("dave"));
    layers_are_switched(&scene, [&bob, &dave], "vp8", Layout::Dual);
}
