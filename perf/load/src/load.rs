//! A load under way: its threads, and what one may ask of them.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::account::Account;
use crate::clock;
use crate::connection::Identity;
use crate::crew::{Command, CrewHandle, JoinTimes, Shared};
use crate::junk::Junk;
use crate::layout::Layout;
use crate::participant::Plan;
use crate::scenario::{PublisherGroup, Scenario};
use crate::server::Server;
use crate::tally::Tally;
use crate::track::{TrackPlan, TrackShape};

/// A thread that does not answer within this has hung.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// How far the participants are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Of those asked to join.
    pub asked: u32,
    pub joined: u32,
    /// Receivers with media on every stream.
    pub with_media: u32,
    pub failed: u32,
}

/// Where participants go and what they ask for.
#[derive(Clone, Debug, Default)]
pub struct Place {
    pub room: String,
    /// Before every identity.
    pub prefix: String,
    /// Of subscribers.
    pub layout: Option<Layout>,
}

/// Participants of a server, in one room or several that are alike. Dropping it lets everyone leave.
pub struct Load {
    server: Server,
    address: SocketAddr,
    scenario: Scenario,
    place: Place,
    crews: Vec<CrewHandle>,
    shared: Arc<Shared>,
    asked: u32,
    publishers: u32,
    subscribers: u32,
    bystanders: u32,
    tracks: u32,
}

impl Load {
    /// Starts threads; nobody joins yet. **Errors**: a server that may not be loaded, or no threads.
    pub fn start(server: &Server, scenario: &Scenario) -> Result<Self> {
        let place = Place { room: format!("load-{:08x}", rand::random::<u32>()), ..Place::default() };
        Self::start_in(server, scenario, place)
    }

    /// The same in a certain room.
    pub fn start_in(server: &Server, scenario: &Scenario, place: Place) -> Result<Self> {
        let address = server.address()?;
        let identity = Identity::new(&[scenario.srtp.profile()])?;
        let shared = Arc::new(Shared::default());
        let wall = clock::wall_offset();
        let names = std::iter::once("load-publish".to_owned());
        let names = names.chain((0..scenario.subscribers.threads).map(|thread| format!("load-{thread}")));
        let crews = names.map(|name| CrewHandle::start(name, &identity, wall, &shared)).collect::<Result<_>>()?;
        Ok(Self {
            server: server.clone(),
            address,
            scenario: scenario.clone(),
            place,
            crews,
            shared,
            asked: 0,
            publishers: 0,
            subscribers: 0,
            bystanders: 0,
            tracks: 0,
        })
    }

    pub fn room(&self) -> &str {
        &self.place.room
    }

    /// Lets the next publisher join; `false` when all have been asked.
    pub fn join_publisher(&mut self) -> bool {
        if self.publishers >= self.scenario.publisher_count() {
            return false;
        }
        let (room, mut number) = self.seat(self.publishers);
        let group = self.scenario.publishers.iter().find(|group| {
            let here = number < group.count;
            number -= if here { 0 } else { group.count };
            here
        });
        let Some(group) = group.cloned() else { return false };
        let tracks = self.track_plans(&group);
        let streams = if group.subscribe { self.scenario.track_count() as usize - tracks.len() } else { 0 };
        let identity = format!("{}publisher-{}", self.place.prefix, self.publishers);
        let plan = self.plan(&room, identity, streams, group.subscribe, tracks);
        self.publishers += 1;
        self.join(0, plan);
        true
    }

    /// Lets the next subscriber join; `false` when all have been asked.
    pub fn join_subscriber(&mut self) -> bool {
        if self.subscribers >= self.scenario.subscriber_count() {
            return false;
        }
        let streams = self.scenario.track_count() as usize;
        let identity = format!("{}subscriber-{}", self.place.prefix, self.subscribers);
        let (room, _) = self.seat(self.subscribers);
        let plan = self.plan(&room, identity, streams, true, Vec::new());
        let crew = 1 + self.subscribers as usize % (self.crews.len() - 1);
        self.subscribers += 1;
        self.join(crew, plan);
        true
    }

    /// Lets the next bystander join; `false` when all have been asked.
    pub fn join_bystander(&mut self) -> bool {
        let Some(bystanders) = self.scenario.bystanders.filter(|it| self.bystanders < it.count) else { return false };
        let Place { room, prefix, .. } = &self.place;
        let room = format!("{room}-bystanders-{}", self.bystanders / bystanders.per_room);
        let identity = format!("{prefix}bystander-{}", self.bystanders);
        let plan = self.plan(&room, identity, 0, true, Vec::new());
        let crew = 1 + self.bystanders as usize % (self.crews.len() - 1);
        self.bystanders += 1;
        self.join(crew, plan);
        true
    }

    /// Room, and place in it, of the participant with this number of its kind: rooms grow side by side.
    fn seat(&self, number: u32) -> (String, u32) {
        let (room, rooms) = (&self.place.room, self.scenario.rooms);
        let name = if rooms == 1 { room.clone() } else { format!("{room}-{}", number % rooms) };
        (name, number / rooms)
    }

    pub fn progress(&self) -> Progress {
        Progress {
            asked: self.asked,
            joined: self.shared.joined.load(Ordering::Relaxed),
            with_media: self.shared.with_media.load(Ordering::Relaxed),
            failed: self.shared.failed.load(Ordering::Relaxed),
        }
    }

    /// What went wrong, the first few, without repetition.
    pub fn failures(&self) -> Vec<String> {
        let failures = self.shared.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = HashSet::new();
        failures.iter().filter(|failure| seen.insert(*failure)).cloned().collect()
    }

    pub fn join_times(&self) -> JoinTimes {
        self.shared.times.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Publishers send, or stop sending; they start with a key frame.
    pub fn set_media(&self, on: bool) {
        self.crews.iter().for_each(|crew| crew.tell(Command::Send(on)));
    }

    /// Begins the scenario's junk, if it has any. **Errors**: nobody has a media connection.
    pub fn start_junk(&self) -> Result<Option<Junk>> {
        let Some(plan) = self.scenario.junk else { return Ok(None) };
        let (reply, answers) = channel();
        self.crews.iter().for_each(|crew| crew.tell(Command::MediaAddress(reply.clone())));
        drop(reply);
        let to = answers.iter().flatten().next().context("junk has no address to go to")?;
        Junk::start(plan, to, self.server.allow_remote).map(Some)
    }

    /// A measurement begins.
    pub fn begin(&self) {
        self.crews.iter().for_each(|crew| crew.tell(Command::Begin));
    }

    /// What was counted since `begin`, of all threads.
    pub fn take(&self) -> Result<Tally> {
        let (reply, answers) = channel();
        self.crews.iter().for_each(|crew| crew.tell(Command::Take(reply.clone())));
        drop(reply);
        let mut sum = Tally::default();
        for _ in &self.crews {
            sum.add(&*answers.recv_timeout(ANSWER_WAIT).context("a load thread does not answer")?);
        }
        Ok(sum)
    }

    /// What everyone sent and received; publishers first, in the order of joining.
    pub fn accounts(&self) -> Result<Vec<Account>> {
        let mut accounts = Vec::new();
        for crew in &self.crews {
            let (reply, answer) = channel();
            crew.tell(Command::Account(reply));
            accounts.extend(answer.recv_timeout(ANSWER_WAIT).context("a load thread does not answer")?);
        }
        Ok(accounts)
    }

    /// **Errors**: when a participant has failed.
    pub fn check(&self) -> Result<()> {
        let failed = self.progress().failed;
        if failed == 0 {
            return Ok(());
        }
        bail!("{failed} participants failed; the first: {}", self.failures().join("; "))
    }

    fn join(&mut self, crew: usize, plan: Plan) {
        self.asked += 1;
        if let Some(crew) = self.crews.get(crew) {
            crew.tell(Command::Join(Box::new(plan)));
        }
    }

    fn plan(&self, room: &str, identity: String, streams: usize, subscribe: bool, tracks: Vec<TrackPlan>) -> Plan {
        let token = self.server.token(room, &identity);
        let subscribe = u8::from(subscribe);
        let base = self.server.url.trim_end_matches('/');
        Plan {
            url: format!("{base}/rtc?access_token={token}&auto_subscribe={subscribe}&sdk=go&protocol=16&version=2.0.0"),
            identity,
            address: self.address,
            allow_remote: self.server.allow_remote,
            streams,
            sample_every: self.scenario.subscribers.sample_every,
            tracks,
            layout: self.place.layout,
        }
    }

    fn track_plans(&mut self, group: &PublisherGroup) -> Vec<TrackPlan> {
        let shapes = group.audio.map(TrackShape::Audio).into_iter().chain(group.video.map(TrackShape::Video));
        let plans: Vec<_> = shapes.zip(self.tracks..).map(|(shape, number)| TrackPlan { number, shape }).collect();
        self.tracks += plans.len() as u32;
        plans
    }
}
