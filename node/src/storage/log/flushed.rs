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
    /// Taken to change `end`, so that no waiter misses it. How many wait: to wake nobody is a system call with each sync.
    waiting: Mutex<usize>,
    changed: Condvar,
}

impl Flushed {
    /// A watermark above everything: for a state without a log.
    pub fn all() -> Flushed {
        Flushed::until(u64::MAX)
    }

    /// A log that is on disk below `end`.
    pub(in crate::storage) fn until(end: u64) -> Flushed {
        let (waiting, changed) = (Mutex::new(0), Condvar::new());
        Flushed(Arc::new(Watermark { end: AtomicU64::new(end), waiting, changed }))
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
        let waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.end.store(end, Ordering::Release);
        if *waiting > 0 {
            self.0.changed.notify_all();
        }
    }

    /// Waits until the entry is on disk, or the time is over; whether it is.
    pub(in crate::storage) fn wait_for(&self, index: u64, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        *waiting += 1;
        while !self.covers(index) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let woken = self.0.changed.wait_timeout(waiting, left);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        *waiting -= 1;
        self.covers(index)
    }
}
