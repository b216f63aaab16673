//! The node's certificate: self-signed ECDSA P-256, made at each start of the holder, kept over restarts of any child.

use anyhow::{Context, Result};
use aws_lc_rs::digest;
use engine_table::{IdentityRow, Text};

pub struct Identity {
    pub row: IdentityRow,
    /// SHA-256 of the certificate, as in SDP.
    pub fingerprint: [u8; 32],
}

pub fn make() -> Result<Identity> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).context("cannot make the node's key")?;
    let mut parameters = rcgen::CertificateParams::new(Vec::new())?;
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "millrace");
    let certificate = parameters.self_signed(&key).context("cannot sign the node's certificate")?;
    let der = certificate.der();
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest::digest(&digest::SHA256, der).as_ref());
    let row = IdentityRow {
        certificate: Text::new(der).context("the certificate is too long for its row")?,
        private_key: Text::new(key.serialized_der()).context("the key is too long for its row")?,
    };
    Ok(Identity { row, fingerprint })
}
