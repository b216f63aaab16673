//! Real clients against a real node: Chromium with livekit-client, and LiveKit's Python and Node.js SDKs.
//!
//! A test owns a [`Scene`]: a node on free ports with its own runtime directory, and the driver processes that it asks
//! for. Drivers are small scripts (`browser/`, `python/`, `node/`) that speak JSON lines; everything that is judged is
//! judged here. Waiting is for events with a deadline; what only shows in counters is asked again whenever an event
//! arrives or a tenth of a second has passed.
//!
//! Not here: protocol tests without a client, which live beside the code they test.

#![forbid(unsafe_code)]

mod conversation;
mod driver;
mod environment;
mod flow;
mod http;
mod layers;
mod node;
mod participant;
mod process;
mod proxy;
mod scene;
mod stats;

pub use conversation::{converse, media_flows_both_ways, show_each_other};
pub use driver::{Driver, Event, Mark};
pub use flow::{Flow, Take, flows};
pub use http::{Answer, get, post, request};
pub use layers::layers_are_switched;
pub use node::Node;
pub use participant::{Joined, Layout, Options, Participant, Published, Video};
pub use process::{is_alive, kill_now, marked_processes, port_is_free, wall_ms};
pub use proxy::Proxy;
pub use scene::Scene;
pub use stats::{Layer, PublishedTrack, ReceivedTrack, Shown, Stats, Transport};

use std::time::{Duration, Instant};

/// How long a thing may take before a test gives up on it, where the claim itself names no time.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// How often counters are asked again while nothing is reported.
pub const POLL: Duration = Duration::from_millis(100);

/// Asks `probe` until it gives a value.
///
/// # Panics
/// When `patience` has passed, with the last reason that `probe` gave.
pub fn until<T>(what: &str, patience: Duration, mut probe: impl FnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    loop {
        match probe() {
            Ok(value) => return value,
            Err(reason) if started.elapsed() >= patience => {
                panic!("{what}: not within {patience:?}; last: {reason}")
            }
            Err(_) => std::thread::park_timeout(POLL),
        }
    }
}

/// Asks `probe` until it gives something, or `patience` has passed.
pub fn within<T>(patience: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        let found = probe();
        if found.is_some() || started.elapsed() >= patience {
            return found;
        }
        std::thread::park_timeout(POLL);
    }
}
