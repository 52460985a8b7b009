//! Changes of a group's membership, leadership transfer, checkpoints on demand: what an administrator asks of raft.
//!
//! Invariants:
//! * A change is proposed only on the membership it was planned from, by the leader it was asked of.
//! * Voters are changed by one joint configuration; who is left out stays as a learner.

use super::group::{Group, WriteError, raft_error, write_error};
use super::purge::{applied, checkpoint, purge};
use super::types::{Types, raft_log_id};
use openraft::async_runtime::{Instant as _, WatchReceiver};
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::{BasicNode, ChangeMembers, Precondition};
use schedia_api::LogId;
use schedia_apps::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use tokio::time::{Instant, timeout_at};

/// A voter that lags more bytes is no leader to be: openraft refuses writes until it has won.
const TRANSFER_LAG_BYTES: usize = 1 << 20;

/// Why a membership change did not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ChangeError {
    /// The membership is not the one planned from: nothing was changed.
    Stale,
    /// An earlier change is not committed: nothing was changed.
    InProgress,
    /// The joint configuration is committed, the final one is not.
    JointOpen,
    /// Not a member: nothing was changed.
    NotMember(NodeId),
    /// Makes no sense: nothing was changed.
    Impossible(String),
    /// As for any entry.
    Write(WriteError),
}

impl Group {
    /// The address of every member of the newest membership.
    pub(crate) fn addresses(&self) -> BTreeMap<NodeId, String> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let nodes = metrics.membership_config.membership().nodes();
        nodes.map(|(id, node)| (NodeId(*id), node.addr.clone())).collect()
    }

    pub(crate) async fn add_learners(
        &self,
        planned: Option<LogId>,
        learners: BTreeMap<NodeId, String>,
    ) -> Result<(), ChangeError> {
        let nodes = learners.into_iter().map(|(id, address)| (id.0, BasicNode::new(address))).collect();
        self.change(planned, ChangeMembers::AddNodes(nodes)).await
    }

    /// Writes where members are. Whoever is called a member answers only under its own id, so that a wrong address
    /// leads to nobody.
    pub(crate) async fn set_addresses(
        &self,
        planned: Option<LogId>,
        addresses: BTreeMap<NodeId, String>,
    ) -> Result<(), ChangeError> {
        let nodes = addresses.iter().map(|(id, address)| (id.0, BasicNode::new(address))).collect();
        self.change(planned, ChangeMembers::SetNodes(nodes)).await?;
        // openraft keeps the clients it has for a member, whatever becomes of its address.
        addresses.iter().for_each(|(id, address)| self.network.note(*id, address));
        Ok(())
    }

    /// From now on this node stands for no election: it was removed.
    pub(crate) fn stand_down(&self) {
        self.raft.runtime_config().elect(false);
    }

    pub(crate) async fn change_voters(
        &self,
        planned: Option<LogId>,
        voters: BTreeSet<NodeId>,
    ) -> Result<(), ChangeError> {
        let ids = voters.iter().map(|id| id.0).collect();
        let changed = self.change(planned, ChangeMembers::ReplaceAllVoters(ids)).await;
        // The error may be that of the second half: then the first one stands.
        let joint = self.status().membership;
        let open = joint.log_id > planned && joint.joint.is_some_and(|joint| joint.new == voters);
        match changed {
            Err(_) if open && joint.committed => Err(ChangeError::JointOpen),
            other => other,
        }
    }

    pub(crate) async fn finish_joint(&self, planned: Option<LogId>) -> Result<(), ChangeError> {
        self.change(planned, ChangeMembers::AddVoterIds(BTreeSet::new())).await
    }

    pub(crate) async fn remove_learners(
        &self,
        planned: Option<LogId>,
        learners: BTreeSet<NodeId>,
    ) -> Result<(), ChangeError> {
        let ids = learners.into_iter().map(|id| id.0).collect();
        self.change(planned, ChangeMembers::RemoveNodes(ids)).await
    }

    async fn change(
        &self,
        planned: Option<LogId>,
        change: ChangeMembers<u64, BasicNode>,
    ) -> Result<(), ChangeError> {
        let leader = self.raft.as_leader().map_err(|forward| {
            ChangeError::Write(WriteError::NotLeader { leader: super::group::leader(forward) })
        })?;
        let preconditions: [Precondition<Types>; 2] = [
            Precondition::LastMembershipLogId { last_membership_log_id: planned.map(raft_log_id) },
            Precondition::CommittedLeaderId { committed_leader_id: leader.to_committed_leader_id() },
        ];
        let retain = true;
        match self.raft.change_membership_if(change, retain, preconditions).await {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(error)) => Err(change_error(error)),
            Err(fatal) => Err(ChangeError::Write(raft_error(fatal))),
        }
    }

    /// Hands leadership to a voter that can take it at once; returns when it leads.
    ///
    /// `Err(None)`: the voter is not caught up. `Err(Some)`: it was asked, and another or nobody leads at the deadline.
    pub(crate) async fn transfer_leader(
        &self,
        to: NodeId,
        deadline: Instant,
    ) -> Result<(), Option<WriteError>> {
        if !self.is_leader() {
            return Err(Some(WriteError::NotLeader { leader: self.leader() }));
        }
        if to == self.me {
            return Ok(());
        }
        if !self.is_caught_up(to) {
            return Err(None);
        }
        let stopped = |error: String| Some(WriteError::NotAppended(error));
        self.raft.trigger().transfer_leader(to.0).await.map_err(|fatal| stopped(fatal.to_string()))?;
        let mut metrics = self.raft.metrics();
        let transferred = async {
            loop {
                match metrics.borrow_watched().current_leader {
                    Some(id) if id == to.0 => return Ok(()),
                    Some(id) if id != self.me.0 => {
                        return Err(stopped(format!("node {id} was elected instead")));
                    }
                    _ => {}
                }
                metrics.changed().await.map_err(|_| stopped("raft stopped on this node".into()))?;
            }
        };
        let late = |_| stopped(format!("node {to} does not lead yet"));
        timeout_at(deadline, transferred).await.map_err(late)?
    }

    /// When what each other member last answered was sent. Empty on a node that does not lead.
    pub(crate) fn acknowledged(&self) -> BTreeMap<NodeId, Instant> {
        let metrics = self.metrics();
        let sent = metrics.heartbeat.iter().flatten();
        sent.filter_map(|(id, sent)| {
            let ago = sent.as_ref()?.into_inner().elapsed();
            Some((NodeId(*id), Instant::now().checked_sub(ago)?))
        })
        .collect()
    }

    /// Whether a voter answered within the last heartbeats and lags less than [`TRANSFER_LAG_BYTES`].
    fn is_caught_up(&self, id: NodeId) -> bool {
        let metrics = self.metrics();
        let voter = metrics.membership_config.voter_ids().any(|voter| voter == id.0);
        // Sent every interval, answered a moment later.
        let lately = 2 * self.timings.heartbeat();
        let answers = self.acknowledged().get(&id).is_some_and(|sent| sent.elapsed() <= lately);
        let matched = metrics.replication.as_ref().and_then(|matched| matched.get(&id.0).copied().flatten());
        let first_missing = matched.map_or(0, |id| id.index) + 1;
        let end = metrics.last_log_index.map_or(0, |last| last + 1);
        let missing = || match self.log.read(first_missing..end, TRANSFER_LAG_BYTES) {
            Ok(records) => records.last().is_none_or(|last| last.index + 1 < end),
            Err(_) => true,
        };
        voter && answers && (first_missing >= end || !missing())
    }

    /// The one of these voters that could lead at once and lags least.
    pub(crate) fn successor(&self, of: &BTreeSet<NodeId>) -> Option<NodeId> {
        let status = self.status();
        let mut voters: Vec<(u64, NodeId)> = status
            .lag
            .iter()
            .filter(|(id, _)| of.contains(id) && **id != self.me)
            .map(|(id, lag)| (*lag, *id))
            .collect();
        voters.sort_unstable();
        voters.into_iter().map(|(_, id)| id).find(|id| self.is_caught_up(*id))
    }

    /// Makes a checkpoint of everything applied, and purges the log below it.
    pub(crate) async fn checkpoint(&self) -> io::Result<()> {
        let index = applied(&self.machine);
        checkpoint(&self.raft, &self.machine, index).await?;
        purge(&self.raft, &self.machine, &self.log, index).await
    }
}

fn change_error(error: ClientWriteError<Types>) -> ChangeError {
    use ChangeMembershipError::*;
    match error {
        ClientWriteError::PreconditionFailed(_) => ChangeError::Stale,
        ClientWriteError::ChangeMembershipError(error) => match error {
            // The leader's own first entry not committed yet is a change of the term in progress.
            InProgress(_) | UncommittedLeaderLog(_) => ChangeError::InProgress,
            LearnerNotFound(error) => ChangeError::NotMember(NodeId(error.node_id)),
            other @ (EmptyMembership(_) | UnsupportedMembershipTransition(_) | NodeMetadataChanged(_)) => {
                ChangeError::Impossible(other.to_string())
            }
        },
        other => ChangeError::Write(write_error(other)),
    }
}
