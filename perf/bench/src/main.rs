//! `perf-bench SCENARIO.toml`: loads a node of ours, another LiveKit server, or both in turn, and reports what a forwarded packet,
//! a subscriber and a join cost. It measures; it judges nothing.
//!
//! ```text
//! Source ──start──▶ Target ──▶ perf_load::run with Watch ──▶ RunReport ──▶ Report ──▶ table, JSON
//!                                 └─ /proc of the server, ctl
//! ```
#![forbid(unsafe_code)]

mod ctl;
mod machine;
mod process;
mod report;
mod sockets;
mod table;
mod target;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::Parser;
use perf_load::{Scenario, Server, Srtp};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::ctl::Ctl;
use crate::report::{Label, Report, RunReport};
use crate::target::{Source, parse_processes};
use crate::watch::Watch;

/// Loads a server with synthetic participants and reports what a packet, a subscriber and a join cost.
///
/// Without --url it starts `millrace dev` on free ports. With --rival-url or --rival-bin another LiveKit server gets the same load,
/// in turn with ours. Everything that was started is ended, also after Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "perf-bench", max_term_width = 110)]
struct Line {
    /// What to do; see perf/scenarios.
    scenario: PathBuf,
    /// A server that runs already, as ws://host:port.
    #[arg(long)]
    url: Option<String>,
    #[arg(long, default_value = "devkey")]
    api_key: String,
    #[arg(long, default_value = "secret")]
    api_secret: String,
    /// Processes of the server at --url: holder=PID,engine=PID,…, or one PID.
    #[arg(long, requires = "url")]
    pid: Option<String>,
    /// Runtime directory of the node at --url, for its drops by reason.
    #[arg(long, requires = "url")]
    runtime_dir: Option<PathBuf>,
    /// The millrace executable.
    #[arg(long, default_value = "target/release/millrace")]
    node_bin: PathBuf,
    /// Another server that runs already.
    #[arg(long, conflicts_with = "rival_bin")]
    rival_url: Option<String>,
    /// Its process.
    #[arg(long, requires = "rival_url")]
    rival_pid: Option<u32>,
    #[arg(long, default_value = "devkey")]
    rival_api_key: String,
    #[arg(long, default_value = "secret")]
    rival_api_secret: String,
    /// The executable of another LiveKit server, to be started here.
    #[arg(long)]
    rival_bin: Option<PathBuf>,
    /// Measures only the rival.
    #[arg(long)]
    rival_only: bool,
    /// Measurements of each server, in turn.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Cores of the servers, for example 0 or 0,2-3.
    #[arg(long)]
    server_cores: Option<String>,
    /// Cores of the load.
    #[arg(long)]
    load_cores: Option<String>,
    /// Steady seconds instead of the scenario's.
    #[arg(long)]
    seconds: Option<u64>,
    /// Subscribers instead of the scenario's.
    #[arg(long)]
    subscribers: Option<u32>,
    /// SRTP profile instead of the scenario's: aes-cm, gcm-128 or gcm-256.
    #[arg(long)]
    srtp: Option<Srtp>,
    /// Writes everything as JSON too.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Loads a server on another machine.
    #[arg(long)]
    allow_remote: bool,
}

fn main() -> ExitCode {
    match perform(&Line::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("perf-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(line: &Line) -> Result<()> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, interrupted.clone()).context("cannot watch signals")?;
    }
    let scenario = scenario(line)?;
    raise_descriptor_limit(&scenario)?;
    let cores = Cores::parse(line)?;
    let sources = sources(line)?;
    let mut report = Report {
        commit: machine::commit(),
        unix_seconds: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        machine: machine::machine(),
        server_cores: cores.server.clone(),
        load_cores: cores.load.clone(),
        scenario,
        runs: Vec::new(),
    };
    for round in 1..=line.rounds {
        for (name, source) in &sources {
            if interrupted.load(Ordering::Relaxed) {
                bail!("interrupted");
            }
            let run = measure(name, source, round, &report.scenario, &cores, &interrupted)
                .with_context(|| format!("{name}, round {round}"))?;
            report.runs.push(run);
        }
    }
    print!("{}", table::write(&report));
    if let Some(path) = &line.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn scenario(line: &Line) -> Result<Scenario> {
    let mut scenario = Scenario::load(&line.scenario)?;
    scenario.steady.seconds = line.seconds.unwrap_or(scenario.steady.seconds);
    scenario.subscribers.count = line.subscribers.unwrap_or(scenario.subscribers.count);
    scenario.srtp = line.srtp.unwrap_or(scenario.srtp);
    scenario.check()?;
    Ok(scenario)
}

/// One socket for signaling and one or two for media each.
fn raise_descriptor_limit(scenario: &Scenario) -> Result<()> {
    let needed = u64::from(scenario.subscribers.count + scenario.publisher_count()) * 3 + 100;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    limit.current = limit.maximum;
    let highest = limit.maximum.unwrap_or(u64::MAX);
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit of open files")?;
    if highest < needed {
        bail!("{needed} open files are needed and {highest} allowed: raise it with `ulimit -Hn {needed}` as root");
    }
    Ok(())
}

struct Cores {
    server: Option<Vec<usize>>,
    load: Option<Vec<usize>>,
}

impl Cores {
    fn parse(line: &Line) -> Result<Self> {
        let parse = |text: &Option<String>| text.as_deref().map(machine::parse_cores).transpose();
        Ok(Self { server: parse(&line.server_cores)?, load: parse(&line.load_cores)? })
    }
}

fn sources(line: &Line) -> Result<Vec<(String, Source)>> {
    let mut sources = Vec::new();
    if !line.rival_only {
        sources.push(("millrace".to_owned(), own_source(line)?));
    }
    if let Some(url) = &line.rival_url {
        let server = server(url, &line.rival_api_key, &line.rival_api_secret, line.allow_remote);
        let pid = line.rival_pid.context("--rival-url needs --rival-pid: whose CPU to count")?;
        let processes = vec![crate::process::Process { name: "rival".to_owned(), pid }];
        sources.push(("rival".to_owned(), Source::Running { server, processes, ctl: None }));
    } else if let Some(executable) = &line.rival_bin {
        sources.push(("livekit".to_owned(), Source::LiveKit(executable.clone())));
    }
    if sources.is_empty() {
        bail!("--rival-only needs --rival-url or --rival-bin");
    }
    Ok(sources)
}

fn own_source(line: &Line) -> Result<Source> {
    let Some(url) = &line.url else { return Ok(Source::Node(line.node_bin.clone())) };
    let pid = line.pid.as_deref().context("--url needs --pid: whose CPU to count")?;
    let ctl = line.runtime_dir.clone().map(|runtime_dir| Ctl { executable: line.node_bin.clone(), runtime_dir });
    let server = server(url, &line.api_key, &line.api_secret, line.allow_remote);
    Ok(Source::Running { server, processes: parse_processes(pid)?, ctl })
}

fn server(url: &str, api_key: &str, api_secret: &str, allow_remote: bool) -> Server {
    Server { url: url.to_owned(), api_key: api_key.to_owned(), api_secret: api_secret.to_owned(), allow_remote }
}

fn measure(
    name: &str,
    source: &Source,
    round: u32,
    scenario: &Scenario,
    cores: &Cores,
    interrupted: &Arc<AtomicBool>,
) -> Result<RunReport> {
    // Children inherit the cores of the thread that starts them.
    if let Some(cores) = &cores.server {
        machine::stay_on(cores)?;
    }
    let target = source.start()?;
    if let Some(cores) = &cores.server {
        target.processes.iter().try_for_each(|process| machine::pin_process(process.pid, cores))?;
    }
    if let Some(cores) = &cores.load {
        machine::stay_on(cores)?;
    } else if cores.server.is_some() {
        machine::stay_on(&(0..machine::machine().cores).collect::<Vec<_>>())?;
    }
    let mut watch = Watch::new(&target, name, interrupted.clone());
    let outcome = perf_load::run(&target.server, scenario, &mut watch);
    watch.finish();
    let label = Label { target: name.to_owned(), url: target.server.url.clone(), round };
    let run = outcome
        .and_then(|outcome| RunReport::new(label, &target.processes, target.ctl.is_some(), scenario, &watch, &outcome));
    drop(watch);
    target.end();
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Line::command().debug_assert();
        assert!(Line::try_parse_from(["perf-bench", "x.toml", "--rival-url", "ws://a", "--rival-bin", "b"]).is_err());
        assert!(Line::try_parse_from(["perf-bench", "x.toml", "--pid", "1"]).is_err());
    }

    #[test]
    fn a_server_without_processes_cannot_be_measured() {
        let line = Line::try_parse_from(["perf-bench", "x.toml", "--url", "ws://127.0.0.1:1"]).unwrap();
        assert!(sources(&line).unwrap_err().to_string().contains("--pid"));
        let line = Line::try_parse_from(["perf-bench", "x.toml", "--rival-only"]).unwrap();
        assert!(sources(&line).is_err());
    }
}
