//! What a process tells of itself as it goes: log lines on standard error, for people (`text`) or programs (`json`), and traces, if
//! they are asked for.

pub(crate) mod traces;

use crate::config::{Config, LogFormat};
use std::io::IsTerminal;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

/// Openraft tells each lost heartbeat as a warning, ten a second while a member is down. `--log-level
/// info,openraft=info` brings them back.
const QUIET: &str = "openraft=error";

/// Sends the log of this process to standard error from now on, and its traces to whom the settings name. What is returned is dropped at
/// the end of the process, and before the runtime, which the traces need.
pub fn start(config: &Config, runtime: &tokio::runtime::Handle) -> Option<traces::Exporting> {
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // A line that cannot be written, on a full disk for one, is lost: the default tells of it where that panics.
        .log_internal_errors(false);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match config.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // `log_level` has been checked with the settings.
    let lines = lines.with_filter(EnvFilter::new(format!("{QUIET},{}", config.log_level)));
    let Some(to) = &config.traces else {
        Registry::default().with(lines).init();
        return None;
    };
    let (exporting, spans) = traces::start(to, &config.name, runtime);
    Registry::default().with(lines).with(spans).init();
    Some(exporting)
}
