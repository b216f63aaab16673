//! A load for its own sake: everyone joins at a rate, media flows for a while, and each participant is accounted for. One that
//! fails does not end it. The measured runs of `perf-bench` are in `run`.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::account::{Account, StreamAccount};
use crate::load::{Load, Place, Progress};
use crate::run::Observer;
use crate::scenario::Scenario;
use crate::server::Server;
use crate::tally::Tally;

const POLL: Duration = Duration::from_millis(50);
/// From the last join until the measurement begins: streams that were just announced get their key frames.
const SETTLE: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub struct Trial {
    /// Of the measurement: shorter than planned when interrupted.
    pub seconds: f64,
    pub is_interrupted: bool,
    /// Publishers first.
    pub accounts: Vec<Account>,
    pub tally: Tally,
}

/// Runs `scenario` in a room of `server`: joins by `joins`, then `steady.seconds`. An interruption ends it early and leaves what
/// was measured. **Errors**: a server that may not be loaded, or nobody could join.
pub fn trial(server: &Server, scenario: &Scenario, place: Place, observer: &mut dyn Observer) -> Result<Trial> {
    scenario.check_bounds()?;
    let mut load = Load::start_in(server, scenario, place)?;
    load.set_media(true);
    let is_complete = join(&mut load, scenario, observer)?;
    if is_complete {
        wait(&load, SETTLE, "media settles", observer);
    }
    load.begin();
    let before = load.accounts()?;
    let began = Instant::now();
    if is_complete {
        wait(&load, Duration::from_secs(scenario.steady.seconds), "media flows", observer);
    }
    let (tally, mut accounts) = (load.take()?, load.accounts()?);
    let seconds = began.elapsed().as_secs_f64();
    subtract(&mut accounts, &before);
    accounts.sort_by_key(|account| account.sent.is_empty());
    Ok(Trial { seconds, is_interrupted: observer.is_interrupted(), accounts, tally })
}

/// `false` when interrupted.
fn join(load: &mut Load, scenario: &Scenario, observer: &mut dyn Observer) -> Result<bool> {
    let total = scenario.publisher_count() + scenario.subscriber_count();
    let patience = Duration::from_secs(scenario.joins.seconds_max);
    let interval = scenario.join_interval();
    let mut next_at = Instant::now();
    let mut moved = (Instant::now(), 0);
    loop {
        let Progress { asked, joined, failed, .. } = load.progress();
        observer.progress("participants join", joined.into(), total.into());
        if observer.is_interrupted() {
            return Ok(false);
        }
        let settled = joined + failed;
        if moved.1 != settled {
            moved = (Instant::now(), settled);
        }
        if settled >= total || asked == total && moved.0.elapsed() > patience {
            if joined == 0 {
                bail!("nobody could join: {}", load.failures().join("; "));
            }
            return Ok(true);
        }
        let now = Instant::now();
        if asked < total && asked.saturating_sub(settled) < scenario.joins.in_parallel && now >= next_at {
            next_at = (next_at + interval).max(now);
            let _ = load.join_publisher() || load.join_subscriber();
            continue;
        }
        std::thread::sleep(next_at.saturating_duration_since(now).clamp(Duration::from_micros(500), POLL));
    }
}

/// Until the time is over, or all have failed, or it is interrupted.
fn wait(load: &Load, time: Duration, what: &str, observer: &mut dyn Observer) {
    let began = Instant::now();
    while began.elapsed() < time && !observer.is_interrupted() {
        let Progress { asked, failed, .. } = load.progress();
        if failed >= asked {
            return;
        }
        observer.progress(what, began.elapsed().as_secs(), time.as_secs());
        std::thread::sleep(POLL.min(time));
    }
}

/// What was sent is counted from the join on, so what stood before the measurement is taken off.
fn subtract(accounts: &mut [Account], before: &[Account]) {
    for account in accounts {
        let Some(earlier) = before.iter().find(|earlier| earlier.identity == account.identity) else { continue };
        for (stream, StreamAccount { packets, bytes, .. }) in account.sent.iter_mut().zip(&earlier.sent) {
            stream.packets = stream.packets.saturating_sub(*packets);
            stream.bytes = stream.bytes.saturating_sub(*bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use engine_base::Kind;

    use super::*;

    #[test]
    fn only_what_was_sent_during_the_measurement_counts() {
        let account = |packets, bytes| Account {
            identity: "publisher-0".to_owned(),
            sent: vec![StreamAccount { packets, bytes, ..StreamAccount::of(Kind::Audio) }],
            ..Account::default()
        };
        let mut accounts = [account(150, 15_000)];
        subtract(&mut accounts, &[account(50, 5_000)]);
        assert_eq!((accounts[0].sent[0].packets, accounts[0].sent[0].bytes), (100, 10_000));
    }
}
