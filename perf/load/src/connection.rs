//! One peer connection: ICE, then DTLS with the data channels that clients open, then SRTP. Sans-IO.
//!
//! We are always the DTLS client, so that what we offer decides the SRTP profile. SCTP is the courier's.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use aws_lc_rs::digest;
use bytes::Bytes;
use engine_base::TimeNs;
use engine_courier::channels::Channels;
use engine_courier::clock::Clock;
use engine_courier::session::Keys;
use engine_courier::{Settings, Versions};
use engine_srtp::{Profile, ReceiveContext, SendContext};
use engine_table::{IdentityRow, Text};
use engine_wire::Class;
use signaling_sdp::{Fingerprint, HashFunction, IceCredentials};

use crate::clock;
use crate::description::Remote;
use crate::dtls::{self, Credentials};
use crate::ice::{self, Ice};

/// The certificate of all participants of a load: making one for each would measure us, not the server.
pub struct Identity {
    settings: Arc<Settings>,
    credentials: Arc<Credentials>,
    pub fingerprint: Fingerprint,
}

impl Identity {
    /// **Input**: the SRTP profiles to offer, the preferred one first.
    pub fn new(profiles: &[Profile]) -> Result<Arc<Self>> {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).context("cannot make a key")?;
        let certificate = rcgen::CertificateParams::new(vec!["load".to_owned()])?.self_signed(&key)?;
        let row = IdentityRow {
            certificate: Text::new(certificate.der()).context("the certificate is too long")?,
            private_key: Text::new(&key.serialize_der()).context("the key is too long")?,
        };
        let settings = Settings::new(&row, Versions::Auto, Clock::starting_at(clock::now()))?;
        let hash = digest::digest(&digest::SHA256, certificate.der());
        let hash: [u8; 32] = hash.as_ref().try_into().context("SHA-256 has 32 bytes")?;
        let credentials = Credentials::new(certificate.der(), &key.serialize_der(), profiles)?;
        Ok(Arc::new(Self { settings, credentials, fingerprint: Fingerprint::sha256(hash) }))
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

struct Contexts {
    profile: Profile,
    send: SendContext,
    receive: ReceiveContext,
}

pub struct Connection {
    identity: Arc<Identity>,
    side: Side,
    pub credentials: IceCredentials,
    ice: Option<Ice>,
    /// What the server's certificate must be.
    expected: Option<engine_table::Fingerprint>,
    dtls: Option<dtls::Client>,
    has_data: bool,
    channels: Option<Channels>,
    contexts: Option<Contexts>,
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
            expected: None,
            dtls: None,
            has_data: false,
            channels: None,
            contexts: None,
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
        self.has_data = remote.has_data;
        self.expected = Some(expected(&remote.fingerprint)?);
        Ok(())
    }

    /// SRTP runs both ways.
    pub fn is_connected(&self) -> bool {
        self.contexts.is_some()
    }

    pub fn profile(&self) -> Option<Profile> {
        self.contexts.as_ref().map(|contexts| contexts.profile)
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
            }
            Class::Dtls => {
                if let Some(dtls) = &mut self.dtls {
                    dtls.handle_packet(datagram, now);
                }
            }
            _ => {}
        }
        self.advance(now);
    }

    pub fn handle_timeout(&mut self, now: TimeNs) {
        if let Some(ice) = &mut self.ice {
            ice.handle_timeout(now);
            if ice.is_lost(now) {
                self.failure.get_or_insert("the server stopped answering consent checks");
            }
        }
        if let Some(dtls) = &mut self.dtls {
            dtls.handle_timeout(now);
        }
        if let Some(channels) = &mut self.channels
            && channels.poll_timeout().is_some_and(|at| at <= now)
        {
            channels.handle_timeout(now);
        }
        self.advance(now);
    }

    pub fn poll_timeout(&self) -> Option<TimeNs> {
        let dtls = self.dtls.as_ref().and_then(dtls::Client::poll_timeout);
        let channels = self.channels.as_ref().and_then(Channels::poll_timeout);
        [self.ice.as_ref().map(Ice::poll_timeout), dtls, channels].into_iter().flatten().min()
    }

    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        let ice = self.ice.as_mut().and_then(Ice::poll_transmit);
        ice.or_else(|| self.dtls.as_mut().and_then(dtls::Client::poll_transmit))
    }

    pub fn receive_context(&self) -> Option<&ReceiveContext> {
        self.contexts.as_ref().map(|contexts| &contexts.receive)
    }

    pub fn send_context(&self) -> Option<&SendContext> {
        self.contexts.as_ref().map(|contexts| &contexts.send)
    }

    /// Seals a compound RTCP packet of `length` bytes in `buffer`; its sealed length.
    pub fn seal_rtcp(&mut self, buffer: &mut [u8], length: usize) -> Option<usize> {
        let sealed = self.contexts.as_ref()?.send.protect_rtcp(buffer, length, self.rtcp_index).ok()?;
        self.rtcp_index += 1;
        Some(sealed)
    }

    /// Moves everything as far as it goes: the DTLS client begins once ICE is there, SCTP once DTLS is.
    fn advance(&mut self, now: TimeNs) {
        if self.dtls.is_none()
            && let Some(expected) = self.expected
            && self.ice.as_ref().is_some_and(Ice::is_connected)
        {
            self.dtls = Some(dtls::Client::new(&self.identity.credentials, expected, now));
        }
        self.take_events(now);
        let (Some(channels), Some(dtls)) = (&mut self.channels, &mut self.dtls) else { return };
        // Nobody reads what comes over the channels.
        while channels.poll_event().is_some() {}
        while let Some(packet) = channels.poll_transmit(now) {
            dtls.send(&packet);
        }
    }

    fn take_events(&mut self, now: TimeNs) {
        while let Some(event) = self.dtls.as_mut().and_then(dtls::Client::poll_event) {
            match event {
                dtls::Event::Connected(keys) => self.connected(&keys, now),
                dtls::Event::Data(packet) => {
                    if let Some(channels) = &mut self.channels {
                        channels.handle_packet(Bytes::from(packet), now);
                    }
                }
                dtls::Event::Failed(reason) => {
                    self.failure.get_or_insert(reason);
                }
                dtls::Event::Closed => {
                    self.failure.get_or_insert("the server closed DTLS");
                }
            }
        }
    }

    fn connected(&mut self, keys: &Keys, now: TimeNs) {
        match (SendContext::new(&keys.send), ReceiveContext::new(&keys.receive)) {
            (Ok(send), Ok(receive)) => {
                self.contexts = Some(Contexts { profile: keys.send.profile, send, receive });
            }
            _ => self.failure = Some("the SRTP keys were refused"),
        }
        if self.has_data {
            let mut channels = Channels::new(&self.identity.settings, true, true, now);
            if self.side == Side::Publisher {
                channels.open();
            }
            channels.handle_timeout(now);
            self.channels = Some(channels);
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
    use engine_courier::Session;
    use engine_courier::session::{Role, SessionEvent};

    use super::*;

    /// A subscriber connection of ours with the node's DTLS session and an ICE agent as the server.
    #[test]
    fn a_connection_reaches_srtp_with_the_offered_profile() {
        let identity = Identity::new(&[Profile::Aes128CmSha1_80]).unwrap();
        let mut ours = Connection::new(&identity, Side::Subscriber);
        let mut now = clock::now();
        let theirs = ice::credentials();
        let remote = Remote {
            ice: theirs.clone(),
            fingerprint: identity.fingerprint.clone(),
            ice_lite: false,
            has_data: true,
            candidates: Vec::new(),
        };
        ours.set_remote(&remote, now).unwrap();
        let mut ice = Ice::new(theirs, ours.credentials.clone(), true, now);
        let role = Role { dtls_client: false, sctp: true, initiate: true, open_channels: true };
        let mut session = Session::new(&identity.settings, role, expected(&identity.fingerprint).unwrap(), now);
        let source = "192.0.2.1:5000".parse().unwrap();
        for _ in 0..100 {
            ice.handle_timeout(now);
            session.handle_timeout(now);
            ours.handle_timeout(now);
            while let Some(datagram) = ours.poll_transmit() {
                match engine_wire::classify(&datagram) {
                    Class::Stun => ice.handle_packet(&datagram, source, now),
                    _ => session.handle_packet(&datagram, now),
                }
            }
            while let Some(datagram) = ice.poll_transmit().or_else(|| session.poll_transmit()) {
                ours.handle_packet(&datagram, source, now);
            }
            now = now.add_ms(10);
        }
        assert_eq!((ours.failure(), ours.profile()), (None, Some(Profile::Aes128CmSha1_80)));
        let events: Vec<SessionEvent> = std::iter::from_fn(|| session.poll_event()).collect();
        let open = events.iter().filter(|event| matches!(event, SessionEvent::ChannelOpen(_))).count();
        assert_eq!(open, 3, "{events:?}");
        let Some(SessionEvent::Connected(keys)) = events.first() else { panic!("{events:?}") };
        let mut report = [0u8; 64];
        report[..8].copy_from_slice(&[0x80, 201, 0, 1, 0, 0, 0, 9]);
        let length = ours.seal_rtcp(&mut report, 8).unwrap();
        let opened = ReceiveContext::new(&keys.receive).unwrap().unprotect_rtcp(&mut report[..length]);
        assert_eq!(opened, Ok((8, 0)));
    }
}
