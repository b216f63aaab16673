//! Which crate may name which: dependencies point one way, and the packet engine names no web stack.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{build, step};

/// Our crates from the bottom up. A crate may name crates of a lower row in its own half only.
const ENGINE: [&[&str]; 8] = [
    &["engine-base"],
    &["engine-wire"],
    &["engine-srtp", "engine-rate"],
    &["engine-table"],
    &["engine-forward"],
    &["engine-io"],
    &["engine-worker", "engine-courier"],
    &["engine-daemon"],
];
const SIGNALING: [&[&str]; 6] = [
    &["signaling-config", "signaling-protocol", "signaling-token", "signaling-sdp"],
    &["signaling-negotiation"],
    &["signaling-program"],
    &["signaling-room"],
    &["signaling-server"],
    &["signaling-daemon"],
];

/// What signaling may see of the engine: the shared tables, and the words that their rows use.
const SEEN_BY_SIGNALING: [&str; 2] = ["engine-table", "engine-base"];

/// Not in the engine; data packets are protobuf, so the courier may use prost.
const NOT_IN_ENGINE: [&str; 8] =
    ["tokio", "axum", "hyper", "tower-http", "serde_json", "prost", "livekit-protocol", "jsonwebtoken"];

/// The only crates with an asynchronous runtime.
const ASYNCHRONOUS: [&str; 3] = ["signaling-server", "signaling-daemon", "signaling-cluster"];

pub fn check(root: &Path) -> Result<bool> {
    let began = step::begin("dependency direction");
    let metadata = build::metadata(root)?;
    let packages = metadata["packages"].as_array().context("cargo metadata without packages")?;
    let mut problems = Vec::new();
    for package in packages {
        let name = package["name"].as_str().context("a package without a name")?;
        for dependency in normal_dependencies(package) {
            if let Some(reason) = refuse(name, dependency) {
                problems.push(format!("{name} names {dependency}: {reason}"));
            }
        }
        if (name.starts_with("engine-") && rank(&ENGINE, name).is_none())
            || (name.starts_with("signaling-") && rank(&SIGNALING, name).is_none())
        {
            problems.push(format!("{name} has no row in tools/xtask/src/architecture.rs"));
        }
    }
    problems.iter().for_each(|problem| println!("   {problem}"));
    step::end("dependency direction", began);
    Ok(problems.is_empty())
}

/// Dependencies of the built crate itself; tests may name what they like.
fn normal_dependencies(package: &Value) -> impl Iterator<Item = &str> {
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    dependencies.filter(|each| each["kind"] != "dev").filter_map(|each| each["name"].as_str())
}

fn rank(rows: &[&[&str]], name: &str) -> Option<usize> {
    rows.iter().position(|row| row.contains(&name))
}

/// Why `name` may not depend on `dependency`, if it may not.
fn refuse(name: &str, dependency: &str) -> Option<&'static str> {
    let in_engine = name.starts_with("engine-");
    let in_signaling = name.starts_with("signaling-");
    if dependency.starts_with("tools-") || dependency == "millrace" || dependency == "xtask" {
        return Some("nothing depends on a tool");
    }
    if in_engine && dependency.starts_with("signaling-") {
        return Some("the engine does not know signaling");
    }
    if in_engine && NOT_IN_ENGINE.contains(&dependency) && !(name == "engine-courier" && dependency == "prost") {
        return Some("not in the packet engine");
    }
    if in_engine && dependency.starts_with("engine-") && rank(&ENGINE, dependency) >= rank(&ENGINE, name) {
        return Some("dependencies point downwards");
    }
    if in_signaling && dependency.starts_with("engine-") && !SEEN_BY_SIGNALING.contains(&dependency) {
        return Some("signaling sees the engine only through its tables");
    }
    if in_signaling && dependency.starts_with("signaling-") && rank(&SIGNALING, dependency) >= rank(&SIGNALING, name) {
        return Some("dependencies point downwards");
    }
    if in_signaling && dependency == "tokio" && !ASYNCHRONOUS.contains(&name) {
        return Some("only the server has a runtime");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::refuse;

    #[test]
    fn an_arrow_upwards_is_refused() {
        assert!(refuse("engine-wire", "engine-table").is_some());
        assert!(refuse("engine-srtp", "engine-rate").is_some());
        assert!(refuse("signaling-room", "signaling-server").is_some());
        assert!(refuse("engine-table", "engine-wire").is_none());
    }

    #[test]
    fn the_engine_names_no_web_stack() {
        assert!(refuse("engine-worker", "tokio").is_some());
        assert!(refuse("engine-forward", "prost").is_some());
        assert!(refuse("engine-courier", "prost").is_none());
    }

    #[test]
    fn signaling_sees_only_the_tables() {
        assert!(refuse("signaling-program", "engine-forward").is_some());
        assert!(refuse("signaling-program", "engine-table").is_none());
        assert!(refuse("signaling-room", "tokio").is_some());
    }
}
