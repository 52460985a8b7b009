//! The writer thread: takes everything that waits, commits it as one, tells everybody.
//!
//! Invariants:
//! * Changes of a shard are committed in the order they were queued in.
//! * `Committed` alone causes no commit: it waits for the next, which is behind the entries it speaks of.
//! * After a failure nothing is committed and nobody is told `Ok`.

use super::engine::{Change, LogEngine};
use super::shard::ShardInner;
use crate::metrics::StorageMetrics;
use crate::storage::failure::Failure;
use schedia_apps::ShardId;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Called once, by the writer, when a change is on disk or never will be.
pub(super) type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// A change on its way to the disk.
pub(super) struct Job {
    pub(super) shard: Arc<ShardInner>,
    /// Place in its shard's order: tells a completion which cuts came after it.
    pub(super) sequence: u64,
    pub(super) change: Change,
    /// Room it takes in the queue.
    pub(super) permits: usize,
    pub(super) done: Option<Done>,
    pub(super) queued: Instant,
}

/// What waits for the writer. Bounded in bytes by `room`.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    room: Semaphore,
    room_max: u32,
}

#[derive(Default)]
struct Waiting {
    jobs: Vec<Job>,
    closed: bool,
}

impl Queue {
    pub(super) fn new(bytes_max: usize) -> Queue {
        let room_max = u32::try_from(bytes_max).unwrap_or(u32::MAX);
        let room = Semaphore::new(room_max as usize);
        Queue { waiting: Mutex::default(), changed: Condvar::new(), room, room_max }
    }

    /// Waits until `bytes` fit; more than the whole queue waits for an empty one. Forget the permit once the job is
    /// queued: the writer gives its room back.
    pub(super) async fn room(&self, bytes: usize) -> io::Result<SemaphorePermit<'_>> {
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.room_max);
        self.room.acquire_many(permits).await.map_err(|_| closed())
    }

    /// Bytes that wait, or are being written.
    pub(super) fn bytes(&self) -> usize {
        (self.room_max as usize).saturating_sub(self.room.available_permits())
    }

    /// Queues a job. If the writer has gone, the job comes back.
    pub(super) fn push(&self, job: Job) -> Result<(), Job> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(job);
        }
        // A committed mark waits for the next commit anyway: nobody is woken for it.
        let urgent = !matches!(job.change, Change::Committed(_));
        waiting.jobs.push(job);
        drop(waiting);
        if urgent {
            self.changed.notify_one();
        }
        Ok(())
    }

    /// No job is taken any more; the writer ends when it has done those that are queued.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.room.close();
        self.changed.notify_all();
    }

    /// Takes all jobs. Waits for one unless there is something else to do. `None`: closed and empty.
    fn take(&self, wait: bool) -> Option<Vec<Job>> {
        let mut waiting = self.lock();
        while waiting.jobs.is_empty() && !waiting.closed && wait {
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let jobs = std::mem::take(&mut waiting.jobs);
        (!jobs.is_empty() || !waiting.closed).then_some(jobs)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writer thread's own.
pub(super) struct Writer {
    pub(super) engine: Box<dyn LogEngine>,
    pub(super) queue: Arc<Queue>,
    pub(super) failure: Failure,
    pub(super) metrics: Option<StorageMetrics>,
    /// Committed marks that wait for a commit to ride along with.
    pub(super) committed: BTreeMap<ShardId, Change>,
}

impl Writer {
    /// Works until the queue is closed and empty.
    pub(super) fn run(mut self) {
        while let Some(jobs) = self.queue.take(!self.engine.has_garbage() || self.failure.get().is_some()) {
            self.group(jobs);
        }
        if !self.committed.is_empty() && self.failure.get().is_none() {
            self.commit(&[])
                .unwrap_or_else(|error| tracing::warn!(%error, "log closed without its committed marks"));
        }
    }

    /// One group: everything that waited while the one before was synced.
    fn group(&mut self, mut jobs: Vec<Job>) {
        let permits: usize = jobs.iter().map(|job| job.permits).sum();
        for job in jobs.extract_if(.., |job| matches!(job.change, Change::Committed(_))) {
            self.committed.insert(job.shard.id, job.change);
        }
        let result = if jobs.is_empty() && !self.engine.has_garbage() { Ok(()) } else { self.commit(&jobs) };
        for job in jobs {
            let Job { shard, sequence, change, permits: _, done, queued: _ } = job;
            if result.is_ok() {
                shard.completed(sequence, &change);
            }
            if let Some(done) = done {
                done(result.as_ref().copied().map_err(clone_error));
            }
        }
        self.queue.room.add_permits(permits);
    }

    fn commit(&mut self, jobs: &[Job]) -> io::Result<()> {
        self.failure.check()?;
        let begun = Instant::now();
        let changes = jobs.iter().map(|job| (job.shard.id, &job.change));
        let riding = self.committed.iter().map(|(shard, change)| (*shard, change));
        if let Err(error) = self.engine.commit(&mut changes.chain(riding)) {
            return Err(self.failure.set(self.engine.file(), error).into());
        }
        self.committed.clear();
        if let Some(metrics) = &self.metrics {
            count(metrics, jobs, begun);
        }
        // Another file may have failed meanwhile: then this node acknowledges nothing.
        self.failure.check().map_err(io::Error::from)
    }
}

fn count(metrics: &StorageMetrics, jobs: &[Job], begun: Instant) {
    let records = jobs.iter().flat_map(|job| match &job.change {
        Change::Append(records) => records.as_slice(),
        _ => &[],
    });
    let (entries, bytes) =
        records.fold((0, 0), |(n, bytes), record| (n + 1, bytes + record.body.len() as u64));
    let ended = Instant::now();
    metrics.sync_seconds.observe((ended - begun).as_secs_f64());
    for job in jobs.iter().filter(|job| matches!(job.change, Change::Append(_))) {
        metrics.append_seconds.observe((ended - job.queued).as_secs_f64());
    }
    if entries > 0 {
        metrics.sync_entries.observe(f64::from(entries));
        metrics.appended_bytes.inc_by(bytes);
    }
}

/// The error of a log whose writer has gone.
pub(super) fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the log is closed")
}

fn clone_error(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

impl Job {
    /// A job that takes no room, queued now.
    pub(super) fn new(shard: Arc<ShardInner>, sequence: u64, change: Change, done: Option<Done>) -> Job {
        Job { shard, sequence, change, permits: 0, done, queued: Instant::now() }
    }
}
