//! One RTP packet that waits to be sealed, with every check behind it.
//!
//! ```text
//! out      │ header │ prefix │ room for the payload │ padding │ room for the tag │
//!            caller   caller          ▲               sealer       sealer
//! payload                             └── read from elsewhere: one cached packet goes to many receivers
//! ```

use crate::header::{rtp_header_len, rtp_sequence, rtp_ssrc};
use crate::kernel::body::Body;
use crate::kernel::hmac::{HmacKey, Message};
use crate::suite::roc;
use crate::{RTP_INDEX_MAX, SendContext, SrtpError, aes_cm};

const PADDING_FLAG: u8 = 0x20;

/// One RTP packet to seal. `Job::new` does every check, so that sealing cannot fail. **An index must be sealed once per
/// SSRC**, as [`SendContext`] says.
pub struct Job<'a> {
    pub(crate) context: &'a SendContext,
    pub(crate) out: &'a mut [u8],
    pub(crate) payload: &'a [u8],
    pub(crate) index: u64,
    pub(crate) ssrc: [u8; 4],
    pub(crate) header_len: u16,
    pub(crate) prefix_len: u16,
    pub(crate) padding: u8,
}

impl<'a> Job<'a> {
    /// Largest sealed packet: what fits a UDP datagram.
    pub const BYTES_MAX: usize = u16::MAX as usize;

    /// **Input** `out[..header_len]` is the header; `prefix_len` bytes of rewritten payload stand behind it (the OSN of RTX,
    /// a VP8 descriptor; 0 if none); `payload` is the rest, read from elsewhere; `padding` bytes of RTP padding follow it
    /// (zeros, the last one counts; 0 if none; the P bit is the caller's); then room for the tag, to the end of `out`.
    /// `index` as in [`SendContext::protect_rtp`].
    /// **Errors** `Malformed` for a bad header, one of another length, an index of another sequence number, or padding
    /// without the P bit; `Capacity` if `out` is not exactly header, prefix, payload, padding and tag, is longer than
    /// [`Self::BYTES_MAX`], or the index is beyond [`RTP_INDEX_MAX`].
    /// **Cost** reads the header, touches nothing else.
    pub fn new(
        context: &'a SendContext,
        out: &'a mut [u8],
        header_len: usize,
        prefix_len: usize,
        payload: &'a [u8],
        padding: u8,
        index: u64,
    ) -> Result<Self, SrtpError> {
        let header = out.get(..header_len).ok_or(SrtpError::Capacity)?;
        if rtp_header_len(header)? != header_len || rtp_sequence(header)? != index as u16 {
            return Err(SrtpError::Malformed);
        }
        if padding != 0 && header.first().is_none_or(|first| first & PADDING_FLAG == 0) {
            return Err(SrtpError::Malformed);
        }
        let ssrc = rtp_ssrc(header)?;
        let rest = [prefix_len, payload.len(), usize::from(padding), context.profile().tag_len()];
        let total = rest.into_iter().try_fold(header_len, usize::checked_add).ok_or(SrtpError::Capacity)?;
        if total != out.len() || total > Self::BYTES_MAX || index > RTP_INDEX_MAX {
            return Err(SrtpError::Capacity);
        }
        // Both are parts of `total`, which fits 16 bits.
        let (header_len, prefix_len) = (header_len as u16, prefix_len as u16);
        Ok(Self { context, out, payload, index, ssrc, header_len, prefix_len, padding })
    }

    /// The header, what is encrypted, and the tag's place.
    pub(crate) fn split(&mut self, tag_len: usize) -> (&[u8], Body<'_>, &mut [u8]) {
        let (packet, tag) = self.out.split_at_mut(self.out.len() - tag_len);
        let (header, body) = packet.split_at_mut(self.header_len.into());
        (header, Body::across(body, self.prefix_len.into(), self.payload), tag)
    }

    /// Bytes that the tag of AES-CM is over, but for the ROC.
    pub(crate) fn authenticated_len(&self) -> usize {
        self.out.len() - aes_cm::TAG_LEN
    }

    /// What the tag of AES-CM is over, once it is encrypted.
    pub(crate) fn message<'m>(&'m self, key: &'m HmacKey) -> Message<'m> {
        Message { key, bytes: &self.out[..self.authenticated_len()], roc: Some(roc(self.index)) }
    }

    pub(crate) fn set_tag(&mut self, tag: &[u8]) {
        let start = self.out.len() - tag.len();
        self.out[start..].copy_from_slice(tag);
    }

    /// Writes payload and padding to their places, for whoever encrypts in place.
    pub(crate) fn place_payload(&mut self) {
        let start = usize::from(self.header_len) + usize::from(self.prefix_len);
        let end = start + self.payload.len();
        self.out[start..end].copy_from_slice(self.payload);
        let padding = &mut self.out[end..end + usize::from(self.padding)];
        padding.fill(0);
        if let Some(last) = padding.last_mut() {
            *last = self.padding;
        }
    }
}
