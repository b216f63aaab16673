//! `--veth` gives the server a network of its own and leaves nothing behind.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

#[test]
fn a_server_gets_its_end_of_the_pair_and_nothing_stays() {
    assert!(rustix::process::geteuid().is_root(), "network namespaces need root: run this test as root");
    let folder = std::env::temp_dir().join(format!("perf-bench-veth-test-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (node, seen) = (folder.join("node"), folder.join("seen"));
    let script =
        format!("#!/bin/sh\nip -o -4 addr > {0}\nip route get 10.77.0.2 >> {0}\necho $@ >> {0}\n", seen.display());
    std::fs::write(&node, script).unwrap();
    std::fs::set_permissions(&node, std::fs::Permissions::from_mode(0o755)).unwrap();
    let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/video-1-to-10.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_perf-bench"));
    command.arg(scenario).args(["--veth", "--load-cores", "0", "--node-bin"]).arg(&node);
    let output = command.output().unwrap();
    let (errors, seen) = (String::from_utf8_lossy(&output.stderr), std::fs::read_to_string(&seen).unwrap_or_default());
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(!output.status.success() && errors.contains("did not become ready"), "{errors}");
    assert!(seen.contains("veth0") && seen.contains("10.77.0.1/24"), "{seen}{errors}");
    assert!(seen.contains("10.77.0.2 dev veth0") && seen.contains("--bind 10.77.0.1"), "{seen}");
    let ours = Command::new("ip").args(["-o", "-4", "addr"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&ours.stdout).contains("10.77.0."));
}
