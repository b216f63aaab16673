//! `perf-micro`: one worker of the engine, real in everything but its clients, forwards one publisher to many subscribers.
//!
//! ```text
//! publisher (here, not measured) → memory port → turn of the worker → memory | kernel port → nobody | a discarding device
//! ```
//! Measured is the CPU time of the worker's thread in `turn` and `rest`, with its maps, caches, feedback and counters. Receiving from
//! the kernel is not part of it: that is 1/N of a fan-out.
#![forbid(unsafe_code)]

mod device;
mod measure;
mod node;
mod port;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};
use engine_srtp::Profile;
use serde::Serialize;

use crate::measure::Figures;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// Packets end in memory: what the engine itself costs.
    Memory,
    /// io_uring to a device that discards (`ifb`, in a network namespace that ends with the run). Needs root and iproute2.
    IoUring,
    /// The same by sendmmsg.
    Mmsg,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cipher {
    AesCm,
    Gcm128,
    Gcm256,
}

impl Cipher {
    fn profile(self) -> Profile {
        match self {
            Self::AesCm => Profile::Aes128CmSha1_80,
            Self::Gcm128 => Profile::AeadAes128Gcm,
            Self::Gcm256 => Profile::AeadAes256Gcm,
        }
    }
}

/// Measures what a forwarded packet costs in a turn of the packet engine.
#[derive(Debug, Parser)]
#[command(name = "perf-micro", max_term_width = 110)]
struct Line {
    /// Where packets go.
    #[arg(long, value_delimiter = ',', default_value = "memory")]
    way: Vec<Way>,
    #[arg(long, value_delimiter = ',', default_values = ["aes-cm", "gcm128"])]
    srtp: Vec<Cipher>,
    /// Subscribers of the one publisher, each under its own keys.
    #[arg(long, value_delimiter = ',', default_value = "1000")]
    subscribers: Vec<u32>,
    /// Packets that arrive together: the longest train.
    #[arg(long, value_delimiter = ',', default_values = ["1", "2", "4", "9"])]
    burst: Vec<u32>,
    /// Bytes of RTP payload.
    #[arg(long, default_value_t = 1_130)]
    payload: usize,
    /// Packets to forward per measurement.
    #[arg(long, default_value_t = 1_000_000)]
    packets: u64,
    /// Measurements of each, in turn; shown are the median and the range.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    #[arg(long, hide = true)]
    in_namespace: bool,
}

/// One row of the table.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Case {
    pub way: Way,
    pub srtp: Cipher,
    pub subscribers: u32,
    pub burst: u32,
    pub payload: usize,
}

#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    case: Case,
    /// Sorted by cost.
    rounds: Vec<Figures>,
}

fn main() -> ExitCode {
    match perform(&Line::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("perf-micro: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(line: &Line) -> Result<ExitCode> {
    let needs_device = line.way.iter().any(|way| *way != Way::Memory);
    if needs_device && !line.in_namespace {
        return device::again_in_a_namespace();
    }
    if needs_device {
        device::make()?;
    }
    if line.payload < 20 || line.payload > 1_400 {
        bail!("--payload is 20 to 1400 bytes");
    }
    let mut rows = Vec::new();
    for case in cases(line) {
        rows.push(Row { case, rounds: Vec::new() });
    }
    if !line.json {
        println!("{}", measure::HEADING);
    }
    for row in &mut rows {
        for _ in 0..line.rounds {
            row.rounds.push(measure::run(&row.case, line.packets)?);
        }
        row.rounds.sort_by(|a, b| a.ns_per_packet.total_cmp(&b.ns_per_packet));
        if !line.json {
            println!("{}", measure::line(&row.case, &row.rounds));
        }
    }
    if line.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    }
    Ok(ExitCode::SUCCESS)
}

fn cases(line: &Line) -> impl Iterator<Item = Case> {
    let payload = line.payload;
    line.way.iter().flat_map(move |&way| {
        line.srtp.iter().flat_map(move |&srtp| {
            line.subscribers.iter().flat_map(move |&subscribers| {
                line.burst.iter().map(move |&burst| Case { way, srtp, subscribers, burst, payload })
            })
        })
    })
}
