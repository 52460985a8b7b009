//! A shard's members: who they are, how far they are, and the raft changes that the membership driver asks for.
//!
//! Not here: which change is due (`crate::shards::membership`).

use super::{MembershipError, Shard, ShardError, shard_error};
use crate::raft::ChangeError;
use schedia_api::{LogId, Membership};
use schedia_apps::{NodeId, Query, Reply, cluster};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// Whether a silent member has answered is looked at this often.
pub(in crate::shards) const ASK_AGAIN_AFTER: Duration = Duration::from_millis(20);

impl Shard {
    /// The newest membership in this node's log, and whether it is committed.
    pub fn membership(&self) -> Membership {
        self.status().membership
    }

    /// The peer address of every member of that membership.
    pub fn addresses(&self) -> BTreeMap<NodeId, String> {
        self.0.group.addresses()
    }

    /// On the leader: how many entries each other member is behind, at this moment.
    pub fn lag(&self) -> BTreeMap<NodeId, u64> {
        self.status().lag
    }

    /// This node.
    pub(in crate::shards) fn me(&self) -> NodeId {
        self.0.me
    }

    /// On the leader: when what each other member last answered was sent.
    pub(in crate::shards) fn acknowledged(&self) -> BTreeMap<NodeId, Instant> {
        self.0.group.acknowledged()
    }

    /// On the leader: whether a member answered lately.
    pub(in crate::shards) fn hears(&self, id: NodeId) -> bool {
        let lately = self.0.timings.election_max();
        id == self.0.me || self.acknowledged().get(&id).is_some_and(|sent| sent.elapsed() <= lately)
    }

    /// Adds members without a vote, if `planned` still is the log id of the newest membership. Leader only.
    pub async fn add_learners(
        &self,
        planned: Option<LogId>,
        learners: BTreeMap<NodeId, String>,
        deadline: Instant,
    ) -> Result<(), MembershipError> {
        changed(deadline, self.0.group.add_learners(planned, learners)).await
    }

    /// Corrects the peer addresses of members, if `planned` still is the log id of the newest membership. Leader only.
    pub async fn set_addresses(
        &self,
        planned: Option<LogId>,
        addresses: BTreeMap<NodeId, String>,
        deadline: Instant,
    ) -> Result<(), MembershipError> {
        changed(deadline, self.0.group.set_addresses(planned, addresses)).await
    }

    /// Hands leadership to the one of these voters that lags least and can take it; returns when it leads. Leader only.
    pub async fn hand_over(&self, to: &BTreeSet<NodeId>, deadline: Instant) -> Result<(), MembershipError> {
        match self.0.group.successor(to) {
            Some(heir) => {
                tracing::info!(shard = %self.0.id, to = %heir, "handing leadership over: this node loses its vote");
                self.transfer_leader(heir, deadline).await
            }
            None => Err(MembershipError::NotCaughtUp(to.first().copied().unwrap_or(self.0.me))),
        }
    }

    /// Hands leadership to a voter that answered within the last heartbeats and lags less than 1 MiB; returns when it leads.
    /// On a busy machine it may not have answered in this very moment: that is waited for, but not for long.
    pub async fn transfer_leader(&self, to: NodeId, deadline: Instant) -> Result<(), MembershipError> {
        let patience = self.patience(deadline);
        loop {
            match self.0.group.transfer_leader(to, deadline).await {
                Ok(()) => return Ok(()),
                Err(Some(error)) => return Err(shard_error(error).into()),
                Err(None) if self.membership().voters.contains(&to) && Instant::now() < patience => {
                    sleep(ASK_AGAIN_AFTER).await;
                }
                Err(None) => return Err(MembershipError::NotCaughtUp(to)),
            }
        }
    }

    /// Until when a member may be silent that is expected to answer: one maximal election timeout.
    pub(in crate::shards) fn patience(&self, deadline: Instant) -> Instant {
        deadline.min(Instant::now() + self.0.timings.election_max())
    }

    /// One joint change to exactly these voters; voters that are left out stay as learners. Leader only.
    ///
    /// [`MembershipError::JointOpen`] when only the first half was committed: call [`Shard::finish_joint`].
    pub async fn change_voters(
        &self,
        planned: Option<LogId>,
        voters: BTreeSet<NodeId>,
        deadline: Instant,
    ) -> Result<(), MembershipError> {
        changed(deadline, self.0.group.change_voters(planned, voters)).await
    }

    /// Leaves an open joint configuration for its newer half. Leader only.
    pub async fn finish_joint(
        &self,
        planned: Option<LogId>,
        deadline: Instant,
    ) -> Result<(), MembershipError> {
        changed(deadline, self.0.group.finish_joint(planned)).await
    }

    /// Drops members that have no vote. Leader only.
    pub async fn remove_learners(
        &self,
        planned: Option<LogId>,
        learners: BTreeSet<NodeId>,
        deadline: Instant,
    ) -> Result<(), MembershipError> {
        changed(deadline, self.0.group.remove_learners(planned, learners)).await
    }

    /// The entry that removed a member from the cluster record, as applied here. Only shard 0 knows.
    pub fn removed(&self, id: NodeId) -> Option<u64> {
        match self.0.group.machine().query(Query::Cluster(cluster::Query::Removed(id))) {
            Ok((_, Reply::Cluster(cluster::Reply::Removed(index)))) => index,
            _ => None,
        }
    }

    /// Whether a node is in the membership applied here.
    pub(in crate::shards) fn is_member(&self, id: NodeId) -> bool {
        self.0.group.machine().membership().membership().get_node(&id.0).is_some()
    }
}

async fn changed(
    deadline: Instant,
    change: impl Future<Output = Result<(), ChangeError>>,
) -> Result<(), MembershipError> {
    match timeout_at(deadline, change).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(match error {
            ChangeError::Stale => MembershipError::Stale,
            ChangeError::InProgress => MembershipError::InProgress,
            ChangeError::JointOpen => MembershipError::JointOpen,
            ChangeError::NotMember(id) => MembershipError::NotMember(id),
            ChangeError::Impossible(reason) => MembershipError::Impossible(reason),
            ChangeError::Write(error) => shard_error(error).into(),
        }),
        Err(_) => Err(ShardError::unknown("the deadline passed before the change was committed").into()),
    }
}
