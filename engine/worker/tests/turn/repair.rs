use std::sync::atomic::Ordering;

use engine_base::{Kind, NtpTime, RtpTimestamp, SequenceNumber, Ssrc};
use engine_srtp::Profile;
use engine_table::{IngressCounter, egress_state};
use engine_wire::rtcp::report_block::ReportBlock;
use engine_wire::rtcp::{nack, pli::Pli, rr, sr, xr};
use engine_wire::{Compound, Rtcp, RtpHeader};

use crate::forward::{pair, receive};
use crate::peer::{EXTENSIONS, Peer, Received};
use crate::stage::{Stage, vp8};

fn nacks(received: &Received) -> Vec<(u32, Vec<u16>)> {
    let mut all = Vec::new();
    for packet in &received.rtcp {
        for message in Compound::new(packet).flatten() {
            if let Rtcp::Nack(nack) = message {
                all.push((nack.media.0, nack.lost().map(|sequence| sequence.0).collect()));
            }
        }
    }
    all
}

fn plis(received: &Received) -> Vec<u32> {
    let messages = received.rtcp.iter().flat_map(|packet| Compound::new(packet).flatten());
    messages.filter_map(|message| if let Rtcp::Pli(pli) = message { Some(pli.media.0) } else { None }).collect()
}

fn blocks(received: &Received) -> Vec<ReportBlock> {
    let messages = received.rtcp.iter().flat_map(|packet| Compound::new(packet).flatten());
    let reports = messages.filter_map(|message| if let Rtcp::ReceiverReport(rr) = message { Some(rr) } else { None });
    reports.flat_map(|report| report.blocks().collect::<Vec<_>>()).collect()
}

fn video(stage: &mut Stage, publisher: &mut Peer, n: u16, key: bool) {
    let packet = publisher.rtp(Kind::Video, 21, n, 3_000 * u32::from(n), &vp8(key, n, 600));
    stage.inject(0, publisher, &packet);
}

#[test]
fn a_gap_is_asked_for_and_rtx_fills_it_for_the_subscriber() {
    for worker in [0, 1] {
        let mut stage = Stage::new(2);
        let (mut publisher, mut subscriber) = pair(&mut stage, Profile::AeadAes128Gcm, worker);
        let ingress = stage.add_ingress(&publisher, Kind::Video, &[(21, 22)]);
        stage.add_egress(&subscriber, ingress, Kind::Video);
        stage.settle();
        for n in [0, 1, 2, 5, 6] {
            video(&mut stage, &mut publisher, n, n == 0);
            stage.advance_ms(5);
        }
        let asked = nacks(&receive(&mut stage, &mut publisher));
        assert_eq!(asked.first(), Some(&(21, vec![3, 4])));
        // RTX: original sequence number, then the payload (RFC 4588 §4).
        for (rtx, original) in [(0u16, 3u16), (1, 4)] {
            let header = RtpHeader {
                marker: true,
                payload_type: 97,
                sequence: SequenceNumber(900 + rtx),
                timestamp: RtpTimestamp(3_000 * u32::from(original)),
                ssrc: Ssrc(22),
                ..RtpHeader::default()
            };
            let payload = [&original.to_be_bytes()[..], &vp8(false, original, 600)].concat();
            let packet = publisher.seal_rtp(&header, &[], &payload);
            stage.inject(0, &publisher, &packet);
        }
        stage.settle();
        let media = receive(&mut stage, &mut subscriber).media;
        let first = media[0].sequence;
        let order: Vec<u16> = media.iter().map(|media| media.sequence.wrapping_sub(first)).collect();
        assert_eq!(order, [0, 1, 2, 5, 6, 3, 4]);
        let count = |counter| stage.regions.engine.ingress_counter(ingress.index, 0, counter).load(Ordering::Relaxed);
        assert_eq!((count(IngressCounter::Recovered), count(IngressCounter::NacksSent)), (2, 2));
        stage.advance_ms(500);
        assert_eq!(nacks(&receive(&mut stage, &mut publisher)), []);
    }
}

#[test]
fn a_subscribers_nack_is_answered_on_the_rtx_ssrc_bit_for_bit() {
    for profile in Profile::ALL {
        let mut stage = Stage::new(2);
        let (mut publisher, mut subscriber) = pair(&mut stage, profile, 1);
        let ingress = stage.add_ingress(&publisher, Kind::Video, &[(21, 22)]);
        let (_, row) = stage.add_egress(&subscriber, ingress, Kind::Video);
        stage.settle();
        for n in 0..10 {
            video(&mut stage, &mut publisher, n, n == 0);
            stage.advance_ms(10);
        }
        let sent = receive(&mut stage, &mut subscriber).media;
        let lost = [SequenceNumber(sent[4].sequence), SequenceNumber(sent[7].sequence)];
        let mut out = [0; 64];
        let length = nack::write(&mut out, Ssrc(1), row.ssrc, &lost).unwrap().bytes;
        let request = subscriber.rtcp(&out[..length]);
        stage.inject(1, &subscriber, &request);
        stage.settle();
        let resent = receive(&mut stage, &mut subscriber).media;
        assert_eq!(resent.len(), 2, "{profile:?} {:?}", stage.all_drops());
        for (resent, original) in resent.iter().zip([&sent[4], &sent[7]]) {
            assert_eq!((resent.ssrc, resent.payload_type), (row.rtx_ssrc.0, 101));
            assert_eq!((resent.timestamp, resent.marker), (original.timestamp, original.marker));
            assert_eq!(resent.payload[..2], original.sequence.to_be_bytes());
            assert_eq!(resent.payload[2..], original.payload);
        }
        // Asked again at once: a repetition.
        let again = subscriber.rtcp(&out[..length]);
        stage.inject(1, &subscriber, &again);
        stage.settle();
        assert!(receive(&mut stage, &mut subscriber).media.is_empty());
        assert_eq!(stage.all_drops(), [("nack_repeated", 2)]);
    }
}

#[test]
fn a_waiting_subscriber_makes_one_pli_and_the_key_frame_ends_it() {
    for worker in [0, 1] {
        let mut stage = Stage::new(2);
        let (mut publisher, mut subscriber) = pair(&mut stage, Profile::AeadAes128Gcm, worker);
        let ingress = stage.add_ingress(&publisher, Kind::Video, &[(21, 22)]);
        stage.settle();
        for n in 0..10 {
            video(&mut stage, &mut publisher, n, n == 0);
            stage.advance_ms(33);
        }
        assert_eq!(plis(&receive(&mut stage, &mut publisher)), []);
        let (egress, row) = stage.add_egress(&subscriber, ingress, Kind::Video);
        stage.settle();
        stage.settle();
        assert_eq!(plis(&receive(&mut stage, &mut publisher)), [21], "at once, not with the next packet");
        let observed = stage.regions.engine.egresses().read(egress.index).unwrap().1;
        assert_eq!(observed.state, egress_state::WAITS_FOR_KEY_FRAME);
        for n in 10..40 {
            video(&mut stage, &mut publisher, n, n == 12);
            stage.advance_ms(33);
        }
        assert_eq!(plis(&receive(&mut stage, &mut publisher)), []);
        assert_eq!(receive(&mut stage, &mut subscriber).media.len(), 28);
        // The subscriber lost its picture.
        let mut out = [0; 12];
        Pli { sender: Ssrc(1), media: row.ssrc }.write(&mut out).unwrap();
        let request = subscriber.rtcp(&out);
        stage.inject(worker, &subscriber, &request);
        stage.settle();
        assert_eq!(plis(&receive(&mut stage, &mut publisher)), [21]);
        // Unanswered it is repeated, not more often than twice a second.
        for n in 40..100 {
            video(&mut stage, &mut publisher, n, false);
            stage.advance_ms(33);
        }
        let repeated = plis(&receive(&mut stage, &mut publisher)).len();
        assert!((3..=4).contains(&repeated), "{repeated} in 2 s");
    }
}

#[test]
fn a_subscriber_asks_for_a_key_frame_once_it_can_be_reached() {
    let mut stage = Stage::new(2);
    let mut publisher = stage.add_peer(Profile::AeadAes128Gcm);
    stage.connect(0, &mut publisher);
    let mut subscriber = stage.add_unkeyed_peer(Profile::AeadAes128Gcm);
    let ingress = stage.add_ingress(&publisher, Kind::Video, &[(21, 22)]);
    stage.add_egress(&subscriber, ingress, Kind::Video);
    stage.connect(1, &mut subscriber);
    for n in 0..20 {
        video(&mut stage, &mut publisher, n, n == 0);
        stage.advance_ms(33);
    }
    assert_eq!(plis(&receive(&mut stage, &mut publisher)), []);
    stage.publish_keys(&mut subscriber);
    stage.settle();
    assert_eq!(plis(&receive(&mut stage, &mut publisher)), [21]);
}

#[test]
fn publishers_get_receiver_reports_every_second_and_their_rrtr_answered() {
    let mut stage = Stage::new(1);
    let (mut publisher, _) = pair(&mut stage, Profile::AeadAes128Gcm, 0);
    stage.add_ingress(&publisher, Kind::Audio, &[(31, 0)]);
    stage.settle();
    let ntp = NtpTime::from_unix_ns(1_795_000_000_000_000_000);
    let mut out = [0; 64];
    let info = sr::SenderInfo { ssrc: Ssrc(31), ntp, timestamp: RtpTimestamp(0), packets: 1, payload_bytes: 1 };
    let mut length = sr::write(&mut out, &info, &[]).unwrap();
    length += xr::write_reference_time(&mut out[length..], Ssrc(31), ntp).unwrap();
    let packet = publisher.rtp(Kind::Audio, 31, 9, 0, &[0; 30]);
    stage.inject(0, &publisher, &packet);
    stage.settle();
    assert_eq!(blocks(&receive(&mut stage, &mut publisher)).len(), 1, "the first one comes early");
    let report = publisher.rtcp(&out[..length]);
    stage.inject(0, &publisher, &report);
    for n in 0..250u16 {
        if n % 10 != 3 {
            let packet = publisher.rtp(Kind::Audio, 31, 10 + n, 960 * u32::from(n), &[0; 30]);
            stage.inject(0, &publisher, &packet);
        }
        stage.advance_ms(20);
    }
    let received = receive(&mut stage, &mut publisher);
    let blocks = blocks(&received);
    assert!((5..=6).contains(&blocks.len()), "{} in 5 s", blocks.len());
    let last = blocks.last().unwrap();
    assert_eq!((last.ssrc, last.last_sender_report), (Ssrc(31), ntp.middle()));
    assert!((20..=30).contains(&last.fraction_lost), "a tenth of 256: {}", last.fraction_lost);
    let messages = received.rtcp.iter().flat_map(|packet| Compound::new(packet).flatten());
    let answered = messages.filter(|message| matches!(message, Rtcp::ExtendedReport(_))).count();
    assert_eq!(answered, 1);
}

#[test]
fn transport_wide_feedback_tells_of_every_packet() {
    let mut stage = Stage::new(1);
    let (mut publisher, _) = pair(&mut stage, Profile::Aes128CmSha1_80, 0);
    stage.add_ingress(&publisher, Kind::Video, &[(21, 22)]);
    stage.settle();
    for n in 0..100 {
        video(&mut stage, &mut publisher, n, n == 0);
        stage.advance_ms(5);
    }
    stage.advance_ms(150);
    let received = receive(&mut stage, &mut publisher);
    let mut told = Vec::new();
    for packet in &received.rtcp {
        for message in Compound::new(packet).flatten() {
            if let Rtcp::Twcc(feedback) = message {
                let arrived = feedback.packets().filter(|(_, delta)| delta.is_some());
                told.extend(arrived.map(|(sequence, _)| sequence.0));
            }
        }
    }
    assert_eq!(told, (0..100).collect::<Vec<u16>>());
}

#[test]
fn subscribers_get_sender_reports_on_their_own_timeline() {
    for worker in [0, 1] {
        let mut stage = Stage::new(2);
        let (mut publisher, mut subscriber) = pair(&mut stage, Profile::AeadAes128Gcm, worker);
        let ingress = stage.add_ingress(&publisher, Kind::Audio, &[(31, 0)]);
        let (_, row) = stage.add_egress(&subscriber, ingress, Kind::Audio);
        stage.settle();
        let wall = stage.regions.holder.node().own(0).wall_offset;
        let sent_at = stage.now;
        for n in 0..300u16 {
            let packet = publisher.rtp(Kind::Audio, 31, n, 7_000 + 960 * u32::from(n), &[0; 30]);
            stage.inject(0, &publisher, &packet);
            if n == 2 {
                let mut out = [0; 32];
                let info = sr::SenderInfo {
                    ssrc: Ssrc(31),
                    ntp: wall.ntp(sent_at.add_ms(40)),
                    timestamp: RtpTimestamp(7_000 + 1_920),
                    packets: 3,
                    payload_bytes: 90,
                };
                let length = sr::write(&mut out, &info, &[]).unwrap();
                let report = publisher.rtcp(&out[..length]);
                stage.inject(0, &publisher, &report);
            }
            stage.advance_ms(20);
        }
        let received = receive(&mut stage, &mut subscriber);
        let first = &received.media[0];
        let messages = received.rtcp.iter().flat_map(|packet| Compound::new(packet).flatten());
        let reports: Vec<_> = messages
            .filter_map(|message| if let Rtcp::SenderReport(report) = message { Some(report.info) } else { None })
            .collect();
        assert!((2..=3).contains(&reports.len()), "{} in 6 s", reports.len());
        for info in &reports {
            assert_eq!(info.ssrc, row.ssrc);
            // The first packet was captured at `sent_at`: the pair must say so, but for the millisecond of transit.
            let since_ns = info.ntp.unix_ns() - wall.wall_ns(sent_at);
            let ticks = info.timestamp.0.wrapping_sub(first.timestamp);
            assert!(u64::from(ticks).abs_diff(since_ns * 48_000 / 1_000_000_000) <= 50, "{ticks} after {since_ns} ns");
        }
        assert_eq!(received.rtcp.len(), reports.len());
    }
}

#[test]
fn a_report_about_an_egress_is_taken_whoever_sends_it() {
    let mut stage = Stage::new(1);
    let (mut publisher, mut subscriber) = pair(&mut stage, Profile::AeadAes128Gcm, 0);
    let ingress = stage.add_ingress(&publisher, Kind::Audio, &[(31, 0)]);
    let (egress, row) = stage.add_egress(&subscriber, ingress, Kind::Audio);
    stage.settle();
    let packet = publisher.rtp(Kind::Audio, 31, 1, 0, &[0; 30]);
    stage.inject(0, &publisher, &packet);
    stage.settle();
    let block = ReportBlock { ssrc: row.ssrc, fraction_lost: 64, ..ReportBlock::default() };
    let mut out = [0; 64];
    let length = rr::write(&mut out, Ssrc(0xdead), &[block]).unwrap();
    let report = subscriber.rtcp(&out[..length]);
    stage.inject(0, &subscriber, &report);
    stage.settle();
    assert_eq!(stage.regions.engine.egresses().read(egress.index).unwrap().1.fraction_lost, 64);
}

/// Three layers found by mid and rid; the subscriber asks for less and for more.
#[test]
fn a_subscriber_switches_layers_at_key_frames_on_one_timeline() {
    for worker in [0, 1] {
        let mut stage = Stage::new(2);
        let (mut publisher, mut subscriber) = pair(&mut stage, Profile::AeadAes128Gcm, worker);
        let ingress = stage.add_ingress(&publisher, Kind::Video, &[]);
        let (egress, mut row) = stage.add_egress(&subscriber, ingress, Kind::Video);
        stage.settle();
        let (ssrcs, bases) = ([0x71, 0x72, 0x73], [10_000u32, 500_000, 3_000_000_000]);
        let mut key_next = [true; 3];
        let mut frame = |stage: &mut Stage, n: u16| {
            for layer in 0..3 {
                let header = RtpHeader {
                    marker: true,
                    payload_type: 96,
                    sequence: SequenceNumber(1_000 * (layer as u16 + 1) + n),
                    timestamp: RtpTimestamp(bases[layer].wrapping_add(3_000 * u32::from(n))),
                    ssrc: Ssrc(ssrcs[layer]),
                    ..RtpHeader::default()
                };
                let rid = [b"q", b"h", b"f"][layer];
                let elements: &[(u8, &[u8])] = &[(EXTENSIONS.mid, b"1"), (EXTENSIONS.rid, rid)];
                let payload = vp8(std::mem::take(&mut key_next[layer]), n, 300 + 100 * layer);
                let packet = publisher.seal_rtp(&header, elements, &payload);
                stage.inject(0, &publisher, &packet);
            }
            stage.advance_ms(33);
            for ssrc in plis(&receive(stage, &mut publisher)) {
                key_next[ssrcs.iter().position(|known| *known == ssrc).unwrap()] = true;
            }
        };
        let mut media = Vec::new();
        for (limit, layer) in [(2, 2), (0, 0), (1, 1)] {
            row.layer_max = limit;
            stage.publish_egress(egress.index, &row);
            stage.settle();
            let start = media.len();
            for _ in 0..60 {
                let n = media.len() as u16;
                frame(&mut stage, n);
                let got = receive(&mut stage, &mut subscriber).media;
                media.push(got);
            }
            let wanted = 300 + 100 * layer;
            assert!(media.last().unwrap().iter().all(|media| media.payload.len() == wanted));
            let switched = media[start..].iter().position(|got| got.iter().any(|media| media.payload.len() == wanted));
            assert!(switched.unwrap() < 45, "to layer {layer} in less than 1.5 s");
            assert_eq!(stage.regions.engine.egresses().read(egress.index).unwrap().1.layer, layer as u8);
        }
        let media: Vec<_> = media.into_iter().flatten().collect();
        assert!(media.len() > 175, "{}", media.len());
        for (a, b) in media.iter().zip(&media[1..]) {
            assert_eq!(b.sequence, a.sequence.wrapping_add(1));
            let step = b.timestamp.wrapping_sub(a.timestamp);
            assert!((1..=9_000).contains(&step), "{step}");
        }
    }
}
