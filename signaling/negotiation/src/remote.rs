//! The client's certificate and our DTLS role: fixed by the first description, as both belong to one DTLS association
//! (RFC 8842 §3).

use engine_table::{DTLS_CLIENT, DTLS_SERVER, TransportRow};
use serde::{Deserialize, Serialize};
use signaling_sdp::{Fingerprint, SessionDescription, Setup};

use crate::error::NegotiationError;
use crate::rows::{NO_FINGERPRINT, fingerprint_row};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remote {
    pub(crate) fingerprint: Fingerprint,
    /// Ours: `Active` is the DTLS client.
    pub(crate) setup: Setup,
}

impl Remote {
    /// What `description` says, which must be what `known` says. `setup` is our role by that description.
    pub(crate) fn read(
        description: &SessionDescription,
        setup: Setup,
        known: Option<&Self>,
    ) -> Result<Self, NegotiationError> {
        let live = description.sections.iter().filter(|section| !section.rejected);
        let usable = |fingerprint: &&Fingerprint| fingerprint_row(fingerprint).is_some();
        let mut offered = live.flat_map(|section| &section.transport.fingerprints).filter(usable);
        let Some(known) = known else {
            let best = offered.max_by_key(|fingerprint| fingerprint.as_sha256().is_some());
            let fingerprint = best.ok_or(NegotiationError::Unsupported { what: "no usable fingerprint" })?.clone();
            return Ok(Self { fingerprint, setup });
        };
        if !offered.any(|fingerprint| *fingerprint == known.fingerprint) {
            return Err(NegotiationError::PeerMisbehaved { what: "the fingerprint changed" });
        }
        let may_stay = description.setup().is_none_or(|setup| setup == Setup::ActPass) || setup == known.setup;
        if may_stay {
            Ok(known.clone())
        } else {
            Err(NegotiationError::PeerMisbehaved { what: "the DTLS role changed" })
        }
    }

    /// Role and fingerprint of a row; `before` is our role while nothing is known.
    pub(crate) fn fill_transport(known: Option<&Self>, before: Setup, row: &mut TransportRow) {
        let setup = known.map_or(before, |remote| remote.setup);
        row.dtls_role = if setup == Setup::Active { DTLS_CLIENT } else { DTLS_SERVER };
        row.fingerprint = known.and_then(|remote| fingerprint_row(&remote.fingerprint)).unwrap_or(NO_FINGERPRINT);
    }
}
