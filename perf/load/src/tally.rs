//! What one thread counted during a measurement. Tallies of several threads add up.

use engine_srtp::Profile;
use hdrhistogram::Histogram;

use crate::sequence::SequenceCounts;

/// Longest latency that is told apart: 60 s.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
const DIGITS: u8 = 3;

#[derive(Clone, Debug)]
pub struct Tally {
    /// RTP packets sent by publishers, retransmissions not counted.
    pub sent_packets: u64,
    /// Of these, by publishers that receive too: nobody gets a packet of its own back.
    pub sent_by_receivers: u64,
    /// Datagrams that the socket did not take.
    pub send_failures: u64,
    pub key_frames: u64,
    pub key_frame_requests: u64,
    /// Packets that the server asked of publishers again.
    pub nacked_packets: u64,
    /// RTP packets of media streams that subscribers received.
    pub received_packets: u64,
    /// Whole UDP payloads of those.
    pub received_bytes: u64,
    pub retransmissions: u64,
    /// Buffers that the kernel gave us for those packets: with UDP_GRO one buffer holds one train.
    pub trains: u64,
    pub sequences: SequenceCounts,
    pub streams: u64,
    /// Streams that received nothing.
    pub silent_streams: u64,
    pub sampled: u64,
    /// Sampled packets that did not authenticate, or were not what a publisher had sent.
    pub wrong: u64,
    pub unknown_ssrc: u64,
    /// Reception: from the publisher's stamp to the kernel's receive time stamp, ns.
    pub latency: Histogram<u64>,
    /// From the stamp to the moment when we read the packet: includes waiting for this process.
    pub latency_read: Histogram<u64>,
    pub profile: Option<Profile>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            sent_packets: 0,
            sent_by_receivers: 0,
            send_failures: 0,
            key_frames: 0,
            key_frame_requests: 0,
            nacked_packets: 0,
            received_packets: 0,
            received_bytes: 0,
            retransmissions: 0,
            trains: 0,
            sequences: SequenceCounts::default(),
            streams: 0,
            silent_streams: 0,
            sampled: 0,
            wrong: 0,
            unknown_ssrc: 0,
            latency: histogram(),
            latency_read: histogram(),
            profile: None,
        }
    }
}

/// The profile's IANA name.
pub fn profile_name(profile: Profile) -> &'static str {
    profile.name()
}

/// Nanoseconds up to a minute, three digits.
pub fn histogram() -> Histogram<u64> {
    // Constant bounds that the library accepts.
    Histogram::new_with_max(LATENCY_NS_MAX, DIGITS).unwrap_or_else(|_| unreachable!())
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.sent_packets += other.sent_packets;
        self.sent_by_receivers += other.sent_by_receivers;
        self.send_failures += other.send_failures;
        self.key_frames += other.key_frames;
        self.key_frame_requests += other.key_frame_requests;
        self.nacked_packets += other.nacked_packets;
        self.received_packets += other.received_packets;
        self.received_bytes += other.received_bytes;
        self.retransmissions += other.retransmissions;
        self.trains += other.trains;
        self.add_sequences(other.sequences);
        self.streams += other.streams;
        self.silent_streams += other.silent_streams;
        self.sampled += other.sampled;
        self.wrong += other.wrong;
        self.unknown_ssrc += other.unknown_ssrc;
        self.latency += &other.latency;
        self.latency_read += &other.latency_read;
        self.profile = self.profile.or(other.profile);
    }

    pub fn add_sequences(&mut self, counts: SequenceCounts) {
        self.sequences.expected += counts.expected;
        self.sequences.received += counts.received;
        self.sequences.repeated += counts.repeated;
        self.sequences.reordered += counts.reordered;
    }

    /// Packets per train.
    pub fn train_length(&self) -> f64 {
        self.received_packets as f64 / self.trains.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_add_up() {
        let mut one = Tally { received_packets: 9, trains: 3, ..Tally::default() };
        one.latency.saturating_record(1_000);
        let mut sum = one.clone();
        sum.add(&one);
        assert_eq!((sum.received_packets, sum.latency.len()), (18, 2));
        assert!((sum.train_length() - 3.0).abs() < f64::EPSILON);
    }
}
