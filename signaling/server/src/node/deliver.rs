//! Out of the outbox: to sockets, callers and the courier.

use std::sync::atomic::Ordering;

use engine_table::{DataCommand, ReplayCommand, RingProducer, SignalingFigure, Text, data_command};
use signaling_protocol::proto::{self, signal_response};
use signaling_room::ConnectionId;
use signaling_token::{Claims, sign};
use zerocopy::IntoBytes;

use crate::node::actor::{Node, Regions};
use crate::node::clock;
use crate::node::outbox::Delivery;
use crate::outgoing::{Encoded, Frame};

impl Node {
    /// With the secret of the key that made the first token, or any when that key is gone.
    pub(super) fn sign(&self, claims: &Claims) -> Option<String> {
        let keys = &self.facts.keys;
        let own = keys.secret(&claims.iss).map(|secret| (claims.iss.as_str(), secret));
        own.or_else(|| keys.first()).map(|(key, secret)| sign(claims, key, secret))
    }

    pub(super) fn send(&mut self, connection: ConnectionId, message: signal_response::Message) {
        let message = Encoded::of(&proto::SignalResponse { message: Some(message) });
        self.push(Delivery::Frame { connection, frame: Frame::Message(message) });
    }

    pub(super) fn broadcast(&mut self, connections: &[ConnectionId], message: &proto::SignalResponse) {
        let encoded = Encoded::of(message);
        for &connection in connections {
            self.push(Delivery::Frame { connection, frame: Frame::Message(encoded.clone()) });
        }
    }

    pub(super) fn push(&mut self, delivery: Delivery) {
        self.outbox.push(delivery, self.program.position(), clock::now());
    }

    pub(super) fn deliver(&mut self) {
        let now = clock::now();
        let Regions { courier, engine, .. } = &self.regions;
        let adopted = |position| engine.all_adopted(position) && courier.adopted().load(Ordering::Acquire) >= position;
        let mut courier_has_work = false;
        while let Some(delivery) = self.outbox.pop(adopted, now) {
            match delivery {
                Delivery::Frame { connection, frame } => self.clients.send(connection, frame),
                Delivery::Reply { request, reply } => self.clients.end_call(request, reply),
                Delivery::Data { to, reliable, packet } => {
                    let command = DataCommand { to, reliable: u32::from(reliable), reserved: 0 };
                    courier_has_work |=
                        push_command(&mut self.courier_ring, data_command::SEND, &[command.as_bytes(), &packet]);
                }
                Delivery::Replay { to, sender_sid, last_sequence } => {
                    let sender_sid = Text::cut(&sender_sid);
                    let command = ReplayCommand { to, last_sequence, reserved: 0, sender_sid };
                    courier_has_work |=
                        push_command(&mut self.courier_ring, data_command::REPLAY, &[command.as_bytes()]);
                }
            }
        }
        let late = std::mem::take(&mut self.outbox.late);
        self.add_to_figure(SignalingFigure::LateMessages, late);
        if courier_has_work {
            self.wakes.courier_has_work();
        }
    }
}

fn push_command(ring: &mut RingProducer, kind: u32, parts: &[&[u8]]) -> bool {
    let pushed = ring.push(kind, parts);
    if !pushed {
        tracing::warn!(kind, "the courier takes too little: a data command is lost");
    }
    pushed
}
