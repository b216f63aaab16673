//! Data channel establishment (RFC 8832): OPEN and ACK messages on an SCTP stream. It keeps no state.
//!
//! ```text
//! OPEN  0x03 | channel type u8 | priority u16 | reliability u32 | label bytes u16 | protocol bytes u16 | label | protocol
//! ACK   0x02
//! ```

/// RFC 8832 §8.2.1.
const ACK: u8 = 0x02;
const OPEN: u8 = 0x03;
const OPEN_HEADER_BYTES: usize = 12;
/// RFC 8832 §5.1: bit 7 of the channel type.
const UNORDERED: u8 = 0x80;

/// How a channel delivers (RFC 8832 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reliability {
    Reliable,
    /// At most so many resends.
    Retransmits(u32),
    /// At most so many milliseconds.
    Lifetime(u32),
}

/// A DATA_CHANNEL_OPEN message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open<'a> {
    pub ordered: bool,
    pub reliability: Reliability,
    pub priority: u16,
    pub label: &'a [u8],
    pub protocol: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    Open(Open<'a>),
    Ack,
}

/// Not a message of this protocol: the peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl<'a> Message<'a> {
    /// **Input**: one whole SCTP message with payload protocol identifier 50. **Source**: RFC 8832 §5.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        match bytes.split_first() {
            Some((&ACK, _)) => Ok(Self::Ack),
            Some((&OPEN, _)) => Ok(Self::Open(Open::parse(bytes)?)),
            _ => Err(Malformed),
        }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Ack => vec![ACK],
            Self::Open(open) => open.to_bytes(),
        }
    }
}

impl<'a> Open<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (head, texts) = bytes.split_first_chunk::<OPEN_HEADER_BYTES>().ok_or(Malformed)?;
        let parameter = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        let label_bytes = usize::from(u16::from_be_bytes([head[8], head[9]]));
        let protocol_bytes = usize::from(u16::from_be_bytes([head[10], head[11]]));
        let (label, rest) = texts.split_at_checked(label_bytes).ok_or(Malformed)?;
        let protocol = rest.get(..protocol_bytes).ok_or(Malformed)?;
        let reliability = match head[1] & !UNORDERED {
            // The parameter of a reliable channel is ignored (RFC 8832 §5.1).
            0 => Reliability::Reliable,
            1 => Reliability::Retransmits(parameter),
            2 => Reliability::Lifetime(parameter),
            _ => return Err(Malformed),
        };
        let ordered = head[1] & UNORDERED == 0;
        Ok(Self { ordered, reliability, priority: u16::from_be_bytes([head[2], head[3]]), label, protocol })
    }

    fn to_bytes(self) -> Vec<u8> {
        let (kind, parameter) = match self.reliability {
            Reliability::Reliable => (0, 0),
            Reliability::Retransmits(count) => (1, count),
            Reliability::Lifetime(ms) => (2, ms),
        };
        let mut bytes = vec![OPEN, kind | if self.ordered { 0 } else { UNORDERED }];
        bytes.extend_from_slice(&self.priority.to_be_bytes());
        bytes.extend_from_slice(&u32::to_be_bytes(parameter));
        bytes.extend_from_slice(&(self.label.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&(self.protocol.len() as u16).to_be_bytes());
        bytes.extend_from_slice(self.label);
        bytes.extend_from_slice(self.protocol);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_open_as_chromium_sends_it_is_read() {
        let bytes = b"\x03\x81\x01\x00\x00\x00\x00\x00\x00\x06\x00\x00_lossy";
        let open = Open {
            ordered: false,
            reliability: Reliability::Retransmits(0),
            priority: 256,
            label: b"_lossy",
            protocol: b"",
        };
        assert_eq!(Message::parse(bytes), Ok(Message::Open(open)));
        assert_eq!(Message::Open(open).to_bytes(), bytes);
    }

    fn reliability() -> impl Strategy<Value = Reliability> {
        prop_oneof![
            Just(Reliability::Reliable),
            any::<u32>().prop_map(Reliability::Retransmits),
            any::<u32>().prop_map(Reliability::Lifetime)
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn what_is_written_is_read_and_a_cut_is_refused(
            ordered: bool, reliability in reliability(), priority: u16,
            label in prop::collection::vec(any::<u8>(), 0..40), protocol in prop::collection::vec(any::<u8>(), 0..40),
            cut in 0usize..92,
        ) {
            let message = Message::Open(Open { ordered, reliability, priority, label: &label, protocol: &protocol });
            let bytes = message.to_bytes();
            prop_assert_eq!(Message::parse(&bytes), Ok(message));
            if cut < bytes.len() {
                prop_assert_eq!(Message::parse(&bytes[..cut]), Err(Malformed));
            }
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Message::parse(&bytes);
        }
    }
}
