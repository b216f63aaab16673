//! Datagrams of the slow path: DTLS from validated sources goes to the courier, what the courier sends goes out by the worker that
//! owns the transport.

use engine_base::{Drop as DropReason, TransportRef};
use engine_io::{Outgoing, Sender};
use engine_table::{PuntHeader, WorkerCounter, punt};
use zerocopy::{FromBytes, IntoBytes};

use crate::addresses::Pair;
use crate::records::{Addressed, kind};
use crate::rings::RECORDS_PER_TURN;
use crate::state::State;

impl State {
    /// DTLS from the network. Nobody's handshake starts before an authenticated check came from the same source.
    pub(crate) fn handle_dtls(&mut self, bytes: &[u8], pair: Pair) {
        let punted = self.addresses.find(&pair).ok_or(DropReason::DtlsBeforeCheck).and_then(|transport| {
            let head = PuntHeader { transport, address: pair.remote, socket: pair.socket, reserved: 0 };
            self.rings.punt(punt::DTLS, &[head.as_bytes(), bytes])
        });
        match punted {
            Ok(()) => self.site.count(WorkerCounter::Punted, 1),
            Err(reason) => self.site.drop(reason),
        }
    }

    /// Sends what the courier has put into its ring.
    pub(crate) fn take_courier(&mut self, sender: &mut impl Sender) {
        let mut scratch = std::mem::take(&mut self.rings.scratch);
        for _ in 0..RECORDS_PER_TURN {
            let Some((kind, length)) = self.rings.pop_courier(&mut scratch) else { break };
            let record = scratch.get(..length).unwrap_or_default();
            match PuntHeader::read_from_prefix(record) {
                Ok((head, datagram)) if kind == punt::DTLS => {
                    self.send_for_courier(
                        head.transport,
                        Pair { remote: head.address, socket: head.socket },
                        datagram,
                        sender,
                    );
                }
                _ => self.site.drop(DropReason::RowBad),
            }
        }
        self.rings.scratch = scratch;
    }

    /// To `pair`, or to the transport's own when it has no address.
    pub(crate) fn send_for_courier(
        &mut self,
        reference: TransportRef,
        pair: Pair,
        datagram: &[u8],
        sender: &mut impl Sender,
    ) {
        let owned = self.transports.get(reference).and_then(|transport| transport.owned.as_deref());
        let Pair { remote: destination, socket } = match (pair.remote.is_none(), owned) {
            (false, _) => pair,
            (true, Some(owned)) => owned.link.pair,
            (true, None) => {
                match self.site.crew.owner(reference) {
                    Some(owner) if owner != self.site.me => {
                        let head = Addressed::new(reference, pair, 0);
                        self.rings.push(&self.site, owner, kind::SEND, &[head.as_bytes(), datagram]);
                    }
                    _ => self.site.drop(DropReason::EgressNotConnected),
                }
                return;
            }
        };
        if socket >= self.site.node.address_count {
            self.site.drop(DropReason::RowBad);
            return;
        }
        let Some(mut slot) = sender.reserve() else {
            self.site.drop(DropReason::SendQueueFull);
            return;
        };
        match sender.bytes(&mut slot).get_mut(..datagram.len()) {
            Some(out) => out.copy_from_slice(datagram),
            None => {
                sender.release(slot);
                self.site.drop(DropReason::SendTooLarge);
                return;
            }
        }
        sender.commit(
            slot,
            Outgoing { socket, destination, bytes: datagram.len() as u32, segment_bytes: 0, connection: None },
        );
    }
}
