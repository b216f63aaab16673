//! Servers to measure: one that runs already, a node of ours that is started here, or another server that is started here.
//! What was started is ended when its [`Target`] is dropped, also after an interruption; if this process is killed, by its guard.
//! No file is made here for it, so that none can stay.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use perf_load::Server;
use perf_report::Node;
use rustix::fs::{MemfdFlags, OFlags, fcntl_setfl, memfd_create};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use crate::ctl::Ctl;
use crate::guard;
use crate::process::Process;
use crate::veth::{self, Veth};

const READY_WAIT: Duration = Duration::from_secs(30);
const END_WAIT: Duration = Duration::from_secs(10);
const LOG_LINES: usize = 20;
/// Long enough for a server that refuses short secrets.
const RIVAL_SECRET: &str = "secret-of-a-server-under-load-on-loopback";

/// How to get a server.
#[derive(Clone, Debug)]
pub enum Source {
    Running {
        server: Server,
        processes: Vec<Process>,
        ctl: Option<Ctl>,
    },
    /// `millrace dev`, by its executable.
    Node(PathBuf, Node),
    /// A LiveKit server, by its executable.
    LiveKit(PathBuf),
}

/// A server that answers.
pub struct Target {
    pub server: Server,
    pub processes: Vec<Process>,
    pub ctl: Option<Ctl>,
    child: Option<Running>,
}

struct Running {
    child: Child,
    log: File,
    /// Made and removed by the server itself, if it is not killed.
    runtime_dir: Option<PathBuf>,
}

/// The line that `millrace dev --json` prints when it is ready.
#[derive(Debug, Deserialize)]
struct Ready {
    url: String,
    api_key: String,
    api_secret: String,
    runtime_dir: PathBuf,
    pids: std::collections::BTreeMap<String, u32>,
}

impl Source {
    /// Makes sure that the server runs. **Errors**: an executable that is missing or does not become ready; the message ends
    /// with its log.
    pub fn start(&self, network: Option<&Veth>) -> Result<Target> {
        match self {
            Self::Running { server, processes, ctl } => {
                Ok(Target { server: server.clone(), processes: processes.clone(), ctl: ctl.clone(), child: None })
            }
            Self::Node(executable, node) => start_node(executable, node, network),
            Self::LiveKit(executable) => start_livekit(executable, network),
        }
    }
}

/// Guarded, and in the server's namespace if there is one. **Input**: the signal that it gets when this process ends.
fn command(executable: &Path, network: Option<&Veth>, last: Signal) -> Command {
    let mut command = guard::command(last);
    command.args(network.map(Veth::enter).into_iter().flatten()).arg(executable).stdin(Stdio::null());
    command
}

fn start_node(executable: &Path, node: &Node, network: Option<&Veth>) -> Result<Target> {
    if !executable.exists() {
        bail!(
            "{} does not exist; build it with `cargo build --release` or name another with --node-bin",
            executable.display()
        );
    }
    let runtime_dir = unused_path();
    // The holder ends its children and removes its directory.
    let mut command = command(executable, network, Signal::TERM);
    command.args(["dev", "--json", "--port", "0", "--udp-port", "0", "--runtime-dir"]).arg(&runtime_dir);
    if network.is_some() {
        command.args(["--bind", &veth::SERVER.to_string()]);
    }
    if let Some(config) = &node.config {
        command.stdin(memory("config", config)?).args(["--config", "/dev/stdin"]);
    }
    command.args(&node.arguments);
    let mut running = Running::spawn(command.stdout(Stdio::piped()), Some(runtime_dir))?;
    let ready = running.ready_line().map_err(|error| running.with_log(&error))?;
    let ready: Ready = serde_json::from_str(&ready).with_context(|| format!("not a ready line: {ready}"))?;
    Ok(Target {
        server: Server {
            url: ready.url,
            api_key: ready.api_key,
            api_secret: ready.api_secret,
            allow_remote: network.is_some(),
        },
        processes: ready.pids.into_iter().map(|(name, pid)| Process { name, pid }).collect(),
        ctl: Some(Ctl { executable: executable.to_owned(), runtime_dir: ready.runtime_dir }),
        child: Some(running),
    })
}

fn start_livekit(executable: &Path, network: Option<&Veth>) -> Result<Target> {
    if !executable.exists() {
        bail!(
            "{} does not exist; install one with `go install github.com/livekit/livekit-server/cmd/server@v1.13.5`",
            executable.display()
        );
    }
    let (port, tcp_port, udp_port) = free_ports()?;
    let address = network.map_or(Ipv4Addr::LOCALHOST, |_| veth::SERVER);
    let config = livekit_config(address, port, tcp_port, udp_port);
    // At SIGTERM it would wait for the participants that this process was.
    let mut command = command(executable, network, Signal::KILL);
    command.args(["--config-body", &config]).stdout(Stdio::null());
    let mut running = Running::spawn(&mut command, None)?;
    running.wait_for_port((address, port)).map_err(|error| running.with_log(&error))?;
    let process = Process { name: "livekit".to_owned(), pid: running.child.id() };
    Ok(Target {
        server: Server {
            url: format!("ws://{address}:{port}"),
            api_key: "load".to_owned(),
            api_secret: RIVAL_SECRET.to_owned(),
            allow_remote: network.is_some(),
        },
        processes: vec![process],
        ctl: None,
        child: Some(running),
    })
}

/// One muxed UDP port on one address, like our node; quiet, because a log line costs CPU too.
fn livekit_config(address: Ipv4Addr, port: u16, tcp_port: u16, udp_port: u16) -> String {
    format!(
        "port: {port}\nbind_addresses: [{address}]\nkeys: {{load: {RIVAL_SECRET}}}\nlogging: {{level: warn}}\n\
         rtc: {{tcp_port: {tcp_port}, udp_port: {udp_port}, node_ip: {address}, use_external_ip: false, enable_loopback_candidate: {}}}\n",
        address.is_loopback()
    )
}

/// Free at this moment: two TCP ports and a UDP port.
fn free_ports() -> Result<(u16, u16, u16)> {
    let (http, tcp) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    let udp = UdpSocket::bind("0.0.0.0:0")?;
    Ok((http.local_addr()?.port(), tcp.local_addr()?.port(), udp.local_addr()?.port()))
}

fn unused_path() -> PathBuf {
    let unique = Instant::now();
    std::env::temp_dir().join(format!("perf-bench-node-{}-{:x}", std::process::id(), hash(&unique)))
}

fn hash(value: &impl std::hash::Hash) -> u64 {
    use std::hash::BuildHasher;
    std::collections::hash_map::RandomState::new().hash_one(value)
}

/// A file without a name, read from its beginning.
fn memory(name: &str, text: &str) -> Result<File> {
    let mut file = File::from(memfd_create(name, MemfdFlags::CLOEXEC).context("no memory for a file")?);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file)
}

impl Running {
    /// In a process group of its own, so that Ctrl-C in a terminal reaches only us, who then end it in order.
    fn spawn(command: &mut Command, runtime_dir: Option<PathBuf>) -> Result<Self> {
        let log = memory("log", "")?;
        // Several processes write it, and one may have opened it again.
        fcntl_setfl(&log, OFlags::APPEND).context("cannot append to a log")?;
        command.stderr(log.try_clone()?).process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { child, log, runtime_dir })
    }

    fn ready_line(&mut self) -> Result<String> {
        let output = self.child.stdout.take().context("no output")?;
        let (sender, receiver) = channel();
        // Goes on reading, so that the server never writes into a closed pipe.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        receiver.recv_timeout(READY_WAIT).context("the server did not become ready")
    }

    fn wait_for_port(&mut self, address: (Ipv4Addr, u16)) -> Result<()> {
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended: {status}");
            }
            if began.elapsed() > READY_WAIT {
                bail!("the server did not open port {}", address.1);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn with_log(&self, error: &anyhow::Error) -> anyhow::Error {
        let mut log = vec![0; self.log.metadata().map_or(0, |metadata| metadata.len() as usize)];
        let log = self.log.read_exact_at(&mut log, 0).map(|()| String::from_utf8_lossy(&log)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default();
        anyhow!("{error:#}; its log ends with:\n{}", last.join("\n"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
        let began = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && began.elapsed() < END_WAIT {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(runtime_dir) = &self.runtime_dir {
            let _ = std::fs::remove_dir_all(runtime_dir);
        }
    }
}

impl Target {
    /// Ends what was started here; a server that ran before goes on.
    pub fn end(mut self) {
        drop(self.child.take());
    }
}

/// `holder=1,engine=2`, or one number.
pub fn parse_processes(text: &str) -> Result<Vec<Process>> {
    let parse = |part: &str| {
        let (name, pid) = part.split_once('=').unwrap_or(("server", part));
        let pid = pid.trim().parse().with_context(|| format!("{part:?} is not NAME=PID"))?;
        Ok(Process { name: name.trim().to_owned(), pid })
    };
    text.split(',').filter(|part| !part.trim().is_empty()).map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_read_with_or_without_names() {
        let processes = parse_processes("holder=12, engine=34").unwrap();
        let engine = Process { name: "engine".to_owned(), pid: 34 };
        assert_eq!(processes[1], engine);
        assert_eq!(parse_processes("77").unwrap()[0].name, "server");
        assert!(parse_processes("engine=x").is_err());
        assert!(parse_processes("").unwrap().is_empty());
    }

    #[test]
    fn a_missing_executable_is_refused_with_the_remedy() {
        let error = Source::Node(PathBuf::from("/nonexistent"), Node::default())
            .start(None)
            .err()
            .map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.contains("--node-bin")));
    }
}
