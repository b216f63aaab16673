//! The protection profiles of DTLS-SRTP that we serve, with the sizes that follow from each.

/// A DTLS-SRTP protection profile. The discriminant is the IANA value (RFC 5764 §4.1.2, RFC 7714 §14.2).
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    Aes128CmSha1_80 = 1,
    AeadAes128Gcm = 7,
    AeadAes256Gcm = 8,
}

impl Profile {
    pub const ALL: [Self; 3] = [Self::Aes128CmSha1_80, Self::AeadAes128Gcm, Self::AeadAes256Gcm];
    /// Largest tag of all profiles: what a buffer for RTP needs beyond the packet.
    pub const RTP_OVERHEAD_MAX: usize = 16;
    /// Largest tag with the index word: what a buffer for RTCP needs beyond the packet.
    pub const RTCP_OVERHEAD_MAX: usize = 20;

    pub const fn from_u16(value: u16) -> Option<Self> {
        match value {
            1 => Some(Self::Aes128CmSha1_80),
            7 => Some(Self::AeadAes128Gcm),
            8 => Some(Self::AeadAes256Gcm),
            _ => None,
        }
    }

    /// The name in the IANA registry "DTLS-SRTP Protection Profiles".
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes128CmSha1_80 => "SRTP_AES128_CM_HMAC_SHA1_80",
            Self::AeadAes128Gcm => "SRTP_AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "SRTP_AEAD_AES_256_GCM",
        }
    }

    /// Bytes of the master key and of the session cipher key.
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 | Self::AeadAes128Gcm => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    /// Bytes of the master salt and of the session salt: 112 bits for counter mode, 96 for GCM.
    pub const fn salt_len(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 => 14,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
        }
    }

    /// Bytes of the authentication tag of RTP and RTCP alike.
    pub const fn tag_len(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 => 10,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
        }
    }

    /// Bytes that protection adds to a compound RTCP packet: tag and the word of E flag and index.
    pub const fn rtcp_overhead(self) -> usize {
        self.tag_len() + 4
    }

    /// Bytes to ask of the DTLS exporter: two keys and two salts (RFC 5764 §4.2).
    pub const fn exported_len(self) -> usize {
        2 * (self.key_len() + self.salt_len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iana_values_round_trip_and_all_others_are_refused() {
        for value in 0..=u16::MAX {
            match Profile::from_u16(value) {
                Some(profile) => assert_eq!(profile as u16, value),
                None => assert!(!Profile::ALL.iter().any(|profile| *profile as u16 == value)),
            }
        }
    }

    #[test]
    fn overhead_maxima_cover_every_profile() {
        assert_eq!(Profile::ALL.map(Profile::tag_len).into_iter().max(), Some(Profile::RTP_OVERHEAD_MAX));
        assert_eq!(Profile::ALL.map(Profile::rtcp_overhead).into_iter().max(), Some(Profile::RTCP_OVERHEAD_MAX));
    }
}
