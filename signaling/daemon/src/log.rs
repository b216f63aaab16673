//! Log lines: whole ones, to the inherited standard error, under the process's name.

use std::fmt;

use anyhow::{Context, Result};
use signaling_config::LoggingConfig;
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{self, FormatEvent, FormatFields};
use tracing_subscriber::fmt::{FmtContext, time::FormatTime};
use tracing_subscriber::registry::LookupSpan;

/// `RUST_LOG` goes before `logging.level`.
pub(crate) fn start(logging: &LoggingConfig) -> Result<()> {
    let filter = EnvFilter::try_from_default_env().or_else(|_| EnvFilter::try_new(logging.level.name()));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter.context("no log filter")?)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .event_format(Line);
    subscriber.try_init().map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
}

/// `signaling: time LEVEL target: fields`; the formatter writes an event with one call, so lines of processes do not mix.
struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: format::Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        write!(writer, "signaling: ")?;
        tracing_subscriber::fmt::time::SystemTime.format_time(&mut writer)?;
        write!(writer, " {} {}: ", metadata.level(), metadata.target())?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
