//! What is said in a handshake, from the first ClientHello to the server's Finished.

use std::sync::Arc;

use aws_lc_rs::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, ECDSA_P256_SHA256_ASN1};
use engine_courier::session::{self, Keys};
use engine_table::Fingerprint;

use super::hello::{self, ServerHello, client_hello};
use super::inbox::{Inbox, Message};
use super::reader::{Reader, push_vector16, push_vector24};
use super::record::Content;
use super::secrets::Master;
use super::{Ciphers, Credentials};

const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const HELLO_VERIFY_REQUEST: u8 = 3;
const CERTIFICATE: u8 = 11;
const SERVER_KEY_EXCHANGE: u8 = 12;
const CERTIFICATE_REQUEST: u8 = 13;
const SERVER_HELLO_DONE: u8 = 14;
const CERTIFICATE_VERIFY: u8 = 15;
const CLIENT_KEY_EXCHANGE: u8 = 16;
const FINISHED: u8 = 20;

/// SubjectPublicKeyInfo of a P-256 key up to the point (RFC 5480 §2.1.1): id-ecPublicKey, prime256v1, 65 bytes of bit string.
const P256_INFO: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const P256_POINT_BYTES: usize = 65;

/// One record of a flight, before it is sealed.
pub struct Outgoing {
    pub epoch: u16,
    pub content: Content,
    pub body: Vec<u8>,
}

/// What the owner has to do.
pub enum Step {
    Wait,
    /// Send the flight; with new ciphers for epoch 1.
    Send(Option<Ciphers>),
    Done(Box<Keys>),
}

/// What the server has said so far.
#[derive(Default)]
struct Said {
    hello: Option<ServerHello>,
    certificate: Vec<u8>,
    /// Body of its ServerKeyExchange.
    key_exchange: Vec<u8>,
    wants_certificate: bool,
}

pub struct Handshake {
    credentials: Arc<Credentials>,
    expected: Fingerprint,
    random: [u8; 32],
    inbox: Inbox,
    /// Messages of both sides without the first ClientHello and the HelloVerifyRequest (RFC 6347 §4.2.1).
    transcript: Vec<u8>,
    flight: Vec<Outgoing>,
    sequence: u16,
    said: Said,
    /// From the second flight on.
    master: Option<Master>,
}

impl Handshake {
    pub fn new(credentials: &Arc<Credentials>, expected: Fingerprint) -> Self {
        let mut handshake = Self {
            credentials: credentials.clone(),
            expected,
            random: rand::random(),
            inbox: Inbox::default(),
            transcript: Vec::new(),
            flight: Vec::new(),
            sequence: 0,
            said: Said::default(),
            master: None,
        };
        handshake.say_hello(&[]);
        handshake
    }

    pub fn flight(&self) -> &[Outgoing] {
        &self.flight
    }

    /// Fragments of a record of this epoch. Only the server's Finished is sealed.
    pub fn take_fragments(&mut self, epoch: u16, record: &[u8]) {
        if (epoch == 1) == self.master.is_some() {
            self.inbox.take(record);
        }
    }

    /// Takes the next whole message. **Errors**: what the server did wrong, or what is missing.
    pub fn advance(&mut self) -> Result<Step, &'static str> {
        while let Some(message) = self.inbox.pop() {
            if message.kind == HELLO_VERIFY_REQUEST && self.said.hello.is_none() {
                let cookie = hello::cookie(&message.body).ok_or("a HelloVerifyRequest that is cut off")?;
                self.say_hello(&cookie);
                return Ok(Step::Send(None));
            }
            if message.kind == FINISHED {
                return self.finish(&message).map(|keys| Step::Done(Box::new(keys)));
            }
            self.transcript.extend(message.to_bytes());
            if message.kind == SERVER_HELLO_DONE {
                return self.answer().map(|ciphers| Step::Send(Some(ciphers)));
            }
            self.hear(message)?;
        }
        Ok(Step::Wait)
    }

    fn hear(&mut self, message: Message) -> Result<(), &'static str> {
        match message.kind {
            SERVER_HELLO => self.said.hello = Some(ServerHello::parse(&message.body, &self.credentials.profiles)?),
            CERTIFICATE => {
                let chain = Reader::new(&message.body).vector24();
                let first = chain.and_then(|chain| Reader::new(chain).vector24());
                self.said.certificate = first.ok_or("the server has no certificate")?.to_vec();
            }
            SERVER_KEY_EXCHANGE => self.said.key_exchange = message.body,
            CERTIFICATE_REQUEST => self.said.wants_certificate = true,
            _ => return Err("the server sent a handshake message out of place"),
        }
        Ok(())
    }

    fn say_hello(&mut self, cookie: &[u8]) {
        self.transcript.clear();
        self.flight.clear();
        let body = client_hello(&self.random, cookie, &self.credentials.profiles);
        self.say(0, CLIENT_HELLO, body);
    }

    fn say(&mut self, epoch: u16, kind: u8, body: Vec<u8>) {
        let bytes = Message { kind, sequence: self.sequence, body }.to_bytes();
        self.sequence += 1;
        self.transcript.extend(&bytes);
        self.flight.push(Outgoing { epoch, content: Content::Handshake, body: bytes });
    }

    /// Our second flight: everything up to Finished.
    fn answer(&mut self) -> Result<Ciphers, &'static str> {
        let hello = self.said.hello.ok_or("the server said no hello")?;
        if !session::matches(&self.said.certificate, &self.expected) {
            return Err("the server's certificate is not the one that signaling announced");
        }
        let (public, premaster) = self.exchange(&hello)?;
        self.flight.clear();
        if self.said.wants_certificate {
            let (mut list, mut body) = (Vec::new(), Vec::new());
            push_vector24(&mut list, &self.credentials.certificate);
            push_vector24(&mut body, &list);
            self.say(0, CERTIFICATE, body);
        }
        let mut body = vec![u8::try_from(public.len()).unwrap_or(u8::MAX)];
        body.extend(public);
        self.say(0, CLIENT_KEY_EXCHANGE, body);
        let master = Master::new(&premaster, &self.transcript).ok_or("no master secret")?;
        if self.said.wants_certificate {
            let signature = self.credentials.key.sign(&SystemRandom::new(), &self.transcript);
            let mut body = hello::SIGNATURE.to_be_bytes().to_vec();
            push_vector16(&mut body, signature.map_err(|_| "our key does not sign")?.as_ref());
            self.say(0, CERTIFICATE_VERIFY, body);
        }
        self.flight.push(Outgoing { epoch: 0, content: Content::ChangeCipherSpec, body: vec![1] });
        let finished = master.verify_data(b"client finished", &self.transcript).ok_or("no verify data")?;
        self.say(1, FINISHED, finished);
        let ciphers = master.ciphers(&self.random, &hello.random).ok_or("no traffic keys")?;
        self.master = Some(master);
        Ok(ciphers)
    }

    /// Checks the server's signature; our public key and the shared secret.
    fn exchange(&self, hello: &ServerHello) -> Result<(Vec<u8>, Vec<u8>), &'static str> {
        const CUT: &str = "a ServerKeyExchange that is cut off";
        let body = &self.said.key_exchange;
        let mut reader = Reader::new(body);
        // A named curve (RFC 8422 §5.4).
        if reader.u8() != Some(3) {
            return Err("the server's key exchange is not by a named curve");
        }
        let (group, public) = (reader.u16().ok_or(CUT)?, reader.vector8().ok_or(CUT)?);
        let parameters = body.get(..4 + public.len()).ok_or(CUT)?;
        if reader.u16() != Some(hello::SIGNATURE) {
            return Err("the server signed in a way that was not offered");
        }
        let signed = [self.random.as_slice(), &hello.random, parameters].concat();
        let key = p256_point(&self.said.certificate).ok_or("the server's certificate has no P-256 key")?;
        signature::UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key)
            .verify(&signed, reader.vector16().ok_or(CUT)?)
            .map_err(|_| "the server's signature is wrong")?;
        let algorithm = match group {
            hello::X25519 => &X25519,
            hello::SECP256R1 => &ECDH_P256,
            _ => return Err("the server chose a group that was not offered"),
        };
        let ours = EphemeralPrivateKey::generate(algorithm, &SystemRandom::new()).map_err(|_| "no ephemeral key")?;
        let our_public = ours.compute_public_key().map_err(|_| "no public key")?.as_ref().to_vec();
        let theirs = UnparsedPublicKey::new(algorithm, public);
        let premaster = agree_ephemeral(ours, theirs, "the server's key is none", |secret| Ok(secret.to_vec()))?;
        Ok((our_public, premaster))
    }

    fn finish(&mut self, message: &Message) -> Result<Keys, &'static str> {
        let (Some(master), Some(hello)) = (&self.master, self.said.hello) else {
            return Err("the server finished too early");
        };
        let expected = master.verify_data(b"server finished", &self.transcript).ok_or("no verify data")?;
        verify_slices_are_equal(&expected, &message.body).map_err(|_| "the server's Finished is wrong")?;
        master.srtp_keys(hello.profile, &self.random, &hello.random).ok_or("no SRTP keys")
    }
}

fn p256_point(certificate: &[u8]) -> Option<&[u8]> {
    let at = certificate.windows(P256_INFO.len()).position(|window| window == P256_INFO)? + P256_INFO.len();
    certificate.get(at..at + P256_POINT_BYTES)
}
