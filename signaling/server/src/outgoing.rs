//! The bounded queue to one client. Full means that its TCP connection is dropped: it resumes, and is told the state anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use signaling_protocol::Message;
use signaling_protocol::proto::{SignalResponse, leave_request::Action, signal_response};
use tokio::sync::{Notify, mpsc};

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
    pub(crate) bytes: Bytes,
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
        Self { bytes: message.encode_to_vec().into(), kind }
    }
}

/// The node's end.
#[derive(Debug)]
pub(crate) struct Outgoing {
    frames: mpsc::Sender<Frame>,
    waiting: Arc<AtomicUsize>,
    overrun: Arc<Notify>,
}

/// The socket's end.
#[derive(Debug)]
pub(crate) struct Frames {
    frames: mpsc::Receiver<Frame>,
    waiting: Arc<AtomicUsize>,
    /// Notified when the queue overran: drop the connection at once.
    pub(crate) overrun: Arc<Notify>,
}

/// The client takes too little; it was told to go.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overrun;

pub(crate) fn queue() -> (Outgoing, Frames) {
    let (sender, receiver) = mpsc::channel(FRAMES_MAX);
    let (waiting, overrun) = (Arc::default(), Arc::new(Notify::new()));
    let outgoing = Outgoing { frames: sender, waiting: Arc::clone(&waiting), overrun: Arc::clone(&overrun) };
    (outgoing, Frames { frames: receiver, waiting, overrun })
}

fn bytes_of(frame: &Frame) -> usize {
    match frame {
        Frame::Message(message) => message.bytes.len(),
        Frame::Close(_) => 0,
    }
}

impl Outgoing {
    /// A socket that is gone takes everything: its loss is told separately.
    pub(crate) fn send(&self, frame: Frame) -> Result<(), Overrun> {
        let bytes = bytes_of(&frame);
        let before = self.waiting.fetch_add(bytes, Ordering::Relaxed);
        let too_many_bytes = before > 0 && before + bytes > BYTES_MAX;
        let full = too_many_bytes || matches!(self.frames.try_send(frame), Err(mpsc::error::TrySendError::Full(_)));
        if full {
            self.overrun.notify_one();
            return Err(Overrun);
        }
        Ok(())
    }
}

impl Frames {
    /// `None` once the node has let go of the connection. Cancelling loses nothing.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let frame = self.frames.recv().await?;
        self.waiting.fetch_sub(bytes_of(&frame), Ordering::Relaxed);
        Some(frame)
    }

    /// What is there already.
    pub(crate) fn ready(&mut self) -> Option<Frame> {
        let frame = self.frames.try_recv().ok()?;
        self.waiting.fetch_sub(bytes_of(&frame), Ordering::Relaxed);
        Some(frame)
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
}
