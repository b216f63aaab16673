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

const NEEDS: [Need; 6] = [
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
    Need { name: "ip of iproute2", packages: &["iproute2"], present: || runs("ip", &["-V"]) },
    Need { name: "a C compiler", packages: &["build-essential"], present: || runs("cc", &["--version"]) },
];

/// # Errors
/// When something is missing that cannot be installed from here; the text ends with the command that installs it.
pub fn prepare() -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let (names, packages) = (names(&missing), packages(&missing));
    if !is_root() {
        bail!(advice(&missing));
    }
    println!("   this machine lacks: {names}");
    let quiet = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
        command
    };
    step::must("apt-get update", &mut quiet(&["update", "-qq"]))?;
    let mut arguments = vec!["install", "--yes", "-qq", "--no-install-recommends"];
    arguments.extend(&packages);
    step::must(&format!("apt-get install {}", packages.join(" ")), &mut quiet(&arguments))?;
    let still = self::missing();
    if !still.is_empty() {
        bail!("still missing after installing {}: {}", packages.join(" "), self::names(&still));
    }
    Ok(())
}

/// What a person without root does.
fn advice(missing: &[&Need]) -> String {
    let (names, packages) = (names(missing), packages(missing).join(" "));
    format!(
        "this machine lacks: {names}\n\
         Install it, then run the same command again (as root it is installed for you):\n  \
         sudo apt-get update\n  sudo apt-get install --yes --no-install-recommends {packages}"
    )
}

fn names(needs: &[&Need]) -> String {
    needs.iter().map(|need| need.name).collect::<Vec<_>>().join(", ")
}

/// Each once, in the order of the needs.
fn packages(needs: &[&Need]) -> Vec<&'static str> {
    let mut packages: Vec<&str> = Vec::new();
    for package in needs.iter().flat_map(|need| need.packages) {
        if !packages.contains(package) {
            packages.push(package);
        }
    }
    packages
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

#[cfg(test)]
mod tests {
    use super::{NEEDS, advice};

    #[test]
    fn without_root_the_advice_names_what_is_missing_and_the_two_commands() {
        let text = advice(&[&NEEDS[0], &NEEDS[1]]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "this machine lacks: Chromium at /usr/bin/chromium, Python 3 with venv");
        let commands = [
            "  sudo apt-get update",
            "  sudo apt-get install --yes --no-install-recommends chromium python3 python3-venv",
        ];
        assert_eq!(lines[2..], commands);
    }
}
