//! The way into the node from HTTP and socket tasks: a bounded queue, so that a busy node slows its clients instead of growing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use signaling_protocol::proto;
use signaling_room::{ApiCall, ApiError, ApiReply, ConnectionId, JoinRequest};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::outgoing::{Frames, Outgoing, queue};
use crate::refusal::Refusal;

/// Inputs waiting for the node. Senders wait in their order, so one client cannot starve the others.
const INPUTS_MAX: usize = 1_024;

#[derive(Debug)]
pub(crate) enum NodeInput {
    Join { room: String, request: Box<JoinRequest>, outgoing: Outgoing },
    Signal { connection: ConnectionId, message: Box<proto::SignalRequest> },
    SocketLost { connection: ConnectionId },
    Call { call: NodeCall, reply: oneshot::Sender<Result<NodeReply, ApiError>> },
    RoomExists { room: String, reply: oneshot::Sender<bool> },
    Shutdown { done: oneshot::Sender<()> },
}

/// A RoomService call whose permission and sizes were checked.
#[derive(Debug)]
pub(crate) enum NodeCall {
    ListRooms { names: Vec<String> },
    CreateRoom(Box<proto::CreateRoomRequest>),
    Room { room: String, call: Box<ApiCall> },
}

#[derive(Debug)]
pub(crate) enum NodeReply {
    Rooms(Vec<proto::Room>),
    Room(Box<ApiReply>),
}

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct NodeHandle {
    inputs: mpsc::Sender<NodeInput>,
    shared: Arc<Shared>,
}

/// Figures that both ends know.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    next_connection: AtomicU64,
    /// Sessions whose socket task lives.
    sockets: AtomicU64,
    socket_ended: Notify,
    /// Tracks in and out of the node, by its last turn.
    tracks: AtomicU64,
    /// Joins without a session, since the node counted them last.
    refused: AtomicU64,
}

impl Shared {
    pub(crate) fn set_tracks(&self, tracks: u64) {
        self.tracks.store(tracks, Ordering::Relaxed);
    }

    pub(crate) fn take_refused(&self) -> u64 {
        self.refused.swap(0, Ordering::Relaxed)
    }

    /// Open sessions.
    pub(crate) fn sockets(&self) -> u64 {
        self.sockets.load(Ordering::Relaxed)
    }
}

impl NodeHandle {
    /// `first_connection`: connection ids do not repeat within an epoch.
    pub(crate) fn new(first_connection: u64) -> (Self, mpsc::Receiver<NodeInput>) {
        let (inputs, receiver) = mpsc::channel(INPUTS_MAX);
        let shared = Shared { next_connection: AtomicU64::new(first_connection), ..Shared::default() };
        (Self { inputs, shared: Arc::new(shared) }, receiver)
    }

    /// Begins a session: its messages come out of the queue.
    pub(crate) async fn join(
        &self,
        room: String,
        mut request: Box<JoinRequest>,
    ) -> Result<(Connection, Frames), Refusal> {
        let id = self.shared.next_connection.fetch_add(1, Ordering::Relaxed);
        request.connection = id;
        let (outgoing, frames) = queue();
        // Before the input, so that a dropped request ends what it began.
        let connection = Connection::new(self.clone(), id);
        let input = NodeInput::Join { room, request, outgoing };
        self.inputs.send(input).await.map_err(|_| Refusal::unavailable())?;
        Ok((connection, frames))
    }

    /// A join got no session.
    pub(crate) fn note_refused(&self) {
        self.shared.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) async fn call(&self, call: NodeCall) -> Result<NodeReply, ApiError> {
        let (reply, answer) = oneshot::channel();
        let gone = || ApiError { code: "unavailable", message: "no response from servers".to_owned() };
        self.inputs.send(NodeInput::Call { call, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    pub(crate) async fn room_exists(&self, room: &str) -> Result<bool, Refusal> {
        let (reply, answer) = oneshot::channel();
        let input = NodeInput::RoomExists { room: room.to_owned(), reply };
        self.inputs.send(input).await.map_err(|_| Refusal::unavailable())?;
        answer.await.map_err(|_| Refusal::unavailable())
    }

    /// `maximum` of 0 or below is no limit.
    pub(crate) fn is_over_track_limit(&self, maximum: i32) -> bool {
        let maximum = u64::try_from(maximum).unwrap_or(0);
        maximum > 0 && self.shared.tracks.load(Ordering::Relaxed) >= maximum
    }

    /// For the node, which must not hold a handle: it ends when the last one is dropped.
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Tells everybody that the server ends, and waits until all sockets are closed or `longest` is over.
    pub async fn shut_down(&self, longest: Duration) {
        let (done, told) = oneshot::channel();
        let all = async {
            if self.inputs.send(NodeInput::Shutdown { done }).await.is_ok() {
                let _ = told.await;
            }
            loop {
                let ended = self.shared.socket_ended.notified();
                if self.shared.sockets() == 0 {
                    return;
                }
                ended.await;
            }
        };
        let _ = tokio::time::timeout(longest, all).await;
    }
}

/// A session's connection. Dropping it tells the node that the socket is lost.
#[derive(Debug)]
pub(crate) struct Connection {
    node: NodeHandle,
    id: ConnectionId,
}

impl Connection {
    fn new(node: NodeHandle, id: ConnectionId) -> Self {
        node.shared.sockets.fetch_add(1, Ordering::Relaxed);
        Self { node, id }
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    /// `false` once the node is gone.
    pub(crate) async fn signal(&self, message: proto::SignalRequest) -> bool {
        let input = NodeInput::Signal { connection: self.id, message: Box::new(message) };
        self.node.inputs.send(input).await.is_ok()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.node.shared.sockets.fetch_sub(1, Ordering::Relaxed);
        self.node.shared.socket_ended.notify_waiters();
        let (inputs, input) = (self.node.inputs.clone(), NodeInput::SocketLost { connection: self.id });
        let Err(mpsc::error::TrySendError::Full(input)) = inputs.try_send(input) else { return };
        // Everything that this connection sent before is in the queue already.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { inputs.send(input).await });
        }
    }
}
