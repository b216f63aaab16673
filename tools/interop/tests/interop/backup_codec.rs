//! A backup codec: published once somebody needs it, for those alone or, by its policy, for everybody.

use std::time::Duration;

use serde_json::{Value, json};
use tools_interop::{Layout, Participant, Scene, until};

/// From the wish of a subscriber to the picture: a request, a second publication, and a negotiation on each side.
const BACKUP: Duration = Duration::from_secs(15);

/// `BackupCodecPolicy`.
const PREFER_REGRESSION: u32 = 0;
const SIMULCAST: u32 = 1;

/// Takes VP9 and AV1 from what this page's connections offer and answer to receive. Before it joins.
const WITHOUT_VP9: &str = r#"(() => {
  const codecs = RTCRtpReceiver.getCapabilities("video").codecs.filter((each) => !/VP9|AV1/i.test(each.mimeType));
  const limit = (transceiver) => {
    if (transceiver.receiver.track.kind === "video") transceiver.setCodecPreferences(codecs);
    return transceiver;
  };
  const { addTransceiver, setRemoteDescription } = RTCPeerConnection.prototype;
  RTCPeerConnection.prototype.addTransceiver = function (...given) {
    return limit(addTransceiver.apply(this, given));
  };
  RTCPeerConnection.prototype.setRemoteDescription = async function (...given) {
    await setRemoteDescription.apply(this, given);
    this.getTransceivers().forEach(limit);
  };
})()"#;

fn publish(publisher: &Participant, policy: u32) -> String {
    let published = publisher.call(
        "publishVideo",
        json!([{
            "codec": "vp9", "width": 640, "height": 360, "fps": 15, "maxBitrate": 800_000,
            "backupCodec": { "codec": "vp8", "encoding": { "maxBitrate": 800_000, "maxFramerate": 15 } },
            "backupCodecPolicy": policy,
        }]),
    );
    published["sid"].as_str().expect("a track sid").to_owned()
}

/// Waits until 30 more pictures of `codec` were decoded.
fn decodes(subscriber: &Participant, sid: &str, codec: &str) {
    let decoded = || match subscriber.stats().received(sid) {
        Some(track) if track.codec == codec => Ok(track.frames_decoded),
        other => Err(format!("{other:?}")),
    };
    let before = until(&format!("{} decodes {codec}", subscriber.identity), BACKUP, decoded);
    until(&format!("{} goes on decoding {codec}", subscriber.identity), BACKUP, || {
        let now = decoded()?;
        if now >= before + 30 { Ok(()) } else { Err(format!("{now} after {before}")) }
    });
}

/// Whether the codec is wanted, as the publisher heard last.
fn wanted(publisher: &Participant, codec: &str) -> Option<bool> {
    let signals = publisher.command("signals", json!({ "direction": "in", "kind": "subscribedQualityUpdate" }));
    let last = signals.as_array()?.last()?.clone();
    let codecs = last["message"]["subscribedCodecs"].as_array()?.clone();
    let found = codecs.into_iter().find(|each| each["codec"] == codec)?;
    Some(found["qualities"].as_array()?.iter().any(|quality| quality["enabled"] == true))
}

#[test]
fn a_page_without_vp9_gets_the_backup_while_another_gets_vp9() {
    let scene = Scene::new();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| scene.chromium(name));
    carol.command("evaluate", json!({ "script": WITHOUT_VP9 }));
    let options = scene.options();
    for each in [&alice, &bob, &carol] {
        each.join(&options);
    }
    let sid = publish(&alice, SIMULCAST);
    decodes(&bob, &sid, "vp9");
    decodes(&carol, &sid, "vp8");
    decodes(&bob, &sid, "vp9");
    assert_eq!((wanted(&alice, "vp9"), wanted(&alice, "vp8")), (Some(true), Some(true)));

    carol.leave();
    until("the backup is wanted no more", BACKUP, || match wanted(&alice, "vp8") {
        Some(false) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    decodes(&bob, &sid, "vp9");
    assert_eq!(wanted(&alice, "vp9"), Some(true));
}

#[test]
fn a_small_room_moves_to_the_backup_in_the_dual_layout() {
    let scene = Scene::new();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| scene.chromium(name));
    carol.command("evaluate", json!({ "script": WITHOUT_VP9 }));
    let options = scene.options().layout(Layout::Dual);
    for each in [&alice, &bob] {
        each.join(&options);
    }
    let sid = publish(&alice, PREFER_REGRESSION);
    decodes(&bob, &sid, "vp9");
    carol.join(&options);
    decodes(&carol, &sid, "vp8");
    decodes(&bob, &sid, "vp8");
    assert_eq!((wanted(&alice, "vp9"), wanted(&alice, "vp8")), (Some(false), Some(true)));
    let unsubscribed = |value: &Value| value["subscribed"] != true;
    let view = bob.view_of("alice").expect("bob sees alice");
    let tracks = view["tracks"].as_array().expect("tracks");
    assert!(!tracks.iter().any(unsubscribed), "{tracks:?}");
}
