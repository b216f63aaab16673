//! One stream kind and direction under session keys: where tag, index word and clear part stand in a packet, per transform.
//!
//! ```text
//! RTP              header ‖ encrypted payload ‖ tag
//! RTCP, AES-CM     8 B ‖ encrypted ‖ E+index 4 B ‖ tag 10 B     tag over all before it     (RFC 3711 §3.4)
//! RTCP, AES-GCM    8 B ‖ encrypted ‖ tag 16 B ‖ E+index 4 B     AAD: 8 B ‖ E+index          (RFC 7714 §9.2)
//! ```

use std::boxed::Box;

use crate::aes_cm::{self, AesCm};
use crate::aes_gcm::{self, AesGcm};
use crate::header::{RTCP_CLEAR, rtcp_ssrc, rtp_ssrc};
use crate::kdf::SessionKeys;
use crate::{Profile, SrtpError};

pub(crate) const WORD: usize = 4;
pub(crate) const ENCRYPTED_FLAG: u32 = 1 << 31;

/// GCM's keys are boxed by the library, those of AES-CM here: 1,752 B that a context of GCM shall not carry.
pub(crate) enum Suite {
    Cm(Box<AesCm>),
    Gcm(AesGcm),
}

impl Suite {
    pub fn new(profile: Profile, keys: &SessionKeys) -> Result<Self, SrtpError> {
        Ok(match profile {
            Profile::Aes128CmSha1_80 => Self::Cm(Box::new(AesCm::new(keys, profile.key_len())?)),
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => Self::Gcm(AesGcm::new(keys, profile.key_len())?),
        })
    }

    /// Seals header ‖ payload in place; `packet` ends with room for the tag.
    pub fn seal_rtp(&self, packet: &mut [u8], header_len: usize, index: u64) -> Result<(), SrtpError> {
        let ssrc = rtp_ssrc(packet)?;
        match self {
            Self::Cm(cm) => {
                let (body, tag) = split_tail(packet, aes_cm::TAG_LEN)?;
                cm.crypt(ssrc, index, body.get_mut(header_len..).ok_or(SrtpError::Malformed)?)?;
                tag.copy_from_slice(&cm.tag(body, &roc(index)));
                Ok(())
            }
            Self::Gcm(gcm) => {
                let (body, tag) = split_tail(packet, aes_gcm::TAG_LEN)?;
                let (header, data) = body.split_at_mut_checked(header_len).ok_or(SrtpError::Malformed)?;
                gcm.seal(gcm.nonce(ssrc, index), header, data, tag)
            }
        }
    }

    /// As [`Self::seal_rtp`] with the payload read from elsewhere: `packet` is header ‖ room for payload and tag.
    pub fn seal_rtp_from(
        &self,
        packet: &mut [u8],
        header_len: usize,
        payload: &[u8],
        index: u64,
    ) -> Result<(), SrtpError> {
        match self {
            Self::Cm(_) => {
                let room = packet.get_mut(header_len..header_len + payload.len()).ok_or(SrtpError::Capacity)?;
                room.copy_from_slice(payload);
                self.seal_rtp(packet, header_len, index)
            }
            Self::Gcm(gcm) => {
                let ssrc = rtp_ssrc(packet)?;
                let (body, tag) = split_tail(packet, aes_gcm::TAG_LEN)?;
                let (header, data) = body.split_at_mut_checked(header_len).ok_or(SrtpError::Malformed)?;
                gcm.seal_from(gcm.nonce(ssrc, index), header, payload, data, tag)
            }
        }
    }

    /// Opens header ‖ encrypted ‖ tag in place. **Output** length without the tag.
    pub fn open_rtp(&self, packet: &mut [u8], header_len: usize, index: u64) -> Result<usize, SrtpError> {
        let ssrc = rtp_ssrc(packet)?;
        match self {
            Self::Cm(cm) => {
                let (body, tag) = split_tail(packet, aes_cm::TAG_LEN)?;
                let len = body.len();
                if header_len > len {
                    return Err(SrtpError::Malformed);
                }
                cm.verify(body, &roc(index), tag)?;
                cm.crypt(ssrc, index, &mut body[header_len..])?;
                Ok(len)
            }
            Self::Gcm(gcm) => {
                let (body, tag) = split_tail(packet, aes_gcm::TAG_LEN)?;
                let len = body.len();
                let (header, data) = body.split_at_mut_checked(header_len).ok_or(SrtpError::Malformed)?;
                gcm.open(gcm.nonce(ssrc, index), header, data, tag)?;
                Ok(len)
            }
        }
    }

    /// Seals a compound packet in place; `packet` ends with room for tag and index word.
    pub fn seal_rtcp(&self, packet: &mut [u8], index: u32) -> Result<(), SrtpError> {
        let ssrc = rtcp_ssrc(packet)?;
        let word = (ENCRYPTED_FLAG | index).to_be_bytes();
        match self {
            Self::Cm(cm) => {
                let (authenticated, tag) = split_tail(packet, aes_cm::TAG_LEN)?;
                let (body, trailer) = split_tail(authenticated, WORD)?;
                cm.crypt(ssrc, index.into(), body.get_mut(RTCP_CLEAR..).ok_or(SrtpError::Malformed)?)?;
                trailer.copy_from_slice(&word);
                tag.copy_from_slice(&cm.tag(authenticated, &[]));
                Ok(())
            }
            Self::Gcm(gcm) => {
                let (rest, trailer) = split_tail(packet, WORD)?;
                let (body, tag) = split_tail(rest, aes_gcm::TAG_LEN)?;
                let (clear, data) = body.split_at_mut_checked(RTCP_CLEAR).ok_or(SrtpError::Malformed)?;
                trailer.copy_from_slice(&word);
                gcm.seal(gcm.nonce(ssrc, index.into()), &rtcp_aad(clear, word), data, tag)
            }
        }
    }

    /// Opens a compound packet in place. **Output** plain length and the packet's index.
    pub fn open_rtcp(&self, packet: &mut [u8]) -> Result<(usize, u32), SrtpError> {
        let ssrc = rtcp_ssrc(packet)?;
        let index = self.rtcp_index(packet).ok_or(SrtpError::Malformed)?;
        match self {
            Self::Cm(cm) => {
                let (authenticated, tag) = split_tail(packet, aes_cm::TAG_LEN)?;
                if authenticated.len() < RTCP_CLEAR + WORD {
                    return Err(SrtpError::Malformed);
                }
                cm.verify(authenticated, &[], tag)?;
                let (body, _) = split_tail(authenticated, WORD)?;
                let len = body.len();
                cm.crypt(ssrc, index.into(), &mut body[RTCP_CLEAR..])?;
                Ok((len, index))
            }
            Self::Gcm(gcm) => {
                let (rest, _) = split_tail(packet, WORD)?;
                let (body, tag) = split_tail(rest, aes_gcm::TAG_LEN)?;
                let len = body.len();
                let (clear, data) = body.split_at_mut_checked(RTCP_CLEAR).ok_or(SrtpError::Malformed)?;
                let aad = rtcp_aad(clear, (ENCRYPTED_FLAG | index).to_be_bytes());
                gcm.open(gcm.nonce(ssrc, index.into()), &aad, data, tag)?;
                Ok((len, index))
            }
        }
    }

    /// Makes the library allocate now what it would at the first failed tag on this thread.
    pub fn prepare_thread(&self) {
        if let Self::Gcm(gcm) = self {
            gcm.provoke_error_queue();
        }
    }

    /// The index that a packet claims, before authentication. `None` if it is too short or its E flag is clear: WebRTC
    /// never sends RTCP unencrypted (RFC 8827 §6.5).
    pub fn rtcp_index(&self, packet: &[u8]) -> Option<u32> {
        let end = match self {
            Self::Cm(_) => packet.len().checked_sub(aes_cm::TAG_LEN)?,
            Self::Gcm(_) => packet.len(),
        };
        let word = u32::from_be_bytes(*packet.get(..end)?.last_chunk::<WORD>()?);
        (word & ENCRYPTED_FLAG != 0).then_some(word & !ENCRYPTED_FLAG)
    }
}

pub(crate) fn roc(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}

pub(crate) fn rtcp_aad(clear: &[u8], word: [u8; WORD]) -> [u8; RTCP_CLEAR + WORD] {
    let mut aad = [0; RTCP_CLEAR + WORD];
    aad[..RTCP_CLEAR].copy_from_slice(clear);
    aad[RTCP_CLEAR..].copy_from_slice(&word);
    aad
}

pub(crate) fn split_tail(bytes: &mut [u8], tail: usize) -> Result<(&mut [u8], &mut [u8]), SrtpError> {
    let at = bytes.len().checked_sub(tail).ok_or(SrtpError::Malformed)?;
    Ok(bytes.split_at_mut(at))
}
