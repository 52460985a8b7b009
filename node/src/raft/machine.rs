//! The state machine of a shard: committed entries in, replies and events out.
//!
//! Invariants:
//! * A batch of entries changes the state as a whole: rows and the mark that covers them are committed together.
//! * What the applications keep in memory is of the same entry as their rows, for whoever holds the lock.
//! * Log time never runs backwards.
//! * A broken state answers nothing and applies nothing any more; the reason is kept for all to see.

use super::feed::Feed;
use super::holds::Holds;
use super::log::{mark, unmark};
use super::news::{self, News};
use super::outgoing::{Kept, Outgoing};
use super::snapshot::{Snapshot, SnapshotData, copy};
use super::types::{
    Entry, Outcome, RaftLogId, SnapshotMeta, StoredMembership, Types, decode_stored_membership,
    encode_stored_membership, log_id,
};
use crate::metrics::ShardMetrics;
use crate::storage::{Batch, Checkpoint, Received, State};
use futures::{Stream, TryStreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use schedia_api::LogId;
use schedia_apps::cluster::Record;
use schedia_apps::{App, Applications, At, Command, Event, Query, Reply, Stop};
use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

/// Entries are applied in batches of about this many bytes: queries wait for one batch.
const BATCH_BYTES: usize = 512 << 10;
/// And of at most this many entries.
const BATCH_ENTRIES: usize = 256;

/// The state machine of one shard. A cheap clone.
#[derive(Clone)]
pub(crate) struct Machine(Arc<Shared>);

struct Shared {
    state: State,
    /// std lock: never held across an await. Taken before the state's own.
    live: RwLock<Live>,
    membership: Mutex<Arc<StoredMembership>>,
    applied: watch::Sender<Option<LogId>>,
    record: watch::Sender<Option<Record>>,
    broken: watch::Sender<Option<String>>,
    feed: Feed,
    news: news::Sender,
    holds: Holds,
    kept: Kept,
    metrics: ShardMetrics,
}

/// What is derived from the rows, and the entry it is of.
struct Live {
    applications: Applications,
    at: At,
    /// The last entry with commands that was applied since the start, and when that was: others tell no time.
    timed: Option<(u64, Instant)>,
}

impl Machine {
    /// Builds what is kept in memory from the rows.
    pub(crate) fn open(state: State, metrics: ShardMetrics) -> Result<Machine, Stop> {
        let checkpoint = state.applied();
        let membership = decode_stored_membership(&checkpoint.membership).map_err(broken)?;
        let applied = unmark(&checkpoint.mark).map_err(broken)?.map(log_id);
        let applications = Applications::open(&state.view())?;
        let record = applications.cluster().record().cloned();
        let feed = Feed::new(applications.kv().revision());
        Ok(Machine(Arc::new(Shared {
            live: RwLock::new(Live { applications, at: at(&checkpoint), timed: None }),
            membership: Mutex::new(Arc::new(membership)),
            applied: watch::Sender::new(applied),
            record: watch::Sender::new(record),
            broken: watch::Sender::new(None),
            feed,
            news: news::Sender::new(),
            holds: Holds::default(),
            kept: Kept::default(),
            metrics,
            state,
        })))
    }

    /// Answers from the state as it is, and says of which entry that is.
    pub(crate) fn query(&self, query: Query) -> Result<(At, Reply), Stop> {
        let live = self.0.live.read().map_err(|_| poisoned())?;
        let answer = live.applications.query(live.at, query, &self.0.state.view());
        if let Err(Stop::Broken(reason)) = &answer {
            self.set_broken(reason);
        }
        Ok((live.at, answer?))
    }

    /// The place of the last applied entry, and of the last one with commands its index and when it was applied.
    pub(crate) fn time_applied(&self) -> (At, Option<(u64, Instant)>) {
        let live = self.0.live.read().unwrap_or_else(PoisonError::into_inner);
        (live.at, live.timed)
    }

    /// The last entry applied, as it changes.
    pub(crate) fn applied(&self) -> watch::Receiver<Option<LogId>> {
        self.0.applied.subscribe()
    }

    /// The cluster record, as it changes.
    pub(crate) fn record(&self) -> watch::Receiver<Option<Record>> {
        self.0.record.subscribe()
    }

    /// The newest changes of keys.
    pub(crate) fn feed(&self) -> &Feed {
        &self.0.feed
    }

    /// What happens to tasks from now on.
    pub(crate) fn news(&self) -> broadcast::Receiver<News> {
        self.0.news.subscribe()
    }

    /// The membership of the last applied entry.
    pub(crate) fn membership(&self) -> Arc<StoredMembership> {
        self.0.membership.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why this state can be used no more, once that is so.
    pub(crate) fn broken(&self) -> watch::Receiver<Option<String>> {
        self.0.broken.subscribe()
    }

    /// Where this shard counts.
    pub(crate) fn metrics(&self) -> &ShardMetrics {
        &self.0.metrics
    }

    pub(crate) fn state(&self) -> &State {
        &self.0.state
    }

    /// The snapshots that leave from here: what purging must not overtake.
    pub(super) fn holds(&self) -> &Holds {
        &self.0.holds
    }

    /// The snapshot whose stream broke off.
    pub(super) fn kept(&self) -> &Kept {
        &self.0.kept
    }

    fn set_broken(&self, reason: &str) {
        let first = self.0.broken.send_if_modified(|now| {
            let first = now.is_none();
            if first {
                *now = Some(reason.to_owned());
            }
            first
        });
        if first {
            tracing::error!(reason, "the state of a shard is broken: it stops on this node");
        }
    }

    /// One batch: all of it or, when it is broken, nothing that will ever be flushed.
    fn execute(&self, entries: &[Entry]) -> Result<Vec<Outcome>, Stop> {
        let shared = &self.0;
        let mut live = shared.live.write().map_err(|_| poisoned())?;
        let mut checkpoint = shared.state.applied();
        let mut batch = shared.state.batch();
        let (mut membership, now) = (None, Instant::now());
        let mut events = Vec::new();
        let mut outcomes = Vec::with_capacity(entries.len());
        for entry in entries {
            // Gaps are the log's to refuse: its stream has none.
            if checkpoint.mark.as_ref().is_some_and(|last| last.index >= entry.log_id.index) {
                return Err(Stop::Broken(format!("entry {} was applied before", entry.log_id)));
            }
            checkpoint.mark = Some(mark(entry.log_id));
            outcomes.push(match &entry.payload {
                EntryPayload::Blank => Outcome::default(),
                EntryPayload::Membership(new) => {
                    let stored = StoredMembership::new(Some(entry.log_id), new.clone());
                    checkpoint.membership = encode_stored_membership(&stored);
                    membership = Some(stored);
                    Outcome::default()
                }
                EntryPayload::Normal(body) => {
                    let (stamp, commands) = body.decode().map_err(broken)?;
                    checkpoint.time_ms = checkpoint.time_ms.max(stamp.time_ms);
                    checkpoint.epoch = stamp.epoch;
                    checkpoint.level = checkpoint.level.max(Some(stamp.level));
                    live.timed = Some((entry.log_id.index, now));
                    let at = at(&checkpoint);
                    let mut results = Vec::with_capacity(commands.len());
                    for (position, command) in commands.into_iter().enumerate() {
                        let at = At { position: position as u32, ..at };
                        let command = Command::decode(stamp.level, &command)
                            .map_err(|error| Stop::Broken(format!("entry {}: {error}", entry.log_id)))?;
                        results.push(run(&mut live.applications, at, command, &mut batch, &mut events)?);
                    }
                    Outcome { at, results }
                }
            });
            live.at = at(&checkpoint);
        }
        let applied = checkpoint.mark.clone();
        batch.commit(checkpoint);
        if let Some(stored) = membership {
            *shared.membership.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(stored);
        }
        // Before anybody can read it: an index for a read is never behind what another read has seen (`super::reading`).
        shared.applied.send_replace(unmark(&applied).map_err(broken)?.map(log_id));
        drop(live);
        self.publish(events);
        Ok(outcomes)
    }

    /// The one place where events leave apply, in order.
    fn publish(&self, events: Vec<Event>) {
        let (mut keys, mut tasks) = (Vec::new(), Vec::new());
        for event in events {
            match event {
                Event::Cluster(changed) => _ = self.0.record.send_replace(Some(changed.0)),
                Event::Kv(changed) => keys.push(changed),
                Event::Queue(happened) => tasks.push(happened),
            }
        }
        self.0.feed.push(keys);
        self.0.news.happened(tasks);
    }

    async fn apply_some(&self, batch: Vec<EntryResponder<Types>>) -> io::Result<()> {
        self.0.state.room().await?;
        let (entries, responders): (Vec<Entry>, Vec<Option<ApplyResponder<Types>>>) =
            batch.into_iter().unzip();
        let begun = Instant::now();
        let outcomes = self.execute(&entries).map_err(|stop| {
            self.set_broken(&stop.to_string());
            io::Error::other(stop)
        })?;
        self.0.metrics.apply_seconds.observe(begun.elapsed().as_secs_f64());
        self.0.metrics.applied.inc_by(entries.len() as u64);
        for (responder, outcome) in responders.into_iter().zip(outcomes) {
            if let Some(responder) = responder {
                responder.send(outcome);
            }
        }
        Ok(())
    }

    /// Puts a received snapshot in force, with everything that is kept in memory rebuilt from its rows. All that takes
    /// time comes first: queries are answered from the old state until both are swapped.
    fn install(&self, received: Received) -> Result<(), Stop> {
        let shared = &self.0;
        let applications = Applications::open(&shared.state.look_into(&received))?;
        let membership = decode_stored_membership(&received.checkpoint().membership).map_err(broken)?;
        let record = applications.cluster().record().cloned();
        let installing = shared.state.install(received).map_err(broken)?;
        let mut live = shared.live.write().map_err(|_| poisoned())?;
        let (checkpoint, replaced) = installing.swap();
        let before = std::mem::replace(&mut *live, Live { applications, at: at(&checkpoint), timed: None });
        *shared.membership.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(membership);
        shared.record.send_replace(record);
        // Whoever watches reads what the snapshot brought from its history.
        shared.feed.reset(live.applications.kv().revision());
        shared.applied.send_replace(unmark(&checkpoint.mark).map_err(broken)?.map(log_id));
        drop(live);
        shared.news.replaced();
        drop((before, replaced));
        Ok(())
    }

    /// The last checkpoint as a snapshot.
    fn snapshot(&self) -> io::Result<Snapshot> {
        let snapshot = self.0.state.snapshot();
        let covered = unmark(&snapshot.checkpoint().mark)?;
        let hold = self.0.holds.hold(covered.map_or(0, |id| id.index));
        as_snapshot(Arc::new(Outgoing::new(snapshot, hold)))
    }
}

fn as_snapshot(outgoing: Arc<Outgoing>) -> io::Result<Snapshot> {
    let Checkpoint { mark, membership, .. } = outgoing.snapshot.checkpoint();
    let (last_log_id, last_membership) = (unmark(mark)?, decode_stored_membership(membership)?);
    let meta = SnapshotMeta { last_log_id, last_membership };
    Ok(Snapshot { meta, snapshot: SnapshotData::Out(outgoing) })
}

fn run(
    applications: &mut Applications,
    at: At,
    command: Command,
    batch: &mut Batch<'_>,
    events: &mut Vec<Event>,
) -> Result<Result<Reply, schedia_apps::Refusal>, Stop> {
    match applications.apply(at, command, batch) {
        Ok((reply, new)) => {
            events.extend(new);
            Ok(Ok(reply))
        }
        Err(Stop::Refused(refusal)) => Ok(Err(refusal)),
        Err(stop) => Err(stop),
    }
}

fn at(checkpoint: &Checkpoint) -> At {
    let index = checkpoint.mark.as_ref().map_or(0, |mark| mark.index);
    At { epoch: checkpoint.epoch, index, position: 0, time_ms: checkpoint.time_ms }
}

fn broken(error: io::Error) -> Stop {
    Stop::Broken(error.to_string())
}

fn poisoned() -> Stop {
    Stop::Broken("an application panicked while it changed its state".into())
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Machine;

    async fn applied_state(&mut self) -> io::Result<(Option<RaftLogId>, StoredMembership)> {
        let checkpoint = self.0.state.applied();
        Ok((unmark(&checkpoint.mark)?, decode_stored_membership(&checkpoint.membership)?))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut batch: Vec<EntryResponder<Types>> = Vec::new();
        let mut bytes = 0;
        while let Some((entry, responder)) = entries.try_next().await? {
            if let EntryPayload::Normal(body) = &entry.payload {
                bytes += body.len();
            }
            batch.push((entry, responder));
            if bytes >= BATCH_BYTES || batch.len() >= BATCH_ENTRIES {
                bytes = 0;
                self.apply_some(std::mem::take(&mut batch)).await?;
            }
        }
        if batch.is_empty() { Ok(()) } else { self.apply_some(batch).await }
    }

    async fn get_snapshot_builder(&mut self) -> Machine {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotData) -> io::Result<()> {
        let received = match snapshot {
            SnapshotData::In(received) => received,
            // Our own, which openraft hands back at start, or what a leader need not send.
            SnapshotData::Out(_) | SnapshotData::Applied
                if meta.last_log_id <= unmark(&self.0.state.applied().mark)? =>
            {
                return Ok(());
            }
            SnapshotData::Out(outgoing) => copy(outgoing.snapshot.clone(), &self.0.state).await?,
            SnapshotData::Applied => {
                return Err(io::Error::other("a snapshot without content is not applied here"));
            }
        };
        let (machine, begun) = (self.clone(), Instant::now());
        let installed = tokio::task::spawn_blocking(move || machine.install(received)).await;
        installed.map_err(io::Error::other)?.map_err(|stop| {
            self.set_broken(&stop.to_string());
            io::Error::other(stop)
        })?;
        self.0.metrics.snapshot_install_seconds.observe(begun.elapsed().as_secs_f64());
        Ok(())
    }

    /// The one that is kept for a receiver that has a part of it, or else the last checkpoint. None while the disk covers nothing.
    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        if let Some(kept) = self.0.kept.get() {
            return as_snapshot(kept).map(Some);
        }
        self.snapshot().map(|snapshot| Some(snapshot).filter(|snapshot| snapshot.meta.last_log_id.is_some()))
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    type SnapshotData = SnapshotData;

    /// A snapshot is a checkpoint: nothing is written but what the flusher would write anyway.
    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let begun = Instant::now();
        self.0.state.flush().await?;
        let snapshot = self.snapshot();
        self.0.metrics.snapshot_build_seconds.observe(begun.elapsed().as_secs_f64());
        snapshot
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
