//! The node's signing key, read once: the DTLS library would parse and check it anew for every session, and keep it.
//!
//! It is the library's own provider in everything else.

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use dimpl::crypto::{Buf, CryptoProvider, KeyProvider, SigningKey, aws_lc_rs as library};
use dimpl::{CryptoError, CryptoOperation, HashAlgorithm, SignatureAlgorithm};

/// Gives the same key to every session, whatever bytes it is asked for.
#[derive(Debug)]
struct NodeKey(Arc<EcdsaKeyPair>);

#[derive(Debug)]
struct SharedKey(Arc<EcdsaKeyPair>);

/// The provider of all sessions with one certificate.
///
/// **Input**: an ECDSA P-256 key, PKCS#8 in DER. **Errors**: `None` for any other. **Cost**: a few hundred bytes for the life of
/// the process, as the library asks for: call it once for each certificate.
pub(crate) fn provider(private_key: &[u8]) -> Option<CryptoProvider> {
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, private_key).ok()?;
    let key_provider: &'static NodeKey = Box::leak(Box::new(NodeKey(Arc::new(pair))));
    Some(CryptoProvider { key_provider, ..library::default_provider() })
}

impl KeyProvider for NodeKey {
    fn load_private_key(&self, _key_der: &[u8]) -> Result<Box<dyn SigningKey>, CryptoError> {
        Ok(Box::new(SharedKey(Arc::clone(&self.0))))
    }
}

impl SigningKey for SharedKey {
    fn sign(&mut self, data: &[u8], hash: HashAlgorithm, signature: &mut Buf) -> Result<(), CryptoError> {
        if hash != HashAlgorithm::SHA256 {
            return Err(CryptoError::SigningKeyHashMismatch { key_hash: HashAlgorithm::SHA256, requested: hash });
        }
        let signed = self.0.sign(&SystemRandom::new(), data);
        let signed = signed.map_err(|_| CryptoError::OperationFailed(CryptoOperation::Sign))?;
        signature.clear();
        signature.extend_from_slice(signed.as_ref());
        Ok(())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        HashAlgorithm::SHA256
    }

    fn supported_hash_algorithms(&self) -> &[HashAlgorithm] {
        &[HashAlgorithm::SHA256]
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, KeyPair, UnparsedPublicKey};

    use super::*;

    #[test]
    fn every_session_signs_with_the_nodes_key() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let der = key.serialize_der();
        let provider = provider(&der).unwrap();
        let public = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der).unwrap();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public.public_key().as_ref().to_vec());
        for _ in 0..2 {
            let mut session = provider.key_provider.load_private_key(&[]).unwrap();
            let mut signature = Buf::new();
            session.sign(b"exchange", HashAlgorithm::SHA256, &mut signature).unwrap();
            public.verify(b"exchange", &signature).unwrap();
            assert!(session.sign(b"exchange", HashAlgorithm::SHA384, &mut signature).is_err());
        }
    }

    #[test]
    fn a_key_of_another_kind_is_refused_before_a_session_needs_it() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        assert!(provider(&key.serialize_der()).is_none() && provider(b"no key").is_none());
    }
}
