//! Rows taken from signaling and workers, rows published for them.

use engine_base::{Drop as DropReason, TimeNs, TransportRef};
use engine_srtp::MasterKey;
use engine_table::{CourierCounter, KeyRow, ROW_ACTIVE, SessionRow, TableId, dtls_state};
use zerocopy::FromZeros;

use super::{Courier, Transport};
use crate::session::Keys;

impl Courier {
    pub(super) fn take_transport(&mut self, index: u32, now: TimeNs) {
        let Some((_, row)) = self.regions.signaling.transports().read(index) else { return };
        let reference = TransportRef::new(index, row.generation);
        let is_active = row.state == ROW_ACTIVE && !reference.is_none();
        if !is_active || self.transports.get(&index).is_some_and(|transport| transport.reference != reference) {
            self.forget(index);
        }
        if !is_active {
            return self.clear_rows(index);
        }
        if !Transport::is_row_valid(&row) {
            return self.count_drop(DropReason::RowBad);
        }
        match self.transports.get_mut(&index) {
            Some(transport) => transport.set_row(&row),
            None => {
                let published = self.regions.courier.sessions().own(index);
                let state = self.adopted_state(reference, published);
                self.transports.insert(index, Box::new(Transport::new(reference, &row, state, published)));
                self.dirty.push_back(index);
                // Workers may have told of it before.
                self.take_observed(index, None, now);
            }
        }
        self.apply_row(index, now);
    }

    fn apply_row(&mut self, index: u32, now: TimeNs) {
        let Some(transport) = self.transports.get(&index) else { return };
        let (role, fingerprint, closing) = (transport.role(), transport.fingerprint(), transport.is_closing());
        if closing {
            self.with_session(index, |session| session.close(now));
        } else {
            self.with_session(index, |session| session.update(role.sctp, role.open_channels, fingerprint, now));
            self.try_begin(index, now);
        }
    }

    pub(super) fn take_observed(&mut self, index: u32, worker: Option<u32>, now: TimeNs) {
        let Some((_, observed)) = self.regions.engine.transports().read(index) else { return };
        let Some(transport) = self.transports.get_mut(&index) else { return };
        if observed.generation != transport.reference.generation {
            return;
        }
        transport.observed = Some(observed);
        if let Some(worker) = worker {
            transport.set_worker(worker);
        }
        self.try_begin(index, now);
    }

    pub(super) fn take_data(&mut self, index: u32, now: TimeNs) {
        let Some((_, row)) = self.regions.signaling.datas().read(index) else { return };
        // A queue inherited from a former session may go out at once.
        if let Some(downlink) = self.router.set_row(index, &row) {
            self.flush(downlink.index, now);
        }
    }

    /// What became of a transport of which this process has no session yet, by what the last process published.
    fn adopted_state(&mut self, reference: TransportRef, published: SessionRow) -> SessionRow {
        if published.generation != reference.generation {
            self.clear_rows(reference.index);
            return SessionRow { generation: reference.generation, ..SessionRow::new_zeroed() };
        }
        let keys = self.regions.keys.keys().own(reference.index);
        let has_keys = keys.generation == reference.generation && keys.profile != 0;
        let dtls = match published.dtls {
            dtls_state::NONE | dtls_state::HANDSHAKE | dtls_state::UNVERIFIED | dtls_state::CONNECTED if has_keys => {
                dtls_state::LOST
            }
            dtls_state::HANDSHAKE | dtls_state::UNVERIFIED | dtls_state::CONNECTED => {
                self.count(CourierCounter::HandshakesFailed);
                dtls_state::FAILED
            }
            other => other,
        };
        let channels = if dtls == dtls_state::LOST { published.channels } else { 0 };
        SessionRow { dtls, channels, ..published }
    }

    /// Drops a session whose row is gone.
    fn forget(&mut self, index: u32) {
        self.handshake_ended(index);
        if let Some(transport) = self.transports.remove(&index) {
            if let Some(deadline) = transport.deadline {
                self.timers.remove(&(deadline, index));
            }
            self.clear_rows(index);
        }
    }

    /// Zeroes the keys and the session of row `index` where they are not.
    fn clear_rows(&mut self, index: u32) {
        let (keys, sessions) = (self.regions.keys.keys(), self.regions.courier.sessions());
        if keys.own(index).generation != 0 {
            keys.publish(index, &KeyRow::new_zeroed());
            self.announce(TableId::Key, index);
        }
        if sessions.own(index).generation != 0 {
            sessions.publish(index, &SessionRow::new_zeroed());
            self.announce(TableId::Session, index);
        }
    }

    pub(super) fn publish_keys(&mut self, index: u32, keys: &Keys) {
        let Some(transport) = self.transports.get_mut(&index) else { return };
        transport.state.srtp_profile = keys.send.profile as u16;
        let row = KeyRow {
            generation: transport.reference.generation,
            profile: keys.send.profile as u16,
            reserved: 0,
            send_key: keys.send.key,
            receive_key: keys.receive.key,
            send_salt: salt(&keys.send),
            receive_salt: salt(&keys.receive),
        };
        self.regions.keys.keys().publish(index, &row);
        self.announce(TableId::Key, index);
    }

    /// Publishes what changed of a session; a moved sequence alone is not announced.
    pub(super) fn publish_session(&mut self, index: u32) {
        let Some(transport) = self.transports.get_mut(&index) else { return };
        let state = transport.state;
        if state == transport.published {
            return;
        }
        let is_news = SessionRow { last_sequence: transport.published.last_sequence, ..state } != transport.published;
        transport.published = state;
        self.regions.courier.sessions().publish(index, &state);
        if is_news {
            self.announce(TableId::Session, index);
        }
    }

    fn announce(&mut self, table: TableId, index: u32) {
        self.regions.courier.log().push(table, index);
        match table {
            TableId::Key => self.wakes.workers = true,
            _ => self.wakes.signaling = true,
        }
    }
}

fn salt(key: &MasterKey) -> [u8; 16] {
    let mut salt = [0; 16];
    salt[..key.salt.len()].copy_from_slice(&key.salt);
    salt
}
