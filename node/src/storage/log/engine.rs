//! What the log asks of the files it is kept in: one commit for a group of changes of many shards.

use super::{Mark, Record};
use bytes::Bytes;
use schedia_apps::ShardId;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// One change of one shard's log.
#[derive(Debug)]
pub(super) enum Change {
    /// Entries behind the last.
    Append(Vec<Record>),
    /// The entries from this index on go.
    Truncate(u64),
    /// The entries up to this one go.
    Purge(Mark),
    /// The vote.
    Vote(Bytes),
    /// How far the log is committed.
    Committed(Mark),
}

/// What a file knows of a shard besides its entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Saved {
    /// The vote saved last.
    pub(super) vote: Option<Bytes>,
    /// The committed mark saved last.
    pub(super) committed: Option<Mark>,
    /// The last entry purged.
    pub(super) purged: Option<Mark>,
}

/// Reads entries while the writer writes.
pub(super) trait LogReader: Send + Sync {
    /// The file, for messages.
    fn file(&self) -> &Path;

    /// The entries of a range that exist, in order, until they exceed `bytes_max`; at least one if there is one.
    fn read(&self, shard: ShardId, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Record>>;
}

/// Keeps the logs of all shards. Owned by the writer thread.
pub(super) trait LogEngine: Send {
    /// The file, for messages.
    fn file(&self) -> &Path;

    /// Every shard that was ever written.
    fn saved(&self) -> io::Result<Vec<(ShardId, Saved)>>;

    /// Reads what is committed.
    fn reader(&self) -> Arc<dyn LogReader>;

    /// Makes all changes durable, in order: after a crash the first of them are there, or none, and all once it has returned.
    fn commit(&mut self, changes: &mut dyn Iterator<Item = (ShardId, &Change)>) -> io::Result<()>;

    /// Whether [`LogEngine::commit`] of nothing would still tidy up something: called when there is nothing else.
    fn has_garbage(&self) -> bool;
}
