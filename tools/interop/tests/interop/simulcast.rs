//! Three layers are published; a subscriber chooses.

use tools_interop::{Layout, Scene, layers_are_switched};

#[test]
fn chromium_switches_between_the_layers_of_python() {
    let scene = Scene::new();
    let (bob, alice) = (scene.python("bob"), scene.chromium("alice"));
    layers_are_switched(&scene, [&bob, &alice], "vp8", Layout::Single);
}

#[test]
fn chromium_switches_between_the_layers_of_chromium_in_the_dual_layout() {
    let scene = Scene::new();
    let (bob, alice) = (scene.chromium("bob"), scene.chromium("alice"));
    layers_are_switched(&scene, [&bob, &alice], "vp8", Layout::Dual);
}

#[test]
fn python_switches_between_the_layers_of_chromium() {
    let scene = Scene::new();
    let (bob, alice) = (scene.chromium("bob"), scene.python("alice"));
    layers_are_switched(&scene, [&bob, &alice], "vp8", Layout::Single);
}
