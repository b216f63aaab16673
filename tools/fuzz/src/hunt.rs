//! The search: mutate, run, keep what had a new outcome.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::mutate::{Random, mutate};
use crate::targets::Target;

/// What reads a datagram needs microseconds; a description, a millisecond.
const SLOW: Duration = Duration::from_secs(2);

/// Kept inputs; beyond it new ones replace old ones at random.
const KEPT_MAX: usize = 4_096;

/// Runs spent on making an input that was found shorter.
const SHORTEN_RUNS: usize = 2_000;

pub struct Bounds {
    pub until: Instant,
    pub runs: u64,
}

pub struct Found {
    pub input: Vec<u8>,
    pub why: &'static str,
}

pub struct Report {
    pub runs: u64,
    pub outcomes: usize,
    pub found: Option<Found>,
}

/// Searches until a bound is reached or something breaks. The panic's own message goes to standard error.
pub fn hunt(target: &Target, bounds: &Bounds, seed: u64) -> Report {
    let mut random = Random::new(seed);
    let mut kept = (target.seeds)();
    let mut outcomes = HashSet::new();
    let mut report = Report { runs: 0, outcomes: 0, found: None };
    let seeds = kept.len();
    while report.runs < bounds.runs && (report.runs < seeds as u64 || Instant::now() < bounds.until) {
        let input = match kept.get(report.runs as usize).filter(|_| report.runs < seeds as u64) {
            Some(seed) => seed.clone(),
            None => {
                let (one, other) = (random.below(kept.len()), random.below(kept.len()));
                mutate(&kept[one], &kept[other], &mut random)
            }
        };
        report.runs += 1;
        match attempt(target, &input) {
            Ok(outcome) if outcomes.insert(outcome) => keep(&mut kept, input, &mut random),
            Ok(_) => {}
            Err(why) => {
                report.found = Some(Found { input: shorten(target, input, why), why });
                break;
            }
        }
    }
    report.outcomes = outcomes.len();
    report
}

fn attempt(target: &Target, input: &[u8]) -> Result<u64, &'static str> {
    let began = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(input))).map_err(|_| "a panic")?;
    if began.elapsed() > SLOW { Err("more than 2 s") } else { Ok(outcome) }
}

fn keep(kept: &mut Vec<Vec<u8>>, input: Vec<u8>, random: &mut Random) {
    if kept.len() < KEPT_MAX {
        kept.push(input);
    } else {
        let at = random.below(kept.len());
        kept[at] = input;
    }
}

/// Takes out parts, large ones first, as long as the rest still breaks the target.
fn shorten(target: &Target, mut input: Vec<u8>, why: &'static str) -> Vec<u8> {
    if why != "a panic" {
        return input;
    }
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut runs = 0;
    let mut part = input.len() / 2;
    while part > 0 && runs < SHORTEN_RUNS {
        let mut at = 0;
        while at < input.len() && runs < SHORTEN_RUNS {
            let mut shorter = input.clone();
            shorter.drain(at..(at + part).min(input.len()));
            runs += 1;
            if attempt(target, &shorter).is_err() {
                input = shorter;
            } else {
                at += part;
            }
        }
        part /= 2;
    }
    std::panic::set_hook(hook);
    input
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::{Target, all};

    #[test]
    fn a_parser_that_trusts_a_length_is_found_and_the_input_is_short() {
        let target = Target {
            name: "trusting",
            what: "",
            seeds: || vec![b"..........\x03abc....".to_vec()],
            run: |input| {
                let Some(at) = input.iter().position(|byte| *byte < 0x20) else { return 0 };
                input[at + 1..][..usize::from(input[at])].len() as u64
            },
        };
        let bounds = Bounds { until: Instant::now() + Duration::from_secs(5), runs: 100_000 };
        let found = hunt(&target, &bounds, 1).found.unwrap();
        assert_eq!((found.why, found.input.len()), ("a panic", 1), "{:?}", found.input);
    }

    /// A moment of every target, in every run of the tests: 400 mutants or 0.15 s.
    #[test]
    fn no_target_breaks_within_a_moment() {
        for target in all() {
            let bounds = Bounds { until: Instant::now() + Duration::from_millis(150), runs: 400 };
            let report = hunt(&target, &bounds, 7);
            let broken = report.found.map(|found| (found.why, found.input));
            assert!(broken.is_none(), "{}: {broken:?}", target.name);
            assert!(report.outcomes > 1, "{}: every input has the same outcome", target.name);
        }
    }
}
