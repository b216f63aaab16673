//! The claims that `cargo xtask test` holds against real clients, one module each. Run one at a time: every test
//! measures, and two Chromiums on one machine measure each other.

mod backup_codec;
mod both_ways;
mod courier_kill;
mod demo_page;
mod engine_kill;
mod http_surface;
mod membership;
mod node_life;
mod permissions;
mod resume;
mod room_service;
mod signaling_kill;
mod simulcast;
