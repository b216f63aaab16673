//! Which protocol a datagram of the media port belongs to, by its first two bytes (RFC 7983 §7, RFC 5761 §4).

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    Stun,
    Dtls,
    Srtp,
    Srtcp,
    /// Empty, ZRTP, TURN channel data, QUIC, or nothing known.
    Unknown,
}

/// **Cost**: two comparisons; no more than two bytes are read.
pub const fn classify(datagram: &[u8]) -> Class {
    match datagram {
        [0..=3, ..] => Class::Stun,
        [20..=63, ..] => Class::Dtls,
        [128..=191, 192..=223, ..] => Class::Srtcp,
        [128..=191, _, ..] => Class::Srtp,
        _ => Class::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_first_byte_has_the_class_of_rfc_7983() {
        for first in 0..=u8::MAX {
            let expected = match first {
                0..=3 => Class::Stun,
                20..=63 => Class::Dtls,
                128..=191 => Class::Srtp,
                _ => Class::Unknown,
            };
            assert_eq!(classify(&[first, 96]), expected, "{first}");
        }
    }

    #[test]
    fn rtcp_is_told_by_its_second_byte() {
        assert_eq!(classify(&[0x80, 191]), Class::Srtp);
        assert_eq!(classify(&[0x80, 192]), Class::Srtcp);
        assert_eq!(classify(&[0x80, 223]), Class::Srtcp);
        assert_eq!(classify(&[0x80, 224]), Class::Srtp);
        assert_eq!(classify(&[0x80]), Class::Unknown);
        assert_eq!(classify(&[]), Class::Unknown);
    }
}
