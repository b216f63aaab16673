//! How packets go on this machine, and what seals them: found out at start, said in the log, and stored for ctl.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use anyhow::{Result, anyhow};
use engine_io::{Backend, Offload};
use engine_srtp::Kernels;
use engine_table::{SocketAddress, port_facts};
use engine_worker::Regions;

use crate::start::EngineStart;

/// **Errors**: no port can serve, or not the one that was asked for; the text says what to do.
pub fn choose(start: &EngineStart, regions: &Regions) -> Result<Backend> {
    let chosen = engine_io::choose(start.packet_io).map_err(|error| anyhow!("{error}"))?;
    let mut facts = match chosen.backend {
        Backend::IoUring => port_facts::IO_URING,
        Backend::Mmsg => port_facts::MMSG,
    };
    match &chosen.forbidden {
        None => eprintln!("engine: packets go by {}", chosen.backend.name()),
        Some(error) => eprintln!(
            "engine: packets go by {} (recvmmsg and sendmmsg), which costs more: io_uring cannot be used ({}: {}). {}",
            chosen.backend.name(),
            error.step,
            error.source,
            error.remedy()
        ),
    }
    if let Some(socket) = start.sockets.iter().flatten().next() {
        let (_, node) = regions.holder.node().read(0).unwrap_or_else(|| (0, regions.holder.node().own(0)));
        let addresses = node.addresses.iter().take(node.address_count as usize);
        let addresses = addresses.filter_map(SocketAddress::get).map(|address: SocketAddr| address.ip());
        let offload = Offload::detect(socket, addresses);
        eprintln!("engine: {offload}");
        facts |= if offload.sockets { port_facts::SEGMENTS } else { 0 };
        facts |= if offload.devices_segment() { port_facts::DEVICES_SEGMENT } else { 0 };
    }
    let kernels = Kernels::detect();
    eprintln!("engine: SRTP is sealed by {kernels}");
    facts |= seal_facts(kernels);
    for worker in 0..start.limits.workers {
        regions.engine.port(worker).store(facts, Ordering::Relaxed);
    }
    Ok(chosen.backend)
}

fn seal_facts(kernels: Kernels) -> u64 {
    let bits = |known: &[(u64, &str)], name: &str| -> u64 {
        known.iter().filter(|(_, known)| *known == name).map(|(bit, _)| bit).sum()
    };
    bits(&port_facts::CIPHERS, kernels.cipher()) | bits(&port_facts::HASHES, kernels.hash())
}

/// Whether a worker's datagrams go as frames too.
pub fn note_frames(regions: &Regions, worker: u32, interface: &str, has_queue: bool) {
    if has_queue {
        eprintln!(
            "engine: worker {worker} sends frames through queue {worker} of {interface} (AF_XDP), where they can go there"
        );
        regions.engine.port(worker).fetch_or(port_facts::AF_XDP, Ordering::Relaxed);
    } else {
        eprintln!(
            "engine: worker {worker} sends by its sockets: {interface} has no queue {worker}; give it one queue per worker \
             (`ethtool -L {interface} combined N`, or `numtxqueues N` for a veth), or set millrace.workers"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_keep_their_names_in_shared_memory() {
        for kernels in Kernels::supported() {
            let facts = port_facts::IO_URING | seal_facts(kernels);
            let cipher = port_facts::kernel(facts, &port_facts::CIPHERS);
            let hash = port_facts::kernel(facts, &port_facts::HASHES);
            assert_eq!(format!("aes {cipher}, sha1 {hash}"), kernels.to_string());
        }
    }
}
