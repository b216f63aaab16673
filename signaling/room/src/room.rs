//! The room: its own state and the public verbs.

use engine_base::TimeNs;
use signaling_protocol::proto;

use crate::effect::Effect;
use crate::input::{Context, Input};
use crate::settings::RoomSettings;

/// See the crate head.
#[derive(Debug)]
pub struct Room {
    name: String,
    info: proto::Room,
}

/// Records that do not make a room: it is set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreError;

impl Room {
    /// A new room. It is journaled by the effects of the first step.
    pub fn new(name: &str, settings: &RoomSettings, context: &mut Context<'_>) -> Self {
        let _ = (settings, context);
        Self { name: name.to_owned(), info: proto::Room { name: name.to_owned(), ..proto::Room::default() } }
    }

    /// One step. Effects are to be carried out in order.
    pub fn handle(&mut self, input: Input, context: &mut Context<'_>) -> Vec<Effect> {
        let _ = (input, context);
        Vec::new()
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<TimeNs> {
        None
    }

    pub fn handle_timeout(&mut self, context: &mut Context<'_>) -> Vec<Effect> {
        let _ = context;
        Vec::new()
    }

    /// The room that a predecessor journaled: the records whose [`journal_room`](crate::journal_room) is its name, in any
    /// order. The effects hold every desired row. Participants live on without a socket until they resume or their transport
    /// fails.
    pub fn restore(
        records: impl Iterator<Item = (Vec<u8>, Vec<u8>)>,
        context: &mut Context<'_>,
    ) -> Result<(Self, Vec<Effect>), RestoreError> {
        let _ = (records, context);
        Err(RestoreError)
    }

    /// Whether other nodes have a part of this room: then every change is told as [`Effect::Delta`].
    pub fn replicate(&mut self, on: bool) {
        let _ = on;
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// For ListRooms.
    pub fn info(&self) -> proto::Room {
        self.info.clone()
    }
}
