//! One shard's raft, with openraft's types turned into ours.

use super::clocks::{Middle, Wall};
use super::config::config;
use super::entry::Body;
use super::heart;
use super::incoming::Incoming;
use super::lease::{Lease, Promises};
use super::log::{LogStore, unmark};
use super::machine::Machine;
use super::network::Network;
use super::purge;
use super::recovery::has_recovered;
use super::snapshot;
use super::types::{Outcome, Types, log_id};
use crate::metrics::ShardMetrics;
use crate::peer::Peers;
use crate::shards::Timings;
use crate::storage::{Failure, ShardLog, State};
use openraft::async_runtime::Instant as _;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, Fatal, ForwardToLeader, InitializeError, RaftError};
use openraft::impls::ProgressResponder;
use openraft::metrics::RaftServerMetrics;
use openraft::raft::ClientWriteResult;
use openraft::{BasicNode, RaftMetrics, ServerState};
use schedia_api::{Joint, LogId, Membership, ShardStatus};
use schedia_apps::{NodeId, ShardId};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};

pub(super) type Raft = openraft::Raft<Types, Machine>;
pub(super) type Metrics = RaftMetrics<Types>;

/// What a group is opened with.
pub(crate) struct Open {
    pub(crate) shard: ShardId,
    pub(crate) me: NodeId,
    pub(crate) timings: Timings,
    pub(crate) log: ShardLog,
    pub(crate) state: State,
    pub(crate) peers: Peers,
    pub(crate) failure: Failure,
    pub(crate) metrics: ShardMetrics,
    pub(crate) wall: Wall,
    pub(crate) promises: Promises,
}

/// The raft of one shard.
pub(crate) struct Group {
    pub(super) shard: ShardId,
    pub(super) me: NodeId,
    pub(super) timings: Timings,
    pub(super) raft: Raft,
    pub(super) machine: Machine,
    pub(super) log: ShardLog,
    pub(super) network: Network,
    pub(super) wall: Wall,
    pub(super) promises: Promises,
    pub(super) lease: Lease,
    failure: Failure,
    /// The snapshot that arrives.
    pub(super) incoming: Incoming,
    /// The last entry of the log when the group was opened: what was applied before is not behind it.
    last_at_open: Option<LogId>,
    /// When a leader last sent something.
    heard: Mutex<Instant>,
    /// Whether another leader is being looked for already (`super::sooner`).
    pub(super) looking: AtomicBool,
    _tasks: DropGuard,
}

/// Who leads, and where it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leader {
    pub(crate) id: NodeId,
    pub(crate) address: String,
}

/// Why an entry has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WriteError {
    /// Certainly not appended: this node does not lead.
    #[error("this node does not lead")]
    NotLeader {
        /// Who does, if it is known.
        leader: Option<Leader>,
    },
    /// Certainly not appended: this node leads, and no majority has answered it lately. A new leader begins like that.
    #[error("this node leads, but no majority has answered it lately")]
    NoMajority,
    /// Certainly not appended, though this node leads.
    #[error("{0}")]
    NotAppended(String),
    /// It may have been appended, and may be committed by whoever leads next.
    #[error("{0}")]
    Unknown(String),
}

/// Why there is no read index.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadError {
    /// This node does not lead.
    #[error("this node does not lead any more")]
    NotLeader,
    /// No majority has confirmed that this node leads.
    #[error("no majority has confirmed that this node leads")]
    Unconfirmed,
}

/// The outcome to come of an entry that was handed to raft.
pub(crate) struct Writing(oneshot::Receiver<ClientWriteResult<Types>>);

impl Writing {
    pub(crate) async fn outcome(self) -> Result<Outcome, WriteError> {
        match self.0.await {
            Ok(Ok(response)) => Ok(response.data),
            Ok(Err(error)) => Err(write_error(error)),
            Err(_) => Err(WriteError::Unknown("raft stopped on this node".into())),
        }
    }
}

impl Group {
    /// Opens the group and starts its tasks. It waits for a leader, or stands for election if it is a voter.
    pub(crate) async fn open(open: Open) -> io::Result<Group> {
        let Open { shard, me, timings, log, state, peers, failure, metrics, wall, promises } = open;
        let last_at_open = unmark(&log.ends().last)?.map(log_id);
        let machine = Machine::open(state, metrics.clone()).map_err(io::Error::other)?;
        let heartbeat = timings.heartbeat();
        let patience = timings.election_max();
        let lease = Lease::default();
        let network = Network::new(peers, shard, me, heartbeat, patience, lease.clone(), &machine);
        let mut config = config(timings).map_err(io::Error::other)?;
        // It has promised somebody not to, perhaps, and forgotten whom.
        let may_stand = Instant::now() >= promises.old_end;
        config.enable_elect = may_stand;
        // Its timer would ring at another moment in each group (`super::heart`).
        config.enable_heartbeat = false;
        let config = Arc::new(config);
        let store = LogStore::new(log.clone());
        let raft = Raft::new(me.0, config, network.clone(), store, machine.clone())
            .await
            .map_err(io::Error::other)?;
        let tasks = CancellationToken::new();
        tokio::spawn(stop_when_broken(raft.clone(), machine.clone(), failure.clone(), tasks.clone()));
        if !may_stand {
            tokio::spawn(stand_from(promises.old_end, raft.clone(), tasks.clone()));
        }
        tokio::spawn(heart::beat(raft.clone(), heartbeat, tasks.clone()));
        let incoming = Incoming::new();
        tokio::spawn(snapshot::let_go(machine.clone(), incoming.clone(), tasks.clone()));
        tokio::spawn(purge::run(raft.clone(), machine.clone(), log.clone(), tasks.clone()));
        Ok(Group {
            shard,
            me,
            timings,
            raft,
            machine,
            log,
            network,
            wall,
            promises,
            lease,
            failure,
            incoming,
            last_at_open,
            heard: Mutex::new(Instant::now()),
            looking: AtomicBool::new(false),
            _tasks: tasks.drop_guard(),
        })
    }

    /// Makes this node the only voter, if the group is in no membership yet.
    pub(crate) async fn initialize(&self, address: &str) -> Result<(), WriteError> {
        let members = BTreeMap::from([(self.me.0, BasicNode::new(address))]);
        match self.raft.initialize(members).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(WriteError::NotAppended(error.to_string())),
        }
    }

    /// Hands an entry to raft. Entries are appended in the order of these calls, one awaited after the other.
    pub(crate) async fn write(&self, body: Body) -> Result<Writing, WriteError> {
        let (responder, outcome) = ProgressResponder::complete_only();
        match self.raft.client_write_ff(body, Some(responder)).await {
            Ok(()) => Ok(Writing(outcome)),
            // The core is gone: it may have taken the entry before.
            Err(fatal) => Err(WriteError::Unknown(fatal.to_string())),
        }
    }

    /// Writes an entry without commands; its index is nobody else's.
    pub(crate) async fn write_blank(&self) -> Result<u64, WriteError> {
        match self.raft.write_blank().await {
            Ok(response) => Ok(response.log_id.index),
            Err(error) => Err(raft_error(error)),
        }
    }

    /// The middle of the voters' clocks, once this leader knows a majority of them.
    pub(crate) fn middle(&self) -> Option<Middle> {
        let metrics = self.raft.metrics();
        let voters = metrics.borrow_watched().membership_config.voter_ids().map(NodeId).collect();
        self.network.clocks.middle(&voters, (self.me, self.wall.now_ms()))
    }

    /// On the leader: how far its wall clock is ahead of the middle of the voters'.
    pub(crate) fn clock_offset_ms(&self) -> Option<i64> {
        let middle = self.is_leader().then(|| self.middle())??;
        Some(middle.offset_ms(self.wall.now_ms()))
    }

    /// Log time as applied here, and when that was, unless it was read back after a restart.
    pub(crate) fn time_applied(&self) -> (u64, Option<Instant>) {
        let (at, timed) = self.machine.time_applied();
        let before = self.last_at_open.map_or(0, |last| last.index);
        (at.time_ms, timed.filter(|(index, _)| *index > before).map(|(_, at)| at))
    }

    pub(crate) fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The leader as far as this node knows, itself included.
    pub(crate) fn leader(&self) -> Option<Leader> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let id = metrics.current_leader?;
        let node = metrics.membership_config.membership().get_node(&id)?;
        Some(Leader { id: NodeId(id), address: node.addr.clone() })
    }

    /// Waits until a leader is known.
    pub(crate) async fn wait_for_leader(&self, deadline: Instant) -> Option<Leader> {
        let mut metrics = self.raft.metrics();
        loop {
            if let Some(leader) = self.leader() {
                return Some(leader);
            }
            timeout_at(deadline, metrics.changed()).await.ok()?.ok()?;
        }
    }

    /// Waits until a majority has answered this leader lately, or it leads no more; whether one of them came to be.
    pub(crate) async fn wait_for_majority(&self, deadline: Instant) -> bool {
        let lately = self.timings.election_max();
        let mut metrics = self.raft.metrics();
        let decided = |metrics: &Metrics| {
            metrics.state != ServerState::Leader
                || metrics.last_quorum_acked.is_some_and(|at| at.into_inner().elapsed() < lately)
        };
        loop {
            if decided(&metrics.borrow_watched()) {
                return true;
            }
            if !matches!(timeout_at(deadline, metrics.changed()).await, Ok(Ok(()))) {
                return false;
            }
        }
    }

    pub(crate) fn is_leader(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.state == ServerState::Leader && metrics.current_leader == Some(self.me.0)
    }

    /// Whether every entry of this node's log is applied here.
    pub(crate) fn has_applied_all(&self) -> bool {
        let ShardStatus { last, applied, .. } = self.status();
        last.map(|last| last.index) <= applied.map(|applied| applied.index)
    }

    /// Whether this node leads, and a majority has answered it lately.
    pub(crate) fn leads(&self) -> bool {
        self.is_leader() && self.in_touch(&self.metrics())
    }

    /// The term of the newest vote this node has seen.
    pub(crate) fn term(&self) -> u64 {
        self.raft.metrics().borrow_watched().current_term
    }

    /// Waits until everything that was applied here before the last restart is applied again.
    pub(crate) async fn wait_for_recovery(&self) {
        let mut applied = self.machine.applied();
        if applied.wait_for(|applied| has_recovered(self.last_at_open, *applied)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// How long no leader has sent anything. Nothing on a leader.
    pub(crate) fn silence(&self) -> Duration {
        match self.is_leader() {
            true => Duration::ZERO,
            false => self.heard_at().elapsed(),
        }
    }

    /// Whether the leader that raft names has shown lately that it leads: to this node, or on it a majority to it. Raft
    /// itself names the last leader until another one is elected, however long that takes.
    fn in_touch(&self, metrics: &Metrics) -> bool {
        let patience = 2 * self.timings.election_max();
        if metrics.state != ServerState::Leader {
            return self.heard_at().elapsed() < patience;
        }
        let alone = metrics.membership_config.voter_ids().all(|voter| voter == self.me.0);
        alone || metrics.last_quorum_acked.is_none_or(|at| at.into_inner().elapsed() < patience)
    }

    /// When a leader last sent something.
    pub(super) fn heard_at(&self) -> Instant {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn hear(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Why the group runs no more on this node.
    pub(crate) fn stopped(&self) -> Option<String> {
        if let Some(failed) = self.failure.get() {
            return Some(failed.to_string());
        }
        if let Some(reason) = self.machine.broken().borrow().clone() {
            return Some(format!("state is broken: {reason}"));
        }
        match &self.raft.metrics().borrow_watched().running_state {
            Ok(()) => None,
            Err(fatal) => Some(fatal.to_string()),
        }
    }

    /// The group as this node sees it now.
    pub(crate) fn status(&self) -> ShardStatus {
        // A copy: a guard held while another is taken can deadlock with the core, which writes in between.
        let metrics = self.metrics();
        let last = super::log::unmark(&self.log.ends().last).ok().flatten();
        ShardStatus {
            shard: self.shard,
            leader: metrics.current_leader.filter(|_| self.in_touch(&metrics)).map(NodeId),
            term: metrics.current_term,
            last: last.map(log_id),
            committed: metrics.local_committed.map(log_id),
            applied: *self.machine.applied().borrow(),
            membership: membership(&metrics),
            lag: lag(&metrics),
            stopped: self.stopped(),
        }
    }

    pub(super) fn metrics(&self) -> Metrics {
        self.raft.metrics().borrow_watched().clone()
    }

    /// Sends when something of [`Group::status`] but positions changes. Ends with the group.
    pub(crate) fn watch_status(self: &Arc<Self>) -> watch::Receiver<ShardStatus> {
        // openraft's metrics change several times with every entry: watching them would wake a thread each time.
        let (mut lasting, mut metrics) = (self.raft.server_metrics(), self.raft.metrics());
        let group = Arc::downgrade(self);
        let sender = watch::Sender::new(self.status());
        let receiver = sender.subscribe();
        tokio::spawn(async move {
            loop {
                // The core ends after it has said why. What lasts is sent just before the rest.
                let mut goes_on = lasting.changed().await.is_ok();
                while goes_on && !agree(&lasting.borrow_watched().clone(), &metrics.borrow_watched()) {
                    goes_on = metrics.changed().await.is_ok();
                }
                let Some(group) = group.upgrade() else { return };
                let (before, now) = (sender.borrow().leader, group.status());
                if before != now.leader {
                    group.machine.metrics().leader_changes.inc();
                    let leader = now.leader.map(|id| id.0);
                    tracing::info!(shard = %now.shard, leader, term = now.term, "the leader has changed");
                }
                sender.send_replace(now);
                if !goes_on {
                    return;
                }
            }
        });
        receiver
    }

    /// The last entry purged from this node's log.
    #[cfg(test)]
    pub(crate) fn purged(&self) -> Option<u64> {
        self.log.ends().purged.map(|mark| mark.index)
    }

    /// Stops raft. What was applied is not flushed by this.
    pub(crate) async fn shutdown(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(shard = %self.shard, %error, "raft did not stop cleanly");
        }
    }
}

fn agree(lasting: &RaftServerMetrics<Types>, metrics: &Metrics) -> bool {
    lasting.vote == metrics.vote
        && lasting.state == metrics.state
        && lasting.current_leader == metrics.current_leader
        && lasting.membership_config.log_id() == metrics.membership_config.log_id()
        && lasting.committed_membership_config.log_id() == metrics.committed_membership_config.log_id()
}

fn membership(metrics: &Metrics) -> Membership {
    let stored = &metrics.membership_config;
    let ids = |ids: &std::collections::BTreeSet<u64>| ids.iter().copied().map(NodeId).collect();
    let configs = stored.membership().get_joint_config();
    Membership {
        log_id: stored.log_id().map(log_id),
        committed: metrics.committed_membership_config.log_id() == stored.log_id(),
        voters: configs.last().map(ids).unwrap_or_default(),
        learners: stored.membership().learner_ids().map(NodeId).collect(),
        joint: match &configs[..] {
            [old, new] => Some(Joint { old: ids(old), new: ids(new) }),
            _ => None,
        },
    }
}

fn lag(metrics: &Metrics) -> BTreeMap<NodeId, u64> {
    let last = metrics.last_log_index.unwrap_or(0);
    let matched = metrics.replication.iter().flatten().filter(|(id, _)| **id != metrics.id);
    matched
        .map(|(id, matched)| (NodeId(*id), last.saturating_sub(matched.map_or(0, |id| id.index))))
        .collect()
}

/// From then on this node may stand for election.
async fn stand_from(at: Instant, raft: Raft, tasks: CancellationToken) {
    if tasks.run_until_cancelled(sleep_until(at)).await.is_some() {
        raft.runtime_config().elect(true);
    }
}

/// Failed storage or a broken state ends the group: openraft must not go on voting with what it cannot keep.
async fn stop_when_broken(raft: Raft, machine: Machine, failure: Failure, tasks: CancellationToken) {
    let mut broken = machine.broken();
    tokio::select! {
        _ = failure.wait() => {}
        Ok(_) = broken.wait_for(Option::is_some) => {}
        () = tasks.cancelled() => return,
    }
    let _ = raft.shutdown().await;
}

pub(super) fn leader(forward: ForwardToLeader<Types>) -> Option<Leader> {
    Some(Leader { id: NodeId(forward.leader_id?), address: forward.leader_node?.addr })
}

pub(super) fn write_error(error: ClientWriteError<Types>) -> WriteError {
    match error {
        ClientWriteError::ForwardToLeader(forward) => match forward.reason {
            openraft::errors::ForwardReason::LeaseExpired => WriteError::NoMajority,
            _ => WriteError::NotLeader { leader: leader(forward) },
        },
        ClientWriteError::LogEntryDiscarded(_) => {
            WriteError::Unknown("leadership was lost before the entry was known to be committed".into())
        }
        refused @ (ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_)) => {
            WriteError::NotAppended(refused.to_string())
        }
    }
}

pub(super) fn raft_error(error: RaftError<Types, ClientWriteError<Types>>) -> WriteError {
    match error {
        RaftError::APIError(error) => write_error(error),
        RaftError::Fatal(fatal) => WriteError::Unknown(fatal_reason(fatal)),
    }
}

fn fatal_reason(fatal: Fatal<Types>) -> String {
    format!("raft stopped on this node: {fatal}")
}
