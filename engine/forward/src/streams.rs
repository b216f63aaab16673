//! Which ingress, layer and kind of stream an SSRC of one transport is: declared by `a=ssrc`, or learned from the mid and rid
//! extensions of its first packets (RFC 8852, RFC 9143 §9.2).

use engine_base::limits::LAYERS;
use engine_base::{ExtensionIds, Ssrc};
use engine_table::{IngressRow, PayloadMapping};
use engine_wire::extension::value::identifier;
use engine_wire::rtp::RtpPacket;

/// SSRCs of one transport: ten tracks of three layers, each with RTX, and some audio.
pub const STREAMS_MAX: usize = 64;

/// What an SSRC is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamId {
    /// Table index.
    pub ingress: u32,
    pub layer: u8,
    /// Retransmissions of the layer.
    pub rtx: bool,
}

/// The SSRCs of one transport. 1 KB; a stream has one SSRC at a time, so it does not grow by packets.
#[derive(Clone, Debug)]
pub struct StreamMap {
    ssrcs: [Ssrc; STREAMS_MAX],
    ids: [StreamId; STREAMS_MAX],
    len: usize,
}

impl Default for StreamMap {
    fn default() -> Self {
        Self::new()
    }
}

impl StreamMap {
    pub const fn new() -> Self {
        Self {
            ssrcs: [Ssrc::UNKNOWN; STREAMS_MAX],
            ids: [StreamId { ingress: 0, layer: 0, rtx: false }; STREAMS_MAX],
            len: 0,
        }
    }

    /// **Cost**: O(streams of the transport).
    pub fn find(&self, ssrc: Ssrc) -> Option<StreamId> {
        let known = self.ssrcs.get(..self.len)?;
        known.iter().position(|&known| known == ssrc).map(|position| self.ids[position])
    }

    /// The SSRC of a stream, once it is known.
    pub fn ssrc(&self, id: StreamId) -> Option<Ssrc> {
        self.ids[..self.len].iter().position(|&known| known == id).map(|position| self.ssrcs[position])
    }

    /// Takes the SSRCs that a row declares. Call it when a row appears or changes; learned ones stay.
    pub fn bind(&mut self, ingress: u32, row: &IngressRow) {
        for (layer, declared) in layers(row) {
            self.insert(declared.ssrc, StreamId { ingress, layer, rtx: false });
            self.insert(declared.rtx_ssrc, StreamId { ingress, layer, rtx: true });
        }
    }

    /// Takes the SSRCs that a predecessor had learned for a layer. What is declared or learned already stays.
    pub fn restore(&mut self, ingress: u32, layer: u8, ssrc: Ssrc, rtx_ssrc: Ssrc) {
        for (ssrc, rtx) in [(ssrc, false), (rtx_ssrc, true)] {
            let id = StreamId { ingress, layer, rtx };
            if self.ssrc(id).is_none() && self.find(ssrc).is_none() {
                self.insert(ssrc, id);
            }
        }
    }

    /// Forgets the streams of an ingress.
    pub fn unbind(&mut self, ingress: u32) {
        let mut position = 0;
        while position < self.len {
            if self.ids[position].ingress == ingress { self.remove(position) } else { position += 1 }
        }
    }

    /// Learns the SSRC of a packet from its mid, rid and repaired-rid. A stream that had another SSRC moves to the new one.
    ///
    /// **Input**: the transport's `receive_extensions`; `rows` are the ingresses of this transport with their table index. The packet may
    /// still be encrypted: only its header is read.
    /// **Output**: `None` when the extensions name none of the rows, or the map is full.
    pub fn learn<'a>(
        &mut self,
        packet: &RtpPacket<'_>,
        ids: &ExtensionIds,
        rows: impl IntoIterator<Item = (u32, &'a IngressRow)>,
    ) -> Option<StreamId> {
        let text = |id: u8| packet.find_extension(id).and_then(identifier);
        let mid = text(ids.mid)?;
        let (ingress, row) = rows.into_iter().find(|(_, row)| row.mid.as_bytes() == mid)?;
        let by_rid = |rid: &[u8]| layers(row).find(|(_, layer)| layer.rid.as_bytes() == rid).map(|(layer, _)| layer);
        let (layer, rtx) = match (text(ids.repaired_rid), text(ids.rid)) {
            (Some(rid), _) => (by_rid(rid)?, true),
            (None, Some(rid)) => (by_rid(rid)?, is_rtx(row, packet.payload_type())),
            (None, None) if row.layer_count == 1 => (0, is_rtx(row, packet.payload_type())),
            (None, None) => return None,
        };
        let id = StreamId { ingress, layer, rtx };
        self.insert(packet.ssrc(), id).then_some(id)
    }

    fn insert(&mut self, ssrc: Ssrc, id: StreamId) -> bool {
        if ssrc == Ssrc::UNKNOWN {
            return false;
        }
        while let Some(position) = self.position(|known_ssrc, known_id| (known_ssrc == ssrc) != (known_id == id)) {
            self.remove(position);
        }
        if self.find(ssrc) == Some(id) {
            return true;
        }
        let has_room = self.len < STREAMS_MAX;
        if has_room {
            (self.ssrcs[self.len], self.ids[self.len]) = (ssrc, id);
            self.len += 1;
        }
        has_room
    }

    fn position(&self, matches: impl Fn(Ssrc, StreamId) -> bool) -> Option<usize> {
        (0..self.len).find(|&position| matches(self.ssrcs[position], self.ids[position]))
    }

    fn remove(&mut self, position: usize) {
        self.len -= 1;
        (self.ssrcs[position], self.ids[position]) = (self.ssrcs[self.len], self.ids[self.len]);
    }
}

fn layers(row: &IngressRow) -> impl Iterator<Item = (u8, &engine_table::IngressLayer)> {
    let count = usize::from(row.layer_count).min(LAYERS);
    (0u8..).zip(&row.layers[..count])
}

fn is_rtx(row: &IngressRow, payload_type: u8) -> bool {
    let is = |mapping: &PayloadMapping| mapping.codec != 0 && mapping.rtx_payload_type == payload_type;
    row.payload_types.iter().any(is)
}

#[cfg(test)]
mod tests;
