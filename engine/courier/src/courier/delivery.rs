//! Data packets between sessions: messages of clients, commands of signaling, what waits for a channel.

use bytes::Bytes;
use engine_base::{Drop as DropReason, TimeNs};
use engine_table::{CourierCounter, DataCommand, ReplayCommand, data_command, dtls_state};
use zerocopy::FromBytes;

use super::Courier;
use crate::channels::{Channel, SendError};

impl Courier {
    /// Takes one record of signaling's ring. **Input**: `kind` and payload as in [`data_command`].
    pub fn handle_command(&mut self, kind: u32, payload: &[u8], now: TimeNs) {
        match kind {
            data_command::SEND => match DataCommand::read_from_prefix(payload) {
                Ok((command, packet)) => self.send_command(&command, packet, now),
                Err(_) => self.count_drop(DropReason::RowBad),
            },
            data_command::REPLAY => match ReplayCommand::read_from_prefix(payload) {
                Ok((command, _)) => self.replay_command(&command, now),
                Err(_) => self.count_drop(DropReason::RowBad),
            },
            _ => self.count_drop(DropReason::RowBad),
        }
        self.settle(now);
    }

    fn send_command(&mut self, command: &DataCommand, packet: &[u8], now: TimeNs) {
        match self.router.resolve(command.to) {
            Some(member) => {
                let channel = if command.reliable != 0 { Channel::Reliable } else { Channel::Lossy };
                self.deliver(member, channel, Bytes::copy_from_slice(packet), false, now);
            }
            None => self.count_drop(DropReason::DataNoReceiver),
        }
    }

    fn replay_command(&mut self, command: &ReplayCommand, now: TimeNs) {
        let Some(member) = self.router.resolve(command.to) else {
            return self.count_drop(DropReason::DataNoReceiver);
        };
        for packet in self.router.replay(member, command.sender_sid, command.last_sequence, now) {
            self.count(CourierCounter::DataReplayed);
            self.deliver(member, Channel::Reliable, packet, true, now);
        }
    }

    /// A client's message: to whom it may concern.
    pub(super) fn handle_message(&mut self, index: u32, channel: Channel, bytes: &[u8], now: TimeNs) {
        self.count(CourierCounter::DataReceived);
        if channel == Channel::DataTrack {
            return self.count_drop(DropReason::DataTrackUnserved);
        }
        let Some(transport) = self.transports.get_mut(&index) else { return };
        let reliable = channel == Channel::Reliable;
        let last_sequence = &mut transport.state.last_sequence;
        match self.router.route(transport.reference, reliable, bytes, last_sequence, now) {
            Ok(Some(routed)) => {
                for receiver in routed.receivers {
                    self.deliver(receiver, channel, routed.bytes.clone(), routed.sequence != 0, now);
                }
            }
            Ok(None) => {}
            Err(reason) => self.count_drop(reason),
        }
    }

    /// Gives one packet to one member: at once, or to its queue while its reliable channel is not open.
    fn deliver(&mut self, member: u32, channel: Channel, packet: Bytes, sequenced: bool, now: TimeNs) {
        let Some(downlink) = self.router.member(member).map(|member| member.downlink()) else { return };
        let transport = self.transports.get(&downlink.index).filter(|transport| transport.reference == downlink);
        let dtls = transport.map_or(dtls_state::NONE, |transport| transport.state.dtls);
        let sent = match transport {
            Some(_) => self.with_session(downlink.index, |session| session.send(channel, &packet, now)),
            None => None,
        };
        match sent {
            Some(Ok(())) => return self.count(CourierCounter::DataSent),
            Some(Err(SendError::Full)) => return self.count_drop(DropReason::DataQueueFull),
            Some(Err(SendError::NotOpen)) | None => {}
        }
        if dtls == dtls_state::LOST {
            self.ask_for_reconnect(downlink.index);
        }
        if matches!(dtls, dtls_state::LOST | dtls_state::FAILED) {
            self.router.lose(member);
        }
        let Some(member) = self.router.member(member) else { return };
        if channel != Channel::Reliable {
            self.count_drop(DropReason::DataNoReceiver);
        } else if !member.pending.push(packet, sequenced, now) {
            self.count_drop(DropReason::DataQueueFull);
        }
    }

    /// Sends what waited for the reliable channel of transport `index`, if it is open.
    pub(super) fn flush(&mut self, index: u32, now: TimeNs) {
        let Some(transport) = self.transports.get(&index) else { return };
        let Some(member) = self.router.receiver(transport.reference) else { return };
        if transport.state.channels & engine_table::channel_bits::RELIABLE == 0 || transport.session.is_none() {
            return;
        }
        // Counted, because what cannot be sent after all goes back into the queue.
        let count = self.router.member(member).map_or(0, |member| member.pending.len());
        for _ in 0..count {
            let waiting = self.router.member(member).and_then(|member| member.pending.take(now));
            let Some((packet, sequenced)) = waiting else { return };
            self.deliver(member, Channel::Reliable, packet, sequenced, now);
        }
    }

    /// Either side had data for a session that died with another courier: signaling moves the client.
    pub(super) fn ask_for_reconnect(&mut self, index: u32) {
        if let Some(transport) = self.transports.get_mut(&index) {
            transport.state.needs_reconnect = 1;
            self.dirty.push_back(index);
        }
    }
}
