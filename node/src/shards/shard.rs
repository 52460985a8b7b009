//! One shard as doors and the membership driver see it.

pub(super) mod members;
mod tasks;

use super::forward;
use super::lonely::ask_when_lonely;
use super::proposer::{Proposer, SubmitError, election};
use super::reads::Reads;
use super::rules::Rules;
use super::watch::Bell;
use super::{MembershipError, ShardError, Timings};
use crate::metrics::ShardMetrics;
use crate::peer::{Kind, Parts, Peers, Refused, Request};
use crate::raft::{COMMANDS_BYTES_MAX, Feed, Group, Leader, WriteError};
use crate::request::{forward_span, note_spent, propose_span};
use crate::storage::{Defragmented, Storage};
use bytes::Bytes;
use schedia_api::ShardStatus;
use schedia_apps::cluster::Record;
use schedia_apps::{At, Command, NodeId, Query, Reply, ShardId, kv, once, queue};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::Instrument;

/// Which state a read may answer from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// Sees every write that was acknowledged before the read began, whichever node is asked.
    #[default]
    Linearizable,
    /// The state of this node as it is, however old.
    Stale,
}

/// An answer and its place in the shard's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied<T> {
    /// Of a command: its own place. Of a query: the last applied entry's.
    pub at: At,
    /// The answer.
    pub value: T,
}

/// What waits in a shard, what it keeps in memory, and what its state takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queues {
    /// Commands that wait to be put into an entry.
    pub commands: usize,
    /// Linearizable reads that wait for the next round.
    pub reads: usize,
    /// Watches that are open.
    pub watches: usize,
    /// Newest changes kept for them.
    pub watch_changes: usize,
    /// Bytes of their keys and values.
    pub watch_bytes: usize,
    /// Memory of applied writes that are not in the state file yet.
    pub overlay_bytes: usize,
    /// Size of the state file.
    pub state_file_bytes: usize,
    /// Keys and values in it.
    pub state_rows_bytes: usize,
}

/// One shard on this node. Cheap to clone.
#[derive(Clone)]
pub struct Shard(Arc<Inner>);

struct Inner {
    id: ShardId,
    me: NodeId,
    timings: Timings,
    group: Arc<Group>,
    proposer: Proposer,
    reads: Reads,
    bell: Bell,
    peers: Peers,
    storage: Arc<Storage>,
    status: watch::Receiver<ShardStatus>,
    recovered: watch::Receiver<bool>,
    metrics: ShardMetrics,
}

/// What the shards of a node have in common.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) me: NodeId,
    pub(super) timings: Timings,
    pub(super) peers: Peers,
    pub(super) storage: Arc<Storage>,
    /// Bytes of commands in flight on this node.
    pub(super) in_flight: Arc<Semaphore>,
    pub(super) metrics: ShardMetrics,
}

impl Shard {
    /// Starts a shard on its raft. `rules` are the cluster's.
    pub(super) fn start(id: ShardId, group: Arc<Group>, rules: Rules, common: Common) -> Shard {
        let Common { me, timings, peers, storage, in_flight, metrics } = common;
        let (recovered, recovers) = watch::channel(false);
        let recovering = group.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = recovering.wait_for_recovery() => {
                    let _ = recovered.send(true);
                }
                () = recovered.closed() => {}
            }
        });
        tokio::spawn(ask_when_lonely(Arc::downgrade(&group), peers.clone(), me));
        Shard(Arc::new(Inner {
            id,
            me,
            timings,
            proposer: Proposer::start(group.clone(), rules, in_flight, timings),
            reads: Reads::start(group.clone(), peers.clone(), me, id, timings, metrics.clone()),
            bell: Bell::start(group.machine().feed().clone()),
            status: group.watch_status(),
            recovered: recovers,
            group,
            peers,
            storage,
            metrics,
        }))
    }

    /// What waits in this shard now.
    pub fn queues(&self) -> Queues {
        let machine = self.0.group.machine();
        let (watches, watch_changes, watch_bytes) = machine.feed().sizes();
        let (file_bytes, rows_bytes) = machine.state().file_bytes().unwrap_or_default();
        Queues {
            commands: self.0.proposer.waiting(),
            reads: self.0.reads.waiting(),
            watches,
            watch_changes,
            watch_bytes,
            overlay_bytes: machine.state().overlay_bytes(),
            state_file_bytes: file_bytes as usize,
            state_rows_bytes: rows_bytes as usize,
        }
    }

    /// Which shard this is.
    pub fn id(&self) -> ShardId {
        self.0.id
    }

    /// Makes this node the only voter, if the shard is in no membership yet.
    pub(super) async fn initialize(&self, address: &str) -> Result<(), ShardError> {
        self.0.group.initialize(address).await.map_err(shard_error)
    }

    /// Appends, commits, applies; forwarded once to the leader if this node does not lead.
    pub async fn propose(&self, command: Command, deadline: Instant) -> Result<Applied<Reply>, ShardError> {
        let _in_flight = self.0.metrics.proposal();
        let begun = Instant::now();
        let result = self.propose_once(command, deadline).instrument(propose_span(self.0.id.0)).await;
        self.0.metrics.outcomes.count(&result);
        let took = begun.elapsed();
        note_spent(|spent| spent.propose = Some(took.saturating_sub(spent.leader.unwrap_or_default())));
        self.0.metrics.propose_seconds.observe(took.as_secs_f64());
        result
    }

    async fn propose_once(&self, command: Command, deadline: Instant) -> Result<Applied<Reply>, ShardError> {
        let encoded = Bytes::from(command.encode());
        if encoded.len() > COMMANDS_BYTES_MAX {
            return Err(ShardError::TooLarge { bytes: encoded.len(), bytes_max: COMMANDS_BYTES_MAX });
        }
        self.running()?;
        let begun = Instant::now();
        let leader = self.leader(deadline).await?;
        note_spent(|spent| spent.leader = Some(begun.elapsed()));
        let room = self.0.proposer.room(&encoded)?;
        if leader.id != self.0.me {
            return self.forward(&leader, encoded, deadline).await;
        }
        self.admit(&command)?;
        match self.0.proposer.submit(encoded.clone(), room, deadline).await {
            Ok(applied) => Ok(applied),
            Err(SubmitError::Failed(error)) => Err(error),
            Err(SubmitError::NotLeader { leader: Some(leader) }) if leader.id != self.0.me => {
                self.forward(&leader, encoded, deadline).await
            }
            Err(SubmitError::NotLeader { .. }) => Err(ShardError::NoLeader),
        }
    }

    /// Answers from the state of this node, after it has caught up with the leader if `consistency` asks for it.
    pub async fn read(
        &self,
        query: Query,
        consistency: Consistency,
        deadline: Instant,
    ) -> Result<Applied<Reply>, ShardError> {
        let begun = Instant::now();
        let result = self.read_once(query, consistency, deadline).await;
        self.0.metrics.reads.inc();
        self.0.metrics.read_seconds.observe(begun.elapsed().as_secs_f64());
        result
    }

    async fn read_once(
        &self,
        query: Query,
        consistency: Consistency,
        deadline: Instant,
    ) -> Result<Applied<Reply>, ShardError> {
        self.running()?;
        match consistency {
            Consistency::Stale if !self.is_recovered() => return Err(ShardError::NotRecovered),
            Consistency::Stale => {}
            Consistency::Linearizable => {
                let begun = Instant::now();
                let index = self.0.reads.index(deadline).await;
                let known = Instant::now();
                note_spent(|spent| spent.index = Some(known - begun));
                let applied = self.applied(index?, deadline).await;
                note_spent(|spent| spent.apply = Some(known.elapsed()));
                applied?;
            }
        }
        let (at, value) = self.0.group.machine().query(query)?;
        Ok(Applied { at, value })
    }

    /// What watches share: who wakes them, and what they read.
    pub(super) fn bell(&self) -> (&Bell, &Feed) {
        (&self.0.bell, self.0.group.machine().feed())
    }

    /// Waits until this node has applied an entry, or a later one.
    async fn applied(&self, index: u64, deadline: Instant) -> Result<(), ShardError> {
        let mut applied = self.0.group.machine().applied();
        let reached = applied.wait_for(|applied| applied.is_some_and(|id| id.index >= index));
        match timeout_at(deadline, reached).await {
            Ok(_) => Ok(()),
            Err(_) => Err(ShardError::unavailable("this node did not catch up with the leader in time")),
        }
    }

    /// Waits a little for a leader: an election should not fail every request that meets it.
    async fn leader(&self, deadline: Instant) -> Result<Leader, ShardError> {
        let patience = deadline.min(Instant::now() + election(self.0.timings));
        self.0.group.wait_for_leader(patience).await.ok_or(ShardError::NoLeader)
    }

    async fn forward(
        &self,
        to: &Leader,
        command: Bytes,
        deadline: Instant,
    ) -> Result<Applied<Reply>, ShardError> {
        let forwarding = forward::propose(&self.0.peers, to, self.0.id, command, deadline);
        forwarding.instrument(forward_span(to.id.0)).await
    }

    /// What the leader refuses before it proposes.
    fn admit(&self, command: &Command) -> Result<(), ShardError> {
        if self.0.group.machine().state().is_pressed() {
            return Err(ShardError::Busy);
        }
        if self.0.storage.full().is_some() {
            return Err(ShardError::DiskFull);
        }
        if adds(command) && self.0.storage.space().is_low() {
            return Err(ShardError::DiskLow);
        }
        Ok(())
    }

    fn running(&self) -> Result<(), ShardError> {
        match self.0.group.stopped() {
            None => Ok(()),
            Some(reason) => Err(ShardError::Stopped { reason }),
        }
    }

    /// The shard as this node sees it, with the positions of this moment.
    pub fn status(&self) -> ShardStatus {
        self.0.group.status()
    }

    /// Changes when leader, term, membership or `stopped` change, not with every entry.
    pub fn watch_status(&self) -> watch::Receiver<ShardStatus> {
        self.0.status.clone()
    }

    /// The cluster record as applied here, as it changes. Only shard 0 has one.
    pub fn watch_record(&self) -> watch::Receiver<Option<Record>> {
        self.0.group.machine().record()
    }

    /// On the leader: how far its wall clock is ahead of the middle of the voters', in milliseconds.
    pub fn clock_offset_ms(&self) -> Option<i64> {
        self.0.group.clock_offset_ms()
    }

    /// Whether this node leads the shard, as far as it knows.
    pub fn is_leader(&self) -> bool {
        self.0.group.is_leader()
    }

    /// Whether everything that was applied before the restart is applied again: until then no stale read is answered.
    pub fn is_recovered(&self) -> bool {
        *self.0.recovered.borrow()
    }

    /// Flushes a checkpoint and purges the log below it.
    pub async fn snapshot(&self) -> Result<(), ShardError> {
        self.running()?;
        self.0.group.checkpoint().await.map_err(ShardError::unavailable)
    }

    /// Puts a fresh copy in the place of this node's state file. Takes minutes for a large one; everything goes on meanwhile.
    pub async fn defragment(&self) -> Result<Defragmented, ShardError> {
        self.running()?;
        self.0.group.machine().state().defragment().await.map_err(ShardError::unavailable)
    }

    /// Writes an entry without a command and returns its index: a number nobody else gets. Leader only.
    pub async fn write_blank(&self, deadline: Instant) -> Result<u64, ShardError> {
        match timeout_at(deadline, self.0.group.write_blank()).await {
            Ok(index) => index.map_err(shard_error),
            Err(_) => Err(ShardError::unknown("the deadline passed before the entry was applied")),
        }
    }

    /// Handles a frame of a peer.
    pub(super) async fn serve(self, request: Request) -> Result<Bytes, Refused> {
        match request.kind {
            Kind::Propose => {
                let admit = |command: &Command| {
                    self.admit(command)?;
                    Ok(self.answer_at_once(command))
                };
                forward::serve(&self.0.proposer, request.from, &request.body, admit).await
            }
            Kind::ReadIndex => {
                Ok(self.0.reads.serve(request.from, Instant::now() + election(self.0.timings)).await)
            }
            _ => self.0.group.clone().serve(request).await,
        }
    }

    /// The connection over which a peer sent its frames has ended.
    pub(super) fn connection_lost(&self, peer: NodeId) {
        self.0.group.connection_lost(peer);
    }

    /// Receives a snapshot of a peer.
    pub(super) async fn receive(self, request: Request, parts: Parts) -> Result<Bytes, Refused> {
        self.0.group.clone().receive(request, parts).await
    }

    /// Hands leadership over if this node leads and somebody can take it within two maximal election timeouts.
    pub(super) async fn leave(&self) {
        let Inner { id, group, timings, .. } = &*self.0;
        let deadline = Instant::now() + 2 * timings.election_max();
        let Some(successor) = self.successor(deadline).await else { return };
        match group.transfer_leader(successor, deadline).await {
            Ok(()) => tracing::info!(shard = %id, to = %successor, "handed leadership over"),
            Err(error) => {
                tracing::warn!(shard = %id, to = %successor, ?error, "leadership was not handed over")
            }
        }
    }

    /// Who can lead at once. On a busy machine nobody may have answered in this very moment: it is waited for.
    async fn successor(&self, deadline: Instant) -> Option<NodeId> {
        let Inner { id, me, group, timings, .. } = &*self.0;
        let heartbeat = timings.heartbeat();
        while group.is_leader() {
            let voters = group.status().membership.voters;
            match group.successor(&voters) {
                None if voters.iter().all(|voter| voter == me) => return None,
                None if Instant::now() + heartbeat < deadline => tokio::time::sleep(heartbeat / 2).await,
                None => {
                    tracing::warn!(shard = %id, "leadership was not handed over: no voter has caught up");
                    return None;
                }
                successor => return successor,
            }
        }
        None
    }

    /// Stops raft, flushes.
    pub(super) async fn stop(&self) {
        let Inner { id, group, .. } = &*self.0;
        group.shutdown().await;
        match timeout(FLUSH_TIMEOUT, group.machine().state().close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(shard = %id, %error, "the last checkpoint failed; a restart applies the log")
            }
            Err(_) => {
                tracing::warn!(shard = %id, "the last checkpoint took too long; a restart applies the log")
            }
        }
    }
}

#[cfg(test)]
impl Shard {
    /// Stops raft as a crash would: nothing is handed over, nothing flushed.
    pub(super) async fn stop_at_once(&self) {
        self.0.group.shutdown().await;
    }

    /// Rounds for reads, so far.
    pub(super) fn read_rounds(&self) -> u64 {
        self.0.metrics.read_rounds.get()
    }

    /// Reads of this leader, and rounds of followers, that asked nobody.
    pub(super) fn lease_reads(&self) -> u64 {
        self.0.metrics.lease_reads.get()
    }

    /// Whether promises keep everybody else from leading, if this node leads that term.
    pub(super) fn has_lease(&self, term: u64) -> bool {
        self.0.group.has_lease(term)
    }

    /// What it has applied.
    pub(super) fn state(&self) -> &crate::storage::State {
        self.0.group.machine().state()
    }

    /// The last entry purged from this node's log.
    pub(super) fn purged(&self) -> Option<u64> {
        self.0.group.purged()
    }
}

/// How long a shutdown waits for its last checkpoint.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether a command makes the state larger: refused when the disk is nearly full.
fn adds(command: &Command) -> bool {
    let kv = match command {
        Command::Kv(command) => command,
        // The reply that is kept is small, and goes again: what matters is what the write itself does.
        Command::Once(once::Command { write: once::Write::Kv(command), .. }) => command,
        Command::Queue(command) => return queue_adds(command),
        Command::Cluster(_) => return false,
    };
    match kv {
        kv::Command::Put(_) => true,
        kv::Command::Txn(txn) => txn.puts(),
        kv::Command::Delete(_) | kv::Command::DeleteRange(_) | kv::Command::Compact { .. } => false,
    }
}

/// Whether a command of the queue makes the state larger. Tasks that are there may be worked at to their end, results and all:
/// what has ended is removed after its time.
fn queue_adds(command: &queue::Command) -> bool {
    use queue::Command as C;
    matches!(command, C::Create(_) | C::PutTopic { .. } | C::Subscribe(_))
}

fn shard_error(error: WriteError) -> ShardError {
    match error {
        WriteError::NotLeader { leader } => ShardError::NotLeader { leader: leader.map(|leader| leader.id) },
        error @ WriteError::NoMajority => ShardError::unavailable(error),
        WriteError::NotAppended(reason) => ShardError::Unavailable { reason },
        WriteError::Unknown(reason) => ShardError::OutcomeUnknown { reason },
    }
}
