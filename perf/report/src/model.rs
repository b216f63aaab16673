//! The words of a report. Every figure names its unit; a figure that could not be taken is absent, not zero.

use serde::{Deserialize, Serialize};

use crate::figure;
use crate::spread::Spread;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub commit: String,
    pub unix_seconds: u64,
    pub machine: Machine,
    pub server_cores: Option<Vec<usize>>,
    pub load_cores: Option<Vec<usize>>,
    /// Between servers and load: `loopback`, `veth`, or nothing in reports that do not say.
    #[serde(default)]
    pub path: String,
    pub cases: Vec<Case>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    pub processor: String,
    pub cores: usize,
    pub memory_mb: u64,
    pub kernel: String,
}

/// One scenario, at one point of a curve when there is one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Case {
    pub name: String,
    pub about: String,
    pub point: Option<Point>,
    pub subscribers: u32,
    /// Threads of the load that receive.
    pub load_threads: u32,
    /// As it was run, defaults included.
    pub scenario: serde_json::Value,
    /// How our node was set up beyond its defaults.
    pub node: Node,
    /// In the order in which they were made.
    pub runs: Vec<RunReport>,
    /// Theirs by ours, where two servers were measured.
    #[serde(default)]
    pub ratios: Vec<Ratio>,
}

/// What is varied between the cases of one scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    pub parameter: String,
    pub value: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Text of the configuration file.
    pub config: Option<String>,
    pub arguments: Vec<String>,
}

/// Of one figure: theirs by ours in each round, so that drift of the machine cancels out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    pub figure: String,
    pub median: f64,
    pub lowest: f64,
    pub highest: f64,
    pub rounds: usize,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunReport {
    pub target: String,
    pub url: String,
    pub round: u32,
    /// IANA's name.
    pub srtp_profile: Option<String>,
    /// Packets per receive buffer that the kernel filled (UDP_GRO): the server's trains as far as they stayed together.
    pub train_length: f64,
    pub cpu: CpuReport,
    pub latency: LatencyReport,
    /// As `latency`, but to the moment when the load read the packet: waiting for the load's own CPU is in it.
    pub latency_read: LatencyReport,
    pub memory: MemoryReport,
    pub joins: JoinReport,
    pub loss: LossReport,
    pub load: LoadReport,
}

/// Over the steady time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CpuReport {
    pub seconds: f64,
    pub forwarded_packets: u64,
    pub packets_per_second: f64,
    /// All processes together.
    pub ns_per_packet: f64,
    pub user_ns_per_packet: f64,
    pub system_ns_per_packet: f64,
    pub packets_per_cpu_second: f64,
    /// 1.0 is one core.
    pub cores_used: f64,
    pub by_process: Vec<ProcessCpu>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProcessCpu {
    pub name: String,
    pub ns_per_packet: f64,
    pub user_ns_per_packet: f64,
    pub system_ns_per_packet: f64,
}

/// From the publisher's send to the arrival at the subscriber's socket by the kernel's stamp, both ways over loopback included.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LatencyReport {
    pub samples: u64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
    /// The distribution: quantile (0 to 1) and µs, rising.
    #[serde(default)]
    pub quantiles: Vec<(f64, f64)>,
}

/// Proportional set sizes of all processes: shared memory once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MemoryReport {
    pub idle_bytes: u64,
    pub one_subscriber_bytes: u64,
    pub all_subscribers_bytes: u64,
    /// (all − one) / (count − 1).
    pub per_subscriber_bytes: Option<i64>,
    /// At all subscribers.
    pub by_process: Vec<ProcessMemory>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProcessMemory {
    pub name: String,
    pub bytes: u64,
}

/// Joins of the subscribers but the first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JoinReport {
    pub count: u32,
    pub seconds: f64,
    /// Whether media flowed meanwhile: then the CPU below contains its forwarding.
    pub with_media: bool,
    /// All processes.
    pub cpu_us_per_join: Option<f64>,
    pub by_process: Vec<ProcessJoin>,
    /// From the first connect to both connected and announced.
    pub joined_p50_ms: f64,
    pub joined_p99_ms: f64,
    /// To media on every stream, when media flowed.
    pub first_media_p50_ms: Option<f64>,
    pub first_media_p99_ms: Option<f64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProcessJoin {
    pub name: String,
    pub cpu_us_per_join: f64,
}

/// Over the steady time, in the four places.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LossReport {
    /// Of a Millrace node: packets dropped by reason, rings left out.
    pub server_drops: Option<Vec<DropCount>>,
    pub ring_overflows: Option<Vec<DropCount>>,
    /// Datagrams that did not fit into the server's sockets.
    pub server_socket_drops: u64,
    /// Into the load's sockets.
    pub load_socket_drops: u64,
    /// Sequence numbers that receivers miss.
    pub missing: u64,
    pub expected: u64,
    pub repeated: u64,
    pub reordered: u64,
    /// Streams on which nothing came.
    pub silent_streams: u64,
    /// Received packets by sent packets times subscribers: 1.0 but for what is under way at the edges. Absent with simulcast,
    /// of which a subscriber gets one layer.
    pub delivered: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropCount {
    pub reason: String,
    #[serde(default)]
    pub process: String,
    pub count: u64,
}

/// What says whether the load itself can be trusted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LoadReport {
    pub cores_used: f64,
    pub cpu_ns_per_packet: f64,
    /// PSS of the load: (all − idle) / participants.
    pub bytes_per_participant: i64,
    pub sent_packets: u64,
    pub send_failures: u64,
    pub key_frame_requests: u64,
    pub nacked_packets: u64,
    pub retransmissions: u64,
    pub sampled_packets: u64,
    /// Sampled packets that did not authenticate or were not what was sent.
    pub wrong_packets: u64,
    pub unknown_ssrc_packets: u64,
    /// Datagrams that belong to nobody, by the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub junk_per_second: Option<f64>,
    pub failures: Vec<String>,
}

impl LossReport {
    /// In all four places.
    pub fn is_lossless(&self) -> bool {
        self.server_socket_drops + self.load_socket_drops + self.missing + self.silent_streams == 0
            && self.ring_overflows.as_ref().is_none_or(Vec::is_empty)
    }
}

impl Case {
    /// Name, and the point where there is one.
    pub fn title(&self) -> String {
        match &self.point {
            Some(point) => format!("{}, {} {}", self.name, point.parameter, point.value),
            None => self.name.clone(),
        }
    }

    /// Servers in the order of their first runs.
    pub fn targets(&self) -> Vec<&str> {
        let mut targets: Vec<&str> = Vec::new();
        for run in &self.runs {
            if !targets.contains(&run.target.as_str()) {
                targets.push(&run.target);
            }
        }
        targets
    }

    pub fn runs_of<'a>(&'a self, target: &'a str) -> impl Iterator<Item = &'a RunReport> {
        self.runs.iter().filter(move |run| run.target == target)
    }

    pub fn spread(&self, target: &str, of: fn(&RunReport) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.runs_of(target).filter_map(of).collect())
    }

    /// Fills [`Case::ratios`]: the second server by the first.
    pub fn compare(&mut self) {
        let targets = self.targets();
        let &[ours, theirs] = targets.as_slice() else { return };
        let ratios = figure::compared().filter_map(|figure| {
            let ratio_of = |run: &RunReport| {
                let their_run = self.runs_of(theirs).find(|their_run| their_run.round == run.round)?;
                let (ours, theirs) = ((figure.of)(run)?, (figure.of)(their_run)?);
                (ours > 0.0).then(|| theirs / ours)
            };
            let spread = Spread::of(self.runs_of(ours).filter_map(ratio_of).collect())?;
            Some(Ratio {
                figure: figure.key.to_owned(),
                median: spread.median,
                lowest: spread.lowest,
                highest: spread.highest,
                rounds: spread.count,
            })
        });
        self.ratios = ratios.collect();
    }

    pub fn ratio(&self, key: &str) -> Option<&Ratio> {
        self.ratios.iter().find(|ratio| ratio.figure == key)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A run with nothing but what tests look at.
    pub(crate) fn run(target: &str, round: u32, ns_per_packet: f64) -> RunReport {
        let latency = LatencyReport {
            samples: 100,
            p50_us: 500.0,
            p90_us: 900.0,
            p99_us: 2_000.0,
            p999_us: 3_000.0,
            max_us: 4_000.0,
            quantiles: vec![(0.0, 100.0), (0.5, 500.0), (0.9, 900.0), (0.99, 2_000.0), (0.999, 3_000.0)],
        };
        let process = ProcessCpu {
            name: target.to_owned(),
            ns_per_packet,
            user_ns_per_packet: ns_per_packet / 4.0,
            system_ns_per_packet: ns_per_packet * 0.75,
        };
        RunReport {
            target: target.to_owned(),
            url: String::new(),
            round,
            srtp_profile: Some("SRTP_AES128_CM_HMAC_SHA1_80".to_owned()),
            train_length: 2.5,
            cpu: CpuReport {
                seconds: 10.0,
                forwarded_packets: 270_000,
                packets_per_second: 27_000.0,
                ns_per_packet,
                user_ns_per_packet: process.user_ns_per_packet,
                system_ns_per_packet: process.system_ns_per_packet,
                packets_per_cpu_second: 1e9 / ns_per_packet,
                cores_used: 0.1,
                by_process: vec![process],
            },
            latency_read: latency.clone(),
            latency,
            memory: MemoryReport {
                idle_bytes: 10 << 20,
                one_subscriber_bytes: 11 << 20,
                all_subscribers_bytes: 20 << 20,
                per_subscriber_bytes: Some(90_000),
                by_process: Vec::new(),
            },
            joins: JoinReport {
                count: 99,
                seconds: 5.0,
                with_media: false,
                cpu_us_per_join: Some(2_000.0),
                by_process: Vec::new(),
                joined_p50_ms: 3.0,
                joined_p99_ms: 5.0,
                first_media_p50_ms: None,
                first_media_p99_ms: None,
            },
            loss: loss(),
            load: load(),
        }
    }

    fn loss() -> LossReport {
        LossReport {
            server_drops: None,
            ring_overflows: None,
            server_socket_drops: 0,
            load_socket_drops: 0,
            missing: 0,
            expected: 270_000,
            repeated: 0,
            reordered: 0,
            silent_streams: 0,
            delivered: Some(1.0),
        }
    }

    fn load() -> LoadReport {
        LoadReport {
            cores_used: 0.1,
            cpu_ns_per_packet: 3_000.0,
            bytes_per_participant: 50_000,
            sent_packets: 2_700,
            send_failures: 0,
            key_frame_requests: 0,
            nacked_packets: 0,
            retransmissions: 0,
            sampled_packets: 16_000,
            wrong_packets: 0,
            unknown_ssrc_packets: 0,
            junk_per_second: None,
            failures: Vec::new(),
        }
    }

    pub(crate) fn report(runs: Vec<RunReport>, point: Option<Point>) -> Report {
        let mut case = Case {
            name: "video-1-to-100".to_owned(),
            about: "One camera to <100> subscribers".to_owned(),
            point,
            subscribers: 100,
            load_threads: 1,
            scenario: serde_json::Value::Null,
            node: Node::default(),
            runs,
            ratios: Vec::new(),
        };
        case.compare();
        Report {
            commit: "0123456789ab".to_owned(),
            unix_seconds: 1_795_639_262,
            machine: Machine {
                processor: "Test & Sons".to_owned(),
                cores: 2,
                memory_mb: 24_000,
                kernel: "6.18".to_owned(),
            },
            server_cores: Some(vec![0]),
            load_cores: Some(vec![1]),
            path: "loopback".to_owned(),
            cases: vec![case],
        }
    }

    #[test]
    fn a_ratio_compares_the_runs_of_one_round() {
        // The machine is twice as slow in round 2; the ratio is not.
        let runs = vec![run("a", 1, 100.0), run("b", 1, 500.0), run("a", 2, 200.0), run("b", 2, 1_000.0)];
        let report = report(runs, None);
        let ratio = report.cases[0].ratio("cpu_ns_per_packet").unwrap();
        assert_eq!((ratio.lowest, ratio.median, ratio.highest, ratio.rounds), (5.0, 5.0, 5.0, 2));
    }

    #[test]
    fn one_server_has_no_ratio() {
        assert!(report(vec![run("a", 1, 100.0), run("a", 2, 200.0)], None).cases[0].ratios.is_empty());
    }

    #[test]
    fn a_report_comes_back_from_json() {
        let report = report(vec![run("a", 1, 100.0), run("b", 1, 500.0)], None);
        let text = serde_json::to_string(&report).unwrap();
        let back: Report = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), text);
    }
}
