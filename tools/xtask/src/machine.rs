//! What the tests need of the machine. As root, missing Debian packages are installed; otherwise the command is named.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::step;

/// Something that must be there, and the Debian packages that bring it.
struct Need {
    name: &'static str,
    packages: &'static [&'static str],
    present: fn() -> bool,
}

const NEEDS: [Need; 5] = [
    Need {
        name: "Chromium at /usr/bin/chromium",
        packages: &["chromium"],
        present: || Path::new("/usr/bin/chromium").exists(),
    },
    Need {
        name: "Python 3 with venv",
        packages: &["python3", "python3-venv"],
        present: || runs("python3", &["-c", "import venv, ensurepip"]),
    },
    Need {
        name: "Node.js 18 or newer",
        packages: &["nodejs"],
        present: || runs("node", &["-e", "process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)"]),
    },
    Need { name: "npm", packages: &["npm"], present: || runs("npm", &["--version"]) },
    Need { name: "a C compiler", packages: &["build-essential"], present: || runs("cc", &["--version"]) },
];

/// # Errors
/// When something is missing that cannot be installed from here; the text ends with the command that installs it.
pub fn prepare() -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|need| need.name).collect();
    let packages: Vec<&str> = missing.iter().flat_map(|need| need.packages).copied().collect();
    let install = format!("apt-get install --yes --no-install-recommends {}", packages.join(" "));
    if !is_root() {
        bail!("this machine lacks: {}\nInstall it first:\n  sudo apt-get update && sudo {install}", names.join(", "));
    }
    println!("   this machine lacks: {}", names.join(", "));
    let quiet = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
        command
    };
    step::must("apt-get update", &mut quiet(&["update", "-qq"]))?;
    let mut arguments = vec!["install", "--yes", "-qq", "--no-install-recommends"];
    arguments.extend(&packages);
    step::must(&install, &mut quiet(&arguments))?;
    let still: Vec<&str> = self::missing().iter().map(|need| need.name).collect();
    if !still.is_empty() {
        bail!("still missing after installing {}: {}", packages.join(" "), still.join(", "));
    }
    Ok(())
}

fn missing() -> Vec<&'static Need> {
    NEEDS.iter().filter(|need| !(need.present)()).collect()
}

fn runs(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn is_root() -> bool {
    // /proc/self/status: "Uid: real effective saved filesystem".
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    uids.and_then(|line| line.split_whitespace().nth(1)) == Some("0")
}
