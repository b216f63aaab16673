//! What the worker takes per packet besides time stays within `perf/budget.toml`.

use std::path::Path;
use std::process::Command;

use perf_micro::budget::{Allowed, Budget, Counted, kernels};
use perf_micro::census::{self, Census, Order};
use perf_micro::measure;

const PACKETS: u64 = 20_000;

fn census(allowed: &Allowed) -> Option<Census> {
    let order = Order { case: allowed.case(), steps: true };
    let counted = census::count(&order, |order| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_perf-micro"));
        command.args(["--counted", order]);
        command
    });
    match counted {
        Ok(census) => Some(census),
        Err(error) if format!("{error:#}").contains("forbidden") => {
            eprintln!("system calls and instructions are not counted: {error:#}");
            None
        }
        Err(error) => panic!("{error:#}"),
    }
}

#[test]
fn turns_stay_within_their_budget() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../budget.toml");
    let budget = Budget::parse(&std::fs::read_to_string(path).unwrap()).unwrap();
    let kernels = kernels();
    let mut findings = String::new();
    for allowed in &budget.cases {
        let census = census(allowed);
        let figures = measure::run(&allowed.case(), PACKETS).unwrap();
        println!("{}: {:.0} ns a packet, {census:?}", allowed.name, figures.ns_per_packet);
        if !allowed.instructions.contains_key(&kernels) {
            println!("{}: perf/budget.toml has no instructions for {kernels}", allowed.name);
        }
        let counted = Counted { allocations: figures.allocations_per_1000, census: census.as_ref() };
        findings += &budget.judge(allowed, &kernels, &counted);
    }
    assert!(
        findings.is_empty(),
        "\n{findings}If this is meant, write the new figures there and say why in the commit."
    );
}
