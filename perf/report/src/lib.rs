//! What was measured: its words ([`Report`]), its statistics ([`Spread`], [`Ratio`]), and two ways to show it: a table for the
//! terminal and one HTML page with inline plots. It measures nothing and judges nothing.
//!
//! ```text
//! perf-bench ──▶ Report ──▶ JSON ──▶ perf-report a.json b.json ──▶ page.html
//!                   ├─────▶ table
//!                   └─────▶ page.html
//! ```
#![forbid(unsafe_code)]

mod figure;
mod model;
pub mod page;
mod spread;
pub mod table;

pub use figure::{Figure, compared, figures};
pub use model::{
    Case, CpuReport, DropCount, JoinReport, LatencyReport, LoadReport, LossReport, Machine, MemoryReport, Node, Point,
    ProcessCpu, ProcessJoin, ProcessMemory, Ratio, Report, RunReport,
};
pub use spread::Spread;
