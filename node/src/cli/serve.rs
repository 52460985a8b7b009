//! `schedia serve`: settings, log, signals; then the node.

use super::CliError;
use crate::config::{Config, Settings, unknown_environment};
use crate::node::{self, Addresses, Listeners};
use crate::{storage, telemetry};
use clap::{Args, FromArgMatches};
use rustix::process::Signal;
use std::ffi::OsString;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What is to be on the disk is there when a node has ended. Only the lookup of a peer's name may still hold a thread, for as long as a
/// resolver waits for its servers: ten seconds and more where a whole cluster ends, and its names with it.
const LOOKUPS_MAX: Duration = Duration::from_secs(1);

pub(super) fn run(settings: Settings, known: &[String]) -> Result<(), CliError> {
    let config = checked(settings, known, |name| std::env::var_os(name))?;
    if holds_pebble(&config.data_dir) {
        return Err(CliError::Failed(format!(
            "{} holds the store of another program, most likely codeQ's, which is not read here: let its queues run empty, \
             and start on an empty directory",
            config.data_dir.display()
        )));
    }
    start(config, async |_| Ok(()))
}

/// The settings that these flags give, as `schedia serve` takes them.
pub(super) fn settings(flags: Vec<OsString>) -> Result<Settings, CliError> {
    let line = Settings::augment_args(clap::Command::new("schedia serve").no_binary_name(true));
    let matches = line.try_get_matches_from(flags);
    let settings = matches.and_then(|matches| Settings::from_arg_matches(&matches));
    settings.map_err(|error| CliError::Usage(error.to_string()))
}

/// The settings as flags, environment and file give them, and after them codeQ's variables, checked.
pub(super) fn checked(
    settings: Settings,
    known: &[String],
    codeq: impl Fn(&str) -> Option<OsString>,
) -> Result<Config, CliError> {
    let names: Vec<String> = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
    let is_known = |name: &str| known.iter().any(|known| known == name);
    if let Some(name) = unknown_environment(names.iter().map(String::as_str), is_known) {
        return Err(CliError::Usage(format!("unknown setting in the environment: {name}")));
    }
    settings.check(codeq).map_err(|error| CliError::Usage(error.to_string()))
}

/// Whether a Pebble store is here, or codeQ's first one of several, and no node of ours: codeQ's compose file names the same volume
/// whatever its image is, and an empty queue beside old data would look like a loss.
fn holds_pebble(dir: &Path) -> bool {
    let store = |dir: &Path| {
        let mut entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.any(|entry| entry.file_name().as_encoded_bytes().starts_with(b"MANIFEST-"))
    };
    let ours = !matches!(storage::who_lives_in(dir), Ok(None));
    !ours && (store(dir) || store(&dir.join("shard0")))
}

/// Runs a node until it is told to end. `beside` runs beside it, and is first: the ports are the node's own by then. Its error ends
/// the node.
pub(super) fn start(
    config: Config,
    beside: impl AsyncFnOnce(Addresses) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.worker_threads)
        .enable_all()
        .build();
    let runtime = runtime.map_err(|source| CliError::Io { what: "starting".to_owned(), source })?;
    let traces = telemetry::start(&config, runtime.handle());
    let ended = runtime.block_on(async {
        let failed = |error: &dyn std::fmt::Display| CliError::Failed(error.to_string());
        let stop = signals().map_err(|source| CliError::Io { what: "signals".to_owned(), source })?;
        let listeners = Listeners::bind(&config).map_err(|error| failed(&error))?;
        let beside = beside(listeners.addresses());
        let mut node = pin!(node::run(config, listeners, stop.clone()));
        tokio::select! {
            biased;
            Err(error) = beside => {
                stop.cancel();
                node.await.map_err(|error| failed(&error))?;
                Err(error)
            }
            ended = &mut node => ended.map_err(|error| failed(&error)),
        }
    });
    // They need the runtime.
    drop(traces);
    runtime.shutdown_timeout(LOOKUPS_MAX);
    ended
}

/// Cancelled by the first SIGTERM or SIGINT. The second one ends the process at once: as kill -9, which loses nothing.
fn signals() -> std::io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    // A limit on the size of files (`ulimit -f`) is met as a full disk is, and does not kill the process: once there is a
    // handler, the write is refused instead.
    let _handled = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?;
    let first = stop.clone();
    tokio::spawn(async move {
        for count in 1.. {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            if count == 2 {
                tracing::warn!("told twice to end: ending at once");
                std::process::exit(1);
            }
            tracing::info!("told to end: handing leadership over");
            first.cancel();
        }
    });
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_codeqs_store_is_told_from_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let (one, four) = (dir.path().join("one"), dir.path().join("four"));
        std::fs::create_dir_all(four.join("shard0")).unwrap();
        std::fs::create_dir_all(&one).unwrap();
        assert!(!holds_pebble(&one) && !holds_pebble(&four) && !holds_pebble(&dir.path().join("none")));
        std::fs::write(one.join("MANIFEST-000001"), "").unwrap();
        std::fs::write(four.join("shard0/MANIFEST-000001"), "").unwrap();
        assert!(holds_pebble(&one) && holds_pebble(&four));
    }
}
