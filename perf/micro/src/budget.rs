//! `perf/budget.toml`: what 1,000 forwarded packets may cost in allocations, system calls and instructions. Times are no part of
//! it: they depend on the machine and its mood.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use engine_srtp::Sealer;
use serde::Deserialize;

use crate::case::{Case, Cipher, Way};
use crate::census::Census;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// How far instructions may be from their number, in both directions: less shall be written down too.
    pub instructions_tolerance_percent: f64,
    #[serde(rename = "case")]
    pub cases: Vec<Allowed>,
}

/// Over the memory port.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowed {
    pub name: String,
    pub srtp: Cipher,
    pub subscribers: u32,
    pub burst: u32,
    pub payload: usize,
    /// Per 1,000 packets.
    pub allocations: f64,
    /// Per 1,000 packets.
    pub syscalls: f64,
    /// Per 1,000 packets, by the kernels of the cipher: `Sealer::kernels` as text.
    pub instructions: BTreeMap<String, f64>,
}

impl Budget {
    pub fn parse(text: &str) -> Result<Self> {
        let budget: Self = toml::from_str(text).context("perf/budget.toml")?;
        ensure!(!budget.cases.is_empty(), "perf/budget.toml has no case");
        Ok(budget)
    }

    /// What of a case is beyond its budget, one line each; nothing if all is well.
    pub fn judge(&self, allowed: &Allowed, kernels: &str, counted: &Counted<'_>) -> String {
        let mut findings = String::new();
        let mut add = |what: &str, is: f64, may: f64| {
            let _ =
                writeln!(findings, "{}: {is:.1} {what} per 1,000 packets, {may:.1} in perf/budget.toml", allowed.name);
        };
        if counted.allocations > allowed.allocations {
            add("allocations", counted.allocations, allowed.allocations);
        }
        let syscalls = counted.census.map_or(0.0, |census| census.syscalls.values().sum());
        if syscalls > allowed.syscalls {
            add("system calls", syscalls, allowed.syscalls);
        }
        let instructions = counted.census.and_then(|census| census.instructions);
        if let (Some(is), Some(may)) = (instructions, allowed.instructions.get(kernels))
            && (is - may).abs() > may * self.instructions_tolerance_percent / 100.0
        {
            add(&format!("instructions ({kernels})"), is, *may);
        }
        findings
    }
}

/// What a case took.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'a> {
    pub allocations: f64,
    /// Nothing where tracing is forbidden.
    pub census: Option<&'a Census>,
}

impl Allowed {
    pub fn case(&self) -> Case {
        let Self { srtp, subscribers, burst, payload, .. } = *self;
        Case { way: Way::Memory, srtp, subscribers, burst, payload }
    }
}

/// The kernels of the cipher on this machine, as `instructions` names them.
pub fn kernels() -> String {
    Sealer::new().kernels().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        instructions_tolerance_percent = 10
        [[case]]
        name = "x"
        srtp = "aes-cm"
        subscribers = 1
        burst = 1
        payload = 100
        allocations = 0
        syscalls = 1
        instructions = { fast = 1000 }
    "#;

    fn findings(allocations: f64, syscalls: f64, instructions: f64) -> usize {
        let budget = Budget::parse(TEXT).unwrap();
        let census = Census {
            syscalls: [("brk", syscalls)].into(),
            instructions: Some(instructions),
            packets: 1,
            stepped_packets: 1,
        };
        let counted = Counted { allocations, census: Some(&census) };
        budget.judge(&budget.cases[0], "fast", &counted).lines().count()
    }

    #[test]
    fn each_kind_of_cost_has_its_own_limit() {
        assert_eq!(findings(0.0, 1.0, 1_099.0), 0);
        assert_eq!(findings(0.1, 1.0, 1_000.0), 1);
        assert_eq!(findings(0.0, 1.1, 1_000.0), 1);
        assert_eq!(findings(0.0, 1.0, 1_101.0), 1);
        assert_eq!(findings(0.0, 1.0, 899.0), 1);
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(Budget::parse(&TEXT.replace("syscalls", "sysclals")).is_err());
    }
}
