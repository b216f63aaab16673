//! The demo page as a person uses it: by its form and its buttons.

use std::time::Duration;

use serde_json::json;
use tools_interop::{Scene, Video, get, until};

#[test]
fn a_person_joins_by_the_form_and_sees_and_is_seen() {
    let scene = Scene::own();
    let (bob, alice) = (scene.python("bob"), scene.chromium("alice"));
    bob.join(&scene.options());
    let video = bob.publish_video(&Video::small("vp8"));
    let mark = (alice.mark(), bob.mark());
    let fill = |field: &str, value: &str| {
        alice.command("fill", json!({ "selector": format!("#lobby [name={field}]"), "value": value }))
    };
    fill("room", &scene.room);
    fill("identity", "alice");
    alice.command("select", json!({ "selector": "#lobby [name=size]", "value": "640x360x15" }));
    alice.command("click", json!({ "selector": "#lobby button[type=submit]" }));
    alice.wait(mark.0, "joined", |_| true);
    alice.wait(mark.0, "first_frame", |event| event["sid"] == *video.sid);
    bob.wait(mark.1, "first_frame", |event| event["identity"] != "bob");

    until("the numbers of bob's tile", Duration::from_secs(10), || {
        let text = alice.command("text", json!({ "selector": "#grid" }));
        let text = text.as_str().unwrap_or_default();
        let all = ["VP8", "640 × 360", "fps", "bit/s", "rtt"].iter().all(|word| text.contains(word));
        if all { Ok(()) } else { Err(text.to_owned()) }
    });

    alice.command("fill", json!({ "selector": "#chat-form input", "value": "hello from the form" }));
    alice.command("click", json!({ "selector": "#chat-form button" }));
    bob.wait(mark.1, "data", |event| event["text"] == "hello from the form" && event["identity"] == "alice");
    bob.send_data("hello to the page", json!({}));
    until("the message in the chat", Duration::from_secs(5), || {
        let chat = alice.command("text", json!({ "selector": "#chat" }));
        if chat.as_str().is_some_and(|text| text.contains("hello to the page")) {
            Ok(())
        } else {
            Err(chat.to_string())
        }
    });

    alice.command("click", json!({ "selector": "#toggle-mic" }));
    bob.wait(mark.1, "track_muted", |event| event["identity"] == "alice");
    alice.command("click", json!({ "selector": "#leave" }));
    bob.wait(mark.1, "participant_disconnected", |event| event["identity"] == "alice");
    let errors = alice.named_since(mark.0, "page_error");
    assert!(errors.is_empty(), "{errors:?}");
}

#[test]
fn a_refused_token_is_explained() {
    let scene = Scene::own();
    let (page, problem) = (scene.chromium("page"), "#lobby-problem");
    page.command("reload", json!({ "query": "token=not.a.token" }));
    page.command("click", json!({ "selector": "#lobby button[type=submit]" }));
    until("the problem is shown", Duration::from_secs(5), || {
        let text = page.command("text", json!({ "selector": problem }));
        if text.as_str().is_some_and(|text| !text.is_empty()) { Ok(()) } else { Err(text.to_string()) }
    });
}

#[test]
fn everything_the_page_needs_is_served_by_the_node() {
    let scene = Scene::own();
    let base = &scene.node.http_url;
    let index = get(base, "/demo", &[]);
    assert_eq!(index.status, 200);
    assert!(index.header("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{:?}", index.headers);
    let manifest = include_str!("../../../../signaling/server/demo/manifest.txt");
    for line in manifest.lines().filter(|line| !line.starts_with('#')) {
        let (file, kind) = line.split_once(' ').expect("a name and a content type");
        let answer = get(base, &format!("/demo/{file}"), &[]);
        assert_eq!(answer.status, 200, "{file}");
        let wanted = kind.trim().split(';').next();
        let given = answer.header("content-type").and_then(|kind| kind.split(';').next());
        assert_eq!(given, wanted, "the content type of {file}");
        let outside =
            ["https://cdn", "http://cdn", "unpkg", "jsdelivr"].iter().find(|place| answer.body.contains(**place));
        assert_eq!(outside, None, "{file} fetches from outside");
    }
    let token = get(base, &format!("/demo/token?room={}&identity=someone", scene.room), &[]);
    assert_eq!(token.status, 200);
    assert!(token.json()["token"].as_str().is_some_and(|text| text.split('.').count() == 3), "{token:?}");
}
