//! Packet slots: one ring per ingress layer, filled by the worker that owns the ingress, read by every worker, and the cache
//! from which NACKs are answered.
//!
//! ```text
//! slot, 1,600 B   +0 tag: extended sequence + 1, 0 while it is being written
//!                 +8 PacketHeader (56 B)        +64 the decrypted RTP packet (1,536 B)
//! ```
//! A ring begins small and doubles, up to its limit, while it would forget packets sooner than a subscriber may ask for them: memory is
//! touched as a layer's bitrate needs it. One word per ring says how long it is, and how long it ever was.
//!
//! A slot is reused by quiescence. The owner first takes a batch of the oldest slots out of sight (tag 0), notes the turn of
//! every worker, and writes into them only when each of those turns has ended: a worker that began later has seen tag 0.

use crate::sync::{Ordering, fence};
use std::marker::PhantomData;

use engine_base::limits::{LAYERS, SLOT_HEADER_BYTES};
use engine_base::{ExtendedSequence, Kind, Limits, RtpTimestamp, Ssrc, TimeNs};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::map::Region;

/// `flags` of a packet header.
pub mod packet_flags {
    pub const MARKER: u16 = 1;
    pub const KEY_FRAME: u16 = 2;
    pub const FRAME_START: u16 = 4;
    pub const FRAME_END: u16 = 8;
    /// A temporal layer may be switched up at this packet.
    pub const SWITCH_UP: u16 = 16;
    pub const HAS_PICTURE_ID: u16 = 32;
    /// The picture id has 15 bits.
    pub const PICTURE_ID_15: u16 = 64;
    pub const HAS_TL0: u16 = 128;
    pub const HAS_KEY_INDEX: u16 = 256;
    pub const HAS_AUDIO_LEVEL: u16 = 512;
    /// It came as a retransmission.
    pub const RECOVERED: u16 = 1024;
}

/// VP8 and VP9: which picture a packet belongs to. `flags` tell which of the numbers it has.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct PictureNumbers {
    pub id: u16,
    pub tl0_index: u8,
    pub key_index: u8,
}

/// What forwarding needs of a packet, parsed once at ingress; verdicts read only this.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct PacketHeader {
    /// Per (track, layer).
    pub sequence: ExtendedSequence,
    pub arrival: TimeNs,
    pub timestamp: RtpTimestamp,
    pub ssrc: Ssrc,
    /// Of the payload (after RTP header and extensions, padding removed) in the slot's packet.
    pub payload_offset: u16,
    pub payload_bytes: u16,
    pub flags: u16,
    /// Dependency descriptor in the slot's packet; `descriptor_bytes` 0 if none.
    pub descriptor_offset: u16,
    pub descriptor_bytes: u8,
    /// Bytes of the codec's payload descriptor at the start of the payload (VP8, VP9).
    pub codec_header_bytes: u8,
    pub payload_type: u8,
    /// `engine_base::Codec`.
    pub codec: u8,
    /// As in `PayloadMapping::format`.
    pub format: u8,
    pub spatial: u8,
    pub temporal: u8,
    /// RFC 6464: bit 7 voice, bits 0–6 −dBov.
    pub audio_level: u8,
    pub picture: PictureNumbers,
    /// RED: where the primary encoding begins, from the start of the payload; it reaches to the payload's end. 0 if opaque.
    pub primary_offset: u16,
    pub reserved: [u8; 10],
}

const _: () = assert!(size_of::<PacketHeader>() == SLOT_HEADER_BYTES - 8);

/// Names a packet: carried in fan-out records and retransmission maps.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SlotRef {
    /// Ingress index × 3 + layer.
    pub stream: u32,
    pub slot: u32,
    /// Must equal the slot's, or the packet is gone.
    pub sequence: ExtendedSequence,
}

#[cfg(not(feature = "loom"))]
use engine_base::limits::{AUDIO_SLOTS, SLOT_BYTES, SLOT_PAYLOAD_BYTES, VIDEO_SLOTS};

/// Small enough for loom, and without bytes that it does not model.
#[cfg(feature = "loom")]
const AUDIO_SLOTS: usize = 4;
#[cfg(feature = "loom")]
const VIDEO_SLOTS: usize = 4;
#[cfg(feature = "loom")]
const SLOT_BYTES: usize = SLOT_HEADER_BYTES;
#[cfg(feature = "loom")]
const SLOT_PAYLOAD_BYTES: usize = 0;

const STREAM_BYTES: usize = VIDEO_SLOTS * SLOT_BYTES;
/// With this many a ring begins: 1 s of a small picture.
const SLOTS_FIRST: u64 = 64;
/// Packets are to be kept as long as this: retransmission over any path in use takes less (RFC 4588 §3 leaves it to the sender).
const KEPT_NS: u64 = 1_000_000_000;

/// The slots, then the rings' words.
pub(crate) fn slots_bytes(limits: &Limits) -> usize {
    limits.ingresses as usize * LAYERS * (STREAM_BYTES + size_of::<u64>())
}

/// All slots, and the words in which workers show their turns.
#[derive(Clone, Debug)]
pub struct Slots {
    media: Region,
    offset: usize,
    streams: u32,
    turns: Region,
    turns_offset: usize,
    workers: u32,
}

/// Bytes of one worker's turn word: a cache line, so that workers do not share one.
const TURN_BYTES: usize = 64;
pub(crate) fn turns_bytes(limits: &Limits) -> usize {
    limits.workers as usize * TURN_BYTES
}

/// A turn in progress: packets may be read. Odd turn word while it lives.
#[derive(Debug)]
pub struct Turn {
    slots: Slots,
    worker: u32,
    begun: u64,
    not_send: PhantomData<*const ()>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let word = self.slots.turn_word(self.worker);
        // A second turn of the worker would have ended this one's protection under the packets that it lent.
        assert!(word.load(Ordering::Relaxed) == self.begun, "two turns of one worker at a time");
        word.store(self.begun.wrapping_add(1), Ordering::Release);
    }
}

impl Turn {
    /// The packet that `reference` names, while it is still there: header, then the decrypted RTP packet from its first byte to
    /// the end of the payload. Lives as long as the turn. **Cost**: two loads and a copy of 56 B.
    pub fn packet(&self, reference: SlotRef) -> Option<(PacketHeader, &[u8])> {
        let slots = &self.slots;
        if reference.stream >= slots.streams || reference.slot as usize >= VIDEO_SLOTS {
            return None;
        }
        let offset = slots.slot_offset(reference.stream, reference.slot);
        // Tag 0 names no packet, though the last of all numbers would give it.
        let tag = reference.sequence.0.checked_add(1)?;
        if slots.media.word(offset).load(Ordering::Acquire) != tag {
            return None;
        }
        let header = slots.read_header(offset);
        let end = usize::from(header.payload_offset) + usize::from(header.payload_bytes);
        let bytes = end.min(SLOT_PAYLOAD_BYTES);
        let start = slots.media.pointer(offset + SLOT_HEADER_BYTES, bytes);
        // SAFETY: invariant 5: the tag was the expected one inside this turn, so the owner does not write the slot before the
        // turn ends, and the slice's lifetime ends with the turn.
        Some((header, unsafe { std::slice::from_raw_parts(start, bytes) }))
    }

    /// Names the packet that was written just before `reference` into the same ring, while it is still there. Before the first slot
    /// of a ring that has just grown there is none: the last one is empty.
    pub fn before(&self, reference: SlotRef) -> Option<SlotRef> {
        let slots = &self.slots;
        if reference.stream >= slots.streams {
            return None;
        }
        let ring = slots.ring_word(reference.stream).load(Ordering::Acquire) as u32;
        let slot = reference.slot.checked_sub(1).or(ring.checked_sub(1))?;
        if slot >= ring || ring as usize > VIDEO_SLOTS {
            return None;
        }
        let tag = slots.media.word(slots.slot_offset(reference.stream, slot)).load(Ordering::Acquire);
        Some(SlotRef { slot, sequence: ExtendedSequence(tag.checked_sub(1)?), ..reference })
    }
}

impl Slots {
    pub(crate) fn new(media: &Region, offset: usize, turns: &Region, turns_offset: usize, limits: &Limits) -> Self {
        assert!(offset + slots_bytes(limits) <= media.bytes() && turns_offset + turns_bytes(limits) <= turns.bytes());
        Self {
            media: media.clone(),
            offset,
            streams: limits.ingresses * LAYERS as u32,
            turns: turns.clone(),
            turns_offset,
            workers: limits.workers,
        }
    }

    /// Begins a worker's turn. A worker has one at a time (asserted when it ends).
    pub fn begin_turn(&self, worker: u32) -> Turn {
        let word = self.turn_word(worker);
        let value = word.load(Ordering::Relaxed);
        // A predecessor killed in its turn left an odd word.
        let begun = value.wrapping_add(if value.is_multiple_of(2) { 1 } else { 2 });
        word.store(begun, Ordering::Relaxed);
        // Orders the word before every tag that this turn reads; pairs with the fence in `retire`.
        fence(Ordering::SeqCst);
        Turn { slots: self.clone(), worker, begun, not_send: PhantomData }
    }

    /// Turns begun and ended by a worker: the watchdog's word.
    pub fn turns(&self, worker: u32) -> u64 {
        self.turn_word(worker).load(Ordering::Acquire)
    }

    fn turn_word(&self, worker: u32) -> &crate::sync::AtomicU64 {
        assert!(worker < self.workers);
        self.turns.word(self.turns_offset + worker as usize * TURN_BYTES)
    }

    pub(crate) fn slot_offset(&self, stream: u32, slot: u32) -> usize {
        self.offset + stream as usize * STREAM_BYTES + slot as usize * SLOT_BYTES
    }

    /// Slots of a ring (low half), and as many of which a tag may be left (high half).
    fn ring_word(&self, stream: u32) -> &crate::sync::AtomicU64 {
        let rings = self.offset + self.streams as usize * STREAM_BYTES;
        self.media.word(rings + stream as usize * size_of::<u64>())
    }

    pub(crate) fn read_header(&self, offset: usize) -> PacketHeader {
        let mut header = PacketHeader::default();
        for (i, chunk) in header.as_mut_bytes().chunks_exact_mut(8).enumerate() {
            chunk.copy_from_slice(&self.media.word(offset + 8 + 8 * i).load(Ordering::Relaxed).to_ne_bytes());
        }
        header
    }
}

const fn ring_slots_max(kind: Kind) -> u64 {
    match kind {
        Kind::Audio => AUDIO_SLOTS as u64,
        Kind::Video => VIDEO_SLOTS as u64,
    }
}

/// The owner's end of one layer's ring.
#[derive(Debug)]
pub struct SlotStream {
    slots: Slots,
    stream: u32,
    ring: u64,
    ring_max: u64,
    /// The count that has slot 0; slot = (count − base) mod ring.
    base: u64,
    /// Packets written so far.
    written: u64,
    /// Counts below this may be written.
    free: u64,
    /// Counts in `free..retired` are out of sight since `turns_at_retirement`.
    retired: u64,
    turns_at_retirement: Vec<u64>,
}

impl SlotStream {
    /// Takes over the ring of one ingress layer, small; whatever it held is forgotten. It can be written in the same turn: the worker
    /// `owner` that calls this holds no packet of an earlier use of the ring. **Cost**: allocates; at registration only.
    pub fn take_over(slots: &Slots, owner: u32, ingress: u32, layer: usize, kind: Kind) -> Self {
        assert!(layer < LAYERS && slots.media.is_writable());
        let ring_max = ring_slots_max(kind);
        let ring = SLOTS_FIRST.min(ring_max);
        let stream = ingress * LAYERS as u32 + layer as u32;
        let used = (slots.ring_word(stream).load(Ordering::Relaxed) >> 32).min(VIDEO_SLOTS as u64);
        let mut stream = Self {
            slots: slots.clone(),
            stream,
            ring,
            ring_max,
            base: 0,
            written: 0,
            free: 0,
            retired: 0,
            turns_at_retirement: vec![0; slots.workers as usize],
        };
        (ring..used).for_each(|slot| stream.hide(slot));
        stream.show_ring();
        stream.retire(ring);
        stream.turns_at_retirement[owner as usize] = 0;
        stream
    }

    /// Writes a packet into the next slot: `fill` gets 1,536 B and returns the header to publish, or `None` to leave the slot
    /// unused. `Err` when a worker stalled in a turn that may still read the slot.
    pub fn write(
        &mut self,
        fill: impl FnOnce(&mut [u8]) -> Option<PacketHeader>,
    ) -> Result<Option<SlotRef>, SlotsBusy> {
        if self.written >= self.free && !self.reclaim() {
            return Err(SlotsBusy);
        }
        let slot = self.slot(self.written);
        let offset = self.slots.slot_offset(self.stream, slot);
        let start = self.slots.media.pointer(offset + SLOT_HEADER_BYTES, SLOT_PAYLOAD_BYTES);
        // SAFETY: invariant 5: only this owner writes the slot; its tag is 0 and every turn that saw another has ended (`free`).
        let Some(header) = fill(unsafe { std::slice::from_raw_parts_mut(start, SLOT_PAYLOAD_BYTES) }) else {
            return Ok(None);
        };
        for (i, chunk) in header.as_bytes().chunks_exact(8).enumerate() {
            let value =
                u64::from_ne_bytes([chunk[0], chunk[1], chunk[2], chunk[3], chunk[4], chunk[5], chunk[6], chunk[7]]);
            self.slots.media.word(offset + 8 + 8 * i).store(value, Ordering::Relaxed);
        }
        self.slots.media.word(offset).store(header.sequence.0.wrapping_add(1), Ordering::Release);
        self.written += 1;
        self.retire_ahead();
        Ok(Some(SlotRef { stream: self.stream, slot, sequence: header.sequence }))
    }

    fn reclaim(&mut self) -> bool {
        let ended = |worker: usize, then: u64| then.is_multiple_of(2) || self.slots.turns(worker as u32) != then;
        if !self.turns_at_retirement.iter().enumerate().all(|(worker, then)| ended(worker, *then)) {
            return false;
        }
        self.free = self.retired;
        self.retire_ahead();
        self.written < self.free
    }

    /// Retires the next batch once at most a batch is left to write: by the time it is needed, the turns that could see it
    /// have ended. With a quarter of the ring as batch, every slot that is retired was written before, or is new.
    fn retire_ahead(&mut self) {
        if self.retired == self.free && self.free - self.written <= self.ring / 4 {
            self.grow_if_short();
            self.retire(self.ring / 4);
        }
    }

    /// Where the next slot to retire is the ring's first and its packet too young, the ring goes on behind its last one instead.
    fn grow_if_short(&mut self) {
        if self.ring >= self.ring_max || self.slot(self.retired) != 0 {
            return;
        }
        let [oldest, newest] = [self.retired, self.written - 1].map(|count| {
            let offset = self.slots.slot_offset(self.stream, self.slot(count));
            self.slots.read_header(offset).arrival
        });
        if newest.since(oldest) < KEPT_NS {
            self.base = self.retired - self.ring;
            self.ring *= 2;
            self.show_ring();
        }
    }

    /// For readers, and for who takes the ring over.
    fn show_ring(&self) {
        let word = self.slots.ring_word(self.stream);
        let used = (word.load(Ordering::Relaxed) >> 32).max(self.ring);
        word.store(used << 32 | self.ring, Ordering::Release);
    }

    fn slot(&self, count: u64) -> u32 {
        ((count - self.base) % self.ring) as u32
    }

    /// Takes the next `count` slots out of sight.
    fn retire(&mut self, count: u64) {
        for position in self.retired..self.retired + count {
            self.hide(u64::from(self.slot(position)));
        }
        self.retired += count;
        // Orders the zero tags before the turn words: a turn that is not noted here begins after them.
        fence(Ordering::SeqCst);
        for (worker, then) in self.turns_at_retirement.iter_mut().enumerate() {
            *then = self.slots.turns(worker as u32);
        }
    }

    fn hide(&self, slot: u64) {
        self.slots.media.word(self.slots.slot_offset(self.stream, slot as u32)).store(0, Ordering::Relaxed);
    }
}

/// A worker's turn still holds the oldest slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotsBusy;

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    fn slots() -> Slots {
        let limits = Limits { workers: 2, transports: 1, ingresses: 2, egresses: 1, datas: 1 };
        let media = Region::anonymous(slots_bytes(&limits));
        let turns = Region::anonymous(turns_bytes(&limits));
        Slots::new(&media, 0, &turns, 0, &limits)
    }

    fn write(stream: &mut SlotStream, n: u64) -> Result<Option<SlotRef>, SlotsBusy> {
        stream.write(|bytes| {
            bytes[..8].copy_from_slice(&n.to_le_bytes());
            Some(PacketHeader { sequence: ExtendedSequence(n), payload_bytes: 8, ..Default::default() })
        })
    }

    #[test]
    fn a_packet_is_found_until_its_slot_is_retired() {
        let slots = slots();
        let mut stream = SlotStream::take_over(&slots, 0, 1, 2, Kind::Audio);
        let first = write(&mut stream, 0).unwrap().unwrap();
        for n in 1..100 {
            let reference = write(&mut stream, n).unwrap().unwrap();
            let turn = slots.begin_turn(0);
            let (header, bytes) = turn.packet(reference).unwrap();
            assert_eq!((header.sequence.0, bytes), (n, &n.to_le_bytes()[..]));
        }
        assert!(slots.begin_turn(0).packet(first).is_none());
    }

    #[test]
    fn the_packets_before_one_are_found_back_to_the_retired_slots() {
        let slots = slots();
        let mut stream = SlotStream::take_over(&slots, 0, 1, 2, Kind::Audio);
        let mut newest = write(&mut stream, 0).unwrap().unwrap();
        let turn = slots.begin_turn(0);
        assert_eq!(turn.before(newest), None);
        drop(turn);
        for n in 1..100 {
            newest = write(&mut stream, n).unwrap().unwrap();
        }
        let turn = slots.begin_turn(0);
        let back: Vec<u64> = std::iter::successors(Some(newest), |reference| turn.before(*reference))
            .take(AUDIO_SLOTS)
            .map(|reference| turn.packet(reference).unwrap().0.sequence.0)
            .collect();
        assert!(back.len() >= AUDIO_SLOTS / 2);
        assert!(back.iter().zip((0..100).rev()).all(|(found, n)| *found == n), "{back:?}");
    }

    /// Packets of a video ring, one each `interval_ms`; then how many of them can be found, going back.
    fn kept(slots: &Slots, stream: &mut SlotStream, packets: u64, interval_ms: u64) -> usize {
        let write = |n| {
            let (sequence, arrival) = (ExtendedSequence(n), TimeNs::from_ms(n * interval_ms));
            stream.write(|_| Some(PacketHeader { sequence, arrival, ..Default::default() }))
        };
        let newest = (0..packets).map(write).last().unwrap().unwrap();
        let turn = slots.begin_turn(0);
        let back: Vec<u64> =
            std::iter::successors(newest, |reference| turn.before(*reference)).map(|found| found.sequence.0).collect();
        assert!(back.iter().zip((0..packets).rev()).all(|(found, n)| *found == n), "{back:?}");
        back.len()
    }

    #[test]
    fn a_ring_grows_until_it_keeps_a_second() {
        for (interval_ms, ring) in [(33, 64), (11, 128), (6, 256), (3, 512), (1, 512)] {
            let slots = slots();
            let mut stream = SlotStream::take_over(&slots, 0, 0, 0, Kind::Video);
            for packets in [1, 40, 64, 65, 100, 200, 256, 300, 1_000, 1_025, 5_000] {
                let mut stream = SlotStream::take_over(&slots, 0, 0, 0, Kind::Video);
                let kept = kept(&slots, &mut stream, packets, interval_ms);
                assert!(kept as u64 >= packets.min(stream.ring / 2), "{kept} of {packets}, {}", stream.ring);
            }
            kept(&slots, &mut stream, 5_000, interval_ms);
            assert_eq!(stream.ring, ring, "a packet each {interval_ms} ms");
        }
    }

    /// Else the packets of one publisher could be taken for another's.
    #[test]
    fn who_takes_over_a_ring_that_had_grown_hides_all_of_it() {
        let slots = slots();
        let mut stream = SlotStream::take_over(&slots, 0, 0, 0, Kind::Video);
        kept(&slots, &mut stream, 1_000, 1);
        let mut stream = SlotStream::take_over(&slots, 0, 0, 0, Kind::Video);
        let tags = |slots: &Slots| {
            (0..VIDEO_SLOTS as u32)
                .filter(|slot| slots.media.word(slots.slot_offset(0, *slot)).load(Ordering::Relaxed) != 0)
                .count()
        };
        assert_eq!(tags(&slots), 0);
        // Nor do they come back when the new ring grows, or is taken over small.
        kept(&slots, &mut stream, 10, 33);
        SlotStream::take_over(&slots, 0, 0, 0, Kind::Audio);
        assert_eq!(tags(&slots), 0);
    }

    #[test]
    fn a_slot_out_of_sight_is_nobodys_packet() {
        let slots = slots();
        let _stream = SlotStream::take_over(&slots, 0, 0, 0, Kind::Audio);
        let broken = SlotRef { stream: 0, slot: 0, sequence: ExtendedSequence(u64::MAX) };
        assert!(slots.begin_turn(1).packet(broken).is_none());
    }

    #[test]
    #[should_panic(expected = "two turns of one worker")]
    fn a_second_turn_of_one_worker_is_noticed() {
        let slots = slots();
        let first = slots.begin_turn(0);
        drop(slots.begin_turn(0));
        drop(first);
    }

    #[test]
    fn a_slot_is_not_written_while_a_turn_may_read_it() {
        let slots = slots();
        let mut stream = SlotStream::take_over(&slots, 0, 0, 0, Kind::Audio);
        for n in 0..AUDIO_SLOTS as u64 {
            write(&mut stream, n).unwrap();
        }
        let turn = slots.begin_turn(1);
        let oldest_left =
            SlotRef { stream: 0, slot: AUDIO_SLOTS as u32 / 2, sequence: ExtendedSequence(AUDIO_SLOTS as u64 / 2) };
        let mut written = 0;
        while write(&mut stream, 1_000 + written).is_ok() {
            written += 1;
            assert!(written <= AUDIO_SLOTS as u64 / 2);
        }
        assert!(turn.packet(oldest_left).is_some());
        drop(turn);
        assert!(write(&mut stream, 2_000).is_ok());
    }

    #[test]
    fn readers_on_another_thread_never_see_a_packet_change() {
        let slots = slots();
        let mut stream = SlotStream::take_over(&slots, 0, 0, 0, Kind::Audio);
        let latest = std::sync::Arc::new(std::sync::Mutex::new(write(&mut stream, 1).unwrap().unwrap()));
        let (reader_slots, reader_latest) = (slots.clone(), latest.clone());
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let reader_stop = stop.clone();
        let reader = std::thread::spawn(move || {
            while !reader_stop.load(Ordering::Relaxed) {
                let turn = reader_slots.begin_turn(1);
                let reference = *reader_latest.lock().unwrap();
                if let Some((header, bytes)) = turn.packet(reference) {
                    for _ in 0..20 {
                        assert_eq!(bytes, &header.sequence.0.to_le_bytes()[..]);
                    }
                }
            }
        });
        for n in 2..200_000 {
            if let Ok(Some(reference)) = write(&mut stream, n) {
                *latest.lock().unwrap() = reference;
            }
        }
        stop.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    }
}
