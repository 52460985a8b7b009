//! The log of every shard, written by one thread: one commit, one sync for everything that waited.
//!
//! An append is readable at once and acknowledged after the sync. What the writer finds in its queue when it comes
//! back from one sync goes into the next: that is the group commit.
//!
//! * [`ShardLog`] is a shard's log as its readers see it: what was asked for, flushed or not.
//! * `writer` brings the disk to it, in the order of the calls.
//! * `engine` is what the writer asks of the files; `segments` are those there are.
//! * `tail` holds the newest entries in memory; [`Flushed`] tells the state what a checkpoint may cover.
//!
//! Invariants:
//! * Appends, votes, truncations and purges of a shard reach the disk in the order they were called in.
//! * A log has no hole: a non-empty one takes only the index after its last, one purged up to `n` only `n + 1`.
//! * Nothing is acknowledged before its sync, and nothing at all after a failed one.
//! * [`Flushed`] never covers an entry that could be missing after a crash.
//!
//! Not here: what a log id or a body means (`raft`), when to purge (`raft`).

mod engine;
mod flushed;
mod segments;
mod shard;
mod tail;
#[cfg(test)]
mod tests;
mod writer;

pub use flushed::Flushed;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use segments::fuzz;
pub use shard::ShardLog;

use super::failure::Failure;
use super::file::Patience;
use super::options::Options;
use super::volume::Volume;
use bytes::Bytes;
use engine::{LogEngine, LogReader, Saved};
use schedia_apps::ShardId;
use serde::{Deserialize, Serialize};
use shard::ShardInner;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use writer::{Queue, Writer};

/// A log id: its index, and the whole of it as bytes that only `raft` reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Index of the entry.
    pub index: u64,
    /// The log id, encoded.
    pub id: Bytes,
}

/// An entry: its log id, and a body that only `raft` reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Index of the entry.
    pub index: u64,
    /// The log id, encoded. At most 64 KiB.
    pub id: Bytes,
    /// The rest of the entry, encoded. An allocation of its own: it stays in memory.
    pub body: Bytes,
}

/// Where a log begins and ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// The last entry purged.
    pub purged: Option<Mark>,
    /// The last entry; that of `purged` if there are none.
    pub last: Option<Mark>,
}

/// The log of a node. Dropped, it writes what is queued and ends its thread; the file is closed when the last
/// [`ShardLog`] is dropped too.
pub struct Log {
    shards: Mutex<BTreeMap<ShardId, ShardLog>>,
    reader: Arc<dyn LogReader>,
    queue: Arc<Queue>,
    failure: Failure,
    entries_bytes: usize,
    writer: Option<JoinHandle<()>>,
    /// Whether the writer waits for room while the disk is full.
    patience: Option<Patience>,
}

impl Log {
    /// Whether a directory has one.
    pub(super) fn is_there(dir: &Path) -> io::Result<bool> {
        segments::is_there(dir)
    }

    /// Opens the log in a directory, or makes an empty one, and starts its writer. Reads every entry once.
    pub(super) fn open(dir: &Path, options: &Options, volume: &Volume) -> io::Result<Log> {
        let patience = Patience::none(volume.clone());
        let engine = segments::SegmentLog::open(dir, segments::SEGMENT_BYTES, patience.clone())?;
        Log::on(Box::new(engine), patience, options, volume)
    }

    /// `patience`: that of the engine's files. It begins when everything is open.
    fn on(
        engine: Box<dyn LogEngine>,
        patience: Patience,
        options: &Options,
        volume: &Volume,
    ) -> io::Result<Log> {
        let mut log = Log::start(engine, options, volume.failure().clone())?;
        patience.begin();
        log.patience = Some(patience);
        Ok(log)
    }

    fn start(engine: Box<dyn LogEngine>, options: &Options, failure: Failure) -> io::Result<Log> {
        let queue = Arc::new(Queue::new(options.queue_bytes));
        let mut log = Log {
            shards: Mutex::default(),
            reader: engine.reader(),
            queue: queue.clone(),
            failure: failure.clone(),
            entries_bytes: options.entries_bytes,
            writer: None,
            patience: None,
        };
        for (shard, saved) in engine.saved()? {
            let opened = log.open_shard(shard, saved)?;
            log.shards.get_mut().unwrap_or_else(PoisonError::into_inner).insert(shard, opened);
        }
        let (metrics, committed) = (options.metrics.clone(), BTreeMap::new());
        let writer = Writer { engine, queue, failure, metrics, committed };
        log.writer = Some(std::thread::Builder::new().name("log-writer".into()).spawn(|| writer.run())?);
        Ok(log)
    }

    /// The log of a shard, empty if it is new.
    pub fn shard(&self, shard: ShardId) -> io::Result<ShardLog> {
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shards.get(&shard) {
            return Ok(known.clone());
        }
        let opened = self.open_shard(shard, Saved::default())?;
        shards.insert(shard, opened.clone());
        Ok(opened)
    }

    /// Bytes of changes that wait for the writer, or are being written.
    pub(super) fn queue_bytes(&self) -> usize {
        self.queue.bytes()
    }

    fn open_shard(&self, shard: ShardId, saved: Saved) -> io::Result<ShardLog> {
        let (queue, reader, failure) = (self.queue.clone(), self.reader.clone(), self.failure.clone());
        let inner = ShardInner::open(shard, saved, self.entries_bytes, queue, reader, failure)?;
        Ok(ShardLog(Arc::new(inner)))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(patience) = &self.patience {
            patience.end();
        }
        if self.writer.take().is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the log's writer panicked");
        }
    }
}
