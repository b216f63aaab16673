//! `millrace dev` and `millrace run`: from a configuration to a node, and what is printed when it is ready.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use signaling_config::{Config, Notice, PacketIo, PortRange, Severity};
use signaling_token::TokenBuilder;

use crate::holder::{self, Started};
use crate::node::NodePlan;
use crate::token::unix_seconds;

#[derive(Debug, Args)]
pub struct DevArguments {
    /// Configuration file to start from.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Address to listen on.
    #[arg(long)]
    bind: Vec<IpAddr>,
    /// TCP port of signaling; 0 for any.
    #[arg(long)]
    port: Option<u16>,
    /// UDP port of media; 0 for any.
    #[arg(long)]
    udp_port: Option<u16>,
    #[command(flatten)]
    common: CommonArguments,
}

#[derive(Debug, Args)]
pub struct RunArguments {
    /// Configuration file in LiveKit's YAML.
    #[arg(long)]
    config: PathBuf,
    #[command(flatten)]
    common: CommonArguments,
}

#[derive(Debug, Args)]
struct CommonArguments {
    /// Where the node keeps its lock and socket.
    #[arg(long)]
    runtime_dir: Option<PathBuf>,
    /// Packet workers; by default one per core that the process may use.
    #[arg(long)]
    workers: Option<u32>,
    /// How packets go: auto, io_uring, or mmsg (recvmmsg and sendmmsg).
    #[arg(long, env = "MILLRACE_PACKET_IO", value_parser = packet_io)]
    packet_io: Option<PacketIo>,
    /// Prints one line of JSON when ready, and nothing else.
    #[arg(long)]
    json: bool,
}

fn packet_io(text: &str) -> Result<PacketIo, &'static str> {
    PacketIo::parse(text).ok_or("write auto, io_uring or mmsg")
}

pub fn dev(arguments: &DevArguments) -> Result<ExitCode> {
    let (mut config, notices) = match &arguments.config {
        Some(path) => dev_config(path)?,
        None => (Config::dev(), Vec::new()),
    };
    print_notices(&notices);
    if !arguments.bind.is_empty() {
        config.bind_addresses.clone_from(&arguments.bind);
    }
    config.port = arguments.port.unwrap_or(config.port);
    if let Some(port) = arguments.udp_port {
        config.rtc.udp_port = PortRange::one(port);
    }
    if config.bind_addresses.iter().any(|ip| !ip.is_loopback()) {
        eprintln!("holder: development mode gives tokens to everybody who reaches {:?}", config.bind_addresses);
    }
    start(config, &arguments.common, true)
}

/// A file's values over LiveKit's development mode: keys and addresses stay when the file has none.
fn dev_config(path: &std::path::Path) -> Result<(Config, Vec<Notice>)> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (mut config, mut notices) = Config::parse(&text).with_context(|| path.display().to_string())?;
    notices.extend(config.load_key_file()?);
    let defaults = Config::dev();
    if config.keys.is_empty() {
        config.keys = defaults.keys;
    }
    if config.bind_addresses.is_empty() {
        config.bind_addresses = defaults.bind_addresses;
    }
    config.rtc.enable_loopback_candidate = true;
    Ok((config, notices))
}

pub fn run(arguments: &RunArguments) -> Result<ExitCode> {
    let (config, notices) = Config::load(&arguments.config)?;
    print_notices(&notices);
    start(config, &arguments.common, false)
}

fn print_notices(notices: &[Notice]) {
    for notice in notices {
        let severity = if notice.severity == Severity::Warning { "warning" } else { "note" };
        eprintln!("holder: configuration {severity}: {notice}");
    }
}

fn start(mut config: Config, common: &CommonArguments, dev: bool) -> Result<ExitCode> {
    config.millrace.workers = common.workers.or(config.millrace.workers);
    config.millrace.packet_io = common.packet_io.unwrap_or(config.millrace.packet_io);
    let runtime = common.runtime_dir.clone().or_else(|| config.millrace.runtime_dir.clone());
    let plan = plan(&config, dev)?;
    holder::run(plan, runtime, |started| announce(started, &config, common.json, dev))
}

fn plan(config: &Config, dev: bool) -> Result<NodePlan> {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
    let limits = config.millrace.limits(cores);
    let wildcard = vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    let http = if config.bind_addresses.is_empty() { &wildcard } else { &config.bind_addresses };
    Ok(NodePlan {
        limits,
        http_addresses: http.iter().map(|ip| SocketAddr::new(*ip, config.port)).collect(),
        udp_addresses: udp_addresses(config, dev)?,
        udp_ports: config.rtc.udp_port,
        advertised: [config.rtc.node_ip.v4.map(IpAddr::V4), config.rtc.node_ip.v6.map(IpAddr::V6)],
        config: serde_json::to_vec(config)?,
        journal_bytes: config.millrace.journal_bytes,
        dev,
        pin_cores: !dev && limits.workers <= cores,
        packet_io: config.millrace.packet_io.name(),
        xdp_interface: config.millrace.xdp_interface.clone(),
        connected_sockets: config.millrace.connected_sockets,
        video_hold_us: config.millrace.video_hold_ms * 1_000,
        video_hold_load: config.millrace.video_hold_load,
    })
}

/// The addresses for media: every one of the machine, as `bind_addresses` is about signaling, which often has a proxy before it.
/// Only in development, and where clients are on this machine alone, they are those of signaling.
fn udp_addresses(config: &Config, dev: bool) -> Result<Vec<IpAddr>> {
    let named: Vec<IpAddr> = config.bind_addresses.iter().copied().filter(|ip| !ip.is_unspecified()).collect();
    let local = config.rtc.enable_loopback_candidate && named.iter().all(IpAddr::is_loopback);
    if !named.is_empty() && (dev || local) {
        return Ok(named);
    }
    let mut addresses = engine_io::socket::local_addresses(config.rtc.enable_loopback_candidate)
        .context("cannot list the addresses of this machine")?;
    let all = addresses.len();
    addresses.truncate(engine_table::ADDRESSES_MAX);
    if addresses.len() < all {
        eprintln!("holder: this machine has {all} addresses, media uses only {addresses:?}");
    }
    anyhow::ensure!(
        !addresses.is_empty(),
        "no address for media: this machine has only loopback; set rtc.enable_loopback_candidate to use it"
    );
    Ok(addresses)
}

fn announce(started: &Started<'_>, config: &Config, json: bool, dev: bool) {
    let host = match config.bind_addresses.iter().find(|ip| !ip.is_unspecified()) {
        Some(IpAddr::V6(ip)) => format!("[{ip}]"),
        Some(ip) => ip.to_string(),
        None => "127.0.0.1".to_owned(),
    };
    let (port, udp_ports) = (started.node.http_port, started.node.udp_ports);
    let http_url = format!("http://{host}:{port}");
    let [engine, courier, signaling] = started.process_ids;
    let mut ready = serde_json::json!({
        "event": "ready",
        "url": format!("ws://{host}:{port}"),
        "http_url": http_url,
        "port": port,
        "udp_port": udp_ports.first,
        "udp_port_last": udp_ports.last,
        "runtime_dir": started.runtime.path(),
        "pids": {"holder": std::process::id(), "engine": engine, "courier": courier, "signaling": signaling},
    });
    if dev && let Some((key, secret)) = config.keys.iter().next() {
        ready["api_key"] = key.as_str().into();
        ready["api_secret"] = secret.as_str().into();
        ready["token"] = TokenBuilder::new("developer").join("demo").sign(key, secret, unix_seconds()).into();
        ready["demo_url"] = format!("{http_url}/demo").into();
    }
    if json {
        println!("{ready}");
        return;
    }
    println!("Millrace {} is ready.", env!("CARGO_PKG_VERSION"));
    println!("  signaling   ws://{host}:{port}   media UDP {udp_ports}");
    if let (Some(demo), Some(token)) = (ready["demo_url"].as_str(), ready["token"].as_str()) {
        println!("  demo page   {demo}   (open it twice, or once more from another device)");
        println!(
            "  API key     {}   secret {}",
            ready["api_key"].as_str().unwrap_or(""),
            ready["api_secret"].as_str().unwrap_or("")
        );
        println!("  token       {token}");
    }
    println!("  state       millrace ctl --runtime-dir {}", started.runtime.path().display());
    println!("Ctrl-C ends it.");
}
