//! The rest of the codec and layout matrix; `cargo xtask interop --all` runs it, `cargo xtask test` does not.

use tools_interop::{Layout, media_flows_both_ways};

#[test]
fn vp9_flows_both_ways_in_the_dual_layout() {
    media_flows_both_ways("vp9", Layout::Dual);
}

#[test]
fn av1_flows_both_ways_in_the_dual_layout() {
    media_flows_both_ways("av1", Layout::Dual);
}
