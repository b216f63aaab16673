//! However perf-bench ends, and whenever: no process, network namespace, device or file is left of it. With a real node, of the
//! same build; the tests with `--veth` need root.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Set for all that a test starts, and inherited.
const MARK: &str = "PERF_BENCH_TEST";
const SUBSCRIBERS: usize = 10;
const START_WAIT: Duration = Duration::from_secs(10);
/// The holder gives each of its children 3 s.
const END_WAIT: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Debug)]
enum Moment {
    Joins,
    Steady,
}

/// A harness, and where all of its files are.
struct Bench {
    mark: String,
    folder: PathBuf,
    child: Child,
}

impl Bench {
    fn start(name: &str, more: &[&str]) -> Self {
        let mut command = perf_bench();
        command.args(more).arg("--node-bin").arg(node());
        Self::spawn(name, &mut command)
    }

    fn spawn(name: &str, command: &mut Command) -> Self {
        let mark = format!("{name}-{}", std::process::id());
        // Short: a socket's path has at most 107 bytes.
        let folder = std::env::temp_dir().join(format!("pb-{mark}"));
        fs::create_dir_all(&folder).unwrap();
        command.env(MARK, &mark).env("TMPDIR", &folder).stdout(Stdio::null()).stderr(Stdio::null());
        Self { child: command.spawn().unwrap(), mark, folder }
    }

    fn wait_for(&mut self, moment: Moment) {
        let began = Instant::now();
        while !self.status().is_some_and(|status| is_at(&status, moment)) {
            assert!(self.child.try_wait().unwrap().is_none(), "ended before it came to {moment:?}");
            assert!(began.elapsed() < START_WAIT, "does not come to {moment:?}");
            std::thread::sleep(LOOK);
        }
    }

    /// What the node says, if it runs.
    fn status(&self) -> Option<Value> {
        let runtime_dir = fs::read_dir(&self.folder).unwrap().flatten().next()?.path();
        let mut command = Command::new(node());
        let output = command.args(["ctl", "status", "--json", "--runtime-dir"]).arg(runtime_dir).output().unwrap();
        serde_json::from_slice(&output.stdout).ok()
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id().cast_signed()).unwrap(), signal).unwrap();
    }

    /// Every process of this harness, itself too.
    fn processes(&self) -> Vec<u32> {
        let mark = format!("{MARK}={}", self.mark);
        let has_mark = |pid: &u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|pair| pair == mark.as_bytes())
        };
        all_processes().filter(has_mark).collect()
    }

    /// Waits for the end of all and looks what stayed.
    fn assert_nothing_left(mut self, what: &str, namespaces: &BTreeSet<PathBuf>) {
        let began = Instant::now();
        while self.child.try_wait().unwrap().is_none() || !self.processes().is_empty() {
            let left = self.processes();
            assert!(began.elapsed() < END_WAIT, "{what}: processes {left:?} are left, of {:?}", names(&left));
            std::thread::sleep(LOOK);
        }
        let still: Vec<_> = all_processes().filter_map(namespace).filter(|it| namespaces.contains(it)).collect();
        assert!(still.is_empty(), "{what}: somebody holds {still:?}");
        let files: Vec<_> = fs::read_dir(&self.folder).unwrap().flatten().map(|entry| entry.path()).collect();
        assert!(files.is_empty(), "{what}: {files:?} are left");
        let links = Command::new("ip").args(["-o", "-4", "addr"]).output().unwrap();
        assert!(!String::from_utf8_lossy(&links.stdout).contains("10.77.0."), "{what}: a device is left");
    }
}

impl Drop for Bench {
    /// After a failure.
    fn drop(&mut self) {
        for pid in self.processes() {
            let _ = kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL);
        }
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn perf_bench() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perf-bench"));
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/video-1-to-10.toml"));
    command
}

fn node() -> PathBuf {
    let node = Path::new(env!("CARGO_BIN_EXE_perf-bench")).with_file_name("millrace");
    assert!(node.exists(), "no node at {}: build it in this profile (`cargo build -p millrace`)", node.display());
    node
}

fn is_at(status: &Value, moment: Moment) -> bool {
    let rows = |name: &str| status[name].as_array().map(Vec::as_slice).unwrap_or_default().iter();
    match moment {
        Moment::Joins => rows("egresses").count() > 1,
        Moment::Steady => rows("egresses").filter(|egress| egress["state"] == "forwarding").count() == SUBSCRIBERS,
    }
}

fn all_processes() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn namespace(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/net")).ok()
}

fn names(processes: &[u32]) -> Vec<String> {
    processes.iter().map(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default()).collect()
}

fn try_all(name: &str, more: &[&str], moment: Moment) {
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        let mut bench = Bench::start(name, more);
        bench.wait_for(moment);
        let processes = bench.processes();
        assert!(processes.len() >= 5, "the harness and a node's four: {:?}", names(&processes));
        let own = namespace(std::process::id()).unwrap();
        let namespaces: BTreeSet<_> = processes.into_iter().filter_map(namespace).filter(|it| *it != own).collect();
        assert_eq!(namespaces.len(), if more.contains(&"--veth") { 2 } else { 0 });
        bench.send(signal);
        bench.assert_nothing_left(&format!("{name}, {signal:?}"), &namespaces);
    }
}

fn demand_root() {
    assert!(rustix::process::geteuid().is_root(), "network namespaces need root: run this test as root");
}

#[test]
fn nothing_stays_when_it_ends_during_joins() {
    try_all("joins", &[], Moment::Joins);
}

#[test]
fn nothing_stays_when_it_ends_under_load() {
    try_all("steady", &[], Moment::Steady);
}

#[test]
fn nothing_stays_of_two_namespaces_when_it_ends_during_joins() {
    demand_root();
    try_all("v-j", &["--veth"], Moment::Joins);
}

#[test]
fn nothing_stays_of_two_namespaces_when_it_ends_under_load() {
    demand_root();
    try_all("v-s", &["--veth"], Moment::Steady);
}

#[test]
fn nothing_stays_when_it_ends_by_itself() {
    let mut bench = Bench::start("whole", &["--seconds", "1", "--subscribers", "1"]);
    assert!(bench.child.wait().unwrap().success());
    bench.assert_nothing_left("whole", &BTreeSet::new());
}

#[test]
fn a_server_that_is_deaf_ends_with_a_killed_harness() {
    let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/deaf-server.sh");
    let mut bench = Bench::spawn("deaf", perf_bench().args(["--rival-only", "--rival-bin"]).arg(server));
    let began = Instant::now();
    while !names(&bench.processes()).iter().any(|name| name.trim() == "sleep") {
        assert!(bench.child.try_wait().unwrap().is_none() && began.elapsed() < START_WAIT, "the server does not start");
        std::thread::sleep(LOOK);
    }
    bench.send(Signal::KILL);
    bench.assert_nothing_left("deaf", &BTreeSet::new());
}

#[test]
fn a_server_that_ends_at_once_is_reported_with_its_log() {
    let output = perf_bench().args(["--rival-only", "--rival-bin", "/bin/cat"]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let has_log = errors.contains("--config-body");
    assert!(!output.status.success() && errors.contains("the server ended") && has_log, "{errors}");
}
