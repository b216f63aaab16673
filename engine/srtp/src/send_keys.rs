//! Session keys that seal one stream kind: expanded for the kernels where there are kernels, the library's elsewhere.
//! Where tag and index word stand in a packet is drawn in `suite`.

use core::hint::black_box;

use crate::header::{RTCP_CLEAR, rtcp_ssrc};
use crate::kdf::SessionKeys;
use crate::kernel::body::Body;
use crate::kernel::ctr::RoundKeys;
use crate::kernel::gcm::{GcmKey, RTCP_TABLE, RTP_TABLE};
use crate::kernel::hmac::{DIGEST_BYTES, HmacKey, Message};
use crate::kernel::{Cipher, Kernels, Set, ShaNi};
use crate::suite::{ENCRYPTED_FLAG, Suite, WORD, rtcp_aad, split_tail};
use crate::{Job, Profile, SrtpError, aes_cm, aes_gcm};

/// `P` powers of H, for RTP or for RTCP.
///
/// Embedded rather than boxed, for a batch walks over many of them.
#[allow(clippy::large_enum_variant)]
pub(crate) enum SendKeys<const P: usize> {
    Library(Suite),
    Cm(CmKeys),
    Gcm128(GcmKeys<11, P>),
    Gcm256(GcmKeys<15, P>),
}

impl<const P: usize> SendKeys<P> {
    pub fn new(profile: Profile, keys: &SessionKeys, kernels: &Kernels) -> Result<Self, SrtpError> {
        let Some(set) = kernels.set else {
            return Suite::new(profile, keys).map(Self::Library);
        };
        let mut short = [0; 16];
        short.copy_from_slice(&keys.cipher_key[..16]);
        Ok(match profile {
            Profile::Aes128CmSha1_80 => Self::Cm(CmKeys {
                cipher: set.cipher,
                single: set.hash,
                rounds: set.expand.expand_128(&short),
                hmac: HmacKey::new(&keys.auth_key),
                salt: keys.salt,
            }),
            Profile::AeadAes128Gcm => Self::Gcm128(GcmKeys::new(&set, set.expand.expand_128(&short), keys)),
            Profile::AeadAes256Gcm => Self::Gcm256(GcmKeys::new(&set, set.expand.expand_256(&keys.cipher_key), keys)),
        })
    }
}

/// How far a job has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sealed {
    Whole,
    ButForTag,
}

impl SendKeys<RTP_TABLE> {
    /// Seals all of a job.
    pub fn seal(&self, job: &mut Job<'_>) {
        if self.encrypt(job) == Sealed::ButForTag {
            self.authenticate(job);
        }
    }

    /// Seals a job but for the tag of AES-CM: tags are cheaper in a batch.
    pub fn encrypt(&self, job: &mut Job<'_>) -> Sealed {
        match self {
            Self::Library(suite) => seal_with_library(suite, job),
            Self::Gcm128(keys) => keys.seal_rtp(job),
            Self::Gcm256(keys) => keys.seal_rtp(job),
            Self::Cm(keys) => {
                let first = aes_cm::iv(&keys.salt, job.ssrc, job.index);
                keys.crypt(&first, &mut job.split(aes_cm::TAG_LEN).1);
                return Sealed::ButForTag;
            }
        }
        Sealed::Whole
    }

    /// Makes the tag that [`Self::encrypt`] left out.
    pub fn authenticate(&self, job: &mut Job<'_>) {
        if let Self::Cm(keys) = self {
            let digest = keys.digest(&job.message(&keys.hmac));
            job.set_tag(&digest[..aes_cm::TAG_LEN]);
        }
    }

    /// See [`crate::SendContext::hot`]. The library's keys lie elsewhere.
    #[inline]
    pub fn hot(&self) -> (*const u8, usize) {
        match self {
            Self::Library(suite) => (core::ptr::from_ref(suite).cast(), 0),
            Self::Cm(keys) => (core::ptr::from_ref(keys).cast(), size_of_val(keys)),
            Self::Gcm128(keys) => (core::ptr::from_ref(keys).cast(), size_of_val(keys)),
            Self::Gcm256(keys) => (core::ptr::from_ref(keys).cast(), size_of_val(keys)),
        }
    }

    /// The key of the tags that [`Self::encrypt`] leaves out.
    pub fn hmac_key(&self) -> Option<&HmacKey> {
        match self {
            Self::Cm(keys) => Some(&keys.hmac),
            _ => None,
        }
    }
}

/// The library refuses nothing that passed [`Job::new`]. If it ever does, zeros go out instead of plain bytes.
fn seal_with_library(suite: &Suite, job: &mut Job<'_>) {
    let header_len = job.header_len.into();
    let sealed = if job.prefix_len == 0 && job.padding == 0 {
        suite.seal_rtp_from(job.out, header_len, job.payload, job.index)
    } else {
        job.place_payload();
        suite.seal_rtp(job.out, header_len, job.index)
    };
    if sealed.is_err() {
        job.out.fill(0);
    }
}

impl SendKeys<RTCP_TABLE> {
    /// Seals a compound packet in place; `packet` ends with room for tag and index word.
    pub fn seal_rtcp(&self, packet: &mut [u8], index: u32) -> Result<(), SrtpError> {
        match self {
            Self::Library(suite) => suite.seal_rtcp(packet, index),
            Self::Cm(keys) => keys.seal_rtcp(packet, index),
            Self::Gcm128(keys) => keys.seal_rtcp(packet, index),
            Self::Gcm256(keys) => keys.seal_rtcp(packet, index),
        }
    }
}

/// AES-CM with HMAC-SHA1.
pub(crate) struct CmKeys {
    cipher: Cipher,
    single: ShaNi,
    rounds: RoundKeys<11>,
    salt: [u8; 14],
    hmac: HmacKey,
}

impl CmKeys {
    fn crypt(&self, first: &[u8; 16], body: &mut Body<'_>) {
        match self.cipher {
            Cipher::Vaes256(kernel) => kernel.crypt(&self.rounds, first, body),
            Cipher::Vaes512(kernel) => kernel.crypt(&self.rounds, first, body),
        }
    }

    pub fn digest(&self, message: &Message<'_>) -> [u8; DIGEST_BYTES] {
        let (mut tails, mut digests) = ([[0; _]], [[0; DIGEST_BYTES]]);
        self.single.hash(core::slice::from_ref(message), &mut tails, &mut digests);
        digests[0]
    }

    fn seal_rtcp(&self, packet: &mut [u8], index: u32) -> Result<(), SrtpError> {
        let ssrc = rtcp_ssrc(packet)?;
        let (authenticated, tag) = split_tail(packet, aes_cm::TAG_LEN)?;
        let (body, trailer) = split_tail(authenticated, WORD)?;
        let encrypted = body.get_mut(RTCP_CLEAR..).ok_or(SrtpError::Malformed)?;
        self.crypt(&aes_cm::iv(&self.salt, ssrc, index.into()), &mut Body::in_place(encrypted));
        trailer.copy_from_slice(&(ENCRYPTED_FLAG | index).to_be_bytes());
        let digest = self.digest(&Message { key: &self.hmac, bytes: authenticated, roc: None });
        tag.copy_from_slice(&digest[..aes_cm::TAG_LEN]);
        Ok(())
    }
}

impl Drop for CmKeys {
    fn drop(&mut self) {
        self.rounds = [[0; 16]; 11];
        self.hmac.forget();
        black_box(&self.rounds);
    }
}

/// AES-GCM.
pub(crate) struct GcmKeys<const R: usize, const P: usize> {
    cipher: Cipher,
    salt: [u8; 12],
    key: GcmKey<R, P>,
}

impl<const R: usize, const P: usize> GcmKeys<R, P> {
    fn new(set: &Set, rounds: RoundKeys<R>, keys: &SessionKeys) -> Self {
        let mut salt = [0; 12];
        salt.copy_from_slice(&keys.salt[..12]);
        Self { cipher: set.cipher, salt, key: set.expand.gcm_key(rounds) }
    }
}

impl<const R: usize> GcmKeys<R, RTP_TABLE> {
    fn seal_rtp(&self, job: &mut Job<'_>) {
        let nonce = aes_gcm::nonce(&self.salt, job.ssrc, job.index);
        let (header, mut body, tag) = job.split(aes_gcm::TAG_LEN);
        let Ok(tag) = tag.try_into() else { return };
        match self.cipher {
            Cipher::Vaes256(kernel) => kernel.seal(&self.key, &nonce, header, &mut body, tag),
            Cipher::Vaes512(kernel) => kernel.seal(&self.key, &nonce, header, &mut body, tag),
        }
    }
}

impl<const R: usize> GcmKeys<R, RTCP_TABLE> {
    fn seal_rtcp(&self, packet: &mut [u8], index: u32) -> Result<(), SrtpError> {
        let ssrc = rtcp_ssrc(packet)?;
        let word = (ENCRYPTED_FLAG | index).to_be_bytes();
        let (rest, trailer) = split_tail(packet, WORD)?;
        let (body, tag) = split_tail(rest, aes_gcm::TAG_LEN)?;
        let (clear, data) = body.split_at_mut_checked(RTCP_CLEAR).ok_or(SrtpError::Malformed)?;
        trailer.copy_from_slice(&word);
        let (nonce, aad) = (aes_gcm::nonce(&self.salt, ssrc, index.into()), rtcp_aad(clear, word));
        let mut body = Body::in_place(data);
        let tag = tag.try_into().map_err(|_| SrtpError::Malformed)?;
        match self.cipher {
            Cipher::Vaes256(kernel) => kernel.seal(&self.key, &nonce, &aad, &mut body, tag),
            Cipher::Vaes512(kernel) => kernel.seal(&self.key, &nonce, &aad, &mut body, tag),
        }
        Ok(())
    }
}

impl<const R: usize, const P: usize> Drop for GcmKeys<R, P> {
    fn drop(&mut self) {
        self.key.forget();
        black_box(&self.key);
    }
}
