use engine_base::NtpTime;
use engine_table::slots::packet_flags::*;
use engine_wire::rtcp::report_block::ReportBlock;

use super::*;
use crate::fixtures::{audio, delta, key, picture, plan};
use crate::source::SenderReport;

/// What came of a packet: its own number counted from the first one sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Got {
    Own(i64),
    Fill(i64),
    Not(Drop),
}
use self::Got::{Fill, Not, Own};
use engine_base::Drop::{
    EgressOldLayer, EgressOtherLayer, EgressPaused, EgressWaitsForKeyFrame, RtpPaddingOnly, RtpTooOld,
};

struct Subscriber {
    state: EgressState,
    plan: EgressPlan,
    clocks: SourceClocks,
    first: u64,
}

impl Subscriber {
    fn new(kind: Kind) -> Self {
        let state = EgressState::new(1, 0x1234_5678_9abc_def0);
        let first = state.sequences.next_own();
        Self { state, plan: plan(kind), clocks: SourceClocks { active: 1, ..Default::default() }, first }
    }

    fn verdict(&mut self, layer: u8, header: &PacketHeader) -> Verdict {
        self.state.verdict(&self.plan, layer, header, &self.clocks)
    }

    fn rewrite(&mut self, layer: u8, header: &PacketHeader) -> Rewrite {
        match self.verdict(layer, header) {
            Verdict::Forward(rewrite) => rewrite,
            Verdict::Drop(drop) => panic!("{header:?} dropped: {drop:?}"),
        }
    }

    fn get(&mut self, layer: u8, header: PacketHeader) -> Got {
        let number = |rewrite: &Rewrite| rewrite.sequence.0.wrapping_sub(self.first).cast_signed();
        match self.state.verdict(&self.plan, layer, &header, &self.clocks) {
            Verdict::Drop(drop) => Not(drop),
            Verdict::Forward(rewrite) if rewrite.payload == Payload::Fill => Fill(number(&rewrite)),
            Verdict::Forward(rewrite) => Own(number(&rewrite)),
        }
    }

    fn all(&mut self, layer: u8, headers: impl IntoIterator<Item = PacketHeader>) -> Vec<Got> {
        headers.into_iter().map(|header| self.get(layer, header)).collect()
    }
}

fn empty(header: PacketHeader) -> PacketHeader {
    PacketHeader { payload_bytes: 0, flags: 0, ..header }
}

/// The packet as another layer's stream: its own SSRC, sequence and clock.
fn of_layer(layer: u8, header: PacketHeader) -> PacketHeader {
    PacketHeader {
        ssrc: Ssrc(1 + u32::from(layer)),
        sequence: ExtendedSequence(header.sequence.0 + 0x5_0000 * u64::from(layer)),
        timestamp: header.timestamp.add(0x7654_3210 * u32::from(layer)),
        ..header
    }
}

#[test]
fn video_begins_at_a_key_frame() {
    let mut subscriber = Subscriber::new(Kind::Video);
    let got = subscriber.all(0, [delta(100), delta(101), key(102), delta(103)]);
    assert_eq!(got, [Not(EgressWaitsForKeyFrame), Not(EgressWaitsForKeyFrame), Own(0), Own(1)]);
}

#[test]
fn audio_begins_at_once() {
    let mut subscriber = Subscriber::new(Kind::Audio);
    assert_eq!(subscriber.all(0, [audio(100), audio(101)]), [Own(0), Own(1)]);
}

#[test]
fn lost_packets_leave_a_gap_that_late_ones_fill() {
    let mut subscriber = Subscriber::new(Kind::Video);
    let got = subscriber.all(0, [key(100), delta(103), delta(102), delta(101), delta(104)]);
    assert_eq!(got, [Own(0), Own(3), Own(2), Own(1), Own(4)]);
}

#[test]
fn numbers_go_on_over_the_wrap_of_either_side() {
    let mut subscriber = Subscriber::new(Kind::Video);
    let got = subscriber.all(0, (0x1_fffe..0x2_0003).map(|n| if n == 0x1_fffe { key(n) } else { delta(n) }));
    assert_eq!(got, [0, 1, 2, 3, 4].map(Own));
    let mut subscriber = Subscriber::new(Kind::Audio);
    let rewrites: Vec<_> = (0..70_000).map(|n| subscriber.rewrite(0, &audio(0x1_0000 + n)).sequence.0).collect();
    assert!(rewrites.windows(2).all(|pair| pair[1] == pair[0] + 1));
}

#[test]
fn publisher_padding_is_dropped_and_its_gap_closed() {
    let mut subscriber = Subscriber::new(Kind::Video);
    let got = subscriber.all(0, [key(100), empty(delta(101)), empty(delta(102)), delta(103), delta(104)]);
    assert_eq!(got, [Own(0), Not(RtpPaddingOnly), Not(RtpPaddingOnly), Own(1), Own(2)]);
}

#[test]
fn late_padding_fills_the_number_that_the_subscriber_misses() {
    let mut subscriber = Subscriber::new(Kind::Video);
    assert_eq!(subscriber.all(0, [key(100), delta(102), empty(delta(101))]), [Own(0), Own(2), Fill(1)]);
}

#[test]
fn packets_before_the_first_key_frame_are_not_sent_late() {
    let mut subscriber = Subscriber::new(Kind::Video);
    assert_eq!(subscriber.all(0, [key(100), delta(99), delta(101)]), [Own(0), Not(EgressOldLayer), Own(1)]);
}

#[test]
fn a_key_frame_start_behind_its_own_packets_does_not_begin_a_run() {
    let mut subscriber = Subscriber::new(Kind::Video);
    let got = subscriber.all(0, [delta(100), delta(102), key(101), key(110)]);
    assert_eq!(got[2..], [Not(EgressWaitsForKeyFrame), Own(0)]);
}

#[test]
fn a_higher_layer_is_taken_at_its_key_frame_and_the_lower_one_flows_until_then() {
    let mut subscriber = Subscriber::new(Kind::Video);
    subscriber.get(0, key(100));
    subscriber.clocks.active = 0b101;
    assert_eq!(subscriber.get(2, of_layer(2, delta(101))), Not(EgressOtherLayer));
    assert_eq!(subscriber.get(0, delta(101)), Own(1));
    assert_eq!(subscriber.state.layer_target(), 2);
    assert_eq!(subscriber.get(2, of_layer(2, key(102))), Own(2));
    assert_eq!(subscriber.get(0, delta(102)), Not(EgressOtherLayer));
    assert_eq!(subscriber.get(2, of_layer(2, delta(101))), Not(EgressOldLayer));
    assert_eq!(subscriber.get(2, of_layer(2, delta(103))), Own(3));
    assert_eq!((subscriber.state.layer(), subscriber.state.runs()), (2, 2));
}

#[test]
fn a_key_frame_of_a_layer_that_is_not_wanted_changes_nothing() {
    let mut subscriber = Subscriber::new(Kind::Video);
    (subscriber.clocks.active, subscriber.plan.layer_max) = (0b111, 1);
    subscriber.get(1, of_layer(1, key(100)));
    assert_eq!(subscriber.get(2, of_layer(2, key(101))), Not(EgressOtherLayer));
    assert_eq!(subscriber.get(0, key(101)), Not(EgressOtherLayer));
    assert_eq!(subscriber.get(1, of_layer(1, delta(101))), Own(1));
}

#[test]
fn a_lower_limit_takes_effect_at_the_lower_key_frame() {
    let mut subscriber = Subscriber::new(Kind::Video);
    subscriber.clocks.active = 0b111;
    subscriber.get(2, of_layer(2, key(100)));
    subscriber.plan.layer_max = 0;
    assert_eq!(subscriber.get(0, delta(101)), Not(EgressOtherLayer));
    assert_eq!(subscriber.get(2, of_layer(2, delta(101))), Own(1));
    assert_eq!(subscriber.get(0, key(102)), Own(2));
    assert_eq!(subscriber.get(2, of_layer(2, key(103))), Not(EgressOtherLayer));
}

#[test]
fn a_layer_that_stopped_is_left_for_the_best_that_runs() {
    let mut subscriber = Subscriber::new(Kind::Video);
    subscriber.clocks.active = 0b111;
    subscriber.get(2, of_layer(2, key(100)));
    subscriber.clocks.active = 0b011;
    assert_eq!(subscriber.get(1, of_layer(1, delta(101))), Not(EgressOtherLayer));
    let now = TimeNs::from_ms(10);
    assert_eq!(subscriber.state.poll_key_frame_demand(&subscriber.plan, &subscriber.clocks, now), Some(1));
    assert_eq!(subscriber.get(1, of_layer(1, key(102))), Own(1));
}

#[test]
fn a_switch_continues_the_time_by_sender_reports() {
    let mut subscriber = Subscriber::new(Kind::Video);
    subscriber.clocks.active = 0b011;
    subscriber.plan.layer_max = 0;
    let report = |layer: u8, ms: u64| {
        let header = of_layer(layer, delta(0));
        let ntp = NtpTime::from_unix_ns(1_700_000_000_000_000_000 + ms * 1_000_000);
        Some(SenderReport { ntp, timestamp: header.timestamp.add(ms as u32 * 90), arrival: TimeNs::ZERO })
    };
    subscriber.clocks.layers = [report(0, 500), report(1, 900), None];
    let low = subscriber.rewrite(0, &key(100));
    subscriber.plan.layer_max = 1;
    let mut late = of_layer(1, key(102));
    late.arrival = late.arrival.add_ms(80);
    let high = subscriber.rewrite(1, &late);
    assert!(high.timestamp.distance(low.timestamp).abs_diff(6_000) <= 1, "{high:?} after {low:?}");
}

#[test]
fn a_switch_without_sender_reports_continues_the_time_by_arrival() {
    let mut subscriber = Subscriber::new(Kind::Video);
    subscriber.clocks.active = 0b011;
    subscriber.plan.layer_max = 0;
    let low = subscriber.rewrite(0, &key(100));
    subscriber.plan.layer_max = 1;
    let high = subscriber.rewrite(1, &of_layer(1, key(103)));
    assert!(high.timestamp.distance(low.timestamp).abs_diff(9_000) <= 1);
}

#[test]
fn a_picture_that_was_sent_already_is_not_sent_back_in_time_by_a_switch() {
    let mut subscriber = Subscriber::new(Kind::Video);
    subscriber.clocks.active = 0b011;
    subscriber.plan.layer_max = 0;
    subscriber.rewrite(0, &key(100));
    let low = subscriber.rewrite(0, &delta(101));
    subscriber.plan.layer_max = 1;
    let high = subscriber.rewrite(1, &of_layer(1, PacketHeader { arrival: delta(101).arrival, ..key(100) }));
    assert_eq!(high.timestamp.distance(low.timestamp), 1);
}

#[test]
fn pause_and_resume_leave_no_gap_and_wait_for_a_key_frame() {
    let mut subscriber = Subscriber::new(Kind::Video);
    let before = subscriber.rewrite(0, &key(100));
    subscriber.plan.enabled = false;
    assert_eq!(subscriber.all(0, [delta(101), key(102)]), [Not(EgressPaused), Not(EgressPaused)]);
    subscriber.plan.enabled = true;
    assert_eq!(subscriber.all(0, [delta(400), key(401)]), [Not(EgressWaitsForKeyFrame), Own(1)]);
    let after = subscriber.rewrite(0, &delta(402));
    assert_eq!(after.timestamp.distance(before.timestamp), 302 * 3_000);
}

#[test]
fn paused_audio_resumes_at_any_packet_on_the_same_clock() {
    let mut subscriber = Subscriber::new(Kind::Audio);
    let before = subscriber.rewrite(0, &audio(100));
    subscriber.state.pause();
    let after = subscriber.rewrite(0, &audio(600));
    assert_eq!(after.sequence.0, before.sequence.0 + 1);
    assert_eq!(after.timestamp.distance(before.timestamp), 500 * 960);
}

#[test]
fn silence_between_comfort_frames_is_neither_loss_nor_a_new_run() {
    let mut subscriber = Subscriber::new(Kind::Audio);
    let first = subscriber.rewrite(0, &audio(100));
    for n in 1..50u64 {
        let header = PacketHeader {
            timestamp: audio(100).timestamp.add(n as u32 * 19_200),
            arrival: audio(100).arrival.add_ms(n * 400),
            ..audio(100 + n)
        };
        let rewrite = subscriber.rewrite(0, &header);
        assert_eq!(rewrite.sequence.0, first.sequence.0 + n);
        assert_eq!(rewrite.timestamp.distance(first.timestamp), n as i32 * 19_200);
    }
    assert_eq!(subscriber.state.runs(), 1);
}

#[test]
fn a_new_ssrc_under_the_same_layer_begins_a_run_on_the_same_timeline() {
    for kind in [Kind::Audio, Kind::Video] {
        let mut subscriber = Subscriber::new(kind);
        let old = if kind == Kind::Audio { audio(100) } else { key(100) };
        let before = subscriber.rewrite(0, &old);
        let new = PacketHeader {
            ssrc: Ssrc(99),
            sequence: ExtendedSequence(0x9_0000),
            timestamp: RtpTimestamp(7),
            arrival: old.arrival.add_ms(100),
            ..old
        };
        let after = subscriber.rewrite(0, &new);
        assert_eq!(after.sequence.0, before.sequence.0 + 1);
        assert_eq!(after.timestamp.distance(before.timestamp), if kind == Kind::Audio { 4_800 } else { 9_000 });
    }
}

#[test]
fn a_media_clock_that_jumps_back_is_put_on_the_old_timeline() {
    let mut subscriber = Subscriber::new(Kind::Audio);
    let before = subscriber.rewrite(0, &audio(100));
    let after = subscriber.rewrite(0, &PacketHeader { timestamp: RtpTimestamp(0x8000_0000), ..audio(101) });
    assert_eq!(after.timestamp.distance(before.timestamp), 960);
    assert_eq!(after.sequence.0, before.sequence.0 + 1);
}

fn fields(rewrite: Rewrite) -> (u16, u8) {
    rewrite.vp8.map(|fields| (fields.picture_id, fields.tl0_picture_index)).unwrap()
}

#[test]
fn dropped_temporal_layers_leave_no_gap_in_numbers_and_pictures() {
    let mut subscriber = Subscriber::new(Kind::Video);
    subscriber.plan.temporal_max = 0;
    assert_eq!(fields(subscriber.rewrite(0, &picture(key(100), 0x7fff, 0, 9))), (0x7fff, 9));
    assert_eq!(subscriber.get(0, picture(delta(101), 0, 2, 9)), Not(EgressOtherLayer));
    assert_eq!(subscriber.get(0, picture(delta(102), 0, 2, 9)), Not(EgressOtherLayer));
    assert_eq!(subscriber.get(0, picture(delta(103), 1, 1, 9)), Not(EgressOtherLayer));
    let next = subscriber.rewrite(0, &picture(delta(104), 2, 0, 10));
    assert_eq!((next.sequence.0 - subscriber.first, fields(next)), (1, (0, 10)));
}

#[test]
fn a_late_packet_of_a_dropped_layer_becomes_padding() {
    let mut subscriber = Subscriber::new(Kind::Video);
    subscriber.plan.temporal_max = 0;
    subscriber.get(0, picture(key(100), 10, 0, 0));
    assert_eq!(subscriber.get(0, picture(delta(102), 12, 0, 1)), Own(2));
    assert_eq!(subscriber.get(0, picture(delta(101), 11, 1, 0)), Fill(1));
}

#[test]
fn temporal_layers_come_back_at_a_switching_point_only() {
    let mut subscriber = Subscriber::new(Kind::Video);
    subscriber.plan.temporal_max = 0;
    subscriber.get(0, picture(key(100), 10, 0, 0));
    subscriber.plan.temporal_max = 2;
    let sync = |header: PacketHeader| PacketHeader { flags: header.flags | SWITCH_UP, ..header };
    let got = [
        subscriber.get(0, picture(delta(101), 11, 2, 0)),
        subscriber.get(0, sync(picture(delta(102), 12, 1, 0))),
        subscriber.get(0, picture(delta(103), 13, 2, 0)),
        subscriber.get(0, sync(picture(delta(104), 14, 2, 0))),
        subscriber.get(0, picture(delta(105), 15, 2, 0)),
    ];
    assert_eq!(got, [Not(EgressOtherLayer), Own(1), Not(EgressOtherLayer), Own(2), Own(3)]);
}

#[test]
fn a_picture_begun_is_finished_when_the_limit_falls() {
    let mut subscriber = Subscriber::new(Kind::Video);
    subscriber.get(0, picture(key(100), 10, 0, 0));
    assert_eq!(subscriber.get(0, picture(delta(101), 11, 2, 0)), Own(1));
    subscriber.plan.temporal_max = 0;
    assert_eq!(subscriber.get(0, picture(delta(102), 11, 2, 0)), Own(2));
    assert_eq!(subscriber.get(0, picture(delta(103), 12, 1, 0)), Not(EgressOtherLayer));
}

#[test]
fn a_switch_continues_picture_id_and_tl0_whatever_their_width() {
    let mut subscriber = Subscriber::new(Kind::Video);
    subscriber.clocks.active = 0b001;
    assert_eq!(fields(subscriber.rewrite(0, &picture(key(100), 0x7ffe, 0, 255))), (0x7ffe, 255));
    assert_eq!(fields(subscriber.rewrite(0, &picture(delta(101), 0x7fff, 1, 255))), (0x7fff, 255));
    subscriber.clocks.active = 0b011;
    let short = |header: PacketHeader| PacketHeader { flags: header.flags & !PICTURE_ID_15, ..header };
    let high = |header: PacketHeader, id: u16, tl0: u8| short(picture(of_layer(1, header), id, 0, tl0));
    assert_eq!(fields(subscriber.rewrite(1, &high(key(102), 127, 40))), (0, 0));
    assert_eq!(fields(subscriber.rewrite(1, &high(delta(103), 0, 41))), (1, 1));
    assert_eq!(fields(subscriber.rewrite(1, &high(delta(106), 3, 44))), (4, 4));
    assert_eq!(fields(subscriber.rewrite(1, &high(delta(104), 1, 42))), (2, 2));
}

#[test]
fn a_codec_that_the_subscriber_lacks_is_dropped_without_a_gap() {
    let mut subscriber = Subscriber::new(Kind::Video);
    let foreign = |header: PacketHeader| PacketHeader { codec: Codec::Av1 as u8, ..header };
    assert_eq!(subscriber.get(0, foreign(key(99))), Not(EgressWaitsForKeyFrame));
    let got = subscriber.all(0, [key(100), foreign(delta(101)), delta(102)]);
    assert_eq!(got, [Own(0), Not(Drop::EgressCodec), Own(1)]);
}

#[test]
fn red_is_split_for_subscribers_without_it_unless_it_is_opaque() {
    let mut subscriber = Subscriber::new(Kind::Audio);
    let red = |n, primary_offset| PacketHeader { codec: Codec::Red as u8, primary_offset, ..audio(n) };
    let rewrite = subscriber.rewrite(0, &red(100, 40));
    assert_eq!((rewrite.payload, rewrite.payload_type), (Payload::Whole, 63));
    let mut row = crate::fixtures::egress_row(Kind::Audio);
    row.payload_types[5].codec = 0;
    subscriber.plan = EgressPlan::compile(&row).unwrap();
    let rewrite = subscriber.rewrite(0, &red(101, 40));
    assert_eq!((rewrite.payload, rewrite.payload_type), (Payload::Primary, 111));
    assert_eq!(subscriber.state.sent(), (2, 160));
    assert_eq!(subscriber.all(0, [red(102, 0), red(103, 40)]), [Not(Drop::EgressCodec), Own(2)]);
}

#[test]
fn a_packet_older_than_the_window_is_too_old() {
    let mut subscriber = Subscriber::new(Kind::Video);
    assert_eq!(subscriber.all(0, [key(1_000), delta(1_300), delta(1_044)]), [Own(0), Own(300), Not(RtpTooOld)]);
}

#[test]
fn key_frames_are_demanded_at_once_and_again_until_they_come() {
    let mut subscriber = Subscriber::new(Kind::Video);
    let demands = |subscriber: &mut Subscriber, from: u64, to: u64| {
        let mut poll = |ms| {
            let (plan, clocks) = (&subscriber.plan, &subscriber.clocks);
            subscriber.state.poll_key_frame_demand(plan, clocks, TimeNs::from_ms(ms))
        };
        (from..to).filter_map(|ms| poll(ms).map(|layer| (ms, layer))).collect::<Vec<_>>()
    };
    assert_eq!(demands(&mut subscriber, 1_000, 1_500), [(1_000, 0), (1_200, 0), (1_400, 0)]);
    subscriber.get(0, key(100));
    assert_eq!(demands(&mut subscriber, 1_500, 2_500), []);
    subscriber.state.handle_key_frame_request();
    assert_eq!(demands(&mut subscriber, 2_500, 2_600), [(2_500, 0)]);
    subscriber.get(0, key(101));
    subscriber.clocks.active = 0b111;
    let block = ReportBlock { last_sender_report: 0x1_0000, ..ReportBlock::default() };
    subscriber.state.handle_report_block(&block, NtpTime(0x1_4000 << 16));
    assert_eq!(subscriber.state.rtt_us(), 250_000);
    assert_eq!(demands(&mut subscriber, 2_700, 3_500), [(2_700, 2), (3_200, 2)]);
    subscriber.clocks.active = 0;
    assert_eq!(demands(&mut subscriber, 4_000, 5_000), []);
}

#[test]
fn the_mid_is_sent_until_the_subscriber_reports() {
    let mut subscriber = Subscriber::new(Kind::Audio);
    assert!(subscriber.rewrite(0, &audio(1)).with_mid);
    subscriber.state.handle_report_block(&ReportBlock::default(), NtpTime(0));
    assert!(!subscriber.rewrite(0, &audio(2)).with_mid);
}

#[test]
fn a_successor_goes_on_where_the_checkpoint_and_the_index_say() {
    let mut subscriber = Subscriber::new(Kind::Video);
    subscriber.all(0, [key(100), delta(101)]);
    let row = subscriber.state.checkpoint();
    let index = subscriber.state.sequences.next_own() - 1;
    let rtx = subscriber.state.next_rtx;
    assert_eq!(EgressState::restore(&row, 1, index, rtx - 1), Some(subscriber.state));
    assert_eq!(EgressState::restore(&row, 2, index, 0), None);

    // 102 to 104 were sent after the checkpoint.
    subscriber.state = EgressState::restore(&row, 1, index + 3, rtx + 1).unwrap();
    assert_eq!(subscriber.state.newest_source(), ExtendedSequence(104));
    assert_eq!(
        subscriber.all(0, [delta(104), delta(105), delta(101), delta(106)]),
        [Not(EgressOldLayer), Own(5), Not(EgressOldLayer), Own(6)]
    );
    assert_eq!(subscriber.state.take_rtx_sequence(), ExtendedSequence(rtx + 2));
    assert_eq!(EgressState::restore(&row, 1, u64::MAX >> 1, 0), None, "more than SRTP can count");
}

#[test]
fn any_bytes_of_a_checkpoint_are_survived() {
    let mut random = crate::fixtures::Random(7);
    for _ in 0..2_000 {
        let mut row = Subscriber::new(Kind::Video).state.checkpoint();
        for _ in 0..1 + random.below(20) {
            row.words[random.below(24) as usize] = random.below(u64::MAX) << random.below(40);
        }
        row.as_mut_bytes()[76..80].copy_from_slice(&1u32.to_ne_bytes());
        let Some(state) = EgressState::restore(&row, 1, random.below(1 << 40), 0) else { continue };
        let mut subscriber = Subscriber { state, ..Subscriber::new(Kind::Video) };
        for n in 0..50 {
            let header = if n % 7 == 0 { key(n) } else { picture(delta(n), n as u16, (n % 3) as u8, 0) };
            let _ = subscriber.verdict((n % 3) as u8, &header);
        }
    }
}
