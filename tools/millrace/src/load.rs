//! `millrace load`: the load generator for users, the counterpart of `lk load-test`. From a command line to a scenario of
//! `perf-load`, and its result as tables or JSON.

mod summary;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use perf_load::{
    AudioShape, JoinPlan, Layout, Observer, Pacing, Phase, Place, PublisherGroup, Scenario, Server, Srtp, SteadyPlan,
    SubscriberGroup, VideoShape,
};

use crate::token;

/// Of libwebrtc for one payload.
const PAYLOAD_BYTES_MAX: usize = 1_180;
const KEY_FRAME_PERCENT: u64 = 300;
const FRAME_RATE: u64 = 30;
/// One of so many packets is decrypted, checked and its latency recorded.
const SAMPLE_EVERY: u16 = 16;
/// Handshakes under way at once: beyond it the rate gives way.
const JOINS_IN_PARALLEL: u32 = 64;
const JOIN_SECONDS_MAX: u64 = 20;

#[derive(Debug, Args)]
pub struct LoadArguments {
    /// The server, as ws://host:port.
    #[arg(long, env = "LIVEKIT_URL", default_value = "ws://127.0.0.1:7880")]
    url: String,
    #[arg(long, env = "LIVEKIT_API_KEY", default_value = "devkey")]
    api_key: String,
    #[arg(long, env = "LIVEKIT_API_SECRET", default_value = "secret", hide_env_values = true)]
    api_secret: String,
    /// Room to join; by default one of its own.
    #[arg(long)]
    room: Option<String>,
    /// Before every identity.
    #[arg(long, default_value = "")]
    identity_prefix: String,
    /// Participants that publish video; the first of them publish audio too.
    #[arg(long, default_value_t = 0)]
    video_publishers: u32,
    /// Participants that publish audio.
    #[arg(long, default_value_t = 0)]
    audio_publishers: u32,
    /// Participants that only receive.
    #[arg(long, default_value_t = 0)]
    subscribers: u32,
    /// How long media flows once everyone has joined, e.g. 30s, 5m; at most an hour.
    #[arg(long, default_value = "1m")]
    duration: String,
    /// Joins per second.
    #[arg(long, default_value_t = 5.0)]
    num_per_second: f64,
    /// Size of the pictures.
    #[arg(long, value_enum, default_value = "high")]
    video_resolution: Resolution,
    /// Bits per second of the highest layer, e.g. 900k or 2.5M; by default what suits the resolution.
    #[arg(long, value_parser = bits_per_second)]
    video_bitrate: Option<u64>,
    /// Publishes three layers (the default).
    #[arg(long, overrides_with = "no_simulcast")]
    simulcast: bool,
    /// Publishes one layer.
    #[arg(long)]
    no_simulcast: bool,
    /// What subscribers show, and so which layers they ask for: speaker, 3x3, 4x4 or 5x5.
    #[arg(long, default_value = "speaker")]
    layout: Layout,
    /// SRTP profile that is offered: aes-cm (as browsers), gcm-128 or gcm-256.
    #[arg(long, default_value = "aes-cm")]
    srtp: Srtp,
    /// Of this many packets one is decrypted, checked and its latency recorded.
    #[arg(long, default_value_t = SAMPLE_EVERY)]
    sample_every: u16,
    /// Threads that receive.
    #[arg(long, default_value_t = 1)]
    threads: u32,
    /// One JSON document instead of tables.
    #[arg(long)]
    json: bool,
    /// Permits a server on another machine.
    #[arg(long)]
    allow_remote: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Resolution {
    /// 1280 × 720
    High,
    /// 640 × 360
    Medium,
    /// 320 × 180
    Low,
}

impl Resolution {
    fn height(self) -> u16 {
        match self {
            Self::High => 720,
            Self::Medium => 360,
            Self::Low => 180,
        }
    }

    fn bitrate(self) -> u64 {
        match self {
            Self::High => 2_500_000,
            Self::Medium => 600_000,
            Self::Low => 150_000,
        }
    }
}

pub fn run(arguments: &LoadArguments) -> Result<ExitCode> {
    let scenario = scenario(arguments)?;
    let server = Server {
        url: arguments.url.replacen("http://", "ws://", 1),
        api_key: arguments.api_key.clone(),
        api_secret: arguments.api_secret.clone(),
        allow_remote: arguments.allow_remote,
    };
    server.address()?;
    perf_load::raise_descriptor_limit(&scenario)?;
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, interrupted.clone()).context("cannot watch signals")?;
    }
    let room = arguments.room.clone().unwrap_or_else(|| format!("load-{}", std::process::id()));
    let place = Place { room, prefix: arguments.identity_prefix.clone(), layout: Some(arguments.layout) };
    let mut progress = Progress { interrupted, shown: String::new() };
    let trial = perf_load::trial(&server, &scenario, place.clone(), &mut progress);
    progress.clear();
    let trial = trial?;
    let text = if arguments.json {
        serde_json::to_string_pretty(&summary::json(&server.url, &place.room, &trial))? + "\n"
    } else {
        summary::tables(&place.room, &trial)
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(if trial.accounts.iter().any(|account| account.failure.is_some()) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn scenario(arguments: &LoadArguments) -> Result<Scenario> {
    if arguments.video_publishers + arguments.audio_publishers + arguments.subscribers == 0 {
        bail!("nobody would join: say how many with --video-publishers, --audio-publishers or --subscribers");
    }
    let seconds = u64::try_from(token::seconds(&arguments.duration)?).unwrap_or(u64::MAX);
    let scenario = Scenario {
        name: "load".to_owned(),
        about: String::new(),
        srtp: arguments.srtp,
        rooms: 1,
        publishers: publishers(arguments),
        subscribers: SubscriberGroup {
            count: arguments.subscribers,
            sample_every: arguments.sample_every,
            threads: arguments.threads,
        },
        bystanders: None,
        joins: JoinPlan {
            per_second: arguments.num_per_second,
            in_parallel: JOINS_IN_PARALLEL,
            media: true,
            seconds_max: JOIN_SECONDS_MAX,
        },
        steady: SteadyPlan { warm_up_seconds: 0, seconds },
        junk: None,
    };
    scenario.check_bounds()?;
    Ok(scenario)
}

/// Those with both, then those with one of them.
fn publishers(arguments: &LoadArguments) -> Vec<PublisherGroup> {
    let video = VideoShape {
        bitrate: arguments.video_bitrate.unwrap_or(arguments.video_resolution.bitrate()),
        frame_rate: FRAME_RATE,
        pacing: Pacing::Chrome,
        payload_bytes_max: PAYLOAD_BYTES_MAX,
        key_frame_percent: KEY_FRAME_PERCENT,
        height: arguments.video_resolution.height(),
        simulcast: !arguments.no_simulcast,
    };
    let audio = AudioShape { bitrate: 48_000 };
    let both = arguments.video_publishers.min(arguments.audio_publishers);
    let groups = [
        (both, Some(video), Some(audio)),
        (arguments.video_publishers - both, Some(video), None),
        (arguments.audio_publishers - both, None, Some(audio)),
    ];
    let group = |(count, video, audio)| PublisherGroup { count, subscribe: false, video, audio };
    groups.into_iter().filter(|(count, ..)| *count > 0).map(group).collect()
}

/// `900k`, `2.5M` or a plain number.
fn bits_per_second(text: &str) -> Result<u64> {
    let (number, unit) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1e3),
        Some((at, 'm' | 'M')) => (&text[..at], 1e6),
        _ => (text, 1.0),
    };
    match number.parse::<f64>() {
        Ok(number) if number > 0.0 && number * unit < 1e12 => Ok((number * unit) as u64),
        _ => bail!("{text:?} is no bitrate: write e.g. 900k or 2.5M"),
    }
}

/// One line on a terminal, nothing elsewhere.
struct Progress {
    interrupted: Arc<AtomicBool>,
    shown: String,
}

impl Progress {
    fn clear(&self) {
        if !self.shown.is_empty() {
            eprint!("\r\x1b[K");
        }
    }
}

impl Observer for Progress {
    fn enter(&mut self, _: Phase) -> Result<()> {
        Ok(())
    }

    fn progress(&mut self, what: &str, done: u64, total: u64) {
        let text = format!("{what}: {done} of {total}");
        if text != self.shown && std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K{text}");
            self.shown = text;
        }
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        load: LoadArguments,
    }

    fn of(text: &str) -> Result<Scenario> {
        scenario(&Line::try_parse_from(std::iter::once("load").chain(text.split_whitespace()))?.load)
    }

    #[test]
    fn publishers_of_both_kinds_come_first() {
        let scenario = of("--video-publishers 3 --audio-publishers 5 --subscribers 2 --video-bitrate 900k").unwrap();
        let groups: Vec<_> = scenario
            .publishers
            .iter()
            .map(|group| (group.count, group.video.is_some(), group.audio.is_some()))
            .collect();
        assert_eq!(groups, [(3, true, true), (2, false, true)]);
        let video = scenario.publishers[0].video.unwrap();
        assert_eq!((video.bitrate, video.height, video.simulcast), (900_000, 720, true));
    }

    #[test]
    fn the_later_of_two_simulcast_flags_wins() {
        let video = |text: &str| of(text).unwrap().publishers[0].video.unwrap().simulcast;
        assert!(!video("--video-publishers 1 --no-simulcast"));
        assert!(video("--video-publishers 1 --no-simulcast --simulcast"));
    }

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        for wrong in [
            "",
            "--subscribers 50000",
            "--subscribers 1 --duration 2h",
            "--subscribers 1 --num-per-second 0",
            "--video-publishers 1 --video-bitrate fast",
            "--subscribers 1 --layout 2x2",
        ] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
        assert_eq!(of("--subscribers 1 --duration 2m").unwrap().steady.seconds, 120);
    }
}
