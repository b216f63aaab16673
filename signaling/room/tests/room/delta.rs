//! Two rooms of one name, joined only by deltas.

use signaling_protocol::proto::{self, signal_request, signal_response::Message};
use signaling_room::*;

use crate::stage::*;

/// Carries deltas until neither has more.
fn exchange(a: &mut Stage, b: &mut Stage) {
    loop {
        let (from_a, from_b) = (std::mem::take(&mut a.world.deltas), std::mem::take(&mut b.world.deltas));
        if from_a.is_empty() && from_b.is_empty() {
            return;
        }
        for delta in from_a {
            b.input(Input::Delta(Box::new(delta)));
        }
        for delta in from_b {
            a.input(Input::Delta(Box::new(delta)));
        }
    }
}

fn pair() -> (Stage, Stage) {
    let (mut a, mut b) = (Stage::on("ND_a"), Stage::on("ND_b"));
    a.room.replicate(true);
    b.room.replicate(true);
    (a, b)
}

#[test]
fn participants_and_tracks_are_seen_on_both_nodes() {
    let (mut a, mut b) = pair();
    let mut publisher = a.join("p", Layout::Single);
    let track = a.publish(&mut publisher, camera("cam"));
    exchange(&mut a, &mut b);
    let watcher = b.enter("w", Layout::Single, |_| {});
    exchange(&mut a, &mut b);
    let Some(Message::Join(join)) = b.take(&watcher).into_iter().next() else { panic!() };
    assert_eq!(join.other_participants[0].tracks[0].sid, track);
    assert_eq!((a.room.info().num_participants, b.room.info().num_participants), (2, 2));

    a.signal(&publisher, signal_request::Message::Mute(proto::MuteTrackRequest { sid: track, muted: true }));
    exchange(&mut a, &mut b);
    assert!(last_info(&b.take(&watcher), "p").unwrap().tracks[0].muted);
    a.signal(&publisher, signal_request::Message::Leave(proto::LeaveRequest::default()));
    exchange(&mut a, &mut b);
    assert_eq!(last_info(&b.take(&watcher), "p").unwrap().state, 3);
    a.advance(60_000);
    assert!(!a.world.ended, "the room lives as long as somebody is anywhere in it");
}

#[test]
fn what_concerns_another_participant_finds_it_by_identity() {
    let (mut a, mut b) = pair();
    let mut publisher = a.join("p", Layout::Dual);
    let track = a.publish(&mut publisher, microphone("mic"));
    exchange(&mut a, &mut b);
    a.take(&publisher);
    let mute =
        proto::MuteRoomTrackRequest { identity: "p".into(), track_sid: track, muted: true, ..Default::default() };
    b.api(ApiCall::MutePublishedTrack(mute)).unwrap();
    exchange(&mut a, &mut b);
    assert_eq!(names(&a.take(&publisher)), ["mute", "update"]);
    b.api(ApiCall::RemoveParticipant { identity: "p".into() }).unwrap();
    exchange(&mut a, &mut b);
    assert!(a.participant("p").is_none() && b.participant("p").is_none());
}

#[test]
fn an_identity_that_joins_on_another_node_replaces_the_former_session() {
    let (mut a, mut b) = pair();
    let first = a.join("p", Layout::Single);
    exchange(&mut a, &mut b);
    a.take(&first);
    b.world.now_ms += 10;
    let second = b.join("p", Layout::Single);
    exchange(&mut a, &mut b);
    assert_eq!(names(&a.take(&first)).last(), Some(&"leave"));
    assert_eq!(a.participant("p").unwrap().sid, second.sid);
    assert_eq!(b.room.participants().len(), 1);
}

#[test]
fn an_overtaken_delta_is_ignored_and_a_snapshot_of_a_later_epoch_drops_what_is_gone() {
    let (mut a, mut b) = pair();
    let publisher = a.join("p", Layout::Single);
    let gone = a.join("g", Layout::Single);
    let old = a.world.deltas.clone();
    exchange(&mut a, &mut b);
    for delta in old {
        b.input(Input::Delta(Box::new(delta)));
    }
    assert!(b.participant("p").unwrap().version >= 2, "an old delta does not bring an old version back");
    a.room.replicate(false);
    a.signal(&gone, signal_request::Message::Leave(proto::LeaveRequest::default()));
    a.restore();
    a.room.replicate(true);
    for delta in a.room.snapshot() {
        b.input(Input::Delta(Box::new(delta)));
    }
    assert!(b.participant("g").is_none());
    assert_eq!(b.participant("p").unwrap().sid, publisher.sid);
}
