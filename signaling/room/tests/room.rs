//! Conversations with a room, without a runtime: a stage that carries out effects, and clients that write their own SDP.
#![expect(deprecated, reason = "fields that the schema deprecates are what older clients still read")]

#[path = "room/api.rs"]
mod api;
#[path = "room/backup.rs"]
mod backup;
#[path = "room/conversations.rs"]
mod conversations;
#[path = "room/delta.rs"]
mod delta;
#[path = "room/joining.rs"]
mod joining;
#[path = "room/leaving.rs"]
mod leaving;
#[path = "room/person.rs"]
mod person;
#[path = "room/publishing.rs"]
mod publishing;
#[path = "room/restoring.rs"]
mod restoring;
#[path = "room/resuming.rs"]
mod resuming;
#[path = "room/sdp.rs"]
mod sdp;
#[path = "room/stage.rs"]
mod stage;
#[path = "room/subscribing.rs"]
mod subscribing;
