//! The record layer (RFC 6347 §4.1) with AES-128-GCM (RFC 5288).
//!
//! ```text
//! | type u8 | version FE FD | epoch u16 | sequence u48 | length u16 | explicit nonce 8 | ciphertext | tag 16 |
//! |            13 bytes in the clear                                |        only in epoch 1                 |
//! ```

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::reader::{Reader, push_vector16};

const VERSION: [u8; 2] = [0xFE, 0xFD];
pub const KEY_BYTES: usize = 16;
pub const SALT_BYTES: usize = 4;
const EXPLICIT_BYTES: usize = 8;
const SEQUENCE_MAX: u64 = (1 << 48) - 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Content {
    ChangeCipherSpec = 20,
    Alert = 21,
    Handshake = 22,
    ApplicationData = 23,
}

impl Content {
    pub fn from_u8(value: u8) -> Option<Self> {
        [Self::ChangeCipherSpec, Self::Alert, Self::Handshake, Self::ApplicationData]
            .into_iter()
            .find(|content| *content as u8 == value)
    }
}

pub struct Record<'a> {
    pub content: u8,
    pub epoch: u16,
    /// Epoch and sequence number, as they stand in the header and in the nonce.
    number: [u8; EXPLICIT_BYTES],
    body: &'a [u8],
}

/// The records of a datagram, up to the first that is cut off.
pub fn records(datagram: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let mut reader = Reader::new(datagram);
    std::iter::from_fn(move || {
        let content = reader.u8()?;
        let _version = reader.u16()?;
        let number: [u8; EXPLICIT_BYTES] = reader.array()?;
        let body = reader.vector16()?;
        Some(Record { content, epoch: u16::from_be_bytes([number[0], number[1]]), number, body })
    })
}

/// Cipher of one direction.
pub struct Sealer {
    key: LessSafeKey,
    salt: [u8; SALT_BYTES],
}

impl Sealer {
    pub fn new(key: &[u8], salt: [u8; SALT_BYTES]) -> Option<Self> {
        Some(Self { key: LessSafeKey::new(UnboundKey::new(&AES_128_GCM, key).ok()?), salt })
    }

    fn nonce(&self, explicit: [u8; EXPLICIT_BYTES]) -> Nonce {
        let [a, b, c, d] = self.salt;
        let [e, f, g, h, i, j, k, l] = explicit;
        Nonce::assume_unique_for_key([a, b, c, d, e, f, g, h, i, j, k, l])
    }
}

/// The state of one epoch: what to seal and open with, and the next number.
pub struct Epoch {
    ciphers: Option<(Sealer, Sealer)>,
    next: u64,
}

impl Epoch {
    pub fn plain() -> Self {
        Self { ciphers: None, next: 0 }
    }

    pub fn sealed(ours: Sealer, theirs: Sealer) -> Self {
        Self { ciphers: Some((ours, theirs)), next: 0 }
    }

    pub fn is_sealed(&self) -> bool {
        self.ciphers.is_some()
    }

    /// A whole record. `None` when epoch 1 has no keys yet or its numbers are used up.
    pub fn seal(&mut self, epoch: u16, content: Content, plain: &[u8]) -> Option<Vec<u8>> {
        if self.next > SEQUENCE_MAX {
            return None;
        }
        let number = (u64::from(epoch) << 48 | self.next).to_be_bytes();
        let mut body = plain.to_vec();
        match &self.ciphers {
            None if epoch == 0 => {}
            None => return None,
            Some((ours, _)) => {
                let tag = ours.key.seal_in_place_separate_tag(
                    ours.nonce(number),
                    Aad::from(additional(number, content as u8, plain.len())?),
                    &mut body,
                );
                body.extend(tag.ok()?.as_ref());
                body.splice(0..0, number);
            }
        }
        self.next += 1;
        let mut record = vec![content as u8, VERSION[0], VERSION[1]];
        record.extend(number);
        push_vector16(&mut record, &body);
        Some(record)
    }

    /// The content, if it is authentic.
    pub fn open(&self, record: &Record<'_>) -> Option<Vec<u8>> {
        let Some((_, theirs)) = &self.ciphers else {
            return (record.epoch == 0).then(|| record.body.to_vec());
        };
        let mut reader = Reader::new(record.body);
        let explicit = reader.array()?;
        let mut body = reader.rest().to_vec();
        let length = body.len().checked_sub(AES_128_GCM.tag_len())?;
        let additional = Aad::from(additional(record.number, record.content, length)?);
        theirs.key.open_in_place(theirs.nonce(explicit), additional, &mut body).ok()?;
        body.truncate(length);
        Some(body)
    }
}

/// RFC 5246 §6.2.3.3: number, type, version, length of the plaintext.
fn additional(number: [u8; EXPLICIT_BYTES], content: u8, length: usize) -> Option<[u8; 13]> {
    let mut out = [0; 13];
    out[..8].copy_from_slice(&number);
    out[8] = content;
    out[9..11].copy_from_slice(&VERSION);
    out[11..].copy_from_slice(&u16::try_from(length).ok()?.to_be_bytes());
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Epoch, Epoch) {
        let sealer = |n: u8| Sealer::new(&[n; KEY_BYTES], [n; SALT_BYTES]).unwrap();
        (Epoch::sealed(sealer(1), sealer(2)), Epoch::sealed(sealer(2), sealer(1)))
    }

    #[test]
    fn what_one_seals_the_other_opens_and_a_changed_bit_is_dropped() {
        let (mut ours, theirs) = pair();
        let mut datagram = ours.seal(1, Content::ApplicationData, b"one").unwrap();
        datagram.extend(ours.seal(1, Content::Alert, b"two").unwrap());
        let opened: Vec<_> = records(&datagram).map(|record| theirs.open(&record)).collect();
        assert_eq!(opened, [Some(b"one".to_vec()), Some(b"two".to_vec())]);
        for at in [0, 5, 20, 30] {
            let mut changed = datagram.clone();
            changed[at] ^= 1;
            assert_eq!(records(&changed).next().and_then(|record| theirs.open(&record)), None, "byte {at}");
        }
    }

    #[test]
    fn a_cut_datagram_gives_its_whole_records() {
        let (mut ours, _) = pair();
        let datagram = ours.seal(1, Content::Handshake, &[0; 50]).unwrap();
        for length in 0..datagram.len() {
            assert_eq!(records(&datagram[..length]).count(), 0);
        }
        assert_eq!(records(&datagram).count(), 1);
    }

    #[test]
    fn epoch_one_says_nothing_without_keys() {
        assert!(Epoch::plain().seal(1, Content::Handshake, b"x").is_none());
        let mut sealed = pair().0;
        let datagram = sealed.seal(1, Content::ApplicationData, b"x").unwrap();
        assert_eq!(Epoch::plain().open(&records(&datagram).next().unwrap()), None);
    }
}
