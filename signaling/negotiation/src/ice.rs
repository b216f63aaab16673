//! ICE credentials of one connection over its restarts, and our candidates.
//!
//! We are ICE-lite (RFC 8445 §2.5): no candidate of the client is needed, no check is sent.

use std::net::SocketAddr;

use engine_base::TransportRef;
use engine_base::ufrag::{LocalUfrag, password};
use engine_table::{Text, TransportRow};
use serde::{Deserialize, Serialize};
use signaling_sdp::{Candidate, CandidateInit, IceCredentials};

use crate::error::NegotiationError;

/// What every description of this node says.
#[derive(Clone, Copy, Debug)]
pub struct LocalNode<'a> {
    /// SHA-256 of the node's certificate.
    pub fingerprint: [u8; 32],
    /// Advertised UDP addresses, the preferred one first. Those of one port stand in a connection's descriptions as host
    /// candidates.
    pub addresses: &'a [SocketAddr],
    /// `a=ice-lite`.
    pub ice_lite: bool,
}

/// Randomness for one generation of credentials.
#[derive(Clone, Copy, Debug)]
pub struct IceRandom {
    /// 24 bits are used.
    pub ufrag: u32,
    pub password: [u8; 24],
}

/// The newest generation and, so that media goes on until the client has nominated a pair of the newest, the one before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalIce {
    index: u32,
    generation: u32,
    node_tag: u32,
    /// Counts restarts modulo 64: the ufrag has 6 bits for it.
    credential: u8,
    newest: Credentials,
    previous: Option<Credentials>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Credentials {
    local: IceCredentials,
    remote: Option<IceCredentials>,
}

const CREDENTIAL_BITS: u8 = 63;
/// Capacities of a row's remote credentials (bytes).
const REMOTE_UFRAG_BYTES_MAX: usize = Text::<66>::CAPACITY;
const REMOTE_PASSWORD_BYTES_MAX: usize = Text::<130>::CAPACITY;

impl LocalIce {
    /// `node_tag`: of the node row, 18 bits.
    pub fn new(transport: TransportRef, node_tag: u32, random: IceRandom) -> Self {
        let TransportRef { index, generation } = transport;
        let newest = Credentials { local: local(transport, node_tag, 0, random), remote: None };
        Self { index, generation, node_tag, credential: 0, newest, previous: None }
    }

    pub fn transport(&self) -> TransportRef {
        TransportRef::new(self.index, self.generation)
    }

    /// Our newest credentials: what the next description says.
    pub fn local(&self) -> &IceCredentials {
        &self.newest.local
    }

    /// The client's credentials of the newest generation.
    pub fn remote(&self) -> Option<&IceCredentials> {
        self.newest.remote.as_ref()
    }

    /// A new generation. The present one stays valid beside it and the one before that ends; or, when media still goes over a
    /// pair of that one, the other way round: a client whose socket breaks again and again restarts without finishing.
    ///
    /// `nominated`: place in the row of the generation whose pair is nominated.
    pub fn restart(&mut self, random: IceRandom, nominated: Option<u8>) {
        let in_use = self.previous.is_some() && nominated == Some(1 - (self.credential & 1));
        // By two, the new generation takes the place of the present one.
        self.credential = (self.credential + if in_use { 2 } else { 1 }) & CREDENTIAL_BITS;
        let local = local(self.transport(), self.node_tag, self.credential, random);
        let present = std::mem::replace(&mut self.newest, Credentials { local, remote: None });
        if !in_use {
            self.previous = Some(present);
        }
    }

    /// The client's credentials for the newest generation.
    pub(crate) fn set_remote(&mut self, remote: IceCredentials) {
        self.newest.remote = Some(remote);
    }

    /// Generations alternate between the two places of the row, so that a place changes only when its generation ends.
    pub(crate) fn fill_transport(&self, row: &mut TransportRow) {
        let newest = usize::from(self.credential & 1);
        row.generation = self.generation;
        row.credentials_newest = newest as u8;
        row.credentials[newest] = self.newest.row();
        row.credentials[1 - newest] = self.previous.as_ref().map(Credentials::row).unwrap_or_default();
    }

    /// Host candidates of the newest generation, for a description: the addresses of the connection's port.
    pub fn candidates(&self, addresses: &[SocketAddr]) -> Vec<Candidate> {
        let port = self.port(addresses);
        let own = addresses.iter().filter(|address| Some(address.port()) == port);
        let host = |(index, &address)| Candidate::host_udp(address, index, &self.newest.local.ufrag);
        (0..u16::MAX).zip(own).map(host).collect()
    }

    /// The port that all generations of this connection use. Neighbours in the table have different ones, and each round of
    /// the ports begins one further, as a client of the dual layout has two neighbours of unlike load.
    fn port(&self, addresses: &[SocketAddr]) -> Option<u16> {
        let mut ports: Vec<u16> = Vec::new();
        for address in addresses {
            if !ports.contains(&address.port()) {
                ports.push(address.port());
            }
        }
        let (index, count) = (self.index as usize, ports.len().max(1));
        ports.get((index + index / count) % count).copied()
    }

    /// `candidateInit` of trickle messages, one per candidate; the last message is the final one.
    pub fn trickles(&self, addresses: &[SocketAddr]) -> Vec<String> {
        self.candidates(addresses).into_iter().map(|candidate| CandidateInit::ours(candidate).to_json()).collect()
    }
}

impl Credentials {
    fn row(&self) -> engine_table::IceCredentials {
        let remote = self.remote.as_ref();
        let text = |value: Option<&String>| value.map(|value| value.as_bytes()).unwrap_or_default().to_owned();
        engine_table::IceCredentials {
            local_ufrag: Text::new(self.local.ufrag.as_bytes()).unwrap_or_default(),
            local_password: Text::new(self.local.password.as_bytes()).unwrap_or_default(),
            remote_ufrag: Text::new(&text(remote.map(|remote| &remote.ufrag))).unwrap_or_default(),
            remote_password: Text::new(&text(remote.map(|remote| &remote.password))).unwrap_or_default(),
        }
    }
}

/// Refuses credentials that a row cannot hold: they would read as "not known yet".
pub(crate) fn check_remote(remote: &IceCredentials) -> Result<(), NegotiationError> {
    let fits = remote.ufrag.len() <= REMOTE_UFRAG_BYTES_MAX && remote.password.len() <= REMOTE_PASSWORD_BYTES_MAX;
    if fits { Ok(()) } else { Err(NegotiationError::Capacity { what: "ICE credentials" }) }
}

fn local(transport: TransportRef, node: u32, credential: u8, random: IceRandom) -> IceCredentials {
    let TransportRef { index, generation } = transport;
    let ufrag = LocalUfrag { index, generation, credential, node, random: random.ufrag }.encode();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    IceCredentials { ufrag: text(&ufrag), password: text(&password(random.password)) }
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;

    #[test]
    fn the_generation_in_use_survives_restarts_that_come_to_nothing() {
        let random = |seed: u8| IceRandom { ufrag: u32::from(seed), password: [seed; 24] };
        let mut ice = LocalIce::new(TransportRef::new(9, 4), 5, random(0));
        let used = ice.local().clone();
        let mut row = TransportRow::new_zeroed();
        let mut seen = vec![used.ufrag.clone()];
        for restart in 1..=70_u8 {
            ice.restart(random(restart), Some(0));
            ice.fill_transport(&mut row);
            assert_eq!((row.credentials_newest, row.credentials[0].local_ufrag.as_str()), (1, used.ufrag.as_str()));
            assert_eq!(row.credentials[1].local_ufrag.as_str(), ice.local().ufrag);
            assert!(!seen.contains(&ice.local().ufrag));
            seen.push(ice.local().ufrag.clone());
        }
        let last = ice.local().clone();
        ice.restart(random(99), Some(1));
        ice.fill_transport(&mut row);
        assert_eq!((row.credentials_newest, row.credentials[1].local_ufrag.as_str()), (0, last.ufrag.as_str()));
    }

    #[test]
    fn connections_of_both_layouts_spread_over_the_ports() {
        let random = IceRandom { ufrag: 1, password: [1; 24] };
        let addresses = |ports: u16| -> Vec<SocketAddr> {
            let hosts = [[192, 0, 2, 1], [192, 0, 2, 2]];
            (0..ports).flat_map(|port| hosts.map(|host| SocketAddr::from((host, 7_000 + port)))).collect()
        };
        for ports in [1_u16, 2, 3, 5, 11] {
            let addresses = addresses(ports);
            let window = u32::from(ports).pow(2) * 2;
            let port_of = |index: u32| {
                let ice = LocalIce::new(TransportRef::new(index, 1), 5, random);
                let found = ice.candidates(&addresses);
                assert!(found.len() == 2 && found[0].port == found[1].port);
                found[0].port
            };
            for step in [1, 2] {
                let mut counts = vec![0; usize::from(ports)];
                (0..window).step_by(step).for_each(|index| counts[usize::from(port_of(index) - 7_000)] += 1);
                let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
                assert!(most - least <= 1, "every {step}th of {window} over {ports} ports: {counts:?}");
            }
        }
    }

    #[test]
    fn restarts_alternate_between_the_two_places_and_wrap() {
        let random = |seed: u8| IceRandom { ufrag: u32::from(seed), password: [seed; 24] };
        let mut ice = LocalIce::new(TransportRef::new(9, 4), 5, random(0));
        let mut row = TransportRow::new_zeroed();
        ice.fill_transport(&mut row);
        assert!(row.credentials[1].local_ufrag.is_empty());
        for restart in 1..=130_u8 {
            let before = ice.local().clone();
            ice.restart(random(restart), [None, Some(1 - restart % 2)][usize::from(restart % 3 == 0)]);
            ice.fill_transport(&mut row);
            let newest = usize::from(row.credentials_newest);
            let ufrag = LocalUfrag::decode(row.credentials[newest].local_ufrag.as_bytes()).unwrap();
            assert_eq!((newest, ufrag.credential), (usize::from(restart % 2), restart % 64));
            assert_eq!((ufrag.index, ufrag.generation, ufrag.node), (9, 4, 5));
            assert_eq!(row.credentials[1 - newest].local_password.as_str(), before.password);
        }
    }
}
