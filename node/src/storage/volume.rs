//! The volume under a data directory: who waits for room on it, and whether files on it are synced.
//!
//! Invariants:
//! * Nobody waits once storage has failed or the volume is closed.
//! * While anybody waits, [`Volume::full`] says who and why.
//!
//! Not here: the watermark that keeps a disk from filling up (`space`), the writes that wait (`file`).

use super::failure::Failure;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often a write that found no room is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// A file that found no room, and what it was told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the disk is full: {}: {reason}", file.display())]
pub struct Full {
    /// The file.
    pub file: PathBuf,
    /// What the system said.
    pub reason: String,
}

/// What the files of one data directory share. Clones are the same.
#[derive(Clone)]
pub(super) struct Volume(Arc<Inner>);

struct Inner {
    failure: Failure,
    unsafe_no_fsync: bool,
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    /// What each of them was told.
    files: BTreeMap<PathBuf, String>,
    closed: bool,
}

impl Volume {
    /// `unsafe_no_fsync`: nothing on it is synced. For benchmarks only: a power loss then loses what was acknowledged.
    pub(super) fn new(failure: Failure, unsafe_no_fsync: bool) -> Volume {
        let (waiting, changed) = Default::default();
        Volume(Arc::new(Inner { failure, unsafe_no_fsync, waiting, changed }))
    }

    /// The latch of the files on it.
    pub(super) fn failure(&self) -> &Failure {
        &self.0.failure
    }

    pub(super) fn is_synced(&self) -> bool {
        !self.0.unsafe_no_fsync
    }

    /// Who waits for room, if anybody does.
    pub(super) fn full(&self) -> Option<Full> {
        let waiting = self.lock();
        let (file, reason) = waiting.files.first_key_value()?;
        Some(Full { file: file.clone(), reason: reason.clone() })
    }

    /// From now on nobody waits for room: the node is ending.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.0.changed.notify_all();
    }

    /// Wakes who waits, so that they see whether they still want to.
    pub(super) fn wake(&self) {
        // With the lock, so that nobody is between looking and waiting.
        let _waiting = self.lock();
        self.0.changed.notify_all();
    }

    /// Waits a moment for room; whether to try again.
    pub(super) fn wait(&self, file: &Path, error: &io::Error, is_wanted: impl Fn() -> bool) -> bool {
        let mut waiting = self.lock();
        let goes_on = |waiting: &Waiting| is_wanted() && !waiting.closed && self.0.failure.get().is_none();
        if !goes_on(&waiting) {
            return false;
        }
        if waiting.files.insert(file.to_owned(), error.to_string()).is_none() {
            tracing::error!(file = %file.display(), %error, "the disk is full: writes wait for room");
        }
        waiting = self.0.changed.wait_timeout(waiting, RETRY).unwrap_or_else(PoisonError::into_inner).0;
        goes_on(&waiting)
    }

    /// A file that waited does so no more: it has found room, or has given up.
    pub(super) fn waited(&self, file: &Path, found: bool) {
        self.lock().files.remove(file);
        if found {
            tracing::info!(file = %file.display(), "there is room on the disk again");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
