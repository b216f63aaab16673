//! One peer connection: ICE, then DTLS with the data channels that clients open, then SRTP. Sans-IO.
//!
//! DTLS and SCTP are the courier's session, which real clients test from the other side.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use aws_lc_rs::digest;
use engine_base::TimeNs;
use engine_courier::clock::Clock;
use engine_courier::session::{Role, SessionEvent};
use engine_courier::{Session, Settings, Versions};
use engine_srtp::{Profile, ReceiveContext, SendContext};
use engine_table::{IdentityRow, Text};
use engine_wire::Class;
use signaling_sdp::{Fingerprint, HashFunction, IceCredentials, Setup};

use crate::clock;
use crate::description::Remote;
use crate::ice::{self, Ice};

/// The certificate of all participants of a load: making one for each would measure us, not the server.
pub struct Identity {
    settings: Arc<Settings>,
    pub fingerprint: Fingerprint,
}

impl Identity {
    pub fn new() -> Result<Arc<Self>> {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).context("cannot make a key")?;
        let certificate = rcgen::CertificateParams::new(vec!["load".to_owned()])?.self_signed(&key)?;
        let row = IdentityRow {
            certificate: Text::new(certificate.der()).context("the certificate is too long")?,
            private_key: Text::new(&key.serialize_der()).context("the key is too long")?,
        };
        let settings = Settings::new(&row, Versions::Auto, Clock::starting_at(clock::now()))?;
        let hash = digest::digest(&digest::SHA256, certificate.der());
        let hash: [u8; 32] = hash.as_ref().try_into().context("SHA-256 has 32 bytes")?;
        Ok(Arc::new(Self { settings, fingerprint: Fingerprint::sha256(hash) }))
    }
}

/// Which of a participant's two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// We offer and open the data channels.
    Publisher,
    /// The server offers and opens them.
    Subscriber,
}

struct Keys {
    profile: Profile,
    send: SendContext,
    receive: ReceiveContext,
}

pub struct Connection {
    identity: Arc<Identity>,
    side: Side,
    pub credentials: IceCredentials,
    ice: Option<Ice>,
    dtls: Option<(Role, engine_table::Fingerprint)>,
    session: Option<Session>,
    keys: Option<Keys>,
    rtcp_index: u32,
    failure: Option<&'static str>,
}

impl Connection {
    pub fn new(identity: &Arc<Identity>, side: Side) -> Self {
        Self {
            identity: identity.clone(),
            side,
            credentials: ice::credentials(),
            ice: None,
            dtls: None,
            session: None,
            keys: None,
            rtcp_index: 0,
            failure: None,
        }
    }

    pub fn side(&self) -> Side {
        self.side
    }

    /// The server's description. Later ones must keep the transport as it is. **Errors**: no ICE or DTLS parameters, or an ICE
    /// restart, which this client does not speak.
    pub fn set_remote(&mut self, remote: &Remote, now: TimeNs) -> Result<()> {
        if let Some(ice) = &self.ice {
            if !ice.has_remote(&remote.ice) {
                bail!("the server restarted ICE");
            }
            return Ok(());
        }
        // RFC 8445 §6.1.1: the offerer controls, unless the other side is lite.
        let controlling = remote.ice_lite || self.side == Side::Publisher;
        self.ice = Some(Ice::new(self.credentials.clone(), remote.ice.clone(), controlling, now));
        let opens = self.side == Side::Publisher;
        let role = Role {
            dtls_client: self.side == Side::Subscriber || remote.setup == Setup::Passive,
            sctp: remote.has_data,
            initiate: true,
            open_channels: opens,
        };
        self.dtls = Some((role, expected(&remote.fingerprint)?));
        Ok(())
    }

    /// SRTP runs both ways.
    pub fn is_connected(&self) -> bool {
        self.keys.is_some()
    }

    pub fn profile(&self) -> Option<Profile> {
        self.keys.as_ref().map(|keys| keys.profile)
    }

    pub fn failure(&self) -> Option<&'static str> {
        self.failure
    }

    /// STUN or DTLS; everything else is ignored.
    pub fn handle_packet(&mut self, datagram: &[u8], source: SocketAddr, now: TimeNs) {
        match engine_wire::classify(datagram) {
            Class::Stun => {
                if let Some(ice) = &mut self.ice {
                    ice.handle_packet(datagram, source, now);
                }
                self.begin_session(now);
            }
            Class::Dtls => {
                self.begin_session(now);
                if let Some(session) = &mut self.session {
                    session.handle_packet(datagram, now);
                }
            }
            _ => {}
        }
        self.take_events();
    }

    pub fn handle_timeout(&mut self, now: TimeNs) {
        if let Some(ice) = &mut self.ice {
            ice.handle_timeout(now);
            if ice.is_lost(now) {
                self.failure.get_or_insert("the server stopped answering consent checks");
            }
        }
        if let Some(session) = &mut self.session
            && session.poll_timeout().is_some_and(|at| at <= now)
        {
            session.handle_timeout(now);
        }
        self.take_events();
    }

    pub fn poll_timeout(&self) -> Option<TimeNs> {
        let session = self.session.as_ref().and_then(Session::poll_timeout);
        self.ice.as_ref().map(Ice::poll_timeout).into_iter().chain(session).min()
    }

    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        let ice = self.ice.as_mut().and_then(Ice::poll_transmit);
        ice.or_else(|| self.session.as_mut().and_then(Session::poll_transmit))
    }

    pub fn receive_context(&self) -> Option<&ReceiveContext> {
        self.keys.as_ref().map(|keys| &keys.receive)
    }

    pub fn send_context(&self) -> Option<&SendContext> {
        self.keys.as_ref().map(|keys| &keys.send)
    }

    /// Seals a compound RTCP packet of `length` bytes in `buffer`; its sealed length.
    pub fn seal_rtcp(&mut self, buffer: &mut [u8], length: usize) -> Option<usize> {
        let sealed = self.keys.as_ref()?.send.protect_rtcp(buffer, length, self.rtcp_index).ok()?;
        self.rtcp_index += 1;
        Some(sealed)
    }

    /// The DTLS client speaks first, so it waits for ICE; the server must be there when the peer speaks.
    fn begin_session(&mut self, now: TimeNs) {
        let Some((role, expected)) = self.dtls else { return };
        let is_ready = !role.dtls_client || self.ice.as_ref().is_some_and(Ice::is_connected);
        if self.session.is_none() && is_ready {
            self.session = Some(Session::new(&self.identity.settings, role, expected, now));
        }
    }

    fn take_events(&mut self) {
        let Some(session) = &mut self.session else { return };
        while let Some(event) = session.poll_event() {
            match event {
                SessionEvent::Connected(keys) => {
                    match (SendContext::new(&keys.send), ReceiveContext::new(&keys.receive)) {
                        (Ok(send), Ok(receive)) => {
                            self.keys = Some(Keys { profile: keys.send.profile, send, receive });
                        }
                        _ => self.failure = Some("the SRTP keys were refused"),
                    }
                }
                SessionEvent::Failed(_) => {
                    self.failure.get_or_insert("the DTLS handshake failed");
                }
                SessionEvent::Closed => {
                    self.failure.get_or_insert("the server closed DTLS");
                }
                _ => {}
            }
        }
    }
}

fn expected(fingerprint: &Fingerprint) -> Result<engine_table::Fingerprint> {
    let algorithm = match fingerprint.hash {
        HashFunction::Sha256 => 1,
        HashFunction::Sha384 => 2,
        HashFunction::Sha512 => 3,
        HashFunction::Sha1 | HashFunction::Sha224 => bail!("a fingerprint of {}", fingerprint.hash.name()),
    };
    let mut expected = engine_table::Fingerprint { algorithm, bytes: 0, reserved: [0; 6], digest: [0; 64] };
    let digest = expected.digest.get_mut(..fingerprint.bytes.len()).context("a fingerprint that is too long")?;
    digest.copy_from_slice(&fingerprint.bytes);
    expected.bytes = fingerprint.bytes.len() as u8;
    Ok(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Joins a publisher connection of ours with a subscriber connection of ours, the latter answering as a server would.
    #[test]
    fn two_connections_reach_srtp_and_open_what_the_other_sealed() {
        let identity = Identity::new().unwrap();
        let mut ends = [Connection::new(&identity, Side::Publisher), Connection::new(&identity, Side::Subscriber)];
        let mut now = clock::now();
        let remotes = ends.each_ref().map(|end| Remote {
            ice: end.credentials.clone(),
            fingerprint: identity.fingerprint.clone(),
            ice_lite: false,
            setup: if end.side() == Side::Publisher { Setup::ActPass } else { Setup::Active },
            has_data: true,
            candidates: Vec::new(),
        });
        ends[0].set_remote(&remotes[1], now).unwrap();
        ends[1].set_remote(&remotes[0], now).unwrap();
        let source = "192.0.2.1:5000".parse().unwrap();
        for _ in 0..200 {
            for from in 0..2 {
                ends[from].handle_timeout(now);
                while let Some(datagram) = ends[from].poll_transmit() {
                    ends[1 - from].handle_packet(&datagram, source, now);
                }
            }
            now = now.add_ms(10);
        }
        assert!(ends.iter().all(Connection::is_connected), "{:?}", ends.each_ref().map(Connection::failure));
        let mut report = [0u8; 64];
        report[..8].copy_from_slice(&[0x80, 201, 0, 1, 0, 0, 0, 9]);
        let length = ends[0].seal_rtcp(&mut report, 8).unwrap();
        let opened = ends[1].receive_context().unwrap().unprotect_rtcp(&mut report[..length]);
        assert_eq!(opened, Ok((8, 0)));
    }
}
