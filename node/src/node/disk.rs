//! Opens the disk of a node: at its start, and after it was reset.

use super::NodeError;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::storage::{self, Storage};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long the files of the life before a reset may stay open; a task of it sleeps for at most five seconds.
const REOPEN_TIMEOUT: Duration = Duration::from_secs(30);
const REOPEN_PAUSE: Duration = Duration::from_millis(20);

/// Opens the data directory. A process that has it open is an error.
pub(super) async fn open(config: &Config, metrics: &Metrics) -> Result<Arc<Storage>, NodeError> {
    let bytes = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let options = storage::Options {
        cache_bytes: bytes(config.cache_bytes),
        overlay_bytes: bytes(config.overlay_bytes),
        unsafe_no_fsync: config.unsafe_no_fsync,
        metrics: Some(metrics.storage.clone()),
        ..storage::Options::default()
    };
    let dir = config.data_dir.clone();
    let opened = tokio::task::spawn_blocking(move || Storage::open(&dir, options)).await;
    Ok(Arc::new(opened.map_err(|e| NodeError::Internal(e.to_string()))??))
}

/// Opens the disk of the next life. Tasks of the one before let go of its files a moment after they were told to.
pub(super) async fn open_again(config: &Config, metrics: &Metrics) -> Result<Arc<Storage>, NodeError> {
    let until = Instant::now() + REOPEN_TIMEOUT;
    loop {
        match open(config, metrics).await {
            Err(NodeError::Storage(storage::OpenError::Locked(_))) if Instant::now() < until => {
                tokio::time::sleep(REOPEN_PAUSE).await;
            }
            opened => return opened,
        }
    }
}
