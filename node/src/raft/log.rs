//! The log of a shard as openraft wants it: a thin coat over `storage`, which keeps log ids and bodies as bytes.
//!
//! Invariants:
//! * A read never answers with a hole; what openraft may cut short is cut at [`READ_BYTES`].
//! * Applying reads the log a slice at a time, however far it is behind.

use super::entry::Body;
use super::types::{
    Entry, RaftLogId, Types, Vote, decode_log_id, decode_payload, decode_vote, encode_log_id, encode_payload,
    encode_vote,
};
use crate::storage::{Mark, Record, ShardLog};
use futures::{Stream, StreamExt, stream};
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{EntryPayload, OptionalSend};
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};

/// Entries are sent and applied in slices of about this many bytes, and at least one entry.
pub(super) const READ_BYTES: usize = 2 << 20;

/// The log of one shard. A cheap clone.
#[derive(Clone)]
pub(crate) struct LogStore(ShardLog);

impl LogStore {
    pub(crate) fn new(log: ShardLog) -> Self {
        LogStore(log)
    }

    /// What is not in memory is read by a thread that may wait for the disk.
    async fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let records = if self.0.is_in_memory(range.start) {
            self.0.read(range, bytes_max)?
        } else {
            let log = self.0.clone();
            let read = tokio::task::spawn_blocking(move || log.read(range, bytes_max)).await;
            read.map_err(io::Error::other)??
        };
        records.into_iter().map(entry).collect()
    }
}

pub(super) fn record(entry: &Entry) -> Record {
    Record {
        index: entry.log_id.index,
        id: encode_log_id(entry.log_id),
        body: encode_payload(&entry.payload),
    }
}

pub(super) fn entry(record: Record) -> io::Result<Entry> {
    let log_id = decode_log_id(&record.id)?;
    let payload: EntryPayload<Body, _, _> = decode_payload(record.body)?;
    Ok(Entry::new(log_id, payload))
}

pub(super) fn mark(id: RaftLogId) -> Mark {
    Mark { index: id.index, id: encode_log_id(id) }
}

pub(super) fn unmark(mark: &Option<Mark>) -> io::Result<Option<RaftLogId>> {
    mark.as_ref().map(|mark| decode_log_id(&mark.id)).transpose()
}

pub(super) fn indexes(range: impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(index) => *index,
        Bound::Excluded(index) => index.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(index) => index.saturating_add(1),
        Bound::Excluded(index) => *index,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        self.read(indexes(range), usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start..end, READ_BYTES).await
    }

    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let log = self.clone();
        stream::unfold(Some(indexes(range)), move |rest| {
            let log = log.clone();
            async move { Some(log.slice(rest.filter(|rest| !rest.is_empty())?).await) }
        })
        .flat_map(stream::iter)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        self.0.vote().map(|vote| decode_vote(&vote)).transpose()
    }
}

/// Entries, or the error that ends them, and the range behind them.
type Slice = (Vec<io::Result<Entry>>, Option<Range<u64>>);

impl LogStore {
    /// The next entries of a range. What was purged may be missing before them, what is not appended yet behind them;
    /// anything else that is missing is an error.
    async fn slice(&self, rest: Range<u64>) -> Slice {
        let entries = match self.read(rest.clone(), READ_BYTES).await {
            Ok(entries) => entries,
            Err(error) => return (vec![Err(error)], None),
        };
        let ends = self.0.ends();
        let index = |mark: Option<Mark>| mark.map_or(0, |mark| mark.index + 1);
        let begin = rest.start.max(index(ends.purged));
        match (entries.first(), entries.last()) {
            (Some(first), Some(last)) if first.log_id.index <= begin => {
                let rest = last.log_id.index + 1..rest.end;
                (entries.into_iter().map(Ok).collect(), Some(rest))
            }
            (None, _) if begin >= rest.end.min(index(ends.last)) => (Vec::new(), None),
            _ => {
                let lost = format!("the log has lost its entry {begin}");
                (vec![Err(io::Error::new(io::ErrorKind::InvalidData, lost))], None)
            }
        }
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let ends = self.0.ends();
        Ok(LogState { last_purged_log_id: unmark(&ends.purged)?, last_log_id: unmark(&ends.last)? })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.0.save_vote(encode_vote(*vote)).await
    }

    async fn save_committed(&mut self, committed: Option<RaftLogId>) -> io::Result<()> {
        committed.map_or(Ok(()), |committed| self.0.save_committed(mark(committed)))
    }

    async fn read_committed(&mut self) -> io::Result<Option<RaftLogId>> {
        unmark(&self.0.committed())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let records = entries.into_iter().map(|entry| record(&entry)).collect();
        self.0.append(records, move |flushed| callback.io_completed(flushed)).await
    }

    async fn truncate_after(&mut self, last: Option<RaftLogId>) -> io::Result<()> {
        self.0.truncate_from(last.map_or(0, |last| last.index + 1)).await
    }

    async fn purge(&mut self, upto: RaftLogId) -> io::Result<()> {
        self.0.purge(mark(upto))
    }
}
