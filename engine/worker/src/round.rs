//! Trains that are sealed and sent together: the lanes of the batch ciphers are filled across subscribers, and the bytes of a round
//! stay in the L2 cache from the headers to the kernel's copy.

use engine_base::Drop as DropReason;
use engine_io::{Connection, Outgoing, SendSlot, Sender};
use engine_srtp::{Job, Sealer, SendContext};
use engine_table::WorkerCounter;
use smallvec::SmallVec;

use crate::addresses::Pair;
use crate::site::Site;
use crate::train::Shape;

/// Subscribers' trains in a round: 8 to 32 were measured to be within 3 % of each other.
const TRAINS_MAX: usize = 32;
/// Packets in a round: 256 × 1.2 KB = 310 KB.
const PACKETS_MAX: usize = 256;
const PADDING_FLAG: u8 = 0x20;

/// A packet whose header is written and whose number is taken, on its way into a train.
#[derive(Debug)]
pub struct Item<'a> {
    /// What stands before the payload: `header_bytes`, then the rewritten start of the payload.
    pub head: std::ops::Range<usize>,
    pub header_bytes: usize,
    pub payload: &'a [u8],
    /// With the tag, without padding.
    pub bytes: usize,
    pub can_pad: bool,
    /// SRTP index.
    pub index: u64,
    /// Row.
    pub egress: u32,
    pub ends_frame: bool,
}

/// A packet in its place in a send slot.
struct Draft<'a> {
    context: &'a SendContext,
    payload: &'a [u8],
    index: u64,
    /// Among the round's slots.
    slot: u32,
    /// In the slot, padding and tag included.
    bytes: u32,
    header_bytes: u16,
    prefix_bytes: u16,
    padding: u8,
}

/// Whither a train goes, and under which keys.
#[derive(Clone, Copy)]
pub struct Destination<'a> {
    pub context: &'a SendContext,
    pub pair: Pair,
    pub connection: Option<Connection>,
}

#[derive(Default)]
pub struct Round<'a> {
    slots: SmallVec<[SendSlot; TRAINS_MAX]>,
    sends: SmallVec<[Outgoing; TRAINS_MAX]>,
    drafts: SmallVec<[Draft<'a>; PACKETS_MAX]>,
}

impl<'a> Round<'a> {
    /// Puts a train into a send slot. False when no slot is free; the packets are lost then.
    ///
    /// **Input**: `items` of one destination as `shape` took them; their heads lie in `heads`.
    pub fn add(
        &mut self,
        destination: Destination<'a>,
        (items, heads): (&[Item<'a>], &[u8]),
        shape: &Shape,
        desk: &mut Desk<'_, impl Sender>,
    ) -> bool {
        if self.slots.len() >= TRAINS_MAX || self.drafts.len() + items.len() > PACKETS_MAX {
            self.send(desk);
        }
        let Some(mut slot) = desk.sender.reserve() else { return false };
        let mut rest = desk.sender.bytes(&mut slot);
        let (mut bytes, mut padding_bytes) = (0, 0);
        for (position, item) in items.iter().enumerate() {
            let padded = shape.padded(position, item.bytes);
            let padding = padded - item.bytes;
            let (Some(head), Some((out, behind))) = (heads.get(item.head.clone()), rest.split_at_mut_checked(padded))
            else {
                break;
            };
            out[..head.len()].copy_from_slice(head);
            if padding > 0 {
                out[0] |= PADDING_FLAG;
            }
            self.drafts.push(Draft {
                context: destination.context,
                payload: item.payload,
                index: item.index,
                slot: self.slots.len() as u32,
                bytes: padded as u32,
                header_bytes: item.header_bytes as u16,
                prefix_bytes: (head.len() - item.header_bytes) as u16,
                padding: padding as u8,
            });
            rest = behind;
            bytes += padded;
            padding_bytes += padding;
        }
        let Pair { remote, socket } = destination.pair;
        self.sends.push(Outgoing {
            socket,
            destination: remote,
            bytes: bytes as u32,
            segment_bytes: shape.segment_bytes() as u16,
            connection: destination.connection,
        });
        self.slots.push(slot);
        desk.site.count(WorkerCounter::PaddingBytes, padding_bytes as u64);
        true
    }

    /// Seals and sends what was added.
    pub fn send(&mut self, desk: &mut Desk<'_, impl Sender>) {
        if self.slots.is_empty() {
            return;
        }
        let mut spoilt = 0u32;
        {
            let mut jobs: SmallVec<[Job<'_>; PACKETS_MAX]> = SmallVec::new();
            let mut drafts = self.drafts.drain(..).peekable();
            for (slot, mut rest) in desk.sender.bytes_of(&mut self.slots).enumerate() {
                while let Some(draft) = drafts.next_if(|draft| draft.slot as usize == slot) {
                    let (out, behind) =
                        std::mem::take(&mut rest).split_at_mut_checked(draft.bytes as usize).unwrap_or_default();
                    rest = behind;
                    let (header, prefix) = (usize::from(draft.header_bytes), usize::from(draft.prefix_bytes));
                    let job = Job::new(draft.context, out, header, prefix, draft.payload, draft.padding, draft.index);
                    match job {
                        Ok(job) => jobs.push(job),
                        // Its bytes are another packet's of long ago: the train must not leave.
                        Err(error) => {
                            desk.site.drop(DropReason::from(error));
                            spoilt |= 1 << slot;
                        }
                    }
                }
            }
            desk.sealer.seal(&mut jobs);
        }
        for (position, (slot, outgoing)) in self.slots.drain(..).zip(self.sends.drain(..)).enumerate() {
            if spoilt >> position & 1 != 0 {
                desk.sender.release(slot);
            } else {
                desk.sender.commit(slot, outgoing);
            }
        }
        desk.sender.flush();
    }
}

const _: () = assert!(TRAINS_MAX <= u32::BITS as usize);

/// What a round works with.
pub struct Desk<'d, S> {
    pub site: &'d Site,
    pub sender: &'d mut S,
    pub sealer: &'d mut Sealer,
}
