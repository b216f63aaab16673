//! Where the clients, their drivers and the node's executable are.

use std::path::{Path, PathBuf};

/// The folder with `venv/` and `node_modules/`, made by `cargo xtask interop`.
pub(crate) fn clients() -> PathBuf {
    let folder = std::env::var_os("MILLRACE_INTEROP_DIR").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| built().join("../interop"));
    assert!(
        folder.join("venv/bin/python").exists() && folder.join("node_modules").exists(),
        "the real clients are not set up in {}; run these tests by `cargo xtask interop`",
        folder.display()
    );
    folder
}

/// The node's executable, of the same build as the tests.
pub(crate) fn node() -> PathBuf {
    let path = std::env::var_os("MILLRACE_BINARY").map(PathBuf::from).unwrap_or_else(|| built().join("millrace"));
    assert!(path.exists(), "no node at {}; run these tests by `cargo xtask interop`", path.display());
    path
}

/// The folder of this crate's scripts.
pub(crate) fn scripts() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The demo page's files, for a server that does not serve them.
pub(crate) fn demo() -> PathBuf {
    scripts().join("../../signaling/server/demo")
}

/// The profile's folder: this executable lies in its `deps/`.
fn built() -> PathBuf {
    let own = std::env::current_exe().expect("the path of the test executable");
    own.parent().and_then(Path::parent).expect("a test executable lies in deps/ of a profile").to_path_buf()
}
