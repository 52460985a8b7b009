//! One shard's part of the log, as its readers see it now; the writer brings the disk to it.

use super::engine::{Change, LogReader, Saved};
use super::flushed::Flushed;
use super::tail::Tail;
use super::writer::{Done, Job, Queue, closed};
use super::{Ends, Mark, Record};
use crate::storage::failure::Failure;
use bytes::Bytes;
use schedia_apps::ShardId;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Bytes read from disk at once while a log is checked at start.
const CHECK_BYTES: usize = 4 << 20;

/// The log of one shard. A cheap clone.
#[derive(Clone)]
pub struct ShardLog(pub(super) Arc<ShardInner>);

pub(super) struct ShardInner {
    pub(super) id: ShardId,
    view: Mutex<View>,
    flushed: Flushed,
    queue: Arc<Queue>,
    reader: Arc<dyn LogReader>,
    failure: Failure,
}

/// The log as it reads now, flushed or not. Its mutex is never held across reading, writing or waiting.
struct View {
    purged: Option<Mark>,
    last: Option<Mark>,
    tail: Tail,
    vote: Option<Bytes>,
    committed: Option<Mark>,
    /// Sequence of the next job.
    sequence: u64,
    /// Cuts the writer has not made yet: what is flushed before them does not count beyond them.
    cuts: VecDeque<Cut>,
}

struct Cut {
    sequence: u64,
    from: u64,
}

impl View {
    /// The index that the next entry must have; any, if there was none yet.
    fn next(&self) -> Option<u64> {
        self.last.as_ref().map(|last| last.index + 1)
    }

    fn sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }
}

impl ShardInner {
    /// Reads a shard's log through: every checksum, and that there is no hole. Keeps the newest entries in memory.
    pub(super) fn open(
        id: ShardId,
        saved: Saved,
        entries_bytes: usize,
        queue: Arc<Queue>,
        reader: Arc<dyn LogReader>,
        failure: Failure,
    ) -> io::Result<ShardInner> {
        let Saved { vote, committed, purged } = saved;
        let (last, tail) = (purged.clone(), Tail::new(entries_bytes));
        let mut view = View { purged, last, tail, vote, committed, sequence: 0, cuts: VecDeque::new() };
        let mut from = view.next().unwrap_or(0);
        loop {
            let records = reader.read(id, from..u64::MAX, CHECK_BYTES)?;
            let Some(end) = records.last().map(|record| record.index + 1) else { break };
            from = end;
            for record in records {
                expect_next(id, view.next(), record.index)?;
                view.last = Some(Mark { index: record.index, id: record.id.clone() });
                view.tail.push(record);
            }
            view.tail.shrink(end);
        }
        // A committed mark rides along with later entries, but those may have been cut.
        view.committed = match (view.committed, &view.last) {
            (Some(committed), Some(last)) if committed.index > last.index => Some(last.clone()),
            (_, None) => None,
            (committed, Some(_)) => committed,
        };
        let flushed = Flushed::until(view.next().unwrap_or(0));
        Ok(ShardInner { id, view: Mutex::new(view), flushed, queue, reader, failure })
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A change is on disk: called by the writer, in order.
    pub(super) fn completed(&self, sequence: u64, change: &Change) {
        let mut view = self.view();
        match change {
            Change::Append(records) => {
                let Some(last) = records.last() else { return };
                let cut = view.cuts.iter().filter(|cut| cut.sequence > sequence).map(|cut| cut.from).min();
                let end = (last.index + 1).min(cut.unwrap_or(u64::MAX));
                if end > self.flushed.end() {
                    self.flushed.set_end(end);
                }
                view.tail.shrink(self.flushed.end());
            }
            Change::Truncate(_) => view.cuts.retain(|cut| cut.sequence != sequence),
            Change::Purge(_) | Change::Vote(_) | Change::Committed(_) => {}
        }
    }

    /// Queues a change made under `view`, so that the queue has the order of the views.
    fn push(&self, job: Job) -> io::Result<()> {
        self.failure.check()?;
        self.queue.push(job).map_err(|_| closed())
    }
}

impl ShardLog {
    /// Where the log begins and ends, with what is appended but not yet flushed.
    pub fn ends(&self) -> Ends {
        let view = self.0.view();
        Ends { purged: view.purged.clone(), last: view.last.clone() }
    }

    /// Appends entries. On return they can be read; `done` is called by the writer once they are on disk, or with
    /// the error that stopped it. Waits while the queue is full. On an error, a hole for one, nothing is appended and
    /// `done` is not called.
    pub async fn append(
        &self,
        records: Vec<Record>,
        done: impl FnOnce(io::Result<()>) + Send + 'static,
    ) -> io::Result<()> {
        let Some(last) = records.last().map(|last| Mark { index: last.index, id: last.id.clone() }) else {
            done(Ok(()));
            return Ok(());
        };
        let room = self.0.queue.room(records.iter().map(Record::bytes).sum()).await?;
        let mut view = self.0.view();
        let mut next = view.next();
        for record in &records {
            expect_next(self.0.id, next, record.index)?;
            next = Some(record.index + 1);
        }
        let (shard, sequence, change) = (self.0.clone(), view.sequence(), Change::Append(records.clone()));
        let permits = room.num_permits();
        self.0.push(Job { permits, ..Job::new(shard, sequence, change, Some(Box::new(done))) })?;
        room.forget();
        for record in records {
            view.tail.push(record);
        }
        view.last = Some(last);
        Ok(())
    }

    /// Entries of a range in order, until they exceed `bytes_max`; at least one if there is one.
    /// May read the disk: recent entries come from memory.
    pub fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Record>> {
        let (mut found, mut bytes, mut next) = (Vec::new(), 0, range.start);
        loop {
            let old_end = {
                let view = self.0.view();
                let Some(end) = view.next().map(|end| end.min(range.end)) else { return Ok(found) };
                next = next.max(view.purged.as_ref().map_or(0, |purged| purged.index + 1));
                match view.tail.first() {
                    // What left memory is on disk; all of it may have, if the newest were cut.
                    None => end,
                    Some(first) if next < first => first.min(end),
                    Some(_) => {
                        view.tail.read(next..end, &mut found, &mut bytes, bytes_max);
                        return Ok(found);
                    }
                }
            };
            let room = bytes_max.saturating_sub(bytes);
            if next >= old_end || (room == 0 && !found.is_empty()) {
                return Ok(found);
            }
            let old = self.0.reader.read(self.0.id, next..old_end, room);
            let old = old.map_err(|error| self.0.broken(error))?;
            let Some(last) = old.last().map(|last| last.index) else {
                // Nothing below the tail: the log begins with it, or was purged meanwhile.
                next = old_end;
                continue;
            };
            let more = last + 1 < old_end;
            bytes += old.iter().map(Record::bytes).sum::<usize>();
            found.extend(old);
            next = last + 1;
            if more || bytes > bytes_max {
                return Ok(found);
            }
        }
    }

    /// Whether reading from here on needs no disk.
    pub fn is_in_memory(&self, index: u64) -> bool {
        let view = self.0.view();
        view.tail.first().is_some_and(|first| first <= index) || view.next().is_none_or(|next| next <= index)
    }

    /// Saves the vote. Durable on return.
    pub async fn save_vote(&self, vote: Bytes) -> io::Result<()> {
        let (done, saved) = waiter();
        {
            let mut view = self.0.view();
            let (sequence, change) = (view.sequence(), Change::Vote(vote.clone()));
            self.0.push(Job::new(self.0.clone(), sequence, change, Some(done)))?;
            view.vote = Some(vote);
        }
        saved.await.map_err(|_| closed())?
    }

    /// The newest vote that is saved or being saved: never older than one that was given.
    pub fn vote(&self) -> Option<Bytes> {
        self.0.view().vote.clone()
    }

    /// Notes how far the log is committed: rides along with the next commit, behind its entries. Never waits.
    pub fn save_committed(&self, committed: Mark) -> io::Result<()> {
        let mut view = self.0.view();
        let sequence = view.sequence();
        self.0.push(Job::new(self.0.clone(), sequence, Change::Committed(committed.clone()), None))?;
        view.committed = Some(committed);
        Ok(())
    }

    /// The committed mark saved last. After a restart never beyond the last entry.
    pub fn committed(&self) -> Option<Mark> {
        self.0.view().committed.clone()
    }

    /// Removes the entries from `from` on. Durable on return; gone for readers at once.
    pub async fn truncate_from(&self, from: u64) -> io::Result<()> {
        let (done, cut) = waiter();
        let last = self.before(from)?;
        {
            let mut view = self.0.view();
            let sequence = view.sequence();
            self.0.push(Job::new(self.0.clone(), sequence, Change::Truncate(from), Some(done)))?;
            view.cuts.push_back(Cut { sequence, from });
            view.tail.truncate_from(from);
            view.last = last;
            let end = from.max(view.purged.as_ref().map_or(0, |purged| purged.index + 1));
            if end < self.0.flushed.end() {
                self.0.flushed.set_end(end);
            }
        }
        cut.await.map_err(|_| closed())?
    }

    /// Removes the entries up to `upto`, which may lie beyond the last. Gone for readers at once, on disk soon.
    pub fn purge(&self, upto: Mark) -> io::Result<()> {
        let mut view = self.0.view();
        if view.purged.as_ref().is_some_and(|purged| purged.index >= upto.index) {
            return Ok(());
        }
        let sequence = view.sequence();
        self.0.push(Job::new(self.0.clone(), sequence, Change::Purge(upto.clone()), None))?;
        view.tail.purge(upto.index);
        if view.last.as_ref().is_none_or(|last| last.index < upto.index) {
            view.last = Some(upto.clone());
        }
        if self.0.flushed.end() <= upto.index {
            self.0.flushed.set_end(upto.index + 1);
        }
        view.purged = Some(upto);
        Ok(())
    }

    /// How far this log is on disk.
    pub fn flushed(&self) -> Flushed {
        self.0.flushed.clone()
    }

    /// The oldest entry among the newest `entries_max` whose bytes are at most `bytes_max` together, but at least
    /// the last: what purging should leave. `None` if there are no entries.
    pub fn recent(&self, entries_max: u64, bytes_max: usize) -> Option<u64> {
        self.0.view().tail.recent(entries_max, bytes_max)
    }

    /// The last entry below `from`, or the purged one.
    fn before(&self, from: u64) -> io::Result<Option<Mark>> {
        let Ends { purged, last } = self.ends();
        if last.as_ref().is_none_or(|last| last.index < from) {
            return Ok(last);
        }
        let before = match from.checked_sub(1) {
            Some(index) if purged.as_ref().is_none_or(|purged| purged.index < index) => {
                self.read(index..from, 0)?
            }
            _ => Vec::new(),
        };
        Ok(before.into_iter().next().map(|record| Mark { index: record.index, id: record.id }).or(purged))
    }
}

impl ShardInner {
    /// An entry could not be read: for good.
    fn broken(&self, error: io::Error) -> io::Error {
        self.failure.set(self.reader.file(), error).into()
    }
}

fn waiter() -> (Done, oneshot::Receiver<io::Result<()>>) {
    let (done, waiter) = oneshot::channel();
    // Whoever waited may have gone.
    (Box::new(move |result| drop(done.send(result))), waiter)
}

fn expect_next(shard: ShardId, next: Option<u64>, index: u64) -> io::Result<()> {
    match next {
        Some(next) if next != index => {
            let words = format!("a hole in the log of shard {shard}: expected entry {next}, got {index}");
            Err(io::Error::new(io::ErrorKind::InvalidData, words))
        }
        _ => Ok(()),
    }
}
