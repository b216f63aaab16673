//! Compiles the .proto files that ship inside the `livekit-protocol` crate into a descriptor set, for JSON by reflection.

use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

use prost::Message;

/// The files whose messages travel as Twirp JSON; what they import comes along.
const FILES: [&str; 7] = [
    "livekit_room.proto",
    "livekit_agent_dispatch.proto",
    "livekit_egress.proto",
    "livekit_ingress.proto",
    "livekit_sip.proto",
    "livekit_connector.proto",
    "livekit_phone_number.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let include = protocol_crate()?.join("protocol/protobufs");
    let mut compiler = protox::Compiler::new([include])?;
    compiler.include_imports(true);
    for file in FILES {
        compiler.open_file(file)?;
    }
    let bytes = compiler.file_descriptor_set().encode_to_vec();
    std::fs::write(PathBuf::from(std::env::var("OUT_DIR")?).join("livekit.descriptors"), bytes)?;
    Ok(())
}

/// Where Cargo unpacked the crate. A build script learns nothing of its normal dependencies' places except from Cargo.
fn protocol_crate() -> Result<PathBuf, Box<dyn Error>> {
    // Without network if that will do: but a build has not downloaded what other members and platforms need.
    let metadata = metadata(&["--offline"]).or_else(|_| metadata(&[]))?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata names no packages")?;
    let package = packages.iter().find(|package| package["name"] == "livekit-protocol");
    let path =
        package.and_then(|package| package["manifest_path"].as_str()).ok_or("livekit-protocol is not resolved")?;
    Ok(PathBuf::from(path).parent().ok_or("a manifest lies in a folder")?.to_owned())
}

fn metadata(options: &[&str]) -> Result<serde_json::Value, Box<dyn Error>> {
    let manifest = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("Cargo.toml");
    let mut cargo = Command::new(std::env::var("CARGO")?);
    cargo.args(["metadata", "--format-version", "1", "--locked", "--filter-platform"]).arg(std::env::var("TARGET")?);
    cargo.args(options).arg("--manifest-path").arg(manifest);
    let output = cargo.output()?;
    if !output.status.success() {
        return Err(format!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
