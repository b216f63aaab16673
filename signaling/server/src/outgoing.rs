//! The bounded queue to one client. Full means that its TCP connection is dropped: it resumes, and is told the state anew.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use signaling_protocol::Message;
use signaling_protocol::proto::{SignalResponse, leave_request::Action, signal_response};
use tokio::sync::Notify;

/// Messages: a burst of a hundred joins is a few hundred.
const FRAMES_MAX: usize = 1_024;
/// Bytes of messages behind the first: eight of the largest metadata.
const BYTES_MAX: usize = 4 << 20;

/// Cheap to clone: a broadcast is encoded once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Message(Encoded),
    /// WebSocket close code.
    Close(u16),
}

/// A signal message in protobuf, and what the way to the client must know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Encoded {
    first: Bytes,
    /// Of a large message: parts that it shares with others.
    rest: Vec<Bytes>,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    /// The client sends to, or expects packets from, rows after this.
    NeedsRows,
    /// `leave`; `ends` when the client shall not come back.
    Leave {
        ends: bool,
    },
}

impl Encoded {
    pub(crate) fn of(message: &SignalResponse) -> Self {
        use signal_response::Message::{Answer, Leave, Offer, Reconnect};
        let kind = match &message.message {
            Some(Answer(_) | Offer(_) | Reconnect(_)) => Kind::NeedsRows,
            Some(Leave(leave)) => Kind::Leave { ends: leave.action == Action::Disconnect as i32 },
            _ => Kind::Plain,
        };
        Self { first: message.encode_to_vec().into(), rest: Vec::new(), kind }
    }

    /// A message that was serialized elsewhere, and has no meaning for its way.
    pub(crate) fn of_parts(mut parts: Vec<Bytes>) -> Self {
        let rest = parts.split_off(parts.len().min(1));
        Self { first: parts.pop().unwrap_or_default(), rest, kind: Kind::Plain }
    }

    pub(crate) fn parts(&self) -> impl Iterator<Item = &Bytes> {
        std::iter::once(&self.first).chain(&self.rest)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.parts().map(Bytes::len).sum()
    }

    /// In one piece. **Cost**: copies a message of several parts.
    pub(crate) fn whole(&self) -> Bytes {
        if self.rest.is_empty() {
            return self.first.clone();
        }
        self.parts()
            .fold(Vec::with_capacity(self.bytes()), |mut whole, part| {
                whole.extend_from_slice(part);
                whole
            })
            .into()
    }
}

/// The node's end. Dropped, it lets the socket's end take what is there, and no more.
#[derive(Debug)]
pub(crate) struct Outgoing(Arc<Queue>);

/// The socket's end.
#[derive(Debug)]
pub(crate) struct Frames(Arc<Queue>);

/// Mostly empty, for hours: a channel of tokio keeps 1.3 kB to 4 kB for its blocks of 32 messages.
#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// Frames, or an end.
    news: Notify,
    overrun: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    frames: VecDeque<Frame>,
    bytes: usize,
    /// An end was dropped.
    ended: bool,
}

/// Room for as many frames is kept while none waits.
const IDLE_FRAMES: usize = 4;

/// The client takes too little; it was told to go.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overrun;

pub(crate) fn queue() -> (Outgoing, Frames) {
    let queue = Arc::<Queue>::default();
    (Outgoing(Arc::clone(&queue)), Frames(queue))
}

fn bytes_of(frame: &Frame) -> usize {
    match frame {
        Frame::Message(message) => message.bytes(),
        Frame::Close(_) => 0,
    }
}

impl Queue {
    /// Nothing that panics runs under the lock, so that a poisoned one is whole.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn take(&mut self) -> Option<Frame> {
        let frame = self.frames.pop_front()?;
        self.bytes -= bytes_of(&frame);
        if self.frames.is_empty() && self.frames.capacity() > IDLE_FRAMES {
            self.frames = VecDeque::new();
        }
        Some(frame)
    }

    /// `false` when it does not fit.
    fn put(&mut self, frame: Frame) -> bool {
        let bytes = bytes_of(&frame);
        let too_many_bytes = self.bytes > 0 && self.bytes + bytes > BYTES_MAX;
        if too_many_bytes || self.frames.len() >= FRAMES_MAX {
            return false;
        }
        self.bytes += bytes;
        self.frames.push_back(frame);
        true
    }
}

impl Outgoing {
    /// A socket that is gone takes everything: its loss is told separately.
    pub(crate) fn send(&self, frame: Frame) -> Result<(), Overrun> {
        let mut waiting = self.0.lock();
        if waiting.ended {
            return Ok(());
        }
        let fits = waiting.put(frame);
        drop(waiting);
        if fits {
            self.0.news.notify_one();
            return Ok(());
        }
        self.0.overrun.notify_one();
        Err(Overrun)
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.news.notify_one();
    }
}

impl Frames {
    /// `None` once the node has let go of the connection. Cancelling loses nothing.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            {
                let mut waiting = self.0.lock();
                match waiting.take() {
                    None if !waiting.ended => {}
                    frame => return frame,
                }
            }
            self.0.news.notified().await;
        }
    }

    /// What is there already.
    pub(crate) fn ready(&mut self) -> Option<Frame> {
        self.0.lock().take()
    }

    /// Returns when the queue overran: the connection is to be dropped at once.
    pub(crate) fn overrun(&self) -> impl Future<Output = ()> + Send + use<> {
        let queue = Arc::clone(&self.0);
        async move { queue.overrun.notified().await }
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        *waiting = Waiting { ended: true, ..Waiting::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: usize) -> Frame {
        let message = Some(signal_response::Message::RefreshToken("x".repeat(bytes)));
        Frame::Message(Encoded::of(&SignalResponse { message }))
    }

    #[test]
    fn a_queue_overruns_by_messages_or_bytes_but_takes_one_of_any_size() {
        let (outgoing, _frames) = queue();
        assert_eq!(outgoing.send(text(2 * BYTES_MAX)), Ok(()));
        assert_eq!(outgoing.send(text(1)), Err(Overrun));
        let (outgoing, _frames) = queue();
        assert!((0..FRAMES_MAX).all(|_| outgoing.send(text(1)).is_ok()));
        assert_eq!(outgoing.send(text(1)), Err(Overrun));
    }

    #[test]
    fn what_was_taken_counts_no_longer() {
        let (outgoing, mut frames) = queue();
        assert_eq!(outgoing.send(text(BYTES_MAX)), Ok(()));
        assert_eq!(frames.ready(), Some(text(BYTES_MAX)));
        assert_eq!(frames.ready(), None);
        assert_eq!(outgoing.send(text(BYTES_MAX)), Ok(()));
    }

    #[tokio::test]
    async fn the_end_comes_after_what_was_sent_before_it() {
        let (outgoing, mut frames) = queue();
        assert_eq!(outgoing.send(text(1)), Ok(()));
        drop(outgoing);
        assert_eq!((frames.next().await, frames.next().await), (Some(text(1)), None));
    }

    #[tokio::test]
    async fn a_waiting_socket_is_woken_by_a_message_and_by_an_overrun() {
        let (outgoing, mut frames) = queue();
        let overrun = frames.overrun();
        let socket = tokio::spawn(async move { (frames.next().await, frames) });
        tokio::task::yield_now().await;
        assert_eq!(outgoing.send(text(1)), Ok(()));
        let (first, _frames) = socket.await.unwrap();
        assert_eq!(first, Some(text(1)));
        while outgoing.send(text(1)).is_ok() {}
        overrun.await;
    }

    #[test]
    fn a_socket_that_is_gone_takes_everything_and_keeps_nothing() {
        let (outgoing, frames) = queue();
        drop(frames);
        assert!((0..=FRAMES_MAX).all(|_| outgoing.send(text(1)).is_ok()));
        assert!(outgoing.0.lock().frames.is_empty());
    }
}
