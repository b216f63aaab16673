//! A node of its own for a test: free ports, its own runtime directory, and nothing left of it afterwards.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::process::{MARK, is_alive, kill_now, marked_processes, port_is_free, send};
use crate::{environment, until, within};

/// How long a node may take to say that it is ready, and to end.
const START: Duration = Duration::from_secs(15);

/// How long what it had may outlive it.
const RELEASE: Duration = Duration::from_secs(2);

/// A running node, or the server that `MILLRACE_INTEROP_URL` names.
pub struct Node {
    pub url: String,
    pub http_url: String,
    pub port: u16,
    pub key: String,
    pub secret: String,
    /// The demo page, when the node serves it.
    pub demo_url: Option<String>,
    own: Option<Own>,
}

struct Own {
    child: Child,
    folder: PathBuf,
    mark: String,
    ready: Value,
}

impl Node {
    /// Starts `millrace dev` on free ports; with `MILLRACE_INTEROP_URL` set, stands for the server at that address.
    pub fn start() -> Node {
        match std::env::var("MILLRACE_INTEROP_URL") {
            Ok(url) => Node::elsewhere(&url),
            Err(_) => Node::start_own(),
        }
    }

    /// Starts `millrace dev` whatever the environment says.
    pub fn start_own() -> Node {
        let folder = temporary_folder();
        Node::launch(&["dev", "--port", "0", "--udp-port", "0"], folder)
    }

    /// Starts `millrace run` with this configuration, whose key is `devkey` with the secret `secret`.
    pub fn start_with(configuration: &str) -> Node {
        let folder = temporary_folder();
        let file = folder.join("config.yaml");
        std::fs::write(&file, configuration).expect("the temporary folder is writable");
        let file = file.to_str().expect("a temporary path in UTF-8").to_owned();
        Node::launch(&["run", "--config", &file], folder)
    }

    fn elsewhere(url: &str) -> Node {
        let url = url.trim_end_matches('/').to_owned();
        let of = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
        let port = url.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("an address with a port");
        Node {
            http_url: url.replacen("ws", "http", 1),
            url,
            port,
            key: of("MILLRACE_INTEROP_KEY", "devkey"),
            secret: of("MILLRACE_INTEROP_SECRET", "secret"),
            demo_url: None,
            own: None,
        }
    }

    fn launch(arguments: &[&str], folder: PathBuf) -> Node {
        let mark = folder.file_name().expect("a named folder").to_string_lossy().into_owned();
        let log = File::create(folder.join("log")).expect("the temporary folder is writable");
        let mut command = Command::new(environment::node());
        command.args(arguments).arg("--json").arg("--runtime-dir").arg(folder.join("run"));
        command.env(MARK, &mark).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let ready = ready_line(output).unwrap_or_else(|reason| {
            let _ = child.kill();
            let _ = child.wait();
            let log = log_tail(&folder);
            let _ = std::fs::remove_dir_all(&folder);
            panic!("the node is not ready: {reason}; its log:\n{log}");
        });
        let text = |name: &str| {
            let value = ready[name].as_str();
            value.unwrap_or_else(|| panic!("no {name} in the ready line {ready}")).to_owned()
        };
        Node {
            url: text("url"),
            http_url: text("http_url"),
            port: ready["port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port in the ready line"),
            key: ready["api_key"].as_str().unwrap_or("devkey").to_owned(),
            secret: ready["api_secret"].as_str().unwrap_or("secret").to_owned(),
            demo_url: ready["demo_url"].as_str().map(str::to_owned),
            own: Some(Own { child, folder, mark, ready }),
        }
    }

    /// The line that the node printed when it was ready.
    pub fn ready(&self) -> &Value {
        &self.own().ready
    }

    pub fn runtime_dir(&self) -> PathBuf {
        self.own().folder.join("run")
    }

    /// `millrace ctl --json WHAT`.
    pub fn ctl(&self, what: &str) -> Result<Value, String> {
        let mut command = Command::new(environment::node());
        command.arg("ctl").arg("--runtime-dir").arg(self.runtime_dir()).args(["--json", what]);
        let output = command.output().map_err(|error| format!("starting ctl: {error}"))?;
        if !output.status.success() {
            return Err(format!("ctl {what}: {}", String::from_utf8_lossy(&output.stderr)));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| format!("ctl {what}: {error}"))
    }

    /// # Panics
    /// When the running node cannot be asked.
    pub fn status(&self) -> Value {
        self.ctl("status").unwrap_or_else(|error| panic!("{error}"))
    }

    /// The pid that runs now under that name: `holder`, `engine`, `courier` or `signaling`.
    pub fn pid_of(&self, name: &str) -> u32 {
        let status = self.status();
        let pid = status["pids"][name].as_u64().and_then(|pid| u32::try_from(pid).ok());
        pid.unwrap_or_else(|| panic!("no pid of {name} in {status}"))
    }

    /// DTLS handshakes that the node has completed.
    pub fn handshakes(&self) -> u64 {
        let status = self.status();
        let count = &status["counters"]["courier"]["handshakes_done"];
        count.as_u64().unwrap_or_else(|| panic!("no count of handshakes in {status}"))
    }

    /// `kill -9` of one process; returns the pid that it had.
    pub fn kill(&self, name: &str) -> u32 {
        let pid = self.pid_of(name);
        kill_now(pid);
        pid
    }

    /// Stops a process without ending it; [`Node::resume`] lets it go on.
    pub fn pause(&self, name: &str) {
        send(self.pid_of(name), Signal::STOP);
    }

    pub fn resume(&self, name: &str) {
        send(self.pid_of(name), Signal::CONT);
    }

    /// Runs the node's executable to its end and gives what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn command(&self, arguments: &[&str]) -> String {
        let output = Command::new(environment::node()).args(arguments).output().expect("the node's executable starts");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("output in UTF-8")
    }

    /// Waits until another process than `old` runs under that name.
    pub fn wait_restarted(&self, name: &str, old: u32, patience: Duration) -> u32 {
        until(&format!("{name} runs again"), patience, || {
            let status = self.ctl("status")?;
            match status["pids"][name].as_u64().and_then(|pid| u32::try_from(pid).ok()) {
                Some(pid) if pid != old && pid != 0 && is_alive(pid) => Ok(pid),
                other => Err(format!("pid {other:?}")),
            }
        })
    }

    /// Ends the node as an operator does, and checks that it left nothing.
    ///
    /// # Panics
    /// When the node fails, or a process, a port or a socket file of it is left.
    pub fn stop(mut self) {
        if let Some(own) = self.own.take() {
            let problems = own.end(self.port);
            assert!(problems.is_empty(), "{}", problems.join("\n"));
        }
    }

    /// What `millrace ctl status` prints for people: streams, states, counters. Empty for a node that is not ours.
    pub fn picture(&self) -> String {
        let Some(own) = &self.own else { return String::new() };
        let mut command = Command::new(environment::node());
        command.arg("ctl").arg("--runtime-dir").arg(own.folder.join("run")).arg("status");
        let output = command.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        output.unwrap_or_else(|error| format!("starting ctl: {error}"))
    }

    /// The last lines that the node wrote.
    pub fn log_tail(&self) -> String {
        self.own.as_ref().map_or_else(String::new, |own| log_tail(&own.folder))
    }

    fn own(&self) -> &Own {
        self.own.as_ref().expect("this test looks inside a node of its own; unset MILLRACE_INTEROP_URL")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let Some(own) = self.own.take() else { return };
        if std::thread::panicking() {
            eprintln!("--- the node's log, last lines ---\n{}", log_tail(&own.folder));
        }
        let problems = own.end(self.port);
        if std::thread::panicking() {
            problems.iter().for_each(|problem| eprintln!("{problem}"));
        } else {
            assert!(problems.is_empty(), "{}", problems.join("\n"));
        }
    }
}

impl Own {
    /// SIGTERM, then a look for what is left; whatever that is gets removed, and named in the answer.
    fn end(mut self, port: u16) -> Vec<String> {
        let mut problems = Vec::new();
        send(self.child.id(), Signal::TERM);
        match wait_exit(&mut self.child, START) {
            Some(status) if status.success() => {}
            Some(status) => {
                problems.push(format!("the node ended with {status}; its log:\n{}", log_tail(&self.folder)))
            }
            None => {
                problems.push(format!("the node did not end within {START:?}; killed"));
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
        let _ = within(RELEASE, || marked_processes(&self.mark).is_empty().then_some(()));
        for (pid, command) in marked_processes(&self.mark) {
            problems.push(format!("a process of the node was left: {pid} {command}"));
            kill_now(pid);
        }
        let number = |name: &str| self.ready[name].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
        let udp = number("udp_port")..=number("udp_port_last");
        let ports: Vec<(u16, u16, u16)> =
            std::iter::once((port, 0, port)).chain(udp.map(|udp| (0, udp, udp))).collect();
        // The kernel lets go of a ring's sockets a little after the process.
        let free = || ports.iter().all(|(tcp, udp, _)| port_is_free(*tcp, *udp));
        if within(RELEASE, || free().then_some(())).is_none() {
            let which: Vec<String> = ports
                .iter()
                .filter(|(tcp, udp, _)| !port_is_free(*tcp, *udp))
                .map(|(tcp, _, number)| format!("{} port {number}", if *tcp > 0 { "TCP" } else { "UDP" }))
                .collect();
            problems.push(format!("still taken after {RELEASE:?}: {}", which.join(", ")));
        }
        let left: Vec<String> = files_in(&self.folder.join("run"));
        if !left.is_empty() {
            problems.push(format!("the node left in its runtime directory: {}", left.join(", ")));
        }
        let _ = std::fs::remove_dir_all(&self.folder);
        problems
    }
}

fn wait_exit(child: &mut Child, patience: Duration) -> Option<std::process::ExitStatus> {
    let deadline = Instant::now() + patience;
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if Instant::now() > deadline {
            return None;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// The first line of `output`, which must be the ready line; what follows is read and thrown away, so the pipe never fills.
fn ready_line(mut output: impl BufRead + Send + 'static) -> Result<Value, String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = output.read_line(&mut line);
        let _ = sender.send(read.map(|_| line));
        let _ = std::io::copy(&mut output, &mut std::io::sink());
    });
    let line = receiver.recv_timeout(START).map_err(|_| format!("nothing printed within {START:?}"))?;
    let line = line.map_err(|error| error.to_string())?;
    let ready: Value = serde_json::from_str(&line).map_err(|error| format!("{error} in the line {line:?}"))?;
    if ready["event"] == "ready" { Ok(ready) } else { Err(format!("the first line is {ready}")) }
}

fn temporary_folder() -> PathBuf {
    let stamp = format!("millrace-interop-{}-{:x}", std::process::id(), crate::wall_ms());
    for attempt in 0u32.. {
        let folder = std::env::temp_dir().join(format!("{stamp}-{attempt}"));
        match std::fs::create_dir(&folder) {
            Ok(()) => return folder,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => panic!("making {}: {error}", folder.display()),
        }
    }
    unreachable!("some number is free")
}

fn files_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn log_tail(folder: &Path) -> String {
    let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}
