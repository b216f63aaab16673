//! Parts of a turn, each alone and as the worker does it: opening what the publisher sent, sealing for every subscriber, taking
//! datagrams from the kernel. Nothing in the worker is switched for this; the rest of its turn is a difference.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};
use engine_io::{KernelPort, MmsgPort, UringPort};
use engine_srtp::{Job, ReceiveContext, Sealer, SendContext};
use serde::Serialize;

use crate::case::{Case, Way};
use crate::measure::kernel_port;
use crate::node::master;

/// As the worker's rounds: trains, and packets.
const TRAINS_MAX: usize = 32;
const PACKETS_MAX: usize = 256;
/// RTP header, 16 B of extensions, the start of a VP8 descriptor.
const HEADER: usize = 32;
const PREFIX: usize = 4;
/// Packets of each stage.
const PACKETS: usize = 200_000;
const RECEIVED: usize = 20_000;

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Alone {
    /// Making the jobs and sealing, per forwarded packet.
    pub seal_ns: f64,
    /// Per packet of the publisher: once for all subscribers.
    pub unprotect_ns: f64,
    /// Per packet of the publisher, from a UDP socket on loopback; not for memory.
    pub receive_ns: Option<f64>,
}

pub fn alone(case: &Case) -> Result<Alone> {
    let receive_ns = match case.way {
        Way::Memory => None,
        Way::IoUring | Way::Connected | Way::Xdp => {
            Some(receive(case, kernel_port::<UringPort>(Ipv4Addr::LOCALHOST.into(), 0)?)?)
        }
        Way::Mmsg => Some(receive(case, kernel_port::<MmsgPort>(Ipv4Addr::LOCALHOST.into(), 0)?)?),
    };
    Ok(Alone { seal_ns: seal(case)?, unprotect_ns: unprotect(case)?, receive_ns })
}

fn header(out: &mut [u8], sequence: u64) {
    out[..HEADER].fill(0);
    out[..2].copy_from_slice(&[0x90, 96]);
    out[2..4].copy_from_slice(&(sequence as u16).to_be_bytes());
    out[12..16].copy_from_slice(&[0xBE, 0xDE, 0, 4]);
}

fn seal(case: &Case) -> Result<f64> {
    let profile = case.srtp.profile();
    let contexts = (0..case.subscribers).map(|index| {
        SendContext::new(&master(index, profile, true)?).map_err(|error| anyhow!("the library refuses keys: {error}"))
    });
    let contexts = contexts.collect::<Result<Vec<_>>>()?;
    let burst = case.burst as usize;
    let payloads = vec![vec![0x5a; case.payload]; burst];
    let packet_bytes = HEADER + case.payload + profile.tag_len();
    // An odd multiple of 64 B, as the send slots of a port.
    let stride = (packet_bytes * burst).div_ceil(64) / 2 * 128 + 64;
    let trains = TRAINS_MAX.min(PACKETS_MAX / burst).max(1);
    let mut slots = vec![0; trains * stride];
    let mut sealer = Sealer::new();
    let (mut ns, mut packets, mut sequence) = (0, 0, 0);
    while packets < PACKETS {
        for contexts in contexts.chunks(trains) {
            for slot in slots.chunks_mut(stride) {
                slot.chunks_exact_mut(packet_bytes).zip(sequence..).for_each(|(out, at)| header(out, at));
            }
            let begin = Instant::now();
            let mut jobs = Vec::with_capacity(contexts.len() * burst);
            for (context, slot) in contexts.iter().zip(slots.chunks_mut(stride)) {
                for ((out, payload), at) in slot.chunks_exact_mut(packet_bytes).zip(&payloads).zip(sequence..) {
                    let job = Job::new(context, out, HEADER, PREFIX, &payload[PREFIX..], 0, at);
                    jobs.push(job.map_err(|error| anyhow!("a job is refused: {error}"))?);
                }
            }
            sealer.seal(&mut jobs);
            ns += begin.elapsed().as_nanos();
            packets += jobs.len();
        }
        sequence += case.burst as u64;
    }
    Ok(ns as f64 / packets as f64)
}

fn unprotect(case: &Case) -> Result<f64> {
    let master = master(0, case.srtp.profile(), false)?;
    let sender = SendContext::new(&master).map_err(|error| anyhow!("{error}"))?;
    let receiver = ReceiveContext::new(&master).map_err(|error| anyhow!("{error}"))?;
    let (mut ns, mut sequence) = (0, 0);
    while (sequence as usize) < RECEIVED {
        let first = sequence;
        let mut packets = vec![[0u8; 1_600]; case.burst as usize];
        let mut bytes = 0;
        for packet in &mut packets {
            header(packet, sequence);
            bytes = sender.protect_rtp(packet, HEADER + case.payload, sequence).map_err(|error| anyhow!("{error}"))?;
            sequence += 1;
        }
        let begin = Instant::now();
        for (packet, at) in packets.iter_mut().zip(first..) {
            receiver.unprotect_rtp(&mut packet[..bytes], at).map_err(|error| anyhow!("{error}"))?;
        }
        ns += begin.elapsed().as_nanos();
    }
    Ok(ns as f64 / sequence as f64)
}

/// **Cost** of one datagram when a burst waits in the socket.
fn receive<P: KernelPort>(case: &Case, (mut port, local): (P, SocketAddr)) -> Result<f64> {
    let burst = case.burst as usize;
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    sender.connect(local)?;
    let bytes = vec![0x5a; case.payload + HEADER];
    let (mut ns, mut received, mut rounds) = (0, 0, 0);
    while received < RECEIVED {
        for _ in 0..burst {
            sender.send(&bytes)?;
        }
        let begin = Instant::now();
        received += port.receive(PACKETS_MAX);
        ns += begin.elapsed().as_nanos();
        rounds += 1;
        ensure!(rounds < 4 * RECEIVED, "datagrams to our own socket do not arrive");
    }
    Ok(ns as f64 / received as f64)
}
