//! The two directions of a transport: immutable session keys, used for every SSRC and by any thread. Indexes and windows
//! belong to the caller.

use crate::header::{RTCP_CLEAR, rtp_header_len, rtp_sequence};
use crate::kdf::{SessionKeys, Stream};
use crate::kernel::gcm::{RTCP_TABLE, RTP_TABLE};
use crate::send_keys::SendKeys;
use crate::suite::Suite;
use crate::{Job, Kernels, MasterKey, Profile, RTCP_INDEX_MAX, RTP_INDEX_MAX, SrtpError};

/// Seals what we send. **An index must be sealed once per SSRC**: a second, different packet under one index gives away
/// the GCM key. Resend the sealed bytes, or seal on another SSRC (RTX).
pub struct SendContext {
    profile: Profile,
    rtp: SendKeys<RTP_TABLE>,
    rtcp: SendKeys<RTCP_TABLE>,
}

impl SendContext {
    /// With the kernels that [`Kernels::detect`] finds.
    ///
    /// **Errors** `Malformed` only if the crypto library refuses the key, which it does not for valid profiles.
    /// **Cost** six key derivations, about 10 µs; the library's keys allocate here and nowhere later.
    pub fn new(master: &MasterKey) -> Result<Self, SrtpError> {
        Self::with_kernels(master, Kernels::detect())
    }

    /// With other kernels than the fastest, for tests and comparisons. A context of any kernels goes with any sealer.
    pub fn with_kernels(master: &MasterKey, kernels: Kernels) -> Result<Self, SrtpError> {
        let keys = (SessionKeys::derive(master, Stream::Rtp)?, SessionKeys::derive(master, Stream::Rtcp)?);
        Self::from_session_keys(master.profile, &keys.0, &keys.1, kernels)
    }

    /// From keys of RTP and of RTCP, which published vectors start from.
    pub(crate) fn from_session_keys(
        profile: Profile,
        rtp: &SessionKeys,
        rtcp: &SessionKeys,
        kernels: Kernels,
    ) -> Result<Self, SrtpError> {
        Ok(Self { profile, rtp: SendKeys::new(profile, rtp, &kernels)?, rtcp: SendKeys::new(profile, rtcp, &kernels)? })
    }

    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Where the keys lie that sealing an RTP packet reads, and how many bytes of them: to be asked for ahead.
    #[inline]
    pub fn hot(&self) -> (*const u8, usize) {
        self.rtp.hot()
    }

    pub(crate) fn rtp(&self) -> &SendKeys<RTP_TABLE> {
        &self.rtp
    }

    /// Seals an RTP packet in place.
    ///
    /// **Input** `buffer[..len]` is the packet, followed by room for [`Profile::tag_len`]; `index` is ROC · 2^16 + the
    /// packet's sequence number.
    /// **Output** the sealed length.
    /// **Errors** `Malformed` for a bad header or an index of another sequence number; `Capacity` without room or beyond
    /// [`RTP_INDEX_MAX`].
    /// **Cost** no allocation, one pass for GCM, two for AES-CM.
    pub fn protect_rtp(&self, buffer: &mut [u8], len: usize, index: u64) -> Result<usize, SrtpError> {
        let header_len = rtp_header_len(buffer.get(..len).ok_or(SrtpError::Capacity)?)?;
        self.seal_scatter(buffer, header_len, len - header_len, &[], index)
    }

    /// Seals an RTP packet whose payload, or its unchanged tail, is read from elsewhere: one cached packet goes to many
    /// receivers without a copy of its own.
    ///
    /// **Input** `out[..header_len]` is the header; `prefix_len` bytes after it are rewritten payload that stands in place
    /// already (the OSN of RTX, a VP8 descriptor; 0 if none); `payload` is the rest. `index` as in [`Self::protect_rtp`].
    /// **Output** the sealed length: header + prefix + payload + tag.
    /// **Errors** as [`Self::protect_rtp`]; also `Malformed` if `header_len` is not the header's length.
    /// **Cost** no allocation. Kernels encrypt across; the library copies the payload first, but for GCM without a prefix.
    pub fn seal_scatter(
        &self,
        out: &mut [u8],
        header_len: usize,
        prefix_len: usize,
        payload: &[u8],
        index: u64,
    ) -> Result<usize, SrtpError> {
        let parts = [prefix_len, payload.len(), self.profile.tag_len()];
        let len = parts.into_iter().try_fold(header_len, usize::checked_add).ok_or(SrtpError::Capacity)?;
        let out = out.get_mut(..len).ok_or(SrtpError::Capacity)?;
        self.rtp.seal(&mut Job::new(self, out, header_len, prefix_len, payload, 0, index)?);
        Ok(len)
    }

    /// Seals a compound RTCP packet in place.
    ///
    /// **Input** `buffer[..len]` is the packet, followed by room for [`Profile::rtcp_overhead`]; `index` counts every
    /// RTCP packet of this direction of the transport.
    /// **Output** the sealed length.
    /// **Errors** `Malformed` for a packet under 8 B or not of version 2; `Capacity` without room or beyond
    /// [`RTCP_INDEX_MAX`].
    pub fn protect_rtcp(&self, buffer: &mut [u8], len: usize, index: u32) -> Result<usize, SrtpError> {
        if len < RTCP_CLEAR {
            return Err(SrtpError::Malformed);
        }
        if index > RTCP_INDEX_MAX {
            return Err(SrtpError::Capacity);
        }
        let end = len.checked_add(self.profile.rtcp_overhead()).ok_or(SrtpError::Capacity)?;
        self.rtcp.seal_rtcp(buffer.get_mut(..end).ok_or(SrtpError::Capacity)?, index)?;
        Ok(end)
    }
}

/// Opens what we receive. It refuses no repeated index: see [`crate::Replay`].
pub struct ReceiveContext {
    profile: Profile,
    rtp: Suite,
    rtcp: Suite,
}

impl ReceiveContext {
    /// **Errors** and **Cost** as [`SendContext::new`]. Build it on the thread that will open packets: on another one the
    /// first GCM packet with a wrong tag allocates once, inside the crypto library.
    pub fn new(master: &MasterKey) -> Result<Self, SrtpError> {
        let profile = master.profile;
        let rtp = Suite::new(profile, &SessionKeys::derive(master, Stream::Rtp)?)?;
        let rtcp = Suite::new(profile, &SessionKeys::derive(master, Stream::Rtcp)?)?;
        rtp.prepare_thread();
        Ok(Self { profile, rtp, rtcp })
    }

    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Authenticates an SRTP packet, then decrypts it in place.
    ///
    /// **Input** the whole datagram and the index from [`crate::RtpWindow::estimate`].
    /// **Output** the plain length: header and payload.
    /// **Errors** `Malformed`, `Auth`; after either, the bytes of the packet are spoilt.
    /// **Cost** no allocation, one pass for GCM, two for AES-CM; a failed tag costs AES-CM one pass.
    pub fn unprotect_rtp(&self, packet: &mut [u8], index: u64) -> Result<usize, SrtpError> {
        let header_len = rtp_header_len(packet)?;
        if index > RTP_INDEX_MAX || rtp_sequence(packet)? != index as u16 {
            return Err(SrtpError::Malformed);
        }
        self.rtp.open_rtp(packet, header_len, index)
    }

    /// Authenticates an SRTCP packet, then decrypts it in place.
    ///
    /// **Output** the plain length and the packet's index. Accept the index into [`crate::RtcpWindow`] only now, and drop
    /// the packet if the window calls it anything but fresh.
    /// **Errors** `Malformed` (also if not encrypted), `Auth`; after either, the bytes of the packet are spoilt.
    pub fn unprotect_rtcp(&self, packet: &mut [u8]) -> Result<(usize, u32), SrtpError> {
        self.rtcp.open_rtcp(packet)
    }

    /// The index that an SRTCP packet claims, so that a replay can be dropped before its authentication is paid for.
    pub fn rtcp_index(&self, packet: &[u8]) -> Option<u32> {
        self.rtcp.rtcp_index(packet)
    }
}
