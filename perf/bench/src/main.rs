//! `perf-bench SCENARIO.toml …`: loads a node of ours, another LiveKit server, or both in turn, and reports what a forwarded
//! packet, a subscriber and a join cost. It measures; it judges nothing.
//!
//! ```text
//! Line ──plan──▶ Series of Step ──▶ Source ──start──▶ Target ──▶ perf_load::run with Watch ──▶ RunReport ──▶ Report
//!                                                                   └─ /proc of the server, ctl
//! ```
#![forbid(unsafe_code)]

mod ctl;
mod guard;
mod line;
mod machine;
mod plan;
mod process;
mod report;
mod sockets;
mod target;
mod veth;
mod watch;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::Parser;
use perf_load::{Scenario, Server};
use perf_report::{Case, Node, Report, RunReport, page, table};

use crate::ctl::Ctl;
use crate::line::{Line, RivalLine};
use crate::plan::{Series, Step};
use crate::report::{Label, run_report};
use crate::target::{Source, parse_processes};
use crate::veth::Veth;
use crate::watch::Watch;

/// A node has two packet workers at least, and AF_XDP a queue for each.
const QUEUES_MIN: usize = 2;

fn main() -> ExitCode {
    match guard::become_guarded().and_then(|()| perform(&Line::parse())) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("perf-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(line: &Line) -> Result<ExitCode> {
    if line.veth && !line.in_namespace {
        return veth::again_in_a_namespace();
    }
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The second one ends this process at once, and with it what it guards.
        signal_hook::flag::register_conditional_default(signal, interrupted.clone()).context("cannot watch signals")?;
        signal_hook::flag::register(signal, interrupted.clone()).context("cannot watch signals")?;
    }
    let plan = plan::plan(line)?;
    for step in plan.iter().flat_map(|series| &series.steps) {
        perf_load::raise_descriptor_limit(&step.scenario)?;
    }
    let cores = Cores::parse(line)?;
    let network = line.veth.then(|| Veth::make(cores.load.as_deref(), cores.all.len().max(QUEUES_MIN))).transpose()?;
    let bench = Bench { line, cores, network, rival: rival(&line.rival, line.allow_remote)?, interrupted };
    if line.rival.rival_only && bench.rival.is_none() {
        bail!("--rival-only needs --rival-url or --rival-bin");
    }
    let mut report = Report {
        commit: machine::commit(),
        unix_seconds: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        machine: machine::machine(),
        server_cores: bench.cores.server.clone(),
        load_cores: bench.cores.load.clone(),
        path: match (line.veth, line.allow_remote) {
            (true, _) => "veth",
            (false, true) => "network",
            (false, false) => "loopback",
        }
        .to_owned(),
        cases: Vec::new(),
    };
    // A failure late in a long plan leaves what was measured before it.
    let outcome = plan.iter().try_for_each(|series| bench.measure_series(series, &mut report.cases));
    report.cases.retain(|case| !case.runs.is_empty());
    report.cases.iter_mut().for_each(Case::compare);
    if !report.cases.is_empty() {
        print!("{}", table::write(&report));
        write_files(line, &report)?;
    }
    outcome.map(|()| ExitCode::SUCCESS)
}

fn write_files(line: &Line, report: &Report) -> Result<()> {
    if let Some(path) = &line.json {
        let text = serde_json::to_string_pretty(report)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &line.html {
        let text = page::write(std::slice::from_ref(report));
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

struct Cores {
    server: Option<Vec<usize>>,
    load: Option<Vec<usize>>,
    /// Of the machine, before anything was pinned.
    all: Vec<usize>,
}

impl Cores {
    fn parse(line: &Line) -> Result<Self> {
        let parse = |text: &Option<String>| text.as_deref().map(machine::parse_cores).transpose();
        let all = (0..machine::machine().cores).collect();
        Ok(Self { server: parse(&line.server_cores)?, load: parse(&line.load_cores)?, all })
    }
}

fn rival(line: &RivalLine, allow_remote: bool) -> Result<Option<(String, Source)>> {
    if let Some(url) = &line.rival_url {
        let server = server(url, &line.rival_api_key, &line.rival_api_secret, allow_remote);
        let pid = line.rival_pid.context("--rival-url needs --rival-pid: whose CPU to count")?;
        let processes = vec![process::Process { name: "rival".to_owned(), pid }];
        return Ok(Some(("rival".to_owned(), Source::Running { server, processes, ctl: None })));
    }
    Ok(line.rival_bin.clone().map(|executable| ("livekit".to_owned(), Source::LiveKit(executable))))
}

fn own_source(line: &Line, node: &Node) -> Result<Source> {
    let ours = &line.ours;
    let Some(url) = &ours.url else { return Ok(Source::Node(ours.node_bin.clone(), node.clone())) };
    let pid = ours.pid.as_deref().context("--url needs --pid: whose CPU to count")?;
    let ctl = ours.runtime_dir.clone().map(|runtime_dir| Ctl { executable: ours.node_bin.clone(), runtime_dir });
    let server = server(url, &ours.api_key, &ours.api_secret, line.allow_remote);
    Ok(Source::Running { server, processes: parse_processes(pid)?, ctl })
}

fn server(url: &str, api_key: &str, api_secret: &str, allow_remote: bool) -> Server {
    Server { url: url.to_owned(), api_key: api_key.to_owned(), api_secret: api_secret.to_owned(), allow_remote }
}

struct Bench<'a> {
    line: &'a Line,
    cores: Cores,
    network: Option<Veth>,
    rival: Option<(String, Source)>,
    interrupted: Arc<AtomicBool>,
}

impl Bench<'_> {
    /// Adds the cases of a series; on an error those that were begun stay.
    fn measure_series(&self, series: &Series, cases: &mut Vec<Case>) -> Result<()> {
        let first = cases.len();
        for step in &series.steps {
            cases.push(step.case()?);
        }
        for round in 1..=self.line.rounds {
            let mut shared = None;
            for (step, at) in series.steps.iter().zip(first..) {
                let Some(case) = cases.get_mut(at) else { continue };
                if !self.line.rival.rival_only {
                    let source = own_source(self.line, &step.node)?;
                    case.runs.push(self.measure("millrace", &source, round, step)?);
                }
                if let Some((name, source)) = &self.rival
                    && !series.is_rival_constant
                {
                    case.runs.push(self.measure(name, source, round, step)?);
                }
            }
            if let (Some((name, source)), Some(step), true) =
                (&self.rival, series.steps.first(), series.is_rival_constant)
            {
                shared = Some(self.measure(name, source, round, step)?);
            }
            for case in cases.iter_mut().skip(first) {
                case.runs.extend(shared.clone());
            }
        }
        Ok(())
    }

    fn measure(&self, name: &str, source: &Source, round: u32, step: &Step) -> Result<RunReport> {
        if self.interrupted.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        let run = self.run(name, source, round, &step.scenario);
        run.with_context(|| format!("{}, {name}, round {round}", step.scenario.name))
    }

    fn run(&self, name: &str, source: &Source, round: u32, scenario: &Scenario) -> Result<RunReport> {
        // Children inherit the cores of the thread that starts them.
        if let Some(cores) = &self.cores.server {
            machine::stay_on(cores)?;
        }
        let target = source.start(self.network.as_ref())?;
        if let Some(cores) = &self.cores.server {
            target.processes.iter().try_for_each(|process| machine::pin_process(process.pid, cores))?;
        }
        if let Some(cores) = &self.cores.load {
            machine::stay_on(cores)?;
        } else if self.cores.server.is_some() {
            machine::stay_on(&self.cores.all)?;
        }
        let label = format!("{name} {round}/{}", self.line.rounds);
        let mut watch = Watch::new(&target, &label, self.interrupted.clone());
        let outcome = perf_load::run(&target.server, scenario, &mut watch);
        watch.finish();
        let label = Label { target: name.to_owned(), url: target.server.url.clone(), round };
        let run = outcome
            .and_then(|outcome| run_report(label, &target.processes, target.ctl.is_some(), scenario, &watch, &outcome));
        drop(watch);
        target.end();
        run
    }
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
        assert!(Line::try_parse_from(["perf-bench"]).is_err());
        let line = Line::try_parse_from(["perf-bench", "a.toml", "b.toml", "--node-arg", "--workers=1"]).unwrap();
        assert_eq!((line.scenarios.len(), line.ours.node_arg.as_slice()), (2, &["--workers=1".to_owned()][..]));
    }

    #[test]
    fn a_server_without_processes_cannot_be_measured() {
        let line = Line::try_parse_from(["perf-bench", "x.toml", "--url", "ws://127.0.0.1:1"]).unwrap();
        assert!(own_source(&line, &Node::default()).unwrap_err().to_string().contains("--pid"));
        let line = Line::try_parse_from(["perf-bench", "x.toml", "--rival-only"]).unwrap();
        assert!(rival(&line.rival, false).unwrap().is_none());
    }
}
