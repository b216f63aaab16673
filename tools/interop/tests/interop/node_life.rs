//! A node as an operator sees it: it starts, says so, shows itself, and ends without a trace.

use std::net::UdpSocket;
use std::time::Duration;

use serde_json::json;
use tools_interop::{Node, Scene, Video, get, is_alive, until};

#[test]
fn the_ready_line_tells_everything_that_a_client_needs() {
    let node = Node::start_own();
    let ready = node.ready().clone();
    for name in ["url", "http_url", "api_key", "api_secret", "token", "demo_url", "runtime_dir"] {
        assert!(ready[name].as_str().is_some_and(|text| !text.is_empty()), "no {name} in {ready}");
    }
    for name in ["holder", "engine", "courier", "signaling"] {
        let pid = ready["pids"][name].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a pid");
        assert!(is_alive(pid), "{name} does not run");
    }
    let token = ready["token"].as_str().expect("checked above");
    let bearer = format!("Bearer {token}");
    let valid = get(&node.http_url, "/rtc/validate", &[("authorization", &bearer)]);
    assert_eq!((valid.status, valid.body.as_str()), (200, "success"));
    assert_eq!(get(&node.http_url, "/", &[]).body, "OK");
    node.stop();
}

#[test]
fn two_nodes_run_side_by_side() {
    let (one, two) = (Scene::own(), Scene::own());
    assert_ne!(one.node.port, two.node.port);
    for scene in [&one, &two] {
        let (bob, carol) = (scene.python("bob"), scene.python("carol"));
        bob.join(&scene.options());
        carol.join(&scene.options());
        let mark = carol.mark();
        let video = bob.publish_video(&Video::small("vp8"));
        carol.wait(mark, "first_frame", |event| event["sid"] == *video.sid);
    }
}

#[test]
fn a_second_node_on_a_taken_port_is_refused() {
    let one = Node::start_own();
    let (port, udp_port) = (one.port, &one.ready()["udp_port"]);
    let configuration = format!(
        "port: {port}\nbind_addresses: [127.0.0.1]\nkeys:\n  devkey: secret\nrtc:\n  udp_port: {udp_port}\n  \
         enable_loopback_candidate: true\n"
    );
    let two = std::panic::catch_unwind(|| Node::start_with(&configuration));
    let message = two.err().and_then(|panic| panic.downcast::<String>().ok()).expect("the second node must not start");
    let named = [port.to_string(), udp_port.to_string()].iter().any(|number| message.contains(number));
    assert!(named, "the port is not named: {message}");
    assert_eq!(get(&one.http_url, "/", &[]).status, 200, "the first node serves on");
}

/// The server's port of a page's connection.
const REMOTE_PORT: &str = r#"(async () => {
  const report = await window.demo.room.engine.pcManager.publisher.getStats();
  const transport = [...report.values()].find((each) => each.type === "transport");
  const pair = report.get(transport.selectedCandidatePairId);
  return report.get(pair.remoteCandidateId).port;
})()"#;

#[test]
fn clients_spread_over_a_range_of_ports() {
    let free = |port: u16| UdpSocket::bind(("127.0.0.1", port));
    let pair = || {
        let port = free(0)?.local_addr()?.port();
        free(port.saturating_add(1)).map(|_| port)
    };
    let first = (0..50).find_map(|_| pair().ok()).expect("two free ports in a row");
    let last = first + 1;
    let configuration = format!(
        "port: 0\nbind_addresses: [127.0.0.1]\nkeys:\n  devkey: secret\nrtc:\n  udp_port: {first}-{last}\n  \
         enable_loopback_candidate: true\n"
    );
    let scene = Scene::on(Node::start_with(&configuration));
    let (alice, bob) = (scene.chromium("alice"), scene.chromium("bob"));
    for each in [&alice, &bob] {
        each.join(&scene.options());
    }
    for (one, other) in [(&alice, &bob), (&bob, &alice)] {
        let mark = other.mark();
        let video = one.publish_video(&Video::small("vp8"));
        other.wait(mark, "first_frame", |event| event["sid"] == *video.sid);
    }
    let mut ports = [&alice, &bob].map(|each| {
        until("a selected pair", Duration::from_secs(5), || {
            let port = each.command("evaluate", json!({ "script": REMOTE_PORT }));
            port.as_u64().ok_or_else(|| port.to_string())
        })
    });
    ports.sort_unstable();
    assert_eq!(ports, [u64::from(first), u64::from(last)]);
}

#[test]
fn the_status_shows_what_flows() {
    let scene = Scene::own();
    let (alice, bob) = (scene.chromium("alice"), scene.python("bob"));
    for each in [&alice, &bob] {
        each.join(&scene.options());
    }
    let mark = alice.mark();
    let video = bob.publish_video(&Video::small("vp8"));
    alice.wait(mark, "first_frame", |event| event["sid"] == *video.sid);
    until("both ends in the status", Duration::from_secs(5), || {
        let status = scene.node.ctl("status")?;
        let of = |list: &str| status[list].as_array().cloned().unwrap_or_default();
        let connected = of("transports").iter().filter(|each| each["state"] == "connected").count();
        let ingress = of("ingresses").iter().any(|each| each["track"] == *video.sid);
        let egress = of("egresses").iter().any(|each| each["track"] == *video.sid && each["state"] == "forwarding");
        if connected == 2 && ingress && egress { Ok(()) } else { Err(status.to_string()) }
    });
    let status = scene.node.status();
    for transport in status["transports"].as_array().into_iter().flatten() {
        let profile = transport["srtp_profile"].as_str().unwrap_or_default();
        assert!(profile.to_ascii_uppercase().contains("AES"), "no SRTP profile in {transport}");
    }
}

#[test]
fn with_the_engine_stopped_no_media_flows() {
    let scene = Scene::own();
    let (alice, bob) = (scene.python("alice"), scene.python("bob"));
    for each in [&alice, &bob] {
        each.join(&scene.options());
    }
    let mark = alice.mark();
    let video = bob.publish_video(&Video::small("vp8"));
    alice.wait(mark, "first_frame", |event| event["sid"] == *video.sid);
    let received = || alice.stats().received(&video.sid).map_or(0, |track| track.packets_received);
    scene.node.pause("engine");
    let mut last = received();
    let mut still = 0;
    until("packets stop with the engine", Duration::from_secs(5), || {
        let now = received();
        still = if now == last { still + 1 } else { 0 };
        last = now;
        if still >= 5 { Ok(()) } else { Err(format!("{now} packets")) }
    });
    scene.node.resume("engine");
    until("packets come again", Duration::from_secs(5), || {
        let now = received();
        if now > last { Ok(()) } else { Err(format!("{now} packets")) }
    });
}

#[test]
fn a_token_of_the_command_line_lets_one_in() {
    let scene = Scene::own();
    let arguments =
        ["--api-key", &scene.node.key, "--api-secret", &scene.node.secret, "--identity", "bob", "--room", &scene.room];
    let token = scene.node.command(&[&["token", "create"], &arguments[..]].concat());
    let bob = scene.python("bob");
    let joined = bob.join_with_token(&scene.options(), token.trim()).expect("the token is good");
    assert_eq!(joined.identity, "bob");
    let listed = scene.python_service("list_participants", json!({ "room": scene.room })).expect("the room is there");
    assert_eq!(listed["participants"][0]["identity"], "bob");
}
