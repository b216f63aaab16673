//! One measurement: frames in, CPU time of the worker's thread, packets out.

use anyhow::{Context, Result, ensure};
use engine_io::{KernelPort, MemoryPort, MmsgPort, Port, PortConfig, UringPort, socket};
use engine_table::WorkerCounter;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::node::Node;
use crate::{Case, Way, device};

/// 30 frames a second.
const FRAME_NS: u64 = 33_333_333;
/// Frames before the figures count: key frame, first reports, warm caches.
const WARM_UP_FRAMES: u32 = 30;
/// The clients' checks keep consent alive (RFC 7675: 15 s at the most).
const CHECK_FRAMES: u32 = 150;

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Figures {
    /// CPU time of the worker's thread.
    pub ns_per_packet: f64,
    pub packets: u64,
    /// Packets per send.
    pub train_length: f64,
    /// Padding as a share of the bytes sent.
    pub padding_percent: f64,
}

pub const HEADING: &str =
    "way       srtp     subscribers  burst  payload   ns per packet [range]        train  padding";

pub fn line(case: &Case, rounds: &[Figures]) -> String {
    let median = rounds[rounds.len() / 2];
    format!(
        "{:<9} {:<8} {:>11} {:>6} {:>8}   {:>7.0} [{:.0}..{:.0}]{:>18.1} {:>7.2}%",
        format!("{:?}", case.way).to_lowercase(),
        format!("{:?}", case.srtp).to_lowercase(),
        case.subscribers,
        case.burst,
        case.payload,
        median.ns_per_packet,
        rounds[0].ns_per_packet,
        rounds[rounds.len() - 1].ns_per_packet,
        median.train_length,
        median.padding_percent,
    )
}

pub fn run(case: &Case, packets: u64) -> Result<Figures> {
    match case.way {
        Way::Memory => {
            let mut port = MemoryPort::new(&[], 128);
            port.discard_sends();
            measure(case, packets, port)
        }
        Way::IoUring => measure(case, packets, kernel_port::<UringPort>()?),
        Way::Mmsg => measure(case, packets, kernel_port::<MmsgPort>()?),
    }
}

fn kernel_port<P: KernelPort>() -> Result<P> {
    let bound = socket::bind(&socket::BindRequest::new(&[device::LOCAL.into()], 0, 1));
    let bound = bound.map_err(|error| anyhow::anyhow!("{error}"))?;
    let sockets = bound.workers.into_iter().next().context("one worker was asked for")?;
    let mut port = P::make(PortConfig::new(sockets, None)).map_err(|error| anyhow::anyhow!("{error}"))?;
    port.start(Vec::new()).map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(port)
}

fn measure<P: Port>(case: &Case, packets: u64, way: P) -> Result<Figures> {
    let mut node = Node::new(case, way)?;
    for frame in 0..WARM_UP_FRAMES {
        step(&mut node, case, frame == 0)?;
    }
    let counters = |node: &Node<P>| {
        [WorkerCounter::Sent, WorkerCounter::Sends, WorkerCounter::SentBytes, WorkerCounter::PaddingBytes]
            .map(|counter| node.counter(counter))
    };
    let before = counters(&node);
    let (mut ns, mut frame) = (0, 0);
    while node.counter(WorkerCounter::Sent) - before[0] < packets {
        frame += 1;
        if frame % CHECK_FRAMES == 0 {
            node.check_all(case.subscribers)?;
        }
        ns += step(&mut node, case, false)?;
        ensure!(frame < 10_000_000, "nothing is forwarded; drops: {:?}", node.drops());
    }
    let after = counters(&node);
    let [sent, sends, bytes, padding] = [0, 1, 2, 3].map(|index| (after[index] - before[index]) as f64);
    let drops = node.drops();
    let expected = ["egress_waits_for_key_frame"];
    let wrong: Vec<_> = drops.iter().filter(|(reason, _)| !expected.contains(reason)).collect();
    ensure!(wrong.is_empty(), "packets were dropped: {wrong:?}");
    Ok(Figures {
        ns_per_packet: ns as f64 / sent,
        packets: sent as u64,
        train_length: sent / sends,
        padding_percent: padding / (bytes + padding) * 100.0,
    })
}

/// One frame. **Output**: CPU time of its turn.
fn step<P: Port>(node: &mut Node<P>, case: &Case, key: bool) -> Result<u64> {
    node.now = node.now.add_ns(FRAME_NS);
    node.inject_frame(case.burst, case.payload, key)?;
    let begin = cpu_ns();
    node.worker.turn(node.now);
    node.worker.rest(node.now);
    Ok(cpu_ns() - begin)
}

fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
