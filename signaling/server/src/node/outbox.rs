//! Messages in their order. Some wait for a gate, "level before wire": until every worker and the courier have adopted the rows
//! before them, or for a bounded time. The node never waits; what comes behind a gate does.

use std::collections::VecDeque;

use engine_base::{DataRef, TimeNs};
use signaling_room::{ApiError, ApiReply, ConnectionId, RequestId};

use crate::outgoing::{Frame, Kind};

/// Adoption is expected in less than 1 ms; a dead engine must not stop signaling.
const GATE_MS_MAX: u64 = 100;
/// Between looks at a closed gate.
const POLL_MS: u64 = 1;

#[derive(Debug)]
pub(crate) enum Delivery {
    Frame { connection: ConnectionId, frame: Frame },
    Data { to: DataRef, reliable: bool, packet: Vec<u8> },
    Replay { to: DataRef, sender_sid: String, last_sequence: u32 },
    Reply { request: RequestId, reply: Result<Box<ApiReply>, ApiError> },
}

impl Delivery {
    /// Messages after which the client sends to, or expects packets from, rows.
    fn needs_rows(&self) -> bool {
        matches!(self, Self::Frame { frame: Frame::Message(message), .. } if message.kind == Kind::NeedsRows)
    }
}

#[derive(Debug)]
struct Gate {
    position: u64,
    deadline: TimeNs,
}

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<(Option<Gate>, Delivery)>,
    /// Gates that opened by time, since this was last taken.
    pub(crate) late: u64,
}

impl Outbox {
    /// **Input**: the program's position now.
    pub(crate) fn push(&mut self, delivery: Delivery, position: u64, now: TimeNs) {
        let gate = delivery.needs_rows().then(|| Gate { position, deadline: now.add_ms(GATE_MS_MAX) });
        self.queue.push_back((gate, delivery));
    }

    /// The next delivery whose gate is open.
    pub(crate) fn pop(&mut self, adopted: impl FnOnce(u64) -> bool, now: TimeNs) -> Option<Delivery> {
        if let (Some(gate), _) = self.queue.front()?
            && !adopted(gate.position)
        {
            if now < gate.deadline {
                return None;
            }
            self.late += 1;
        }
        self.queue.pop_front().map(|(_, delivery)| delivery)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn next_deadline(&self, now: TimeNs) -> Option<TimeNs> {
        (!self.is_empty()).then(|| now.add_ms(POLL_MS))
    }
}

#[cfg(test)]
mod tests {
    use signaling_protocol::proto::{self, SignalResponse, signal_response};

    use super::*;
    use crate::outgoing::Encoded;

    fn frame(message: signal_response::Message) -> Delivery {
        let frame = Frame::Message(Encoded::of(&SignalResponse { message: Some(message) }));
        Delivery::Frame { connection: 1, frame }
    }

    #[test]
    fn sdp_waits_for_its_rows_and_everything_behind_it_waits_too() {
        let mut outbox = Outbox::default();
        let now = TimeNs::from_ms(1);
        outbox.push(frame(signal_response::Message::Pong(1)), 5, now);
        outbox.push(frame(signal_response::Message::Answer(proto::SessionDescription::default())), 5, now);
        outbox.push(frame(signal_response::Message::Pong(2)), 5, now);
        assert!(outbox.pop(|_| false, now).is_some(), "what is before the gate goes");
        assert!(outbox.pop(|position| position <= 4, now).is_none());
        assert!(outbox.pop(|position| position <= 5, now).is_some());
        assert!(outbox.pop(|_| false, now).is_some());
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_dead_engine_delays_by_a_bounded_time() {
        let mut outbox = Outbox::default();
        let now = TimeNs::from_ms(1);
        outbox.push(frame(signal_response::Message::Reconnect(proto::ReconnectResponse::default())), 5, now);
        assert!(outbox.pop(|_| false, now.add_ms(GATE_MS_MAX - 1)).is_none());
        assert!(outbox.pop(|_| false, now.add_ms(GATE_MS_MAX)).is_some());
        assert_eq!(outbox.late, 1);
    }
}
