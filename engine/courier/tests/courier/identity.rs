//! Certificates and their fingerprints.

use aws_lc_rs::digest;
use engine_table::{Fingerprint, IdentityRow, Text};

/// A self-signed ECDSA P-256 certificate, as the holder makes it.
pub fn identity() -> IdentityRow {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["test".to_owned()]).unwrap().self_signed(&key).unwrap();
    IdentityRow {
        certificate: Text::new(certificate.der()).unwrap(),
        private_key: Text::new(&key.serialize_der()).unwrap(),
    }
}

pub fn fingerprint(identity: &IdentityRow) -> Fingerprint {
    let hash = digest::digest(&digest::SHA256, identity.certificate.as_bytes());
    let mut fingerprint = unknown_fingerprint();
    fingerprint.algorithm = 1;
    fingerprint.bytes = 32;
    fingerprint.digest[..32].copy_from_slice(hash.as_ref());
    fingerprint
}

pub fn unknown_fingerprint() -> Fingerprint {
    Fingerprint { algorithm: 0, bytes: 0, reserved: [0; 6], digest: [0; 64] }
}
