//! `kill -9` of the process: a successor over the same memory goes on with the same sessions.

use std::time::Duration;

use signaling_config::Config;
use signaling_protocol::proto::{self, signal_response::Message};

use crate::node::{Memory, admin_token};

async fn active(server: &crate::node::Server, identity: &str) {
    let json = format!(r#"{{"room":"r","identity":"{identity}"}}"#);
    for _ in 0..500 {
        let reply = server.twirp("RoomService/GetParticipant", &admin_token(), &json).await;
        if reply.status == 200 && reply.json()["state"] == "ACTIVE" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{identity} is not active");
}

#[tokio::test]
async fn a_client_resumes_at_a_successor_with_the_same_sid_and_no_lower_version() {
    let memory = Memory::new(Config::dev());
    let first = memory.start();
    let mut client = first.join("a", "").await;
    let sid = client.joined().await;
    first.connect_transports();
    active(&first, "a").await;
    let identity = r#"{"room":"r","identity":"a"}"#;
    let before = first.twirp("RoomService/GetParticipant", &admin_token(), identity).await.json();
    drop(first);
    drop(client);

    let second = memory.start();
    let restored = second.twirp("RoomService/GetParticipant", &admin_token(), identity).await.json();
    assert_eq!((&restored["sid"], &restored["state"]), (&before["sid"], &before["state"]));
    let mut client = second.join("a", &format!("&reconnect=1&sid={sid}")).await;
    assert!(matches!(client.signal().await, Message::Reconnect(_)), "the first message of a good resume");
    let own = |message: &Message| matches!(message, Message::Update(update) if update.participants.iter().any(|info| info.sid == sid));
    let Message::Update(update) = client.until(own).await else { unreachable!() };
    let info = update.participants.iter().find(|info| info.sid == sid).unwrap();
    assert!(u64::from(info.version) >= before["version"].as_u64().unwrap());
    assert_eq!(memory.regions.signaling.epoch().load(std::sync::atomic::Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_successor_frees_rows_that_no_session_claims() {
    let memory = Memory::new(Config::dev());
    let first = memory.start();
    let mut client = first.join("a", "").await;
    client.joined().await;
    drop(first);
    let mut journal = memory.journal();
    let keys: Vec<Vec<u8>> = journal.records().map(|(key, _)| key.to_vec()).collect();
    keys.iter().for_each(|key| journal.remove(key));
    let _second = memory.start();
    let rows = memory.regions.signaling.transports();
    let active = (0..rows.rows()).filter(|index| rows.read(*index).is_some_and(|(_, row)| row.state != 0)).count();
    assert_eq!(active, 0);
}

#[tokio::test]
async fn unreadable_records_are_set_aside_and_their_participants_join_anew() {
    let memory = Memory::new(Config::dev());
    let first = memory.start();
    let mut client = first.join("a", "").await;
    let sid = client.joined().await;
    drop(first);
    let mut journal = memory.journal();
    let keys: Vec<Vec<u8>> = journal.records().map(|(key, _)| key.to_vec()).collect();
    keys.iter().for_each(|key| journal.put(key, &[0xff; 7]).unwrap());
    let second = memory.start();
    let mut client = second.join("a", &format!("&reconnect=1&sid={sid}")).await;
    let Message::Leave(leave) = client.signal().await else { panic!("leave is the first message") };
    assert_eq!(leave.action(), proto::leave_request::Action::Reconnect);
    let mut again = second.join("a", "").await;
    assert_ne!(again.joined().await, sid);
}
