//! Connections and pending calls: where messages and replies go.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use signaling_room::{ApiError, ApiReply, ConnectionId, RequestId};
use tokio::sync::oneshot;

use crate::node::NodeReply;
use crate::outgoing::{Frame, Outgoing};

#[derive(Debug, Default)]
pub(crate) struct Clients {
    connections: HashMap<ConnectionId, Client>,
    calls: HashMap<RequestId, oneshot::Sender<Result<NodeReply, ApiError>>>,
    next_request: RequestId,
    /// Connections that overran their queue: their rooms are told in the next turn.
    lost: VecDeque<(ConnectionId, Arc<str>)>,
}

#[derive(Debug)]
struct Client {
    room: Arc<str>,
    outgoing: Outgoing,
}

impl Clients {
    pub(crate) fn add(&mut self, connection: ConnectionId, room: Arc<str>, outgoing: Outgoing) {
        self.connections.insert(connection, Client { room, outgoing });
    }

    pub(crate) fn room(&self, connection: ConnectionId) -> Option<Arc<str>> {
        self.connections.get(&connection).map(|client| Arc::clone(&client.room))
    }

    pub(crate) fn remove(&mut self, connection: ConnectionId) -> Option<Arc<str>> {
        self.connections.remove(&connection).map(|client| client.room)
    }

    /// After a close nothing more is sent.
    pub(crate) fn send(&mut self, connection: ConnectionId, frame: Frame) {
        let Some(client) = self.connections.get(&connection) else { return };
        let closes = matches!(frame, Frame::Close(_));
        let overran = client.outgoing.send(frame).is_err();
        if !closes && !overran {
            return;
        }
        if let Some(room) = self.remove(connection)
            && overran
        {
            tracing::debug!(connection, "dropped a client that takes too little");
            self.lost.push_back((connection, room));
        }
    }

    pub(crate) fn next_lost(&mut self) -> Option<(ConnectionId, Arc<str>)> {
        self.lost.pop_front()
    }

    pub(crate) fn begin_call(&mut self, reply: oneshot::Sender<Result<NodeReply, ApiError>>) -> RequestId {
        // Callers that gave up leave nothing behind.
        self.calls.retain(|_, waiting| !waiting.is_closed());
        self.next_request += 1;
        self.calls.insert(self.next_request, reply);
        self.next_request
    }

    pub(crate) fn end_call(&mut self, request: RequestId, reply: Result<Box<ApiReply>, ApiError>) {
        if let Some(waiting) = self.calls.remove(&request) {
            let _ = waiting.send(reply.map(NodeReply::Room));
        }
    }
}
