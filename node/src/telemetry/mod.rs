//! Log lines: on standard error, for people (`text`) or programs (`json`).

use crate::config::LogFormat;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Openraft tells each lost heartbeat as a warning, ten a second while a member is down. `--log-level
/// info,openraft=info` brings them back.
const QUIET: &str = "openraft=error";

/// Sends the log of this process to standard error from now on. `level` has been checked with the settings.
pub fn start(format: LogFormat, level: &str) {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(format!("{QUIET},{level}")))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // A line that cannot be written, on a full disk for one, is lost: the default tells of it where that panics.
        .log_internal_errors(false);
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
}
