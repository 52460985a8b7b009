//! The one task per shard that stamps commands and hands them to raft, many in an entry.
//!
//! It takes what waits, writes the time on it, hands it over and takes what has come meanwhile: under load entries grow
//! instead of getting more.
//!
//! Invariants:
//! * Only the cluster's level is proposed.
//! * A command whose caller has given up before it was proposed is never proposed.

use super::clock::{Known, LogClock};
use super::grace::Grace;
use super::rules::Rules;
use super::{Applied, ShardError, Timings};
use crate::raft::{
    Body, COMMANDS_BYTES_MAX, COMMANDS_MAX, Group, Leader, Outcome, Stamp, WriteError, Writing,
};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use schedia_apps::{At, Reply};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

/// Commands that wait for the proposer. Beyond this, callers get Busy.
const QUEUE_COMMANDS: usize = 16_384;
/// Entries handed to raft and not applied. Enough to fill the pipeline; more would only be smaller entries.
const ENTRIES_AHEAD: usize = 32;
/// What a command costs beside its bytes: its place in queues, its waiter.
const COMMAND_OVERHEAD: usize = 512;

/// Why a command that was submitted here has no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SubmitError {
    /// Certainly not appended: another node leads.
    NotLeader { leader: Option<Leader> },
    /// Final.
    Failed(ShardError),
}

/// How one attempt to append a command ended.
enum Ended {
    /// Certainly not appended: no majority has answered this leader lately. Its room, for another try.
    NoMajority(OwnedSemaphorePermit),
    /// Nothing to be tried again.
    With(SubmitError),
}

impl From<ShardError> for Ended {
    fn from(error: ShardError) -> Ended {
        Ended::With(SubmitError::Failed(error))
    }
}

type Answer = Result<Applied<Reply>, Ended>;

/// A command on its way to raft.
struct Waiting {
    command: Bytes,
    /// Set by whoever comes first: the proposer, who then proposes it, or the caller, who then gives up on it.
    taken: Arc<AtomicBool>,
    answer: oneshot::Sender<Answer>,
    /// Bytes in flight, given back when the command is answered or dropped.
    room: OwnedSemaphorePermit,
}

/// The way to the proposer of one shard.
pub(super) struct Proposer {
    queue: mpsc::Sender<Waiting>,
    in_flight: Arc<Semaphore>,
    group: Arc<Group>,
    timings: Timings,
}

impl Proposer {
    /// Starts the task; it ends when the `Proposer` is dropped.
    pub(super) fn start(
        group: Arc<Group>,
        rules: Rules,
        in_flight: Arc<Semaphore>,
        timings: Timings,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_COMMANDS);
        let grace = Grace::new(group.clone(), timings);
        tokio::spawn(run(group.clone(), rules, grace, waiting));
        Proposer { queue, in_flight, group, timings }
    }

    /// Commands that wait to be put into an entry.
    pub(super) fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Room for one command among the bytes in flight on this node, or Busy.
    pub(super) fn room(&self, command: &Bytes) -> Result<OwnedSemaphorePermit, ShardError> {
        let bytes = (command.len() + COMMAND_OVERHEAD) as u32;
        self.in_flight.clone().try_acquire_many_owned(bytes).map_err(|_| ShardError::Busy)
    }

    /// Proposes an encoded command and waits for its reply.
    ///
    /// A leader that no majority has answered lately appends nothing. A new one is like that for a moment: it is waited for,
    /// one maximal election timeout at most.
    pub(super) async fn submit(
        &self,
        command: Bytes,
        mut room: OwnedSemaphorePermit,
        deadline: Instant,
    ) -> Result<Applied<Reply>, SubmitError> {
        let patience = deadline.min(Instant::now() + self.timings.election_max());
        loop {
            room = match self.submit_once(command.clone(), room, deadline).await {
                Ok(applied) => return Ok(applied),
                Err(Ended::With(error)) => return Err(error),
                Err(Ended::NoMajority(room)) => room,
            };
            if Instant::now() >= patience || !self.group.wait_for_majority(patience).await {
                return Err(submit_error(WriteError::NoMajority));
            }
        }
    }

    async fn submit_once(&self, command: Bytes, room: OwnedSemaphorePermit, deadline: Instant) -> Answer {
        let (answer, answered) = oneshot::channel();
        let taken = Arc::new(AtomicBool::new(false));
        let waiting = Waiting { command, taken: taken.clone(), answer, room };
        self.queue.try_send(waiting).map_err(|_| ShardError::Busy)?;
        match timeout_at(deadline, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(ShardError::unknown("the shard stopped on this node").into()),
            Err(_) if taken.swap(true, Ordering::AcqRel) => {
                Err(ShardError::unknown("the deadline passed before the command was applied").into())
            }
            Err(_) => Err(ShardError::unavailable("the deadline passed in the queue").into()),
        }
    }
}

async fn run(group: Arc<Group>, rules: Rules, grace: Arc<Grace>, mut queue: mpsc::Receiver<Waiting>) {
    let mut clock = LogClock::default();
    let mut entries = FuturesUnordered::new();
    let mut taken = Vec::new();
    loop {
        tokio::select! {
            count = queue.recv_many(&mut taken, COMMANDS_MAX), if entries.len() < ENTRIES_AHEAD => {
                if count == 0 {
                    break;
                }
                taken.retain(|waiting| !waiting.taken.swap(true, Ordering::AcqRel));
                if let Some((term, command)) = grace.due() {
                    let body = Body::commands(stamp(&group, &rules, &mut clock), [command].into_iter());
                    let written = group.write(body).await;
                    entries.push(finish(written, Vec::new(), Some((grace.clone(), term))));
                }
                for commands in batches(std::mem::take(&mut taken)) {
                    group.machine().metrics().entry_commands.observe(commands.len() as f64);
                    let stamp = stamp(&group, &rules, &mut clock);
                    let body = Body::commands(stamp, commands.iter().map(|waiting| &waiting.command));
                    let written = group.write(body).await;
                    entries.push(finish(written, commands, None));
                }
            }
            Some(()) = entries.next(), if !entries.is_empty() => {}
        }
    }
    while entries.next().await.is_some() {}
}

/// Cuts what waits into entries of at most [`COMMANDS_BYTES_MAX`].
fn batches(waiting: Vec<Waiting>) -> Vec<Vec<Waiting>> {
    let mut batches: Vec<Vec<Waiting>> = Vec::new();
    let mut bytes = 0;
    for waiting in waiting {
        let length = waiting.command.len();
        match batches.last_mut() {
            Some(batch) if bytes + length <= COMMANDS_BYTES_MAX => {
                bytes += length;
                batch.push(waiting);
            }
            _ => {
                bytes = length;
                batches.push(vec![waiting]);
            }
        }
    }
    batches
}

fn stamp(group: &Group, rules: &Rules, clock: &mut LogClock) -> Stamp {
    let (level, epoch) = rules.get();
    let (applied_ms, applied_at) = group.time_applied();
    let (term, middle, now) = (group.term(), group.middle(), Instant::now());
    let time_ms = clock.stamp(Known { term, applied_ms, applied_at, middle, now });
    Stamp { level, epoch, time_ms }
}

/// Gives each command of an entry its own answer. `said`: the entry is what the leader of a term says first.
async fn finish(
    written: Result<Writing, WriteError>,
    commands: Vec<Waiting>,
    said: Option<(Arc<Grace>, u64)>,
) {
    let outcome = match written {
        Ok(writing) => writing.outcome().await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(Outcome { at, results }) => {
            if let Some((grace, term)) = said {
                grace.done(term);
            }
            for (position, (waiting, result)) in commands.into_iter().zip(results).enumerate() {
                let at = At { position: position as u32, ..at };
                let answer = match result {
                    Ok(value) => Ok(Applied { at, value }),
                    Err(refusal) => Err(ShardError::from(refusal).into()),
                };
                let _ = waiting.answer.send(answer);
            }
        }
        Err(WriteError::NoMajority) => {
            for Waiting { answer, room, .. } in commands {
                let _ = answer.send(Err(Ended::NoMajority(room)));
            }
        }
        Err(error) => {
            let error = submit_error(error);
            for waiting in commands {
                let _ = waiting.answer.send(Err(Ended::With(error.clone())));
            }
        }
    }
}

fn submit_error(error: WriteError) -> SubmitError {
    match error {
        WriteError::NotLeader { leader } => SubmitError::NotLeader { leader },
        WriteError::NoMajority => SubmitError::Failed(ShardError::unavailable(error)),
        WriteError::NotAppended(reason) => SubmitError::Failed(ShardError::Unavailable { reason }),
        WriteError::Unknown(reason) => SubmitError::Failed(ShardError::OutcomeUnknown { reason }),
    }
}

/// How long a caller without a deadline of its own is worth waiting for: an election and a half.
pub(super) fn election(timings: Timings) -> Duration {
    3 * timings.election_max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn waiting(length: usize, room: &Arc<Semaphore>) -> Waiting {
        Waiting {
            command: Bytes::from(vec![0; length]),
            taken: Arc::default(),
            answer: oneshot::channel().0,
            room: room.clone().try_acquire_owned().unwrap(),
        }
    }

    proptest! {
        #[test]
        fn batches_keep_the_order_and_their_bounds(lengths in prop::collection::vec(0..COMMANDS_BYTES_MAX, 1..40)) {
            let room = Arc::new(Semaphore::new(100));
            let batches = batches(lengths.iter().map(|length| waiting(*length, &room)).collect());
            let cut: Vec<Vec<usize>> =
                batches.iter().map(|batch| batch.iter().map(|waiting| waiting.command.len()).collect()).collect();
            prop_assert_eq!(cut.concat(), lengths);
            for (batch, next) in cut.iter().zip(cut.iter().skip(1)) {
                prop_assert!(batch.iter().sum::<usize>() + next[0] > COMMANDS_BYTES_MAX, "cut too early");
            }
            for batch in &cut {
                prop_assert!(!batch.is_empty() && batch.iter().sum::<usize>() <= COMMANDS_BYTES_MAX);
            }
        }
    }
}
