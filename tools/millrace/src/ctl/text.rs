//! The state as tables for people.

use std::collections::BTreeMap;
use std::fmt::Write;

use engine_table::SignalingFigure;

use super::View;
use super::status::{Status, Transport};

pub fn write(status: &Status, view: View) -> String {
    let mut out = String::new();
    if view == View::Status {
        out.push_str(&head(status));
    }
    let all = view == View::Status;
    let sections: [(View, &str, fn(&Status) -> Vec<Vec<String>>); 5] = [
        (View::Transports, "transports", transports),
        (View::Ingresses, "ingresses", ingresses),
        (View::Egresses, "egresses", egresses),
        (View::Drops, "drops", drops),
        (View::Counters, "counters", counters),
    ];
    for (section, title, rows) in sections {
        if all || section == view {
            table(&mut out, title, &rows(status));
        }
    }
    out
}

fn head(status: &Status) -> String {
    let node = &status.node;
    let mut out = format!(
        "node {} version {}, up {} s, HTTP port {}, UDP {}, {} workers, packets by {}, {}, SRTP by {} and {}\n",
        node.node_id,
        node.version,
        node.uptime_ms / 1000,
        node.http_port,
        node.udp.join(" "),
        node.workers,
        node.packet_io.join(" "),
        match (node.udp_segmentation, node.device_segmentation) {
            (true, true) => "trains cut by the device",
            (true, false) => "trains cut by the kernel",
            (false, _) => "no trains",
        },
        node.srtp_aes,
        node.srtp_sha1
    );
    for child in &status.children {
        let _ = writeln!(
            out,
            "  {:<10} pid {:<8} up {:>6} s  restarts {}",
            child.name,
            child.pid,
            child.uptime_ms / 1000,
            child.restarts
        );
    }
    let signaling = &status.signaling;
    let figure = |figure: SignalingFigure| signaling.figures.get(figure.name()).copied().unwrap_or(0);
    let _ = writeln!(
        out,
        "rooms {}, participants {}, sockets {}, joins {} ({} refused), resumes {}, journal {} B, epoch {}",
        figure(SignalingFigure::Rooms),
        figure(SignalingFigure::Participants),
        figure(SignalingFigure::Sockets),
        figure(SignalingFigure::Joins),
        figure(SignalingFigure::RefusedJoins),
        figure(SignalingFigure::Resumes),
        figure(SignalingFigure::JournalBytes),
        signaling.epoch
    );
    out
}

fn table(out: &mut String, title: &str, rows: &[Vec<String>]) {
    let _ = writeln!(out, "\n{title}");
    if rows.len() < 2 {
        let _ = writeln!(out, "  none");
        return;
    }
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |row: &Vec<String>, column: usize| row.get(column).map_or(0, |text| text.chars().count());
    let width = |column| rows.iter().map(|row| cell(row, column)).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(text, width)| format!("{text:<width$}")).collect();
        let _ = writeln!(out, "  {}", cells.join("  ").trim_end());
    }
}

fn strings<const N: usize>(cells: [&dyn std::fmt::Display; N]) -> Vec<String> {
    cells.iter().map(ToString::to_string).collect()
}

fn transports(status: &Status) -> Vec<Vec<String>> {
    let head =
        ["#", "participant", "state", "worker", "remote", "srtp", "dtls", "channels", "received", "sent", "moves"];
    let row = |transport: &Transport| {
        let worker = transport.worker.map_or_else(|| "-".to_owned(), |worker| worker.to_string());
        let dtls = format!("{} {}", transport.dtls, transport.dtls_version);
        strings([
            &transport.index,
            &transport.participant,
            &transport.state,
            &worker,
            &transport.remote.as_deref().unwrap_or("-"),
            &transport.srtp_profile,
            &dtls,
            &transport.channels.join(","),
            &transport.counters["received_packets"],
            &transport.counters["sent_packets"],
            &transport.moves,
        ])
    };
    with_head(&head, status.transports.iter().map(row))
}

fn ingresses(status: &Status) -> Vec<Vec<String>> {
    let head = [
        "#",
        "track",
        "kind",
        "transport",
        "mid",
        "layer",
        "ssrc",
        "codec",
        "size",
        "active",
        "packets",
        "lost",
        "nacks",
        "plis",
    ];
    let rows = status.ingresses.iter().flat_map(|ingress| {
        ingress.layers.iter().enumerate().map(move |(i, layer)| {
            let size = format!("{}x{}", layer.width, layer.height);
            strings([
                &ingress.index,
                &ingress.track,
                &ingress.kind,
                &ingress.transport,
                &ingress.mid,
                &i,
                &layer.ssrc,
                &layer.codec,
                &size,
                &layer.active,
                &layer.counters["packets"],
                &layer.counters["lost"],
                &layer.counters["nacks_sent"],
                &layer.counters["plis_sent"],
            ])
        })
    });
    with_head(&head, rows)
}

fn egresses(status: &Status) -> Vec<Vec<String>> {
    let head = [
        "#",
        "track",
        "kind",
        "transport",
        "ingress",
        "ssrc",
        "state",
        "codec",
        "layer",
        "of",
        "packets",
        "resent",
        "nacks",
        "plis",
        "rtt ms",
    ];
    let rows = status.egresses.iter().map(|egress| {
        let layer = egress.layer.map_or_else(|| "-".to_owned(), |layer| layer.to_string());
        let rtt = format!("{:.1}", f64::from(egress.rtt_us) / 1000.0);
        strings([
            &egress.index,
            &egress.track,
            &egress.kind,
            &egress.transport,
            &egress.ingress,
            &egress.ssrc,
            &egress.state,
            &egress.codec,
            &layer,
            &egress.layer_max,
            &egress.counters["packets"],
            &egress.counters["retransmitted"],
            &egress.counters["nacks_received"],
            &egress.counters["plis_received"],
            &rtt,
        ])
    });
    with_head(&head, rows)
}

fn drops(status: &Status) -> Vec<Vec<String>> {
    let rows = status.drops.iter().map(|drop| strings([&drop.reason, &drop.process, &drop.count, &drop.remedy]));
    with_head(&["reason", "process", "count", "what to do"], rows)
}

fn counters(status: &Status) -> Vec<Vec<String>> {
    let of = |process: String, counters: &BTreeMap<&'static str, u64>| {
        counters.iter().map(|(name, value)| strings([&process, name, value])).collect::<Vec<_>>()
    };
    let workers = status.counters.workers.iter().enumerate();
    let mut rows: Vec<_> = workers.flat_map(|(i, counters)| of(format!("worker {i}"), counters)).collect();
    rows.extend(of("courier".to_owned(), &status.counters.courier));
    rows.extend(of("signaling".to_owned(), &status.counters.signaling));
    rows.extend(status.counters.waiting.iter().map(|(ring, bytes)| strings([&"ring", ring, bytes])));
    with_head(&["process", "counter", "value"], rows.into_iter())
}

fn with_head(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Vec<Vec<String>> {
    std::iter::once(head.iter().map(|text| (*text).to_owned()).collect()).chain(rows).collect()
}
