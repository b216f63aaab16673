//! The bounded queue to one client. Full means that its TCP connection is dropped: it resumes, and is told the state anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Bytes;
use signaling_protocol::{Message, proto::SignalResponse};
use tokio::sync::{Notify, mpsc};

/// Messages: a burst of a hundred joins is a few hundred.
const FRAMES_MAX: usize = 1_024;
/// Bytes of messages behind the first: eight of the largest metadata.
const BYTES_MAX: usize = 4 << 20;

#[derive(Debug)]
pub(crate) enum Frame {
    Message(Box<SignalResponse>),
    /// A [`SignalResponse`] that others get, too: encoded once for all of them.
    Encoded(Bytes),
    /// WebSocket close code.
    Close(u16),
}

/// The node's end.
#[derive(Debug)]
pub(crate) struct Outgoing {
    frames: mpsc::Sender<(Frame, usize)>,
    waiting: Arc<AtomicUsize>,
    overrun: Arc<Notify>,
}

/// The socket's end.
#[derive(Debug)]
pub(crate) struct Frames {
    frames: mpsc::Receiver<(Frame, usize)>,
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

impl Outgoing {
    /// A socket that is gone takes everything: its loss is told separately.
    pub(crate) fn send(&self, frame: Frame) -> Result<(), Overrun> {
        let bytes = match &frame {
            Frame::Message(message) => message.encoded_len(),
            Frame::Encoded(bytes) => bytes.len(),
            Frame::Close(_) => 0,
        };
        let before = self.waiting.fetch_add(bytes, Ordering::Relaxed);
        let too_many_bytes = before > 0 && before + bytes > BYTES_MAX;
        let full =
            too_many_bytes || matches!(self.frames.try_send((frame, bytes)), Err(mpsc::error::TrySendError::Full(_)));
        if full {
            self.overrun.notify_one();
            return Err(Overrun);
        }
        Ok(())
    }
}

impl Frames {
    /// `None` once the node has let go of the connection.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let (frame, bytes) = self.frames.recv().await?;
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
        Some(frame)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use signaling_protocol::proto::signal_response;

    use super::*;

    fn text(bytes: usize) -> Frame {
        let message = Some(signal_response::Message::RefreshToken("x".repeat(bytes)));
        Frame::Message(Box::new(SignalResponse { message }))
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
}
