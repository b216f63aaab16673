use engine_table::{dtls_state, transport_flags, transport_state};
use signaling_protocol::proto::{
    self, DisconnectReason, leave_request::Action, signal_request, signal_response::Message,
};
use signaling_room::*;

use crate::stage::*;

fn leave(messages: &[Message]) -> Option<(i32, i32)> {
    messages.iter().find_map(|message| match message {
        Message::Leave(leave) => Some((leave.action, leave.reason)),
        _ => None,
    })
}

fn simulate(scenario: proto::simulate_scenario::Scenario) -> signal_request::Message {
    signal_request::Message::Simulate(proto::SimulateScenario { scenario: Some(scenario) })
}

#[test]
fn a_leave_is_echoed_and_others_see_the_end_once() {
    let mut stage = Stage::new();
    let watcher = stage.join("w", Layout::Single);
    let mut client = stage.join("a", Layout::Single);
    stage.publish(&mut client, microphone("mic"));
    stage.settle(&watcher);
    stage.signal(&client, signal_request::Message::Leave(proto::LeaveRequest::default()));
    assert_eq!(leave(&stage.take(&client)), Some((0, DisconnectReason::ClientInitiated as i32)));
    let messages = stage.settle(&watcher);
    let ends = messages
        .iter()
        .filter(|message| matches!(message, Message::Update(update) if update.participants[0].state == 3));
    assert_eq!(ends.count(), 1);
    let info = last_info(&messages, "a").unwrap();
    assert_eq!(info.disconnect_reason, DisconnectReason::ClientInitiated as i32);
    let rows = stage.transports_of(&client.sid);
    assert!(rows.iter().all(|row| stage.world.desired.transports[row].flags & transport_flags::CLOSING != 0));
    stage.advance(1_000);
    assert!(stage.transports_of(&client.sid).is_empty());
    assert_eq!((stage.world.desired.ingresses.len(), stage.world.desired.egresses.len()), (0, 0));
    assert_eq!(stage.world.desired.datas.len(), 1);
}

#[test]
fn a_lost_socket_ends_only_who_was_never_active() {
    let mut stage = Stage::new();
    let active = stage.join("a", Layout::Dual);
    let joining = stage.enter("j", Layout::Dual, |_| {});
    for client in [&active, &joining] {
        stage.input(Input::SocketLost { connection: client.connection });
    }
    assert!(stage.participant("a").is_some() && stage.participant("j").is_none());
    stage.advance(120_000);
    assert!(stage.participant("a").is_some(), "only its transport decides");
}

#[test]
fn a_lost_socket_does_not_end_who_is_up_before_channels_and_nomination() {
    let mut stage = Stage::new();
    let client = stage.enter("a", Layout::Single, |_| {});
    let transport = stage.transports_of(&client.sid)[0];
    stage.observe(transport, transport_state::CHECKING);
    stage.session(transport, |session| session.channels = 0);
    stage.input(Input::SocketLost { connection: client.connection });
    assert!(stage.participant("a").is_some());
    stage.advance(61_000);
    assert!(stage.participant("a").is_none(), "the join still has its time limit");
}

#[test]
fn a_failed_transport_asks_for_a_resume_and_ends_the_participant_without_one() {
    let mut stage = Stage::new();
    let mut client = stage.join("a", Layout::Single);
    let transport = stage.transports_of(&client.sid)[0];
    stage.take(&client);
    stage.observe(transport, transport_state::FAILED);
    let messages = stage.take(&client);
    assert_eq!(leave(&messages), Some((Action::Resume as i32, DisconnectReason::ConnectionTimeout as i32)));
    stage.advance(4_000);
    stage.resume(&mut client, |_| {});
    assert_eq!(name(&stage.take(&client)[0]), "reconnect");
    stage.advance(4_000);
    stage.observe(transport, transport_state::CONNECTED);
    stage.advance(60_000);
    assert!(stage.participant("a").is_some());
    stage.observe(transport, transport_state::FAILED);
    stage.advance(6_000);
    assert!(stage.participant("a").is_none());
}

#[test]
fn a_client_that_closes_everything_without_a_word_has_left() {
    for socket_first in [true, false] {
        let mut stage = Stage::new();
        let (client, other) = (stage.join("a", Layout::Dual), stage.join("b", Layout::Single));
        let transports = stage.transports_of(&client.sid);
        let lost = Input::SocketLost { connection: client.connection };
        if socket_first {
            stage.input(lost);
        } else {
            stage.session(transports[0], |session| session.dtls = dtls_state::CLOSED);
            stage.advance(60_000);
            assert!(stage.participant("a").is_some(), "it has a socket, and one peer connection");
            stage.session(transports[1], |session| session.dtls = dtls_state::CLOSED);
            stage.input(lost);
        }
        for transport in &transports {
            stage.session(*transport, |session| session.dtls = dtls_state::CLOSED);
            // Its address is not silent for long enough to be missed.
            stage.observe(*transport, transport_state::CONNECTED);
        }
        stage.advance(1_500);
        assert!(stage.participant("a").is_some(), "a new join would replace it");
        stage.advance(1_000);
        assert!(stage.participant("a").is_none() && stage.participant("b").is_some());
        stage.take(&other);
    }
}

#[test]
fn a_failed_handshake_is_told_at_once_and_a_lost_session_when_somebody_needs_it() {
    let mut stage = Stage::new();
    let failed = stage.join("f", Layout::Single);
    let mut lost = stage.join("l", Layout::Single);
    let (of_failed, of_lost) = (stage.transports_of(&failed.sid)[0], stage.transports_of(&lost.sid)[0]);
    stage.session(of_failed, |session| session.dtls = dtls_state::FAILED);
    stage.session(of_lost, |session| session.dtls = dtls_state::LOST);
    assert_eq!(leave(&stage.take(&failed)).map(|(action, _)| action), Some(Action::Reconnect as i32));
    assert_eq!(leave(&stage.take(&lost)), None);
    stage.input(Input::SocketLost { connection: lost.connection });
    stage.session(of_lost, |session| (session.dtls, session.needs_reconnect) = (dtls_state::LOST, 1));
    stage.resume(&mut lost, |_| {});
    let messages = stage.take(&lost);
    assert_eq!(names(&messages), ["leave"]);
    assert_eq!(leave(&messages), Some((Action::Reconnect as i32, DisconnectReason::StateMismatch as i32)));
}

#[test]
fn reconnects_are_paced() {
    let mut stage = Stage::new();
    let clients: Vec<Client> = (0..25).map(|n| stage.join(&format!("p{n}"), Layout::Single)).collect();
    for client in &clients {
        stage.take(client);
        let transport = stage.transports_of(&client.sid)[0];
        stage.session(transport, |session| (session.dtls, session.needs_reconnect) = (dtls_state::LOST, 1));
    }
    let told = |stage: &Stage| clients.iter().filter(|it| stage.world.closed.contains_key(&it.connection)).count();
    let mut counts = vec![told(&stage)];
    for _ in 0..3 {
        stage.advance(100);
        counts.push(told(&stage));
    }
    assert_eq!(counts, [10, 20, 25, 25]);
}

#[test]
fn an_empty_room_ends_after_its_timeouts_and_leaves_nothing() {
    let mut stage = Stage::new();
    stage.api(ApiCall::GetRoom).unwrap();
    assert_eq!(stage.world.journal.len(), 1);
    stage.advance(301_000);
    assert!(stage.world.ended && stage.world.journal.is_empty());

    let mut stage = Stage::new();
    let client = stage.join("a", Layout::Dual);
    stage.advance(400_000);
    assert!(!stage.world.ended);
    stage.signal(&client, signal_request::Message::Leave(proto::LeaveRequest::default()));
    stage.advance(19_000);
    assert!(!stage.world.ended);
    stage.advance(2_000);
    assert!(stage.world.ended);
    assert!(stage.world.journal.is_empty(), "{:?}", stage.world.journal.keys().next());
    assert_eq!(stage.world.desired, Desired::default());
}

#[test]
fn a_shutdown_says_so_to_everybody() {
    let mut stage = Stage::new();
    let clients = [stage.join("a", Layout::Dual), stage.join("b", Layout::Single)];
    stage.input(Input::Shutdown);
    for client in &clients {
        assert_eq!(leave(&stage.take(client)), Some((0, DisconnectReason::ServerShutdown as i32)));
    }
    assert!(stage.world.ended);
    assert_eq!(stage.room.poll_timeout(), None);
}

#[test]
fn tokens_are_refreshed_every_five_minutes_and_room_counts_follow() {
    let mut stage = Stage::new();
    let client = stage.join("a", Layout::Single);
    stage.take(&client);
    stage.advance(3_000);
    let messages = stage.take(&client);
    assert!(
        matches!(&messages[..], [Message::RoomUpdate(update)] if update.room.as_ref().unwrap().num_participants == 1)
    );
    stage.advance(300_000);
    assert_eq!(names(&stage.take(&client)), ["refresh_token"]);
}

#[test]
fn simulated_failures_end_sockets_as_they_are_named() {
    use proto::simulate_scenario::Scenario;
    let mut stage = Stage::new();
    let mut client = stage.join("a", Layout::Dual);
    stage.take(&client);
    stage.signal(&client, simulate(Scenario::DisconnectSignalOnResumeNoMessages(true)));
    stage.signal(&client, simulate(Scenario::NodeFailure(true)));
    assert!(stage.take(&client).is_empty() && stage.world.closed[&client.connection] != 1000);
    stage.resume(&mut client, |_| {});
    assert!(stage.take(&client).is_empty() && stage.world.closed.contains_key(&client.connection));
    stage.resume(&mut client, |_| {});
    assert_eq!(name(&stage.settle(&client)[0]), "reconnect");
    stage.signal(&client, simulate(Scenario::SpeakerUpdate(1)));
    assert_eq!(names(&stage.take(&client)), ["speakers_changed"]);
    stage.advance(1_500);
    assert!(names(&stage.take(&client)).contains(&"speakers_changed"));
    stage.signal(&client, simulate(Scenario::LeaveRequestFullReconnect(true)));
    assert_eq!(leave(&stage.take(&client)).map(|(action, _)| action), Some(Action::Reconnect as i32));
    let other = stage.join("b", Layout::Single);
    stage.signal(&other, simulate(Scenario::Migration(true)));
    assert_eq!(leave(&stage.take(&other)).map(|(action, _)| action), Some(Action::Resume as i32));
}

#[test]
fn quality_is_told_on_change_to_those_it_concerns() {
    let mut stage = Stage::new();
    let mut subscriber = stage.join("s", Layout::Single);
    let mut publisher = stage.join("p", Layout::Single);
    stage.publish(&mut publisher, microphone("mic"));
    stage.settle_mut(&mut subscriber);
    stage.take(&publisher);
    let transports: Vec<_> = stage.world.desired.transports.keys().copied().collect();
    let all = |loss| transports.iter().map(|&transport| TransportQuality { transport, loss, rtt_us: 9 }).collect();
    let told = |messages: Vec<Message>| match &messages[..] {
        [Message::ConnectionQuality(update)] => update.updates.iter().map(|info| info.quality).collect(),
        [] => Vec::new(),
        _ => panic!("{:?}", names(&messages)),
    };
    stage.input(Input::Quality(all(0.0)));
    assert_eq!(told(stage.take(&subscriber)), [2, 2]);
    assert_eq!(told(stage.take(&publisher)), [2]);
    stage.input(Input::Quality(all(0.0)));
    assert!(told(stage.take(&subscriber)).is_empty());
    stage.input(Input::Quality(all(0.5)));
    assert_eq!(told(stage.take(&subscriber)), [0, 0]);
}
