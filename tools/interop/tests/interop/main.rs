//! The claims that `cargo xtask test` holds against real clients, one module each. Run one at a time: every test
//! measures, and two Chromiums on one machine measure each other.

mod both_ways;
