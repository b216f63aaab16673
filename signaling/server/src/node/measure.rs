//! Measurements that rooms get at intervals: audio levels, and loss and delay of transports.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use engine_base::limits::LAYERS;
use engine_base::{TimeNs, TransportRef};
use engine_table::IngressCounter;
use signaling_room::{AudioLevel, Input, TransportQuality};

use crate::node::actor::Regions;
use crate::node::index::{OfIngress, RowIndex};

const QUALITY_INTERVAL_MS: u64 = 5_000;
/// Shortest interval between audio levels, whatever the configuration says.
const LEVEL_INTERVAL_MS_MIN: u64 = 100;

#[derive(Debug)]
pub(crate) struct Measures {
    level_interval_ms: u64,
    next_level: TimeNs,
    next_quality: TimeNs,
}

impl Measures {
    pub(crate) fn new(level_interval_ms: u32, now: TimeNs) -> Self {
        let level_interval_ms = u64::from(level_interval_ms).max(LEVEL_INTERVAL_MS_MIN);
        let next_level = now.add_ms(level_interval_ms);
        Self { level_interval_ms, next_level, next_quality: now.add_ms(QUALITY_INTERVAL_MS) }
    }

    pub(crate) fn next_deadline(&self) -> TimeNs {
        self.next_level.min(self.next_quality)
    }

    /// What is due. Also tells that the level interval is over, for figures.
    pub(crate) fn poll(
        &mut self,
        regions: &Regions,
        index: &mut RowIndex,
        now: TimeNs,
    ) -> (bool, Vec<(Arc<str>, Input)>) {
        let mut inputs = Vec::new();
        let levels_due = now >= self.next_level;
        if levels_due {
            self.next_level = now.add_ms(self.level_interval_ms);
            inputs.extend(levels(regions, index));
        }
        if now >= self.next_quality {
            self.next_quality = now.add_ms(QUALITY_INTERVAL_MS);
            inputs.extend(qualities(regions, index));
        }
        (levels_due, inputs)
    }
}

fn levels(regions: &Regions, index: &RowIndex) -> Vec<(Arc<str>, Input)> {
    let mut by_room: BTreeMap<Arc<str>, Vec<AudioLevel>> = BTreeMap::new();
    for of in index.ingresses.values().filter(|of| of.microphone) {
        let count = |counter| regions.engine.ingress_counter(of.ingress.index, 0, counter).load(Ordering::Relaxed);
        by_room.entry(Arc::clone(&of.room)).or_default().push(AudioLevel {
            ingress: of.ingress,
            packets: count(IngressCounter::LevelPackets),
            active_packets: count(IngressCounter::ActivePackets),
            active_level_sum: count(IngressCounter::ActiveLevelSum),
        });
    }
    by_room.into_iter().map(|(room, levels)| (room, Input::Levels(levels))).collect()
}

/// The worse of both directions.
#[derive(Clone, Copy, Debug, Default)]
struct Measured {
    loss: f32,
    rtt_us: u32,
}

impl Measured {
    fn worsen(&mut self, loss: f32, rtt_us: u32) {
        self.loss = self.loss.max(loss);
        self.rtt_us = self.rtt_us.max(rtt_us);
    }
}

fn qualities(regions: &Regions, index: &mut RowIndex) -> Vec<(Arc<str>, Input)> {
    let mut measured: HashMap<TransportRef, Measured> = HashMap::new();
    for of in index.ingresses.values_mut() {
        let (loss, rtt_us) = publisher(regions, of);
        measured.entry(of.transport).or_default().worsen(loss, rtt_us);
    }
    for of in index.egresses.values() {
        let Some((_, observed)) = regions.engine.egresses().read(of.egress.index) else { continue };
        if observed.generation == of.egress.generation {
            // RFC 3550 §6.4.1: a fraction of 256.
            let loss = f32::from(observed.fraction_lost) / 256.0;
            measured.entry(of.transport).or_default().worsen(loss, observed.rtt_us);
        }
    }
    let mut by_room: BTreeMap<Arc<str>, Vec<TransportQuality>> = BTreeMap::new();
    for of in index.transports.values() {
        let Measured { loss, rtt_us } = measured.get(&of.transport).copied().unwrap_or_default();
        let quality = TransportQuality { transport: of.transport, loss, rtt_us };
        by_room.entry(Arc::clone(&of.room)).or_default().push(quality);
    }
    by_room.into_iter().map(|(room, qualities)| (room, Input::Quality(qualities))).collect()
}

/// Loss since the last measurement over all layers, and the longest round trip.
fn publisher(regions: &Regions, of: &mut OfIngress) -> (f32, u32) {
    let row = of.ingress.index;
    let sum = |counter| -> u64 {
        (0..LAYERS).map(|layer| regions.engine.ingress_counter(row, layer, counter).load(Ordering::Relaxed)).sum()
    };
    let now = (sum(IngressCounter::Packets), sum(IngressCounter::Lost));
    let (packets, lost) = (now.0.saturating_sub(of.measured.0), now.1.saturating_sub(of.measured.1));
    of.measured = now;
    let observed = regions.engine.ingresses().read(row).filter(|(_, row)| row.generation == of.ingress.generation);
    let rtt_us = observed.map_or(0, |(_, row)| row.layers.iter().map(|layer| layer.rtt_us).max().unwrap_or(0));
    let expected = packets + lost;
    let loss = if expected == 0 { 0.0 } else { lost as f32 / expected as f32 };
    (loss, rtt_us)
}
