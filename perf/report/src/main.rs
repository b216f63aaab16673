//! `perf-report A.json [B.json …] > page.html`: earlier measurements on one page.
#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use perf_report::{Report, page};

fn main() -> ExitCode {
    match write() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("perf-report: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn write() -> Result<()> {
    let reports = std::env::args_os().skip(1).map(|path| read(path.as_ref())).collect::<Result<Vec<_>>>()?;
    if reports.is_empty() {
        bail!("usage: perf-report A.json [B.json ...] > page.html, with what perf-bench --json wrote");
    }
    Ok(std::io::stdout().write_all(page::write(&reports).as_bytes())?)
}

fn read(path: &std::path::Path) -> Result<Report> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no report of perf-bench --json", path.display()))
}
