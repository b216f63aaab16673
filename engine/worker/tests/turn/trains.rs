use engine_base::{Drop as DropReason, Kind};
use engine_srtp::Profile;
use engine_table::WorkerCounter;
use std::sync::atomic::Ordering;

use crate::forward::{pair, receive};
use crate::peer::Peer;
use crate::stage::{Stage, vp8};

/// Sends of media so far.
fn sends(stage: &mut Stage) -> u64 {
    stage.settle();
    stage.media_sends
}

/// A frame of packets of these payload sizes, injected without a turn.
fn inject_frame(stage: &mut Stage, publisher: &mut Peer, ssrc: u32, first: u16, sizes: &[usize]) {
    for (n, &bytes) in (first..).zip(sizes) {
        let payload = vp8(first == 0, first, bytes);
        let packet = publisher.rtp(Kind::Video, ssrc, n, 3_000 * u32::from(first), &payload);
        stage.inject(0, publisher, &packet);
    }
}

#[test]
fn packets_of_one_turn_and_subscriber_leave_in_one_send_with_every_profile() {
    for profile in Profile::ALL {
        let mut stage = Stage::new(1);
        let (mut publisher, mut subscriber) = pair(&mut stage, profile, 0);
        let mut audio_of = stage.add_peer(profile);
        stage.connect(0, &mut audio_of);
        let video = [(31, 32), (41, 42)].map(|ssrcs| stage.add_ingress(&publisher, Kind::Video, &[ssrcs]));
        let audio = stage.add_ingress(&audio_of, Kind::Audio, &[(51, 0)]);
        for ingress in video {
            stage.add_egress(&subscriber, ingress, Kind::Video);
        }
        stage.add_egress(&subscriber, audio, Kind::Audio);
        stage.settle();
        receive(&mut stage, &mut subscriber);
        let before = sends(&mut stage);
        let voice = audio_of.rtp(Kind::Audio, 51, 9, 960, &[7; 60]);
        stage.inject(0, &audio_of, &voice);
        inject_frame(&mut stage, &mut publisher, 31, 0, &[1_000, 1_001, 999]);
        inject_frame(&mut stage, &mut publisher, 41, 0, &[990, 1_005]);
        assert_eq!(sends(&mut stage) - before, 1, "{profile:?}");
        let media = receive(&mut stage, &mut subscriber).media;
        let payloads: Vec<usize> = media.iter().map(|media| media.payload.len()).collect();
        assert_eq!(payloads, [1_000, 1_001, 999, 990, 1_005, 60], "{profile:?} {:?}", stage.all_drops());
        let padding = stage.regions.engine.counter(0, WorkerCounter::PaddingBytes).load(Ordering::Relaxed);
        assert!(padding > 0 && padding < 100, "{padding}");
    }
}

#[test]
fn a_path_that_refuses_a_train_gets_single_datagrams_for_a_minute() {
    let mut stage = Stage::new(1);
    let (mut publisher, mut subscriber) = pair(&mut stage, Profile::AeadAes128Gcm, 0);
    let ingress = stage.add_ingress(&publisher, Kind::Video, &[(31, 32)]);
    stage.add_egress(&subscriber, ingress, Kind::Video);
    stage.settle();
    receive(&mut stage, &mut subscriber);
    stage.workers[0].port_mut().fail_sends(&[libc_emsgsize()]);
    inject_frame(&mut stage, &mut publisher, 31, 0, &[900, 900, 900]);
    stage.settle();
    assert!(receive(&mut stage, &mut subscriber).media.is_empty());
    assert_eq!(stage.drops(DropReason::SendTooLarge), 3);
    let before = sends(&mut stage);
    inject_frame(&mut stage, &mut publisher, 31, 3, &[900, 900, 900]);
    assert_eq!(sends(&mut stage) - before, 3);
    assert_eq!(receive(&mut stage, &mut subscriber).media.len(), 3);
    for _ in 0..61 {
        stage.now = stage.now.add_ms(1_000);
        // The client goes on with its checks: consent lasts 15 s.
        for peer in [&mut publisher, &mut subscriber] {
            let check = peer.check(false);
            stage.inject(0, peer, &check);
        }
        stage.settle();
    }
    receive(&mut stage, &mut subscriber);
    let before = sends(&mut stage);
    inject_frame(&mut stage, &mut publisher, 31, 6, &[900, 900, 900]);
    assert_eq!(sends(&mut stage) - before, 1);
    assert_eq!(receive(&mut stage, &mut subscriber).media.len(), 3);
}

fn libc_emsgsize() -> i32 {
    rustix::io::Errno::MSGSIZE.raw_os_error()
}

/// Two seconds in which the first worker is busy for nine tenths.
fn load(stage: &mut Stage) {
    for _ in 0..2_000 {
        stage.now = stage.now.add_ms(1);
        stage.workers[0].note_turn(stage.now, 900_000);
    }
}

#[test]
fn a_loaded_worker_holds_video_for_a_train_and_audio_never() {
    let mut stage = Stage::with_hold_us(1, 5_000);
    let (mut publisher, mut subscriber) = pair(&mut stage, Profile::Aes128CmSha1_80, 0);
    let video = stage.add_ingress(&publisher, Kind::Video, &[(31, 32)]);
    let audio = stage.add_ingress(&publisher, Kind::Audio, &[(51, 0)]);
    stage.add_egress(&subscriber, video, Kind::Video);
    stage.add_egress(&subscriber, audio, Kind::Audio);
    stage.settle();
    receive(&mut stage, &mut subscriber);
    inject_frame(&mut stage, &mut publisher, 31, 0, &[900]);
    stage.settle();
    assert_eq!(receive(&mut stage, &mut subscriber).media.len(), 1, "an idle worker holds nothing");
    load(&mut stage);
    let before = sends(&mut stage);
    inject_frame(&mut stage, &mut publisher, 31, 1, &[900]);
    let voice = publisher.rtp(Kind::Audio, 51, 9, 960, &[7; 60]);
    stage.inject(0, &publisher, &voice);
    stage.settle();
    assert_eq!(receive(&mut stage, &mut subscriber).media.len(), 1, "the audio");
    let due = stage.workers[0].poll_timeout().unwrap().since(stage.now);
    assert!(due <= 5_000_000, "{due}");
    stage.now = stage.now.add_ms(3);
    inject_frame(&mut stage, &mut publisher, 31, 2, &[900, 900]);
    stage.settle();
    assert!(receive(&mut stage, &mut subscriber).media.is_empty());
    stage.now = stage.now.add_ms(2);
    assert_eq!(sends(&mut stage) - before, 2, "the audio, then one train");
    assert_eq!(receive(&mut stage, &mut subscriber).media.len(), 3);
}

#[test]
fn video_that_is_held_leaves_with_the_first_that_is_due() {
    let mut stage = Stage::with_hold_us(1, 5_000);
    let (mut publisher, mut subscriber) = pair(&mut stage, Profile::Aes128CmSha1_80, 0);
    for ssrc in [31, 41, 61] {
        let video = stage.add_ingress(&publisher, Kind::Video, &[(ssrc, ssrc + 1)]);
        stage.add_egress(&subscriber, video, Kind::Video);
    }
    stage.settle();
    for ssrc in [31, 41, 61] {
        inject_frame(&mut stage, &mut publisher, ssrc, 0, &[900]);
        stage.settle();
    }
    assert_eq!(receive(&mut stage, &mut subscriber).media.len(), 3, "an idle worker holds nothing");
    load(&mut stage);
    let before = sends(&mut stage);
    for (ssrc, after_ms) in [(31, 0), (41, 2), (61, 2)] {
        stage.now = stage.now.add_ms(after_ms);
        inject_frame(&mut stage, &mut publisher, ssrc, 1, &[900]);
        stage.settle();
    }
    assert!(receive(&mut stage, &mut subscriber).media.is_empty());
    stage.now = stage.now.add_ms(1);
    assert_eq!(sends(&mut stage) - before, 1, "one train of three cameras");
    assert_eq!(receive(&mut stage, &mut subscriber).media.len(), 3);
    assert_eq!(
        stage.workers[0].poll_timeout().map(|at| at.since(stage.now) > 5_000_000),
        Some(true),
        "nothing is left"
    );
}
