//! `perf-micro`: what a forwarded packet costs in a turn of the packet engine, as a table or JSON.
#![forbid(unsafe_code)]

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Parser;
use perf_micro::case::{Case, Cipher, Way};
use perf_micro::census::{self, Census, Order};
use perf_micro::measure::Figures;
use perf_micro::{device, measure};
use serde::Serialize;

/// Measures what a forwarded packet costs in a turn of the packet engine.
///
/// Measured is the CPU time of the worker's thread, with its maps, caches, feedback and counters. Receiving from the kernel is
/// not part of it, that is 1/N of a fan-out; it is timed alone.
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
    /// Counts system calls too, in a child that is traced.
    #[arg(long)]
    syscalls: bool,
    /// Counts instructions too, single-stepping one frame: up to 100 ms for each packet and subscriber.
    #[arg(long, requires = "syscalls")]
    instructions: bool,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    #[arg(long, hide = true)]
    in_namespace: bool,
    /// The child that is traced.
    #[arg(long, hide = true)]
    counted: Option<String>,
}

#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    case: Case,
    census: Option<Census>,
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
    if let Some(order) = &line.counted {
        census::obey(order)?;
        return Ok(ExitCode::SUCCESS);
    }
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
    let mut rows: Vec<Row> = cases(line).map(|case| Row { case, census: None, rounds: Vec::new() }).collect();
    // The cases take turns, so that the machine's drift meets all of them.
    for _ in 0..line.rounds {
        for row in &mut rows {
            row.rounds.push(measure::run(&row.case, line.packets)?);
        }
    }
    if !line.json {
        println!("{HEADING}");
    }
    for row in &mut rows {
        row.rounds.sort_by(|a, b| a.ns_per_packet.total_cmp(&b.ns_per_packet));
        if line.syscalls {
            row.census = Some(census::count(&Order { case: row.case, steps: line.instructions }, counted_child()?)?);
        }
        if !line.json {
            println!("{}", show(row));
        }
    }
    if line.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    }
    Ok(ExitCode::SUCCESS)
}

/// This executable, in the same namespace.
fn counted_child() -> Result<impl FnOnce(&str) -> Command + Send> {
    let myself = std::env::current_exe().context("cannot find this executable")?;
    Ok(move |order: &str| {
        let mut command = Command::new(myself);
        command.args(["--counted", order]);
        command
    })
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

const HEADING: &str = "\
                                       ns of CPU per forwarded packet                                        per received
way      srtp    subscr. burst  size   all [range]        user system │  send  seal  rest │ train  pad  alloc/1k │ open  receive";

fn show(row: &Row) -> String {
    let (case, median) = (&row.case, row.rounds[row.rounds.len() / 2]);
    let range = format!("[{:.0}..{:.0}]", row.rounds[0].ns_per_packet, row.rounds[row.rounds.len() - 1].ns_per_packet);
    let receive = median.alone.receive_ns.map_or("–".to_owned(), |ns| format!("{ns:.0}"));
    let mut text = format!(
        "{:<8} {:<7} {:>7} {:>5} {:>5} {:>5.0} {range:<13} {:>4.0} {:>6.0} │ {:>5.0} {:>5.0} {:>5.0} │ {:>5.1} {:>4.1} {:>9.3} │ {:>4.0} {receive:>8}",
        format!("{:?}", case.way).to_lowercase(),
        format!("{:?}", case.srtp).to_lowercase(),
        case.subscribers,
        case.burst,
        case.payload,
        median.ns_per_packet,
        median.ns_per_packet - median.system_ns,
        median.system_ns,
        median.send_ns,
        median.alone.seal_ns,
        median.rest_ns,
        median.train_length,
        median.padding_percent,
        median.allocations_per_1000,
        median.alone.unprotect_ns,
    );
    if let Some(census) = &row.census {
        let calls = census.syscalls.iter().map(|(name, count)| format!(" {name} {count:.2}"));
        let calls: String = calls.collect();
        text += &format!("\n         per 1,000 packets: system calls{}", if calls.is_empty() { " 0" } else { &calls });
        if let Some(instructions) = census.instructions {
            text += &format!("; instructions {instructions:.0}");
        }
    }
    text
}
