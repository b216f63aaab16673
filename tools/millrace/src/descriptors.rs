//! Open files: most shells and services allow 1,024, a node of a thousand clients needs more. The children inherit the limit.

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::node::NodePlan;

/// Of any process: regions, eventfds, listeners, epoll instances, standard streams, ctl.
const REST: u64 = 100;
/// Of a worker in the engine: ring, doorbell and its copy, copies of the bells of courier and signaling.
const EACH_WORKER: u64 = 5;

/// Raises the soft limit to the hard one. **Output**: what the operator should know, if a full node needs still more.
pub fn raise_limit(plan: &NodePlan) -> Option<String> {
    match raise() {
        Ok(allowed) => shortage(needed(plan), allowed),
        Err(errno) => Some(format!("cannot raise the limit of open files ({errno}): set it by `ulimit -n`")),
    }
}

/// `None` is no limit.
fn raise() -> Result<Option<u64>, Errno> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let allowed = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    Ok(allowed)
}

/// Of that process which needs the most: the engine has every media socket, and each worker a copy of every other's doorbell;
/// signaling has a connection for each participant.
fn needed(plan: &NodePlan) -> u64 {
    let workers = u64::from(plan.limits.workers);
    let sockets = workers * (plan.udp_addresses.len() * plan.udp_ports.iter().count()) as u64;
    let is_v4 = |wanted: bool| u64::from(plan.udp_addresses.iter().any(|address| address.is_ipv4() == wanted));
    let pool = u64::from(plan.connected_sockets) * (is_v4(true) + is_v4(false));
    let engine = sockets + pool + workers * (workers + EACH_WORKER);
    engine.max(u64::from(plan.limits.datas)) + REST
}

fn shortage(needed: u64, allowed: Option<u64>) -> Option<String> {
    let allowed = allowed.filter(|allowed| *allowed < needed)?;
    let enough = needed.next_power_of_two();
    Some(format!(
        "warning: {needed} open files are needed when all rows of millrace.limits are in use, and {allowed} allowed: raise the \
         hard limit (systemd: LimitNOFILE={enough}, shell: `ulimit -n {enough}` as root), or lower millrace.limits.datas"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_base::Limits;
    use signaling_config::PortRange;

    fn plan(limits: Limits, udp_addresses: &[&str]) -> NodePlan {
        NodePlan {
            limits,
            http_addresses: Vec::new(),
            udp_addresses: udp_addresses.iter().map(|address| address.parse().unwrap()).collect(),
            udp_ports: PortRange { first: 7882, last: 7883 },
            advertised: [None, None],
            config: Vec::new(),
            journal_bytes: 0,
            dev: false,
            pin_cores: false,
            packet_io: "auto",
            xdp_interface: None,
            connected_sockets: 256,
            video_hold_us: 0,
            video_hold_load: 0,
        }
    }

    #[test]
    fn the_fullest_process_decides_how_many_files_are_needed() {
        // Signaling: 4,096 participants.
        assert_eq!(needed(&plan(Limits::DEFAULT, &["127.0.0.1"])), 4_096 + REST);
        // The engine: 16 workers with three addresses on two ports, sockets of both families, 16 × (16 + 5) others.
        let limits = Limits { workers: 16, datas: 100, ..Limits::DEFAULT };
        let addresses = ["127.0.0.1", "192.0.2.1", "::1"];
        assert_eq!(needed(&plan(limits, &addresses)), 96 + 512 + 336 + REST);
    }

    #[test]
    fn a_hard_limit_that_is_too_low_is_said_with_the_remedy() {
        assert_eq!([shortage(4_196, Some(4_196)), shortage(4_196, None)], [None, None]);
        let text = shortage(4_196, Some(4_096)).unwrap();
        for part in ["4196", "4096", "LimitNOFILE=8192", "ulimit -n 8192", "millrace.limits.datas"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let before = getrlimit(Resource::Nofile);
        let mut lower = getrlimit(Resource::Nofile);
        lower.current = Some(512);
        setrlimit(Resource::Nofile, lower).unwrap();
        assert_eq!(raise(), Ok(before.maximum));
        assert_eq!(getrlimit(Resource::Nofile).current, before.maximum);
    }
}
