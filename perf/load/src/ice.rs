//! One ICE agent with one pair: our socket and one candidate of the server (RFC 8445). Sans-IO. Enough for a client on a known
//! path: it checks, nominates when it controls, answers checks, and keeps consent (RFC 7675). No gathering, no other pairs.

use std::collections::VecDeque;
use std::net::SocketAddr;

use engine_base::TimeNs;
use engine_wire::stun::writer::StunError;
use engine_wire::stun::{
    BindingRequest, INTEGRITY_BYTES, IceRole, MessageClass, StunMessage, TransactionId, write_signed_error,
    write_success,
};
use signaling_sdp::IceCredentials;

/// Between checks until one is answered.
const RETRY_MS: u64 = 100;
/// Between consent checks: 5 s × 0.5 to 1.5 in RFC 7675 §5.1; Chromium takes about 2.5 s.
const CONSENT_MS: u64 = 2_500;
/// Without an answer for this long consent is gone (RFC 7675 §5.1).
const CONSENT_LOST_MS: u64 = 30_000;
/// Host candidate (RFC 8445 §5.1.2.2), as a peer-reflexive one would be told: 110 << 24.
const PRIORITY: u32 = (110 << 24) | (65_535 << 8) | 255;
const MESSAGE_BYTES_MAX: usize = 512;

pub struct Ice {
    local: IceCredentials,
    remote: IceCredentials,
    username: Vec<u8>,
    local_key: aws_lc_rs::hmac::Key,
    remote_key: aws_lc_rs::hmac::Key,
    role: IceRole,
    /// The role in our last check.
    checked_as: IceRole,
    transaction: TransactionId,
    check_at: TimeNs,
    answered_at: Option<TimeNs>,
    nominated: bool,
    outgoing: VecDeque<Vec<u8>>,
}

fn key(password: &str) -> aws_lc_rs::hmac::Key {
    aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes())
}

fn hmac(key: &aws_lc_rs::hmac::Key, parts: &[&[u8]]) -> [u8; INTEGRITY_BYTES] {
    let mut context = aws_lc_rs::hmac::Context::with_key(key);
    parts.iter().for_each(|part| context.update(part));
    context.sign().as_ref().try_into().unwrap_or([0; INTEGRITY_BYTES])
}

impl Ice {
    /// Begins to check at once.
    pub fn new(local: IceCredentials, remote: IceCredentials, controlling: bool, now: TimeNs) -> Self {
        let tie_breaker = rand::random();
        let role = if controlling { IceRole::Controlling(tie_breaker) } else { IceRole::Controlled(tie_breaker) };
        Self {
            username: format!("{}:{}", remote.ufrag, local.ufrag).into_bytes(),
            local_key: key(&local.password),
            remote_key: key(&remote.password),
            local,
            remote,
            role,
            checked_as: role,
            transaction: TransactionId::default(),
            check_at: now,
            answered_at: None,
            nominated: false,
            outgoing: VecDeque::new(),
        }
    }

    pub fn has_remote(&self, remote: &IceCredentials) -> bool {
        self.remote == *remote
    }

    /// DTLS may begin.
    pub fn is_connected(&self) -> bool {
        self.nominated && self.answered_at.is_some()
    }

    pub fn is_lost(&self, now: TimeNs) -> bool {
        self.answered_at.is_some_and(|at| now.since(at) > CONSENT_LOST_MS * 1_000_000)
    }

    pub fn handle_packet(&mut self, datagram: &[u8], source: SocketAddr, now: TimeNs) {
        let Ok(message) = StunMessage::parse(datagram) else { return };
        match message.class {
            MessageClass::Request => self.answer(&message, source),
            MessageClass::Success => self.take_success(&message, now),
            MessageClass::Error => self.take_error(&message, now),
            MessageClass::Indication => {}
        }
    }

    pub fn handle_timeout(&mut self, now: TimeNs) {
        if self.check_at > now {
            return;
        }
        self.check_at = now.add_ms(if self.is_connected() { CONSENT_MS } else { RETRY_MS });
        self.transaction = TransactionId(rand::random());
        self.checked_as = self.role;
        let request = BindingRequest {
            transaction: self.transaction,
            username: &self.username,
            priority: PRIORITY,
            role: self.role,
            use_candidate: matches!(self.role, IceRole::Controlling(_)),
        };
        let mut out = [0; MESSAGE_BYTES_MAX];
        if let Ok(length) = request.write(&mut out, |parts| hmac(&self.remote_key, parts)) {
            self.outgoing.extend(out.get(..length).map(<[u8]>::to_vec));
        }
    }

    pub fn poll_timeout(&self) -> TimeNs {
        self.check_at
    }

    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.outgoing.pop_front()
    }

    fn answer(&mut self, request: &StunMessage<'_>, source: SocketAddr) {
        if !request.verify_integrity(|parts| hmac(&self.local_key, parts)) {
            return;
        }
        let addressed = request.username.and_then(|username| username.split(|byte| *byte == b':').next());
        if addressed != Some(self.local.ufrag.as_bytes()) {
            return;
        }
        let mut out = [0; MESSAGE_BYTES_MAX];
        let sign = |parts: &[&[u8]]| hmac(&self.local_key, parts);
        let conflict = match (self.role, request.role) {
            (IceRole::Controlling(ours), Some(IceRole::Controlling(theirs))) => Some(ours >= theirs),
            (IceRole::Controlled(ours), Some(IceRole::Controlled(theirs))) => Some(ours < theirs),
            _ => None,
        };
        let written = match conflict {
            Some(true) => write_signed_error(&mut out, request.transaction, StunError::RoleConflict, &[], sign),
            _ => write_success(&mut out, request.transaction, source, sign),
        };
        if conflict == Some(false) {
            self.switch_role();
        }
        if conflict != Some(true) && request.use_candidate {
            self.nominated = true;
        }
        if let Ok(length) = written {
            self.outgoing.extend(out.get(..length).map(<[u8]>::to_vec));
        }
    }

    fn take_success(&mut self, response: &StunMessage<'_>, now: TimeNs) {
        if response.transaction != self.transaction || !response.verify_integrity(|parts| hmac(&self.remote_key, parts))
        {
            return;
        }
        self.answered_at = Some(now);
        if matches!(self.role, IceRole::Controlling(_)) {
            self.nominated = true;
        }
        if self.is_connected() {
            self.check_at = self.check_at.max(now.add_ms(CONSENT_MS));
        }
    }

    fn take_error(&mut self, response: &StunMessage<'_>, now: TimeNs) {
        if response.transaction == self.transaction && response.error.is_some_and(|error| error.code == 487) {
            // RFC 8445 §7.2.5.1: unless a check of the peer has made us switch meanwhile.
            if self.role == self.checked_as {
                self.switch_role();
            }
            self.check_at = now;
        }
    }

    fn switch_role(&mut self) {
        self.role = match self.role {
            IceRole::Controlling(tie_breaker) => IceRole::Controlled(tie_breaker),
            IceRole::Controlled(tie_breaker) => IceRole::Controlling(tie_breaker),
        };
    }
}

/// Credentials of RFC 8839 §5.4: 8 and 24 ice-chars.
pub fn credentials() -> IceCredentials {
    const CHARACTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let text = |length: usize| {
        (0..length).map(|_| char::from(CHARACTERS[usize::from(rand::random::<u8>() & 31)])).collect::<String>()
    };
    IceCredentials { ufrag: text(8), password: text(24) }
}

/// `a=candidate` of our socket.
pub fn candidate(address: SocketAddr, ufrag: &str) -> signaling_sdp::Candidate {
    signaling_sdp::Candidate::host_udp(address, 0, ufrag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn pair(controlling: [bool; 2]) -> [Ice; 2] {
        let (a, b) = (credentials(), credentials());
        let now = clock::now();
        [Ice::new(a.clone(), b.clone(), controlling[0], now), Ice::new(b, a, controlling[1], now)]
    }

    fn exchange(agents: &mut [Ice; 2]) {
        let source = "192.0.2.1:5000".parse().unwrap();
        let mut now = clock::now();
        for _ in 0..20 {
            for from in 0..2 {
                agents[from].handle_timeout(now);
                while let Some(datagram) = agents[from].poll_transmit() {
                    agents[1 - from].handle_packet(&datagram, source, now);
                }
            }
            now = now.add_ms(RETRY_MS);
        }
    }

    #[test]
    fn one_nominates_and_both_connect() {
        for controlling in [[true, false], [false, true]] {
            let mut agents = pair(controlling);
            exchange(&mut agents);
            assert!(agents.iter().all(Ice::is_connected));
        }
    }

    #[test]
    fn a_role_conflict_is_settled() {
        // Tie-breakers are random: both outcomes come up.
        for controlling in [[true, true], [false, false]].repeat(16) {
            let mut agents = pair(controlling);
            exchange(&mut agents);
            assert!(agents.iter().all(Ice::is_connected), "{controlling:?}");
        }
    }

    #[test]
    fn strangers_are_not_answered() {
        let mut agents = pair([true, false]);
        let mut stranger = pair([true, false]);
        stranger[0].handle_timeout(clock::now());
        let datagram = stranger[0].poll_transmit().unwrap();
        agents[1].handle_packet(&datagram, "192.0.2.1:5000".parse().unwrap(), clock::now());
        assert!(agents[1].poll_transmit().is_none());
        assert!(!agents[1].nominated);
    }

    #[test]
    fn consent_is_lost_when_nobody_answers() {
        let mut agents = pair([true, false]);
        exchange(&mut agents);
        assert!(!agents[0].is_lost(clock::now()));
        assert!(agents[0].is_lost(clock::now().add_ms(CONSENT_LOST_MS + 5_000)));
    }
}
