//! Connectivity checks (RFC 8445 §7.3, ICE-lite): any worker answers any check from the shared table, without state. What an
//! authenticated check changes is its caller's concern.

use aws_lc_rs::hmac::{Context, HMAC_SHA1_FOR_LEGACY_USE_ONLY, Key};
use engine_base::ufrag::{LocalUfrag, UFRAG_BYTES};
use engine_base::{Drop as DropReason, TransportRef};
use engine_table::{ROW_ACTIVE, SocketAddress, Table, TransportRow};
use engine_wire::stun::{self, INTEGRITY_BYTES, IceRole, MessageClass, StunMessage, writer::StunError};

/// A generation is compared by what a ufrag carries of it.
const GENERATION_MASK: u32 = (1 << 24) - 1;
/// Bits of the node's tag in a ufrag.
const NODE_MASK: u32 = (1 << 18) - 1;

/// A check before its password was tried.
#[derive(Debug)]
pub struct Check<'a> {
    pub transport: TransportRef,
    /// Which of the row's credentials it names.
    pub credentials: u8,
    message: StunMessage<'a>,
    row: TransportRow,
}

/// An authenticated check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Length of the answer in the caller's buffer.
    pub bytes: usize,
    /// The pair is valid; false for a role conflict or an attribute that we must know and do not.
    pub success: bool,
    /// USE-CANDIDATE.
    pub nominates: bool,
}

/// Reads a datagram as a check for one of our rows. **Cost**: one copy of the row, no cryptography.
pub fn read<'a>(bytes: &'a [u8], table: &Table<TransportRow>, node_tag: u32) -> Result<Check<'a>, DropReason> {
    let message = StunMessage::parse(bytes).map_err(|_| DropReason::StunMalformed)?;
    if message.class != MessageClass::Request {
        return Err(DropReason::StunNotRequest);
    }
    if !message.is_binding_request() || message.has_fingerprint() && !message.verify_fingerprint() {
        return Err(DropReason::StunMalformed);
    }
    // RFC 8445 §7.2.2: the receiver's fragment, a colon, the sender's.
    let local = message.username.and_then(|name| name.split(|byte| *byte == b':').next());
    let local = local.ok_or(DropReason::StunMalformed)?;
    let ufrag = LocalUfrag::decode(local).ok_or(DropReason::StunUnknownUfrag)?;
    if ufrag.node != node_tag & NODE_MASK {
        return Err(DropReason::StunUnknownUfrag);
    }
    let (_, row) = table.read(ufrag.index).ok_or(DropReason::StunUnknownUfrag)?;
    if row.state != ROW_ACTIVE || row.generation & GENERATION_MASK != ufrag.generation {
        return Err(DropReason::StunUnknownUfrag);
    }
    let named = |credentials: &engine_table::IceCredentials| credentials.local_ufrag.as_bytes() == local;
    let credentials = row.credentials.iter().position(named).ok_or(DropReason::StunUnknownUfrag)? as u8;
    debug_assert_eq!(local.len(), UFRAG_BYTES);
    Ok(Check { transport: TransportRef::new(ufrag.index, row.generation), credentials, message, row })
}

impl Check<'_> {
    /// Authenticates the check and writes the answer into `out`. **Cost**: two HMAC-SHA1 of about 100 B.
    pub fn answer(&self, source: SocketAddress, out: &mut [u8]) -> Result<Answer, DropReason> {
        let password = self.row.credentials[usize::from(self.credentials & 1)].local_password;
        let key = Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
        if password.is_empty() || !self.message.verify_integrity(|parts| hmac(&key, parts)) {
            return Err(DropReason::StunBadIntegrity);
        }
        let source = source.get().ok_or(DropReason::StunMalformed)?;
        let transaction = self.message.transaction;
        let unknown = self.message.unknown.as_slice();
        let (written, success) = if !unknown.is_empty() {
            let error = StunError::UnknownAttribute;
            (stun::write_signed_error(out, transaction, error, unknown, |parts| hmac(&key, parts)), false)
        } else if matches!(self.message.role, Some(IceRole::Controlled(_))) {
            // We are lite, hence controlled (RFC 8445 §6.1.1): the client must take the other role.
            let error = StunError::RoleConflict;
            (stun::write_signed_error(out, transaction, error, &[], |parts| hmac(&key, parts)), false)
        } else {
            (stun::write_success(out, transaction, source, |parts| hmac(&key, parts)), true)
        };
        let bytes = written.map_err(|_| DropReason::StunMalformed)?;
        Ok(Answer { bytes, success, nominates: success && self.message.use_candidate })
    }
}

fn hmac(key: &Key, parts: &[&[u8]]) -> [u8; INTEGRITY_BYTES] {
    let mut context = Context::with_key(key);
    parts.iter().for_each(|part| context.update(part));
    let mut out = [0; INTEGRITY_BYTES];
    let tag = context.sign();
    out.copy_from_slice(&tag.as_ref()[..INTEGRITY_BYTES]);
    out
}

/// Checks of strangers that a transport answers: a burst of every candidate pair, then what a client retries.
const STRANGER_BURST: u32 = 64;
const STRANGER_INTERVAL_NS: u64 = 20_000_000;

/// Limits checks from sources that are not validated yet, per transport: each costs an HMAC.
#[derive(Clone, Copy, Debug, Default)]
pub struct StrangerLimit {
    /// Time up to which the budget is spent.
    spent_until_ns: u64,
}

impl StrangerLimit {
    /// Takes one check from the budget of 64, refilled at 50/s.
    pub fn allows(&mut self, now: engine_base::TimeNs) -> bool {
        let earliest = now.0.saturating_sub(u64::from(STRANGER_BURST) * STRANGER_INTERVAL_NS);
        let spent = self.spent_until_ns.max(earliest) + STRANGER_INTERVAL_NS;
        let allowed = spent <= now.0;
        if allowed {
            self.spent_until_ns = spent;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use engine_base::TimeNs;

    use super::*;

    #[test]
    fn strangers_have_a_burst_and_then_a_rate() {
        let mut limit = StrangerLimit::default();
        let start = TimeNs::from_ms(10_000_000);
        assert_eq!((0..1_000).filter(|_| limit.allows(start)).count(), STRANGER_BURST as usize);
        assert!(!limit.allows(start.add_ms(19)));
        assert!(limit.allows(start.add_ms(20)));
        let later = start.add_ms(1_020);
        assert_eq!((0..1_000).filter(|_| limit.allows(later)).count(), 50);
    }
}
