//! The real clients: a Python environment and Node.js packages at pinned versions, in `target/interop`.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::step;

/// What is pinned, relative to tools/interop.
const LOCKS: [&str; 3] = ["package.json", "package-lock.json", "requirements.txt"];

/// Installs what the pinned lists say, unless exactly that is there already. Gives the folder.
pub fn prepare(root: &Path, target: &Path) -> Result<PathBuf> {
    let source = root.join("tools/interop");
    let folder = target.join("interop");
    let wanted = fingerprint(&source)?;
    let stamp = folder.join("stamp");
    if std::fs::read_to_string(&stamp).is_ok_and(|present| present == wanted) {
        return Ok(folder);
    }
    println!("   real clients for {}", folder.display());
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    // Without a stamp the folder counts as half made.
    remove_if_present(&stamp)?;
    for name in ["venv", "node_modules"] {
        let old = folder.join(name);
        if old.exists() {
            std::fs::remove_dir_all(&old).with_context(|| format!("removing {}", old.display()))?;
        }
    }
    node_packages(&source, &folder)?;
    python_packages(&source, &folder)?;
    std::fs::write(&stamp, wanted).context("writing the stamp")?;
    Ok(folder)
}

fn node_packages(source: &Path, folder: &Path) -> Result<()> {
    for name in ["package.json", "package-lock.json"] {
        std::fs::copy(source.join(name), folder.join(name)).with_context(|| format!("copying {name}"))?;
    }
    let mut npm = Command::new("npm");
    npm.current_dir(folder).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
    step::must("npm ci (livekit-client, livekit-server-sdk, playwright-core)", &mut npm)
}

fn python_packages(source: &Path, folder: &Path) -> Result<()> {
    let venv = folder.join("venv");
    step::must("python3 -m venv", Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let mut pip = Command::new(venv.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", "-r"]);
    step::must("pip install (livekit, livekit-api)", pip.arg(source.join("requirements.txt")))
}

/// Changes when a pinned version or an interpreter does.
fn fingerprint(source: &Path) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    for name in LOCKS {
        let path = source.join(name);
        std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?.hash(&mut hasher);
    }
    for program in ["python3", "node"] {
        let output = Command::new(program).arg("--version").output();
        output.with_context(|| format!("asking {program} for its version"))?.stdout.hash(&mut hasher);
    }
    Ok(format!("{:016x}\n", hasher.finish()))
}

fn remove_if_present(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}
