//! The latch that stops all shards of a node for good: a failed sync, a bad checksum.
//!
//! Invariants:
//! * Never reset. After a failed sync nobody knows what the disk holds; only a restart may read it again.
//! * Nothing is acknowledged once it is set: the log's writer looks before and after every commit.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;

/// Where and why storage failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("storage failed, all shards of this node are stopped until it is restarted: {}: {reason}", file.display())]
pub struct Failed {
    /// The file that failed.
    pub file: PathBuf,
    /// What it said.
    pub reason: String,
}

/// Set once, by whoever sees the trouble first; read by everybody. Clones are the same latch.
#[derive(Clone)]
pub struct Failure(Arc<watch::Sender<Option<Failed>>>);

impl Failure {
    /// A latch that is not set.
    pub fn new() -> Failure {
        Failure(Arc::new(watch::Sender::new(None)))
    }

    /// Sets the latch if nobody has, and returns what it holds from now on.
    pub fn set(&self, file: &Path, reason: impl fmt::Display) -> Failed {
        let failed = Failed { file: file.to_owned(), reason: reason.to_string() };
        let first = self.0.send_if_modified(|now| {
            let first = now.is_none();
            if first {
                *now = Some(failed.clone());
            }
            first
        });
        if first {
            tracing::error!(file = %failed.file.display(), reason = %failed.reason, "storage failed");
        }
        self.get().unwrap_or(failed)
    }

    /// What happened, if anything did.
    pub fn get(&self) -> Option<Failed> {
        self.0.borrow().clone()
    }

    /// An error if the latch is set.
    pub fn check(&self) -> Result<(), Failed> {
        self.get().map_or(Ok(()), Err)
    }

    /// Waits until the latch is set.
    pub async fn wait(&self) -> Failed {
        let mut watch = self.0.subscribe();
        match watch.wait_for(Option::is_some).await.map(|failed| failed.clone()) {
            Ok(Some(failed)) => failed,
            // The sender lives in `self`: it cannot have been dropped.
            _ => std::future::pending().await,
        }
    }
}

impl Default for Failure {
    fn default() -> Failure {
        Failure::new()
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Failure").field(&self.get()).finish()
    }
}

impl From<Failed> for io::Error {
    fn from(failed: Failed) -> io::Error {
        io::Error::other(failed)
    }
}
