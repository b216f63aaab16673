//! What a load found, participant by participant and in sum.

use std::fmt::Write;

use engine_base::Kind;
use perf_load::{Account, StreamAccount, Trial, profile_name};
use serde_json::{Value, json};

const IDENTITY_WIDTH_MIN: usize = 14;
const ERROR_CHARACTERS_MAX: usize = 60;

/// All streams of some participants together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sum {
    streams: usize,
    packets: u64,
    bytes: u64,
    lost: u64,
    expected: u64,
}

impl Sum {
    fn of<'a>(streams: impl IntoIterator<Item = &'a StreamAccount>) -> Self {
        streams.into_iter().fold(Self::default(), |sum, stream| Self {
            streams: sum.streams + 1,
            packets: sum.packets + stream.packets,
            bytes: sum.bytes + stream.bytes,
            lost: sum.lost + stream.lost,
            expected: sum.expected + stream.expected,
        })
    }

    fn lost_percent(self) -> f64 {
        self.lost as f64 * 100.0 / self.expected.max(1) as f64
    }
}

/// Tables for the terminal.
pub fn tables(room: &str, trial: &Trial) -> String {
    let mut text = format!("Room {room}, {:.1} s", trial.seconds);
    text.push_str(if trial.is_interrupted { ", interrupted\n" } else { "\n" });
    let width = trial.accounts.iter().map(|account| account.identity.len()).max().unwrap_or(0).max(IDENTITY_WIDTH_MIN);
    let (publishers, subscribers) = split(trial);
    if !publishers.is_empty() {
        let _ = writeln!(text, "\n{:width$} {:>7} {:>10} {:>12}  error", "publisher", "streams", "packets", "bitrate");
        for account in &publishers {
            let sum = Sum::of(&account.sent);
            let bitrate = bitrate(sum.bytes, trial.seconds);
            let _ = write!(text, "{:width$} {:>7} {:>10} {bitrate:>12}", account.identity, sum.streams, sum.packets);
            end(&mut text, account);
        }
    }
    if !subscribers.is_empty() {
        let head = "subscriber";
        let _ = writeln!(
            text,
            "\n{head:width$} {:>7} {:>10} {:>12} {:>16}  error",
            "streams", "packets", "bitrate", "lost"
        );
        for account in &subscribers {
            received(&mut text, &account.identity, width, Sum::of(&account.received), trial.seconds);
            end(&mut text, account);
        }
        let all = Sum::of(subscribers.iter().flat_map(|account| &account.received));
        received(&mut text, "all", width, all, trial.seconds);
        text.push('\n');
    }
    sums(&mut text, trial);
    text
}

fn received(text: &mut String, name: &str, width: usize, sum: Sum, seconds: f64) {
    let bitrate = bitrate(sum.bytes, seconds);
    let lost = format!("{} ({:.2} %)", sum.lost, sum.lost_percent());
    let _ = write!(text, "{name:width$} {:>7} {:>10} {bitrate:>12} {lost:>16}", sum.streams, sum.packets);
}

fn end(text: &mut String, account: &Account) {
    let error = account.failure.as_deref().or((!account.has_joined).then_some("did not join completely"));
    if let Some(error) = error {
        let _ = write!(text, "  {}", error.chars().take(ERROR_CHARACTERS_MAX).collect::<String>());
    }
    text.push('\n');
}

fn sums(text: &mut String, trial: &Trial) {
    let joined = trial.accounts.iter().filter(|account| account.has_joined && account.failure.is_none()).count();
    let _ = writeln!(text, "\n{joined} of {} participants were there to the end", trial.accounts.len());
    let tally = &trial.tally;
    if let Some(profile) = tally.profile {
        let _ = writeln!(text, "SRTP {}", profile_name(profile));
    }
    if !tally.latency.is_empty() {
        let ms = |quantile| tally.latency.value_at_quantile(quantile) as f64 / 1e6;
        let _ = writeln!(
            text,
            "latency p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, max {:.2} ms ({} packets sampled)",
            ms(0.5),
            ms(0.9),
            ms(0.99),
            ms(0.999),
            ms(1.0),
            tally.latency.len()
        );
    }
    for (count, what) in [
        (tally.sequences.repeated, "packets came twice"),
        (tally.sequences.reordered, "packets came late"),
        (tally.wrong, "sampled packets were not what was sent, or came from other publishers"),
        (tally.send_failures, "packets could not be sent by this machine"),
    ] {
        if count > 0 {
            let _ = writeln!(text, "{count} {what}");
        }
    }
}

fn split(trial: &Trial) -> (Vec<&Account>, Vec<&Account>) {
    trial.accounts.iter().partition(|account| !account.sent.is_empty())
}

fn bitrate(bytes: u64, seconds: f64) -> String {
    let bits = bytes as f64 * 8.0 / seconds.max(1e-3);
    if bits >= 1e6 { format!("{:.2} Mbit/s", bits / 1e6) } else { format!("{:.1} kbit/s", bits / 1e3) }
}

/// One document with everything.
pub fn json(url: &str, room: &str, trial: &Trial) -> Value {
    let stream = |stream: &StreamAccount| {
        json!({
            "kind": if stream.kind == Kind::Video { "video" } else { "audio" },
            "packets": stream.packets,
            "bytes": stream.bytes,
            "bits_per_second": stream.bytes as f64 * 8.0 / trial.seconds.max(1e-3),
            "lost": stream.lost,
            "expected": stream.expected,
        })
    };
    let account = |account: &Account| {
        json!({
            "identity": account.identity,
            "joined": account.has_joined,
            "failure": account.failure,
            "sent": account.sent.iter().map(stream).collect::<Vec<_>>(),
            "received": account.received.iter().map(stream).collect::<Vec<_>>(),
        })
    };
    let tally = &trial.tally;
    let us = |quantile| (!tally.latency.is_empty()).then(|| tally.latency.value_at_quantile(quantile) as f64 / 1e3);
    json!({
        "url": url,
        "room": room,
        "seconds": trial.seconds,
        "interrupted": trial.is_interrupted,
        "srtp_profile": tally.profile.map(profile_name),
        "participants": trial.accounts.iter().map(account).collect::<Vec<_>>(),
        "latency_us": {
            "samples": tally.latency.len(),
            "p50": us(0.5),
            "p90": us(0.9),
            "p99": us(0.99),
            "p999": us(0.999),
            "max": us(1.0),
        },
        "received_packets": tally.received_packets,
        "lost": tally.sequences.lost(),
        "repeated": tally.sequences.repeated,
        "reordered": tally.sequences.reordered,
        "failed": trial.accounts.iter().filter(|account| account.failure.is_some()).count(),
    })
}

#[cfg(test)]
mod tests {
    use perf_load::Tally;

    use super::*;

    fn trial() -> Trial {
        let stream = |lost| StreamAccount { packets: 990, bytes: 1_000_000, lost, expected: 1_000, kind: Kind::Video };
        let account = |identity: &str, sends: bool, failure: Option<&str>| Account {
            identity: identity.to_owned(),
            has_joined: failure.is_none(),
            sent: if sends { vec![stream(0)] } else { Vec::new() },
            received: if sends { Vec::new() } else { vec![stream(10)] },
            failure: failure.map(str::to_owned),
        };
        Trial {
            seconds: 2.0,
            is_interrupted: true,
            accounts: vec![
                account("publisher-0", true, None),
                account("subscriber-0", false, None),
                account("subscriber-1", false, Some("the server said leave")),
            ],
            tally: Tally::default(),
        }
    }

    #[test]
    fn everyone_is_named_with_bitrate_loss_and_error() {
        let text = tables("r", &trial());
        assert!(text.contains("4.00 Mbit/s") && text.contains("10 (1.00 %)") && text.contains("interrupted"), "{text}");
        assert!(text.contains("the server said leave") && text.contains("2 of 3 participants"), "{text}");
        assert!(text.contains("20 (1.00 %)"), "{text}");
    }

    #[test]
    fn json_has_the_same() {
        let value = json("ws://127.0.0.1:1", "r", &trial());
        assert_eq!((value["failed"].as_u64(), value["participants"].as_array().map(Vec::len)), (Some(1), Some(3)));
        assert_eq!(value["participants"][1]["received"][0]["lost"], 10);
        assert_eq!(value["latency_us"]["p50"], Value::Null);
    }
}
