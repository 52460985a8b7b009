//! The log of every shard, written by one thread: one commit, one sync for everything that waited.
//!
//! An append is readable at once and acknowledged after the sync. What the writer finds in its queue when it comes
//! back from one sync goes into the next: that is the group commit.
//!
//! Invariants:
//! * Appends, votes, truncations and purges of a shard reach the disk in the order they were called in.
//! * A log has no hole: a non-empty one takes only the index after its last, one purged up to `n` only `n + 1`.
//! * Nothing is acknowledged before its sync, and nothing at all after a failed one.
//! * [`Flushed`] never covers an entry that could be missing after a crash.

use super::failure::Failure;
use bytes::Bytes;
use schedia_apps::ShardId;
use std::io;
use std::ops::Range;

/// A log id: its index, and the whole of it as bytes that only `raft` reads.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// The log id, encoded.
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

/// How far the log of one shard is on disk: an index of the log as it is now, lowered when the log is cut.
/// At least the purged one. Clones watch the same log.
#[derive(Clone, Debug)]
pub struct Flushed {}

impl Flushed {
    /// A watermark above everything: for a state without a log.
    pub fn all() -> Flushed {
        unimplemented!()
    }

    /// The watermark. 0 before the first entry.
    pub fn index(&self) -> u64 {
        unimplemented!()
    }
}

/// The log of one shard. A cheap clone.
#[derive(Clone)]
pub struct ShardLog {}

impl ShardLog {
    /// Where the log begins and ends, with what is appended but not yet flushed.
    pub fn ends(&self) -> Ends {
        unimplemented!()
    }

    /// Appends entries. On return they can be read; `done` is called by the writer once they are on disk, or with
    /// the error that stopped it. Waits while the queue is full. A hole is refused, `done` is then not called.
    pub async fn append(
        &self,
        records: Vec<Record>,
        done: impl FnOnce(io::Result<()>) + Send + 'static,
    ) -> io::Result<()> {
        let _ = (records, done);
        unimplemented!()
    }

    /// Entries of a range in order, until they exceed `bytes_max`; at least one if there is one.
    /// May read the disk: recent entries come from memory.
    pub fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Record>> {
        let _ = (range, bytes_max);
        unimplemented!()
    }

    /// Saves the vote. Durable on return.
    pub async fn save_vote(&self, vote: Bytes) -> io::Result<()> {
        let _ = vote;
        unimplemented!()
    }

    /// The vote saved last.
    pub fn vote(&self) -> Option<Bytes> {
        unimplemented!()
    }

    /// Notes how far the log is committed: rides along with the next commit, behind its entries. Never waits.
    pub fn save_committed(&self, committed: Mark) {
        let _ = committed;
    }

    /// The committed mark saved last. After a restart never beyond the last entry.
    pub fn committed(&self) -> Option<Mark> {
        unimplemented!()
    }

    /// Removes the entries from `from` on. Durable on return; gone for readers at once.
    pub async fn truncate_from(&self, from: u64) -> io::Result<()> {
        let _ = from;
        unimplemented!()
    }

    /// Removes the entries up to `upto`, which may lie beyond the last. Gone for readers at once, on disk soon.
    pub fn purge(&self, upto: Mark) -> io::Result<()> {
        let _ = upto;
        unimplemented!()
    }

    /// How far this log is on disk.
    pub fn flushed(&self) -> Flushed {
        unimplemented!()
    }

    /// The oldest entry among the newest `entries_max` whose bytes are at most `bytes_max` together: what purging
    /// should leave. `None` if there are no entries.
    pub fn recent(&self, entries_max: u64, bytes_max: usize) -> Option<u64> {
        let _ = (entries_max, bytes_max);
        unimplemented!()
    }
}

/// The log of a node.
pub struct Log {}

impl Log {
    /// The log of a shard, empty if it is new.
    pub fn shard(&self, shard: ShardId) -> ShardLog {
        let _ = shard;
        unimplemented!()
    }

    /// The latch that this log sets.
    pub fn failure(&self) -> &Failure {
        unimplemented!()
    }
}
