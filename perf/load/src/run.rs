//! The phases of a run: publishers, one subscriber, the other subscribers, a steady time that is measured. Where everybody publishes,
//! the publishers' joins are those that are measured.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use hdrhistogram::Histogram;

use crate::junk::Junk;
use crate::load::{Load, Progress};
use crate::scenario::Scenario;
use crate::server::Server;
use crate::tally::Tally;

const POLL: Duration = Duration::from_millis(20);
/// Until memory of one subscriber is looked at, and after media was stopped for the joins.
const SETTLE: Duration = Duration::from_secs(1);
/// From the first packet of a publisher until everyone has media.
const MEDIA_WAIT: Duration = Duration::from_secs(20);

/// A moment of a run, told when it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nobody has joined but bystanders.
    Idle,
    /// Publishers send to one subscriber. In a conference, nobody has joined.
    First,
    /// The other subscribers, or everyone of a conference, begin to join; without media when the scenario says so.
    Joining,
    Joined,
    /// Everyone has media and the warm-up is over: the measurement begins right after.
    Steady,
    /// The measurement has just ended.
    Measured,
}

/// Who looks at the server meanwhile, shows progress and may interrupt.
pub trait Observer {
    /// **Errors** end the run.
    fn enter(&mut self, phase: Phase) -> Result<()>;
    /// Called often. `done` of `total` of what the current text names.
    fn progress(&mut self, what: &str, done: u64, total: u64);
    fn is_interrupted(&self) -> bool;
}

/// Joins of the subscribers but the first, or of everyone in a conference.
#[derive(Clone, Debug)]
pub struct Joins {
    pub count: u32,
    pub seconds: f64,
    pub with_media: bool,
    /// From the first connect to everything connected and announced, ns; publishers included.
    pub joined: Histogram<u64>,
    /// To media on every stream; says something about the server only if media flows while subscribers join.
    pub first_media: Histogram<u64>,
}

/// The measured time.
#[derive(Clone, Debug)]
pub struct Steady {
    pub seconds: f64,
    pub tally: Tally,
    /// Datagrams of the scenario's junk.
    pub junk: u64,
}

#[derive(Clone, Debug)]
pub struct Outcome {
    pub joins: Joins,
    pub steady: Steady,
    /// Participants that failed after they had joined, and why.
    pub failures: Vec<String>,
}

/// Runs `scenario` against `server`. **Errors**: a participant that cannot join, no media, or an interruption. Its length is
/// bounded by the scenario's join rate, `joins.seconds_max` and steady time.
pub fn run(server: &Server, scenario: &Scenario, observer: &mut dyn Observer) -> Result<Outcome> {
    let mut load = Load::start(server, scenario)?;
    let mut stage = Stage { scenario, observer };
    if let Some(bystanders) = scenario.bystanders {
        stage.join(&mut load, "bystanders join", bystanders.count, Load::join_bystander)?;
        stage.sleep("bystanders settle", SETTLE)?;
    }
    stage.observer.enter(Phase::Idle)?;
    let publishers = scenario.publisher_count();
    if !scenario.is_conference() {
        stage.join(&mut load, "publishers join", publishers, Load::join_publisher)?;
        load.set_media(true);
        stage.join(&mut load, "first subscriber joins", 1, Load::join_subscriber)?;
        stage.wait_for_media(&load, scenario.subscribing_publishers() + 1)?;
        stage.sleep("one subscriber", SETTLE)?;
    }
    stage.observer.enter(Phase::First)?;

    load.set_media(scenario.joins.media);
    if !scenario.joins.media && !scenario.is_conference() {
        stage.sleep("media stops", SETTLE)?;
    }
    stage.observer.enter(Phase::Joining)?;
    let began = Instant::now();
    let count = if scenario.is_conference() {
        stage.join(&mut load, "everyone joins", publishers, Load::join_publisher)?;
        publishers
    } else {
        let others = scenario.subscriber_count() - 1;
        stage.join(&mut load, "subscribers join", others, Load::join_subscriber)?;
        others
    };
    let seconds = began.elapsed().as_secs_f64();
    stage.observer.enter(Phase::Joined)?;

    load.set_media(true);
    stage.wait_for_media(&load, scenario.receiver_count())?;
    let times = load.join_times();
    let joins = Joins {
        count,
        seconds,
        with_media: scenario.joins.media,
        joined: times.joined,
        first_media: times.first_media,
    };
    stage.sleep("warm-up", Duration::from_secs(scenario.steady.warm_up_seconds))?;
    load.check()?;
    let junk = load.start_junk()?;
    let junk_sent = || junk.as_ref().map_or(0, Junk::sent);
    stage.observer.enter(Phase::Steady)?;
    load.begin();
    let junk_before = junk_sent();
    let began = Instant::now();
    stage.sleep("steady", Duration::from_secs(scenario.steady.seconds))?;
    let tally = load.take()?;
    let (seconds, junk) = (began.elapsed().as_secs_f64(), junk_sent() - junk_before);
    stage.observer.enter(Phase::Measured)?;
    Ok(Outcome { joins, steady: Steady { seconds, tally, junk }, failures: load.failures() })
}

struct Stage<'a> {
    scenario: &'a Scenario,
    observer: &'a mut dyn Observer,
}

impl Stage<'_> {
    /// Lets `count` more participants join at the scenario's rate and waits until they have.
    fn join(&mut self, load: &mut Load, what: &str, count: u32, mut next: impl FnMut(&mut Load) -> bool) -> Result<()> {
        let before = load.progress().asked;
        let interval = self.scenario.join_interval();
        let patience = Duration::from_secs(self.scenario.joins.seconds_max);
        let mut next_at = Instant::now();
        let mut moved = (Instant::now(), load.progress().joined);
        loop {
            let progress = load.progress();
            let (asked, joined) = (progress.asked - before, progress.joined.saturating_sub(before));
            self.observer.progress(what, joined.into(), count.into());
            if joined >= count {
                return Ok(());
            }
            load.check()?;
            if moved.1 != progress.joined {
                moved = (Instant::now(), progress.joined);
            }
            if asked > joined && moved.0.elapsed() > patience {
                bail!("{what}: {joined} of {count} had joined, then none within {} s", patience.as_secs());
            }
            let now = Instant::now();
            if asked < count && asked - joined < self.scenario.joins.in_parallel && now >= next_at {
                // A rate that was missed is not caught up in a burst.
                next_at = (next_at + interval).max(now);
                if asked == joined {
                    moved.0 = now;
                }
                next(load);
                continue;
            }
            self.pause(next_at.saturating_duration_since(now).clamp(Duration::from_micros(500), POLL))?;
        }
    }

    fn wait_for_media(&mut self, load: &Load, receivers: u32) -> Result<()> {
        let began = Instant::now();
        loop {
            let Progress { with_media, .. } = load.progress();
            self.observer.progress("media arrives", with_media.into(), receivers.into());
            if with_media >= receivers {
                return Ok(());
            }
            load.check()?;
            if began.elapsed() > MEDIA_WAIT {
                bail!("only {with_media} of {receivers} receivers have media after {} s", MEDIA_WAIT.as_secs());
            }
            self.pause(POLL)?;
        }
    }

    fn sleep(&mut self, what: &str, time: Duration) -> Result<()> {
        let began = Instant::now();
        while let Some(left) = time.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) {
            let done = began.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
            self.observer.progress(what, done, time.as_millis().try_into().unwrap_or(u64::MAX));
            self.pause(left.min(Duration::from_millis(100)))?;
        }
        Ok(())
    }

    fn pause(&self, time: Duration) -> Result<()> {
        if self.observer.is_interrupted() {
            bail!("interrupted");
        }
        std::thread::sleep(time);
        Ok(())
    }
}
