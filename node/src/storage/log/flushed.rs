//! How far a log is on disk: what the writer publishes, and the flusher of the state waits for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How far the log of one shard is on disk. Speaks of the log as it is now: lowered when the log is cut, never below
/// what was purged. Clones watch the same log.
#[derive(Clone, Debug)]
pub struct Flushed(Arc<Watermark>);

#[derive(Debug)]
struct Watermark {
    /// The index after the last one on disk.
    end: AtomicU64,
    /// Taken to change `end`, so that no waiter misses it.
    changing: Mutex<()>,
    changed: Condvar,
}

impl Flushed {
    /// A watermark above everything: for a state without a log.
    pub fn all() -> Flushed {
        Flushed::until(u64::MAX)
    }

    /// A log that is on disk below `end`.
    pub(in crate::storage) fn until(end: u64) -> Flushed {
        let (changing, changed) = (Mutex::new(()), Condvar::new());
        Flushed(Arc::new(Watermark { end: AtomicU64::new(end), changing, changed }))
    }

    /// Whether the entry is on disk.
    pub fn covers(&self, index: u64) -> bool {
        index < self.end()
    }

    /// The last index on disk.
    pub fn index(&self) -> Option<u64> {
        self.end().checked_sub(1)
    }

    /// The index after the last one on disk.
    pub(super) fn end(&self) -> u64 {
        self.0.end.load(Ordering::Acquire)
    }

    pub(in crate::storage) fn set_end(&self, end: u64) {
        let _changing = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.end.store(end, Ordering::Release);
        self.0.changed.notify_all();
    }

    /// Waits until the entry is on disk, or the time is over; whether it is.
    pub(in crate::storage) fn wait_for(&self, index: u64, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut changing = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.covers(index) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let woken = self.0.changed.wait_timeout(changing, left);
            changing = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}
