//! One build of everything that is run: test executables and the node, found by cargo's own messages.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{cargo, step};

/// A test executable.
pub struct Suite {
    pub package: String,
    pub name: String,
    /// Unit tests of a library or program, as opposed to a file in `tests/`.
    pub is_unit: bool,
    /// The package's folder, in which tests run.
    pub folder: PathBuf,
    pub executable: PathBuf,
}

pub struct Build {
    pub suites: Vec<Suite>,
    /// The `millrace` executable.
    pub node: PathBuf,
}

impl Build {
    /// Every test and program of the workspace.
    pub fn everything(root: &Path) -> Result<Build> {
        Build::of(root, &["--bins", "--lib", "--tests"])
    }

    /// The shared tables with loom's atomics: a build of their own, since features change what a crate is.
    pub fn interleavings(root: &Path) -> Result<Suite> {
        let mut products = build(root, &["-p", "engine-table", "--features", "loom", "--lib", "--tests"])?;
        let mut suite = products.suites.pop().context("cargo built no tests of engine-table")?;
        suite.name = "interleavings (loom)".to_owned();
        suite.is_unit = false;
        Ok(suite)
    }

    /// The tests of every crate that has property tests.
    pub fn properties(root: &Path) -> Result<Vec<Suite>> {
        let metadata = metadata(root)?;
        let packages = metadata["packages"].as_array().context("cargo metadata without packages")?;
        let has_properties = |package: &&Value| {
            let mut dependencies = package["dependencies"].as_array().into_iter().flatten();
            dependencies.any(|dependency| dependency["name"] == "proptest")
        };
        let names = packages.iter().filter(has_properties).filter_map(|package| package["name"].as_str());
        let mut selection: Vec<&str> = names.flat_map(|name| ["-p", name]).collect();
        selection.extend(["--lib", "--bins", "--tests"]);
        Ok(build(root, &selection)?.suites)
    }

    /// Only what the tests with real clients run. The same package selection, so that nothing is built twice.
    pub fn interop(root: &Path) -> Result<Build> {
        Build::of(root, &["--bins", "--test", "interop", "--test", "matrix"])
    }

    fn of(root: &Path, targets: &[&str]) -> Result<Build> {
        let selection: Vec<&str> = ["--workspace"].iter().chain(targets).copied().collect();
        let products = build(root, &selection)?;
        Ok(Build { suites: products.suites, node: products.node.context("cargo built no `millrace`")? })
    }

    pub fn suite(&self, package: &str, name: &str) -> Result<&Suite> {
        let found = self.suites.iter().find(|suite| suite.package == package && suite.name == name);
        found.with_context(|| format!("no tests named {name} in {package}"))
    }
}

struct Products {
    suites: Vec<Suite>,
    node: Option<PathBuf>,
}

fn build(root: &Path, selection: &[&str]) -> Result<Products> {
    let began = step::begin("build (profile checked)");
    let mut command = cargo(root);
    command.args(["build", "--locked", "--profile", "checked"]).args(selection);
    command.arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
    let mut child = command.spawn().context("starting cargo build")?;
    let output = BufReader::new(child.stdout.take().context("the output of cargo build")?);
    let mut products = Products { suites: Vec::new(), node: None };
    for line in output.lines() {
        let line = line.context("reading cargo's messages")?;
        let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
        let Some(executable) = message["executable"].as_str() else { continue };
        if message["profile"]["test"] == true {
            products.suites.push(suite(&message, executable)?);
        } else if message["target"]["name"] == "millrace" {
            products.node = Some(PathBuf::from(executable));
        }
    }
    let status = child.wait().context("waiting for cargo build")?;
    ensure!(status.success(), "the build failed");
    step::end("build", began);
    products.suites.sort_by(|a, b| (&a.package, !a.is_unit, &a.name).cmp(&(&b.package, !b.is_unit, &b.name)));
    Ok(products)
}

fn suite(message: &Value, executable: &str) -> Result<Suite> {
    let manifest = message["manifest_path"].as_str().context("a message without manifest_path")?;
    let folder = Path::new(manifest).parent().context("a manifest lies in a folder")?.to_path_buf();
    let name = message["target"]["name"].as_str().context("a target without a name")?.to_owned();
    let kind = &message["target"]["kind"][0];
    Ok(Suite { package: package_name(message)?, name, is_unit: kind != "test", folder, executable: executable.into() })
}

/// `package_id` is `path+file:///…/folder#0.1.0` or `…#name@0.1.0`.
fn package_name(message: &Value) -> Result<String> {
    let id = message["package_id"].as_str().context("a message without package_id")?;
    let Some((path, fragment)) = id.split_once('#') else { bail!("a package id without version: {id}") };
    let name = match fragment.split_once('@') {
        Some((name, _)) => name,
        None => path.rsplit('/').next().unwrap_or(path),
    };
    Ok(name.to_owned())
}

/// The folder that cargo builds into.
pub fn target_folder(root: &Path) -> Result<PathBuf> {
    let metadata = metadata(root)?;
    Ok(metadata["target_directory"].as_str().context("cargo metadata without target_directory")?.into())
}

/// `cargo metadata` of this workspace, without the dependencies' own packages.
pub fn metadata(root: &Path) -> Result<Value> {
    let mut command = cargo(root);
    let output = command.args(["metadata", "--format-version", "1", "--no-deps"]).output().context("cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("reading cargo metadata")
}
