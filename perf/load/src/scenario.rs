//! What to do to a server: a TOML file. Every bound is checked when it is read, and the message says which key to change.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use engine_srtp::Profile;
use serde::{Deserialize, Serialize};

const PARTICIPANTS_MAX: u32 = 20_000;
const PUBLISHERS_MAX: u32 = 1_000;
const ROOMS_MAX: u32 = 1_000;
const STEADY_SECONDS_MAX: u64 = 3_600;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    pub name: String,
    #[serde(default)]
    pub about: String,
    /// What every connection offers, and nothing else.
    #[serde(default)]
    pub srtp: Srtp,
    /// Rooms that are alike: publishers and subscribers below are those of one.
    #[serde(default = "defaults::rooms", skip_serializing_if = "defaults::is_one")]
    pub rooms: u32,
    pub publishers: Vec<PublisherGroup>,
    pub subscribers: SubscriberGroup,
    /// Join before anybody else and stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bystanders: Option<Bystanders>,
    #[serde(default)]
    pub joins: JoinPlan,
    #[serde(default)]
    pub steady: SteadyPlan,
    /// In the steady time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub junk: Option<JunkPlan>,
}

/// SRTP profiles by short names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Srtp {
    /// SRTP_AES128_CM_HMAC_SHA1_80: what browsers take.
    #[default]
    AesCm,
    #[serde(rename = "gcm-128")]
    Gcm128,
    #[serde(rename = "gcm-256")]
    Gcm256,
}

impl Srtp {
    pub const ALL: [Self; 3] = [Self::AesCm, Self::Gcm128, Self::Gcm256];

    pub fn name(self) -> &'static str {
        match self {
            Self::AesCm => "aes-cm",
            Self::Gcm128 => "gcm-128",
            Self::Gcm256 => "gcm-256",
        }
    }

    pub fn profile(self) -> Profile {
        match self {
            Self::AesCm => Profile::Aes128CmSha1_80,
            Self::Gcm128 => Profile::AeadAes128Gcm,
            Self::Gcm256 => Profile::AeadAes256Gcm,
        }
    }
}

impl std::str::FromStr for Srtp {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|srtp| srtp.name() == text);
        found
            .with_context(|| format!("{text:?} is no SRTP profile; there are {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// Publishers that are alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublisherGroup {
    pub count: u32,
    /// Whether they receive each other's tracks too.
    #[serde(default)]
    pub subscribe: bool,
    pub video: Option<VideoShape>,
    pub audio: Option<AudioShape>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VideoShape {
    /// Bits per second of RTP payload.
    pub bitrate: u64,
    #[serde(default = "defaults::frame_rate")]
    pub frame_rate: u64,
    #[serde(default)]
    pub pacing: Pacing,
    /// Largest RTP payload, bytes.
    #[serde(default = "defaults::payload_bytes_max")]
    pub payload_bytes_max: usize,
    /// Size of a key frame, percent of an ordinary one.
    #[serde(default = "defaults::key_frame_percent")]
    pub key_frame_percent: u64,
    /// Of the picture, whose sides are 16 : 9.
    #[serde(default = "defaults::height")]
    pub height: u16,
    /// Two more layers of half and a quarter of width and height, at a quarter and a sixteenth of the bitrate.
    #[serde(default)]
    pub simulcast: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AudioShape {
    /// Bits per second of RTP payload, at 50 packets per second.
    #[serde(default = "defaults::audio_bitrate")]
    pub bitrate: u64,
}

/// When the packets of one frame leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pacing {
    /// Every 5 ms as many as 2.5 times the bitrate allows, as libwebrtc's pacer.
    #[default]
    Chrome,
    /// All at once.
    Burst,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubscriberGroup {
    pub count: u32,
    /// Of this many packets one is decrypted, checked and its latency recorded.
    #[serde(default = "defaults::sample_every")]
    pub sample_every: u16,
    /// Threads that receive.
    #[serde(default = "defaults::threads")]
    pub threads: u32,
}

/// Participants with a peer connection and nothing to send or receive, in rooms of their own: what a server carries besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bystanders {
    pub count: u32,
    #[serde(default = "defaults::per_room")]
    pub per_room: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JoinPlan {
    pub per_second: f64,
    /// Joins, and so DTLS handshakes, that may be under way at once.
    pub in_parallel: u32,
    /// Whether media flows while subscribers join. Without it the CPU of the join phase is the joins' alone.
    pub media: bool,
    /// Longest join.
    pub seconds_max: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SteadyPlan {
    pub warm_up_seconds: u64,
    pub seconds: u64,
}

/// Datagrams that belong to nobody, to the server's media address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JunkPlan {
    pub per_second: u32,
    /// Source ports.
    #[serde(default = "defaults::sources")]
    pub sources: u32,
}

impl Default for JoinPlan {
    fn default() -> Self {
        Self { per_second: 20.0, in_parallel: 8, media: false, seconds_max: 20 }
    }
}

impl Default for SteadyPlan {
    fn default() -> Self {
        Self { warm_up_seconds: 3, seconds: 20 }
    }
}

mod defaults {
    pub fn frame_rate() -> u64 {
        30
    }
    pub fn height() -> u16 {
        720
    }
    pub fn payload_bytes_max() -> usize {
        1_180
    }
    pub fn key_frame_percent() -> u64 {
        300
    }
    pub fn audio_bitrate() -> u64 {
        48_000
    }
    pub fn sample_every() -> u16 {
        16
    }
    pub fn rooms() -> u32 {
        1
    }
    pub fn is_one(rooms: &u32) -> bool {
        *rooms == 1
    }
    pub fn threads() -> u32 {
        1
    }
    pub fn sources() -> u32 {
        256
    }
    pub fn per_room() -> u32 {
        50
    }
}

impl Scenario {
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the scenario {}; perf/scenarios has some", path.display()))?;
        Self::parse(&text).with_context(|| format!("in the scenario {}", path.display()))
    }

    pub fn parse(text: &str) -> Result<Self> {
        let scenario: Self = toml::from_str(text).context("not a scenario")?;
        scenario.check()?;
        Ok(scenario)
    }

    /// Of all rooms.
    pub fn publisher_count(&self) -> u32 {
        self.publishers.iter().map(|group| group.count).sum::<u32>() * self.rooms
    }

    /// Of all rooms.
    pub fn subscriber_count(&self) -> u32 {
        self.subscribers.count * self.rooms
    }

    /// Everybody.
    pub fn participant_count(&self) -> u32 {
        self.publisher_count() + self.subscriber_count() + self.bystanders.map_or(0, |bystanders| bystanders.count)
    }

    /// Who receives, of all rooms: subscribers, and publishers that subscribe.
    pub fn receiver_count(&self) -> u32 {
        self.subscribing_publishers() + self.subscriber_count()
    }

    /// Of all rooms.
    pub fn subscribing_publishers(&self) -> u32 {
        self.publishers.iter().filter(|group| group.subscribe).map(|group| group.count).sum::<u32>() * self.rooms
    }

    /// Whether everybody publishes, so that there are no joins but theirs.
    pub fn is_conference(&self) -> bool {
        self.subscribers.count == 0
    }

    /// Tracks of the publishers of a room: what each subscriber receives.
    pub fn track_count(&self) -> u32 {
        self.publishers.iter().map(|group| group.count * group.tracks()).sum()
    }

    /// Whether a subscriber gets one layer of several.
    pub fn has_simulcast(&self) -> bool {
        self.publishers.iter().filter_map(|group| group.video).any(|video| video.simulcast)
    }

    pub fn join_interval(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.joins.per_second)
    }

    /// Whether every value is within its bounds and somebody sends to somebody; read ones are.
    pub fn check(&self) -> Result<()> {
        if let Some(junk) = &self.junk {
            within("junk.per_second", junk.per_second, 1, 1_000_000)?;
            within("junk.sources", junk.sources, 1, 4_096)?;
        }
        if self.publishers.is_empty() {
            bail!("nobody publishes; add a [[publishers]] table");
        }
        self.check_bounds()?;
        let listeners = self.subscribing_publishers();
        if self.is_conference() && (listeners == 0 || self.publisher_count() / self.rooms < 2) {
            bail!("nobody receives; raise subscribers.count, or let several publishers `subscribe`");
        }
        Ok(())
    }

    /// Whether every value is within its bounds; one side may be empty.
    pub fn check_bounds(&self) -> Result<()> {
        within("subscribers.count", self.subscribers.count, 0, PARTICIPANTS_MAX)?;
        within("rooms", self.rooms, 1, ROOMS_MAX)?;
        within("subscribers.sample_every", self.subscribers.sample_every, 1, u16::MAX)?;
        within("subscribers.threads", self.subscribers.threads, 1, 64)?;
        if let Some(bystanders) = &self.bystanders {
            within("bystanders.count", bystanders.count, 1, PARTICIPANTS_MAX)?;
            within("bystanders.per_room", bystanders.per_room, 1, PARTICIPANTS_MAX)?;
        }
        within("steady.seconds", self.steady.seconds, 1, STEADY_SECONDS_MAX)?;
        within("steady.warm_up_seconds", self.steady.warm_up_seconds, 0, 600)?;
        within("joins.in_parallel", self.joins.in_parallel, 1, 1_000)?;
        within("joins.seconds_max", self.joins.seconds_max, 1, 120)?;
        within("joins.per_second", self.joins.per_second, 0.1, 10_000.0)?;
        for group in &self.publishers {
            group.check()?;
        }
        let publishers: u64 = self.publishers.iter().map(|group| u64::from(group.count)).sum();
        let rooms = u64::from(self.rooms);
        within("publishers.count of all groups and rooms", publishers * rooms, 0, u64::from(PUBLISHERS_MAX))?;
        let subscribers = u64::from(self.subscribers.count) * rooms;
        within("subscribers.count of all rooms", subscribers, 0, u64::from(PARTICIPANTS_MAX))
    }
}

impl VideoShape {
    /// Width for the height, even as encoders want it.
    pub fn width(&self) -> u16 {
        (u32::from(self.height) * 16 / 9 / 2 * 2) as u16
    }
}

impl PublisherGroup {
    fn tracks(&self) -> u32 {
        u32::from(self.video.is_some()) + u32::from(self.audio.is_some())
    }

    fn check(&self) -> Result<()> {
        within("publishers.count", self.count, 1, PUBLISHERS_MAX)?;
        if self.tracks() == 0 {
            bail!("a publisher without tracks; add [publishers.video] or [publishers.audio]");
        }
        if let Some(video) = &self.video {
            within("publishers.video.bitrate", video.bitrate, 10_000, 100_000_000)?;
            within("publishers.video.height", video.height, 90, 2_160)?;
            within("publishers.video.frame_rate", video.frame_rate, 1, 240)?;
            within("publishers.video.payload_bytes_max", video.payload_bytes_max, 200, 1_200)?;
            within("publishers.video.key_frame_percent", video.key_frame_percent, 50, 2_000)?;
        }
        if let Some(audio) = &self.audio {
            within("publishers.audio.bitrate", audio.bitrate, 10_000, 400_000)?;
        }
        Ok(())
    }
}

fn within<T: PartialOrd + std::fmt::Display>(key: &str, value: T, lowest: T, highest: T) -> Result<()> {
    if value >= lowest && value <= highest {
        return Ok(());
    }
    bail!("{key} is {value}; it must be between {lowest} and {highest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"
        name = "small"
        [[publishers]]
        count = 2
        [publishers.video]
        bitrate = 2_500_000
        [publishers.audio]
        [subscribers]
        count = 10
    "#;

    #[test]
    fn what_is_left_out_has_defaults() {
        let scenario = Scenario::parse(SMALL).unwrap();
        assert_eq!((scenario.publisher_count(), scenario.track_count()), (2, 4));
        assert_eq!(scenario.joins, JoinPlan::default());
        assert_eq!(scenario.publishers[0].video.unwrap().pacing, Pacing::Chrome);
    }

    #[test]
    fn srtp_profiles_have_one_name_everywhere() {
        for srtp in Srtp::ALL {
            let scenario = Scenario::parse(&format!("srtp = \"{}\"\n{SMALL}", srtp.name())).unwrap();
            assert_eq!((scenario.srtp, srtp.name().parse::<Srtp>().unwrap()), (srtp, srtp));
        }
        assert_eq!(Scenario::parse(SMALL).unwrap().srtp, Srtp::AesCm);
        assert!("md5".parse::<Srtp>().unwrap_err().to_string().contains("gcm-128"));
    }

    #[test]
    fn a_wrong_value_is_refused_with_its_key_and_bounds() {
        let text = SMALL.replace("count = 10", "count = 20_001");
        let error = format!("{:#}", Scenario::parse(&text).unwrap_err());
        assert!(error.contains("subscribers.count is 20001; it must be between 0 and 20000"), "{error}");
        let text = format!("rooms = 600{SMALL}");
        let error = format!("{:#}", Scenario::parse(&text).unwrap_err());
        assert!(error.contains("publishers.count of all groups and rooms is 1200"), "{error}");
        let text = SMALL.replace("[publishers.audio]", "[publishers.audio]\nbitrate = 5");
        let error = format!("{:#}", Scenario::parse(&text).unwrap_err());
        assert!(error.contains("publishers.audio.bitrate is 5"), "{error}");
    }

    #[test]
    fn somebody_receives() {
        let alone = SMALL.replace("count = 10", "count = 0");
        let error = format!("{:#}", Scenario::parse(&alone).unwrap_err());
        assert!(error.contains("nobody receives"), "{error}");
        let scenario = Scenario::parse(&alone.replace("count = 2", "count = 2\nsubscribe = true")).unwrap();
        assert!(scenario.is_conference());
        assert_eq!((scenario.receiver_count(), scenario.subscribing_publishers()), (2, 2));
        assert_eq!(Scenario::parse(SMALL).unwrap().receiver_count(), 10);
    }

    #[test]
    fn rooms_are_alike() {
        let scenario =
            Scenario::parse(&format!("rooms = 3\n{}", SMALL.replace("count = 2", "count = 2\nsubscribe = true")));
        let scenario = scenario.unwrap();
        assert_eq!((scenario.publisher_count(), scenario.subscriber_count(), scenario.receiver_count()), (6, 30, 36));
        assert_eq!((scenario.participant_count(), scenario.track_count()), (36, 4));
    }

    #[test]
    fn bystanders_have_rooms_of_a_default_size() {
        let bystanders = |text: &str| Scenario::parse(&format!("{SMALL}[bystanders]\n{text}"));
        assert_eq!(bystanders("count = 7").unwrap().bystanders, Some(Bystanders { count: 7, per_room: 50 }));
        let error = format!("{:#}", bystanders("count = 0").unwrap_err());
        assert!(error.contains("bystanders.count is 0"), "{error}");
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let text = SMALL.replace("count = 10", "count = 10\nloss = 3");
        let error = format!("{:#}", Scenario::parse(&text).unwrap_err());
        assert!(error.contains("loss") && error.contains("line 10"), "{error}");
    }

    #[test]
    fn a_publisher_without_tracks_is_refused() {
        let text = "name='x'\n[[publishers]]\ncount=1\n[subscribers]\ncount=1";
        let error = format!("{:#}", Scenario::parse(text).unwrap_err());
        assert!(error.contains("without tracks"), "{error}");
    }

    #[test]
    fn every_scenario_in_the_tree_is_valid() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let scenario = Scenario::load(&path).unwrap();
            assert_eq!(path.file_stem().and_then(|stem| stem.to_str()), Some(scenario.name.as_str()));
            count += 1;
        }
        assert!(count > 0);
    }
}
