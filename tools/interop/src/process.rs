//! Processes and ports, looked at from outside.

use std::net::{TcpListener, UdpSocket};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};

/// Set in the environment of everything a test starts, and inherited by what that starts.
pub(crate) const MARK: &str = "MILLRACE_INTEROP_MARK";

pub(crate) fn send(pid: u32, signal: Signal) {
    let raw = i32::try_from(pid).expect("a pid fits in i32");
    let pid = Pid::from_raw(raw).expect("a pid is positive");
    // Already gone is what the caller wants.
    let _ = kill_process(pid, signal);
}

/// `kill -9`.
pub fn kill_now(pid: u32) {
    send(pid, Signal::KILL);
}

/// Whether a process of that id runs; a zombie does not.
pub fn is_alive(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // The state follows the command in parentheses, which may itself hold parentheses.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z') && !rest.starts_with('X'))
}

/// Living processes that were started under `mark`, as "pid command".
pub fn marked_processes(mark: &str) -> Vec<(u32, String)> {
    let wanted = format!("{MARK}={mark}");
    let entries = std::fs::read_dir("/proc").expect("/proc is mounted");
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != std::process::id() && is_alive(*pid))
        .filter(|pid| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|pair| pair == wanted.as_bytes())
        })
        .map(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&line).replace('\0', " ");
            (pid, command.chars().take(120).collect())
        })
        .collect()
}

/// Whether both ports on the loopback address can be bound now; 0 stands for "none".
pub fn port_is_free(tcp: u16, udp: u16) -> bool {
    (tcp == 0 || TcpListener::bind(("127.0.0.1", tcp)).is_ok())
        && (udp == 0 || UdpSocket::bind(("127.0.0.1", udp)).is_ok())
}

/// Milliseconds of the wall clock, comparable with the `at` of a driver's events.
pub fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    u64::try_from(since.as_millis()).expect("milliseconds fit in u64")
}
