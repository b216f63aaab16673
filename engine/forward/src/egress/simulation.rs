//! Hours of one subscriber in a moment: three simulcast layers with temporal layers over a bad network, while the subscriber changes
//! its mind. The seed is in the name of what fails.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use engine_base::limits::NACK_ENTRIES;
use engine_base::{NtpTime, Ssrc};
use engine_table::slots::packet_flags::*;
use engine_table::{PictureNumbers, SlotRef};

use super::*;
use crate::fixtures::{INGRESS, Random, plan};
use crate::nack::Retransmissions;
use crate::source::SenderReport;

const FRAME_NS: u64 = 33_333_333;
const FRAMES: u64 = 30 * 3_600;

/// A simulcast layer at the publisher.
#[derive(Clone, Copy, Default)]
struct Layer {
    sequence: u64,
    picture: u16,
    tl0: u8,
    timestamp_base: u32,
    wants_key: bool,
    runs: bool,
}

struct World {
    seed: u64,
    random: Random,
    bad_network: bool,
    layers: [Layer; LAYERS],
    /// Packets on the way by time of arrival.
    network: BTreeMap<(u64, u64), (u8, PacketHeader)>,
    lost: u64,
    state: EgressState,
    plan: EgressPlan,
    clocks: SourceClocks,
    sent: Retransmissions<Box<[[AtomicU64; 2]; NACK_ENTRIES]>>,
    subscriber: Subscriber,
}

/// What the subscriber has seen.
#[derive(Default)]
struct Subscriber {
    first: u64,
    seen: Vec<bool>,
    newest: Option<Rewrite>,
    recent: BTreeMap<u64, (Rewrite, PacketHeader, SlotRef)>,
    resent: u64,
    layers_seen: u8,
}

impl crate::nack::Entries for Box<[[AtomicU64; 2]; NACK_ENTRIES]> {
    fn entry(&self, index: usize) -> [&AtomicU64; 2] {
        self[index].each_ref()
    }
}

impl World {
    fn new(seed: u64, bad_network: bool) -> Self {
        let mut random = Random(seed);
        let layers = std::array::from_fn(|_| Layer {
            sequence: 0x1_0000 + random.below(0x1_0000),
            picture: random.below(0x8000) as u16,
            tl0: random.below(256) as u8,
            timestamp_base: random.below(1 << 32) as u32,
            wants_key: true,
            runs: true,
        });
        let words = Box::new(std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))));
        let state = EgressState::new(1, random.below(u64::MAX));
        Self {
            seed,
            random,
            bad_network,
            layers,
            network: BTreeMap::new(),
            lost: 0,
            state,
            plan: plan(Kind::Video),
            clocks: SourceClocks::default(),
            sent: Retransmissions(words),
            subscriber: Subscriber { first: state.sequences.next_own(), ..Subscriber::default() },
        }
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.random.below(one_in) == 0
    }

    fn run(&mut self) {
        for frame in 0..FRAMES {
            let now = frame * FRAME_NS;
            for layer in 0..LAYERS {
                self.publish(layer, frame, now);
            }
            self.change_minds();
            self.deliver(now);
            let demand = self.state.poll_key_frame_demand(&self.plan, &self.clocks, TimeNs(now));
            if let Some(layer) = demand {
                self.layers[usize::from(layer)].wants_key = true;
            }
            self.ask_again(now);
        }
    }

    fn publish(&mut self, number: usize, frame: u64, now: u64) {
        if number > 0 && self.chance(if self.layers[number].runs { 900 } else { 200 }) {
            self.layers[number].runs ^= true;
            self.layers[number].wants_key = true;
        }
        let layer = &mut self.layers[number];
        self.clocks.set_active(number as u8, layer.runs);
        if !layer.runs {
            return;
        }
        let timestamp = RtpTimestamp(layer.timestamp_base).add((frame * 3_000) as u32);
        if frame % 30 == number as u64 {
            let ntp = NtpTime::from_unix_ns(1_700_000_000_000_000_000 + now);
            self.clocks.layers[number] = Some(SenderReport { ntp, timestamp, arrival: TimeNs(now) });
        }
        let key = std::mem::take(&mut layer.wants_key);
        let temporal = if key { 0 } else { [0, 2, 1, 2][frame as usize % 4] };
        layer.picture = layer.picture.wrapping_add(1) & 0x7fff;
        layer.tl0 = layer.tl0.wrapping_add(u8::from(temporal == 0));
        let packets = 1 + number as u64 + if key { 4 } else { 0 };
        for position in 0..packets {
            self.layers[number].sequence += 1;
            let layer = self.layers[number];
            let flag = |set: bool, flag: u16| if set { flag } else { 0 };
            let header = PacketHeader {
                sequence: ExtendedSequence(layer.sequence),
                timestamp,
                ssrc: Ssrc(1 + number as u32),
                payload_offset: 12,
                payload_bytes: 100,
                flags: HAS_PICTURE_ID
                    | PICTURE_ID_15
                    | HAS_TL0
                    | flag(position == 0, FRAME_START)
                    | flag(position == 0 && key, KEY_FRAME)
                    | flag(position + 1 == packets, MARKER)
                    | flag(temporal == 0 || frame % 8 < 2, SWITCH_UP),
                codec: Codec::Vp8 as u8,
                temporal,
                picture: PictureNumbers { id: layer.picture, tl0_index: layer.tl0, key_index: 0 },
                ..PacketHeader::default()
            };
            self.transmit(number as u8, header, now);
        }
    }

    fn transmit(&mut self, layer: u8, header: PacketHeader, now: u64) {
        let order = header.sequence.0 * 4 + u64::from(layer);
        let mut arrival = now + 1_000_000 * u64::from(layer);
        if self.bad_network && self.chance(40) {
            self.lost += 1;
            if self.chance(2) {
                return;
            }
            // It comes again, or was on a slower way.
            arrival += self.random.below(200_000_000);
        }
        self.network.insert((arrival, order), (layer, PacketHeader { arrival: TimeNs(arrival), ..header }));
    }

    fn change_minds(&mut self) {
        if self.chance(300) {
            self.plan.layer_max = self.random.below(3) as u8;
        }
        if self.chance(200) {
            self.plan.temporal_max = self.random.below(4) as u8;
        }
        if self.chance(if self.plan.enabled { 2_000 } else { 100 }) {
            self.plan.enabled ^= true;
        }
        if self.chance(1_000) {
            self.state.handle_key_frame_request();
        }
    }

    fn deliver(&mut self, now: u64) {
        while let Some(entry) = self.network.first_entry().filter(|entry| entry.key().0 < now + FRAME_NS) {
            let (layer, header) = entry.remove();
            let Verdict::Forward(rewrite) = self.state.verdict(&self.plan, layer, &header, &self.clocks) else {
                continue;
            };
            let stream = INGRESS * 3 + u32::from(layer);
            let slot = SlotRef { stream, slot: (header.sequence.0 % 512) as u32, sequence: header.sequence };
            self.sent.remember(&rewrite, slot);
            self.receive(rewrite, header, slot);
        }
    }

    fn receive(&mut self, rewrite: Rewrite, header: PacketHeader, slot: SlotRef) {
        let (seed, subscriber) = (self.seed, &mut self.subscriber);
        let own = rewrite.sequence.0;
        let index = own.checked_sub(subscriber.first).expect("before the first number") as usize;
        if index >= subscriber.seen.len() {
            subscriber.seen.resize(index + 1, false);
            if let Some(newest) = subscriber.newest {
                check_order(seed, self.bad_network, newest, rewrite);
            }
            if rewrite.payload != Payload::Fill {
                subscriber.newest = Some(rewrite);
            }
        }
        assert!(!std::mem::replace(&mut subscriber.seen[index], true), "seed {seed}: {own} twice");
        subscriber.layers_seen |= 1 << self.state.layer();
        if rewrite.payload != Payload::Fill {
            subscriber.recent.insert(own, (rewrite, header, slot));
        }
        while subscriber.recent.first_key_value().is_some_and(|(old, _)| old + 600 < own) {
            subscriber.recent.pop_first();
        }
    }

    /// A random packet of the last ones is rebuilt, and is what it was.
    fn ask_again(&mut self, now: u64) {
        let Some(newest) = self.subscriber.newest else { return };
        let own = newest.sequence.0.saturating_sub(self.random.below(550));
        let sequence = ExtendedSequence(own).sequence();
        let Ok(resend) = self.sent.answer(&self.state, INGRESS, sequence, TimeNs(now)) else { return };
        let (rewrite, header, slot) = self.subscriber.recent.get(&own).expect("only what was sent is resent");
        assert_eq!(resend.slot, *slot, "seed {}", self.seed);
        let (rebuilt, _) = resend.rewrite(&self.plan, header).unwrap();
        assert_eq!(rebuilt, Rewrite { with_mid: false, ..*rewrite }, "seed {}", self.seed);
        self.subscriber.resent += 1;
    }
}

/// `next` is newer than `newest` by its number.
fn check_order(seed: u64, bad_network: bool, newest: Rewrite, next: Rewrite) {
    let step = next.timestamp.distance(newest.timestamp);
    assert!(step >= 0, "seed {seed}: time went back by {step}");
    let (Some(before), Some(after)) = (newest.vp8, next.vp8) else { return };
    let pictures = after.picture_id.wrapping_sub(before.picture_id) & 0x7fff;
    let tl0 = after.tl0_picture_index.wrapping_sub(before.tl0_picture_index);
    if bad_network {
        assert!(pictures < 64 && tl0 < 64, "seed {seed}: {newest:?} then {next:?}");
    } else {
        assert_eq!(pictures, u16::from(step > 0), "seed {seed}: {newest:?} then {next:?}");
        assert!(tl0 <= 1, "seed {seed}: {newest:?} then {next:?}");
    }
}

#[test]
fn on_a_clean_network_nothing_is_missing_and_every_count_goes_up_by_one() {
    for seed in 1..3 {
        let mut world = World::new(seed, false);
        world.run();
        assert!(world.subscriber.seen.iter().all(|&seen| seen), "seed {seed}");
        assert!(world.subscriber.seen.len() > 50_000 && world.subscriber.resent > 5_000, "{}", world.subscriber.resent);
        assert_eq!(world.subscriber.layers_seen & 0b111, 0b111);
    }
}

#[test]
fn on_a_bad_network_only_what_was_lost_is_missing_and_nothing_goes_back() {
    for seed in 1..4 {
        let mut world = World::new(seed, true);
        world.run();
        let missing = world.subscriber.seen.iter().filter(|&&seen| !seen).count() as u64;
        assert!(missing > 0 && missing <= world.lost, "seed {seed}: {missing} of {}", world.lost);
        assert!(world.subscriber.seen.len() > 50_000 && world.subscriber.resent > 5_000, "{}", world.subscriber.resent);
    }
}
