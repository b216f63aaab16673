//! Server and load in two network namespaces, joined by a veth pair:
//!
//! ```text
//! server: lo, veth0 10.77.0.1/24 ◀──▶ veth1 10.77.0.2/24, lo: load, this process
//! ```
//! Neither has a name: the load's namespace ends with this process, the server's with a child that reads from us and with the
//! server, which is guarded, however we end.
//! Nothing of the machine's own network is touched.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// The server's address, on `veth0`.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const MAKE_WAIT: Duration = Duration::from_secs(5);

/// Runs this very command again in a namespace of its own, for the load.
pub fn again_in_a_namespace() -> Result<ExitCode> {
    ensure!(rustix::process::geteuid().is_root(), "network namespaces and a veth pair need root; or leave --veth out");
    let myself = std::env::current_exe().context("cannot find this executable")?;
    // exec: signals reach the process that measures.
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount"]).arg(myself).args(std::env::args_os().skip(1)).arg("--in-namespace");
    Err(command.exec()).context("cannot run unshare; install util-linux")
}

/// Both namespaces.
pub struct Veth {
    /// Holds the server's namespace until its input ends.
    keeper: Child,
}

impl Veth {
    /// In the load's namespace. **Input**: cores of the load, which then do the receiving half of the pair's work, as another machine
    /// would; and queues, of which AF_XDP takes one per worker.
    pub fn make(load_cores: Option<&[usize]>, queues: usize) -> Result<Self> {
        let own = fs::read_link("/proc/self/ns/net")?;
        let mut keeper = Command::new("unshare");
        // Ctrl-C in a terminal reaches only us.
        keeper.args(["--net", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
        let veth = Self { keeper: keeper.spawn().context("cannot run unshare; install util-linux")? };
        let began = Instant::now();
        while fs::read_link(veth.namespace()).is_ok_and(|theirs| theirs == own) {
            ensure!(began.elapsed() < MAKE_WAIT, "unshare makes no network namespace");
            std::thread::sleep(Duration::from_millis(5));
        }
        let pid = veth.keeper.id();
        run(
            Command::new("ip"),
            &format!(
                "link add veth1 numtxqueues {queues} numrxqueues {queues} type veth peer name veth0 netns {pid} numtxqueues {queues} numrxqueues {queues}"
            ),
        )?;
        for step in ["addr add 10.77.0.2/24 dev veth1", "link set veth1 up", "link set lo up"] {
            run(Command::new("ip"), step)?;
        }
        for step in ["addr add 10.77.0.1/24 dev veth0", "link set veth0 up", "link set lo up"] {
            let [program, namespace] = veth.enter();
            let mut command = Command::new(program);
            command.args([&namespace, "ip"]);
            run(command, step)?;
        }
        if let Some(cores) = load_cores {
            run(Command::new("mount"), "-t sysfs sysfs /sys")?;
            steer(cores, queues)?;
        }
        Ok(veth)
    }

    fn namespace(&self) -> String {
        format!("/proc/{}/ns/net", self.keeper.id())
    }

    /// What stands before a command for the server's namespace. The process becomes the command's own.
    pub fn enter(&self) -> [String; 2] {
        ["nsenter".to_owned(), format!("--net={}", self.namespace())]
    }
}

impl Drop for Veth {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// What arrives at `veth1` is received on these cores.
fn steer(cores: &[usize], queues: usize) -> Result<()> {
    let mask = cores.iter().filter(|core| **core < 32).fold(0u32, |mask, core| mask | 1 << core);
    for queue in 0..queues {
        let path = format!("/sys/class/net/veth1/queues/rx-{queue}/rps_cpus");
        fs::write(&path, format!("{mask:x}")).with_context(|| format!("cannot write {path}"))?;
    }
    Ok(())
}

fn run(mut program: Command, arguments: &str) -> Result<()> {
    let output = program.args(arguments.split(' ')).output();
    let output = output.with_context(|| format!("cannot run {program:?}; install iproute2"))?;
    if !output.status.success() {
        bail!("{program:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
