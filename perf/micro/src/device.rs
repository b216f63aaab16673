//! A network of our own: a namespace with one device that discards what it is given. It ends with the process.

use std::net::Ipv4Addr;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

/// Ours, on the device.
pub const LOCAL: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
pub const NAME: &str = "ifb0";

/// Runs this very command again under `unshare --net`.
pub fn again_in_a_namespace() -> Result<ExitCode> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "a network namespace and an ifb device need root; or use --way memory"
    );
    let myself = std::env::current_exe().context("cannot find this executable")?;
    let status = Command::new("unshare")
        .arg("--net")
        .arg(myself)
        .args(std::env::args_os().skip(1))
        .arg("--in-namespace")
        .status()
        .context("cannot run unshare; install util-linux")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub fn make() -> Result<()> {
    for step in [
        "link set lo up",
        "link add ifb0 type ifb",
        "addr add 198.18.0.1/16 dev ifb0",
        "link set ifb0 up",
        "route add 198.19.0.0/16 via 198.18.0.2 dev ifb0",
        "neigh replace 198.18.0.2 lladdr 02:00:00:00:00:02 dev ifb0 nud permanent",
    ] {
        run("ip", step)?;
    }
    run("tc", "qdisc replace dev ifb0 root noqueue")
}

fn run(program: &str, arguments: &str) -> Result<()> {
    let output = Command::new(program).args(arguments.split(' ')).output();
    let output = output.with_context(|| format!("cannot run {program}; install iproute2"))?;
    if !output.status.success() {
        bail!("{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Address of a subscriber behind the device.
pub fn remote(number: u32) -> Ipv4Addr {
    let [_, _, high, low] = number.to_be_bytes();
    Ipv4Addr::new(198, 19, high, low)
}
