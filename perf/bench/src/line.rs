//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser};
use perf_load::Srtp;

use crate::plan::Curve;

/// Loads a server with synthetic participants and reports what a packet, a subscriber and a join cost.
///
/// Without --url it starts `millrace dev` on free ports. With --rival-url or --rival-bin another LiveKit server gets the same load,
/// in turn with ours. Everything that was started is ended, however this ends; Ctrl-C writes what was measured so far.
#[derive(Debug, Parser)]
#[command(name = "perf-bench", max_term_width = 110)]
pub struct Line {
    /// What to do, one after the other; see perf/scenarios.
    #[arg(required = true)]
    pub scenarios: Vec<PathBuf>,
    #[command(flatten)]
    pub ours: OursLine,
    #[command(flatten)]
    pub rival: RivalLine,
    /// Measurements of each server, in turn.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Measures every value of a parameter: NAME=V1,V2,…. NAME is `subscribers`, `srtp`, or what stands as {NAME} in the file of
    /// --node-config or in a --node-arg.
    #[arg(long, value_name = "NAME=V1,V2")]
    pub curve: Option<Curve>,
    /// Cores of the servers, for example 0 or 0,2-3.
    #[arg(long)]
    pub server_cores: Option<String>,
    /// Cores of the load.
    #[arg(long)]
    pub load_cores: Option<String>,
    /// Steady seconds instead of the scenario's.
    #[arg(long)]
    pub seconds: Option<u64>,
    /// Subscribers instead of the scenario's.
    #[arg(long)]
    pub subscribers: Option<u32>,
    /// SRTP profile instead of the scenario's: aes-cm, gcm-128 or gcm-256.
    #[arg(long)]
    pub srtp: Option<Srtp>,
    /// Writes everything as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Writes a page with plots.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Servers and load in two network namespaces that a veth pair joins, made for the run; the server's end is `veth0`. Needs root.
    #[arg(long, conflicts_with_all = ["url", "rival_url"])]
    pub veth: bool,
    #[arg(long, hide = true)]
    pub in_namespace: bool,
    /// Loads a server on another machine.
    #[arg(long)]
    pub allow_remote: bool,
}

/// Our node: one that runs already, or how to start one.
#[derive(Debug, Args)]
pub struct OursLine {
    /// A server that runs already, as ws://host:port.
    #[arg(long)]
    pub url: Option<String>,
    #[arg(long, default_value = "devkey")]
    pub api_key: String,
    #[arg(long, default_value = "secret")]
    pub api_secret: String,
    /// Processes of the server at --url: holder=PID,engine=PID,…, or one PID.
    #[arg(long, requires = "url")]
    pub pid: Option<String>,
    /// Runtime directory of the node at --url, for its drops by reason.
    #[arg(long, requires = "url")]
    pub runtime_dir: Option<PathBuf>,
    /// The millrace executable.
    #[arg(long, default_value = "target/release/millrace")]
    pub node_bin: PathBuf,
    /// Configuration file of the node that is started here.
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    pub node_config: Option<PathBuf>,
    /// One more argument of the node that is started here, for example --node-arg=--workers=1.
    #[arg(long, value_name = "ARG", conflicts_with = "url", allow_hyphen_values = true)]
    pub node_arg: Vec<String>,
}

/// The server beside it.
#[derive(Debug, Args)]
pub struct RivalLine {
    /// Another server that runs already.
    #[arg(long, conflicts_with = "rival_bin")]
    pub rival_url: Option<String>,
    /// Its process.
    #[arg(long, requires = "rival_url")]
    pub rival_pid: Option<u32>,
    #[arg(long, default_value = "devkey")]
    pub rival_api_key: String,
    #[arg(long, default_value = "secret")]
    pub rival_api_secret: String,
    /// The executable of another LiveKit server, to be started here.
    #[arg(long)]
    pub rival_bin: Option<PathBuf>,
    /// Measures only the rival.
    #[arg(long)]
    pub rival_only: bool,
}
