//! Certificate fingerprints of session descriptions (RFC 8122 §5).

use aws_lc_rs::digest;
use engine_table::Fingerprint;

fn algorithm(fingerprint: &Fingerprint) -> Option<&'static digest::Algorithm> {
    match fingerprint.algorithm {
        1 => Some(&digest::SHA256),
        2 => Some(&digest::SHA384),
        3 => Some(&digest::SHA512),
        _ => None,
    }
}

/// Unknown (no bytes), or a known algorithm with its length.
pub fn is_fingerprint_valid(fingerprint: &Fingerprint) -> bool {
    fingerprint.bytes == 0
        || algorithm(fingerprint).is_some_and(|algorithm| algorithm.output_len() == usize::from(fingerprint.bytes))
}

/// Whether `certificate` (DER) has this fingerprint. An unknown or invalid one matches nothing.
pub fn matches(certificate: &[u8], fingerprint: &Fingerprint) -> bool {
    fingerprint.bytes != 0
        && is_fingerprint_valid(fingerprint)
        && algorithm(fingerprint).is_some_and(|algorithm| {
            let expected = fingerprint.digest.get(..usize::from(fingerprint.bytes));
            expected == Some(digest::digest(algorithm, certificate).as_ref())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hash_matches_its_own_certificate_only() {
        let algorithms = [(1, &digest::SHA256), (2, &digest::SHA384), (3, &digest::SHA512)];
        for (number, algorithm) in algorithms {
            let hash = digest::digest(algorithm, b"certificate");
            let mut fingerprint =
                Fingerprint { algorithm: number, bytes: hash.as_ref().len() as u8, reserved: [0; 6], digest: [0; 64] };
            fingerprint.digest[..hash.as_ref().len()].copy_from_slice(hash.as_ref());
            assert!(matches(b"certificate", &fingerprint));
            assert!(!matches(b"another", &fingerprint));
            fingerprint.bytes -= 1;
            assert!(!is_fingerprint_valid(&fingerprint) && !matches(b"certificate", &fingerprint));
            fingerprint.bytes = 0;
            assert!(is_fingerprint_valid(&fingerprint) && !matches(b"certificate", &fingerprint));
        }
    }
}
