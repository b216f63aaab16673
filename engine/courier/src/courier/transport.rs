//! One transport as the courier sees it: what is desired, what was observed, the session between the two.

use engine_base::{TimeNs, TransportRef};
use engine_table::{
    DTLS_CLIENT, DTLS_SERVER, Fingerprint, NO_OWNER, PuntHeader, SessionRow, SocketAddress, TransportObserved,
    TransportRow, dtls_state, transport_flags, transport_state,
};

use crate::session::{Role, Session, is_fingerprint_valid};

/// What a lost session's datagram must hold besides DTLS to be data: SCTP header 12, DATA header 16, 8 bytes of message. A SACK
/// has 28 bytes, and so has libwebrtc's HEARTBEAT (its dcsctp sends 8 bytes of info); neither is worth a reconnect.
const LOST_DATA_BYTES: usize = 36;
/// Record header 13, explicit nonce 8, tag 16 (RFC 6347, RFC 5288).
const DTLS12_OVERHEAD: usize = 37;
/// Unified header 5, content type 1, tag 16 (RFC 9147 §4).
const DTLS13_OVERHEAD: usize = 22;

const CONTENT_HANDSHAKE: u8 = 22;
const CONTENT_DATA: u8 = 23;
const CLIENT_HELLO: u8 = 1;
const RECORD_HEADER_BYTES: usize = 13;

pub(super) struct Transport {
    pub reference: TransportRef,
    desired: Desired,
    pub observed: Option<TransportObserved>,
    /// The worker that last punted or told of this transport, for the time before one owns it.
    worker: u32,
    reply: SocketAddress,
    reply_socket: u32,
    pub session: Option<Box<Session>>,
    pub handshaking: bool,
    /// As it stands in the session table, or is about to.
    pub state: SessionRow,
    pub published: SessionRow,
    pub deadline: Option<TimeNs>,
}

/// What a session needs of its row, which is eight times as large.
struct Desired {
    dtls_role: u8,
    flags: u8,
    fingerprint: Fingerprint,
}

impl Desired {
    fn of(row: &TransportRow) -> Self {
        Self { dtls_role: row.dtls_role, flags: row.flags, fingerprint: row.fingerprint }
    }
}

impl Transport {
    pub fn new(reference: TransportRef, row: &TransportRow, state: SessionRow, published: SessionRow) -> Self {
        Self {
            reference,
            desired: Desired::of(row),
            observed: None,
            worker: 0,
            reply: SocketAddress::NONE,
            reply_socket: 0,
            session: None,
            handshaking: false,
            state,
            published,
            deadline: None,
        }
    }

    /// `false` for a row that no correct signaling writes.
    pub fn is_row_valid(row: &TransportRow) -> bool {
        matches!(row.dtls_role, DTLS_CLIENT | DTLS_SERVER) && is_fingerprint_valid(&row.fingerprint)
    }

    pub fn set_row(&mut self, row: &TransportRow) {
        self.desired = Desired::of(row);
    }

    pub fn fingerprint(&self) -> Fingerprint {
        self.desired.fingerprint
    }

    pub fn role(&self) -> Role {
        Role {
            dtls_client: self.desired.dtls_role == DTLS_CLIENT,
            sctp: self.has(transport_flags::SCTP),
            initiate: false,
            open_channels: self.has(transport_flags::OPEN_CHANNELS),
        }
    }

    pub fn is_closing(&self) -> bool {
        self.has(transport_flags::CLOSING)
    }

    fn has(&self, flag: u8) -> bool {
        self.desired.flags & flag != 0
    }

    pub fn set_worker(&mut self, worker: u32) {
        self.worker = worker;
    }

    pub fn set_reply(&mut self, worker: u32, header: &PuntHeader) {
        self.worker = worker;
        self.reply = header.address;
        self.reply_socket = header.socket;
    }

    /// A new session may begin: there is none, and none was.
    pub fn is_fresh(&self) -> bool {
        self.session.is_none() && self.state.dtls == dtls_state::NONE && !self.is_closing()
    }

    /// The client can be reached: a pair is nominated, or a check told its address. (A ClientHello that comes before the client
    /// is ready costs at most a retransmission, 100 ms later.)
    pub fn is_reachable(&self) -> bool {
        self.observed.is_some_and(|observed| match observed.state {
            transport_state::CONNECTED => true,
            transport_state::CHECKING => !observed.remote.is_none(),
            _ => false,
        })
    }

    /// Worker and head for a datagram to the client.
    pub fn destination(&self, workers: u32) -> (u32, PuntHeader) {
        let observed = self.observed.filter(|observed| !observed.remote.is_none());
        let nominated = observed.is_some_and(|observed| {
            !matches!(observed.state, transport_state::NEW | transport_state::CHECKING) && observed.owner != NO_OWNER
        });
        let owner = self.observed.map(|observed| observed.owner).filter(|owner| *owner != NO_OWNER);
        let worker = owner.map_or(self.worker, u32::from);
        let worker = if worker < workers { worker } else { 0 };
        let (address, socket) = match observed {
            Some(observed) if nominated => (SocketAddress::NONE, observed.socket),
            Some(observed) if self.reply.is_none() => (observed.remote, observed.socket),
            _ => (self.reply, self.reply_socket),
        };
        (worker, PuntHeader { transport: self.reference, address, socket, reserved: 0 })
    }

    /// Whether a datagram for a session whose state died with another courier holds data, or a handshake that cannot go on.
    pub fn is_lost_data(&self, datagram: &[u8]) -> bool {
        match datagram.first() {
            Some(&CONTENT_HANDSHAKE) => true,
            Some(&CONTENT_DATA) => datagram.len() >= DTLS12_OVERHEAD + LOST_DATA_BYTES,
            // RFC 9147 §4.1: 001xxxxx, a ciphertext of any content.
            Some(32..=63) => datagram.len() >= DTLS13_OVERHEAD + LOST_DATA_BYTES,
            _ => false,
        }
    }
}

/// A record with (a fragment of) a ClientHello: nothing else may make a session.
pub(super) fn is_client_hello(datagram: &[u8]) -> bool {
    datagram.first() == Some(&CONTENT_HANDSHAKE) && datagram.get(RECORD_HEADER_BYTES) == Some(&CLIENT_HELLO)
}
