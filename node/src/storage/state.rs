//! The state of one shard: a redb file, and above it an overlay of what was applied since its last checkpoint.
//!
//! Invariants:
//! * A checkpoint never covers an entry that the log of this node has not flushed.
//! * A checkpoint holds whole batches: rows and the mark that covers them are one commit.
//! * A view sees all of a batch or nothing of it.

use super::log::{Flushed, Mark};
use super::snapshot::{Received, Receiver, Snapshot};
use bytes::Bytes;
use schedia_apps::tables::{Range, Rows, Table, Tables};
use schedia_apps::{Epoch, Level, Stop};
use std::io;
use std::sync::Arc;

/// What a state has applied: goes to disk with the rows it covers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// The last entry applied.
    pub mark: Option<Mark>,
    /// The membership in force at `mark`, encoded by `raft`. Empty before the first.
    pub membership: Bytes,
    /// Log time of `mark`.
    pub time_ms: u64,
    /// Epoch of `mark`.
    pub epoch: Epoch,
    /// The highest level of the entries applied.
    pub level: Option<Level>,
}

/// Removes rows that no reader can ask for any more. Called by the flusher inside a checkpoint, with at most how many
/// rows it may write and delete; answers whether there is more to do. Must be pure: of `tables` and nothing else.
pub type Sweep = Arc<dyn Fn(&mut dyn Tables, usize) -> Result<bool, Stop> + Send + Sync>;

/// The state of one shard. A cheap clone.
#[derive(Clone)]
pub struct State {}

impl State {
    /// What was applied last.
    pub fn applied(&self) -> Checkpoint {
        unimplemented!()
    }

    /// What the disk covers: after a crash, the entries behind it are applied again.
    pub fn checkpoint(&self) -> Checkpoint {
        unimplemented!()
    }

    /// The rows as applied. Holds apply and the flusher off while it lives: keep it for one page, and open one at a
    /// time. Not `Send`, so it cannot live across an await.
    pub fn view(&self) -> View<'_> {
        unimplemented!()
    }

    /// Waits while the overlay is above its hard mark. Call it before [`State::batch`].
    pub async fn room(&self) -> io::Result<()> {
        unimplemented!()
    }

    /// Write access for one batch of entries. Not `Send`; no view opens meanwhile.
    pub fn batch(&self) -> Batch<'_> {
        unimplemented!()
    }

    /// Whether the overlay is above its soft mark: a leader then admits no proposals.
    pub fn is_pressed(&self) -> bool {
        unimplemented!()
    }

    /// Makes a checkpoint of everything applied before the call; waits for it.
    pub async fn flush(&self) -> io::Result<Checkpoint> {
        unimplemented!()
    }

    /// The last checkpoint, held open for streaming. Pins pages of the file: drop it soon.
    pub fn snapshot(&self) -> Snapshot {
        unimplemented!()
    }

    /// Begins to receive a snapshot into a new file beside the state's.
    pub fn receive(&self) -> io::Result<Receiver> {
        unimplemented!()
    }

    /// Puts a received snapshot in the place of this state: rename, sync of the directory, swap under readers.
    /// Blocks while a flush is under way. Whoever keeps anything derived from the rows opens it again afterwards.
    pub fn install(&self, received: Received) -> io::Result<()> {
        let _ = received;
        unimplemented!()
    }

    /// Stops the flusher after a last flush. For a clean shutdown; without it a restart applies the log again.
    pub async fn close(&self) -> io::Result<()> {
        unimplemented!()
    }

    /// For construction in tests without a log.
    #[doc(hidden)]
    pub fn watermark(&self) -> Flushed {
        unimplemented!()
    }
}

/// The rows of a state at one moment, read only.
pub struct View<'a> {
    _state: &'a State,
}

impl Tables for View<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Stop> {
        let _ = (table, key);
        unimplemented!()
    }
    fn scan(&self, table: Table, range: Range, reverse: bool) -> Rows<'_> {
        let _ = (table, range, reverse);
        unimplemented!()
    }
    fn put(&mut self, _: Table, _: Bytes, _: Bytes) {
        unreachable!("a view is read only")
    }
    fn delete(&mut self, _: Table, _: &[u8]) {
        unreachable!("a view is read only")
    }
}

/// One batch being applied: writes go to the overlay, and count when it is committed.
/// Dropped without commit it leaves a half-applied state: nothing is flushed or batched any more, for good.
pub struct Batch<'a> {
    _state: &'a State,
}

impl Batch<'_> {
    /// Ends the batch: from here on it may be flushed.
    pub fn commit(self, applied: Checkpoint) {
        let _ = applied;
        unimplemented!()
    }
}

impl Tables for Batch<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Stop> {
        let _ = (table, key);
        unimplemented!()
    }
    fn scan(&self, table: Table, range: Range, reverse: bool) -> Rows<'_> {
        let _ = (table, range, reverse);
        unimplemented!()
    }
    fn put(&mut self, table: Table, key: Bytes, value: Bytes) {
        let _ = (table, key, value);
        unimplemented!()
    }
    fn delete(&mut self, table: Table, key: &[u8]) {
        let _ = (table, key);
        unimplemented!()
    }
}
