//! One shard as doors and the membership driver see it.

use super::{MembershipError, ShardError};
use schedia_api::{LogId, Membership, ShardStatus};
use schedia_apps::{At, Command, NodeId, Query, Reply, ShardId};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::watch;
use tokio::time::Instant;

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

/// One shard on this node.
pub struct Shard {
    id: ShardId,
    status: watch::Receiver<ShardStatus>,
}

impl Shard {
    /// Which shard this is.
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// Appends, commits, applies; forwarded once to the leader if this node does not lead.
    pub async fn propose(&self, command: Command, deadline: Instant) -> Result<Applied<Reply>, ShardError> {
        let _ = (command, deadline);
        Err(stopped())
    }

    /// Answers from the state of this node, after it has caught up with the leader if `consistency` asks for it.
    pub async fn read(
        &self,
        query: Query,
        consistency: Consistency,
        deadline: Instant,
    ) -> Result<Applied<Reply>, ShardError> {
        let _ = (query, consistency, deadline);
        Err(stopped())
    }

    /// The shard as this node sees it, with the positions of this moment.
    pub fn status(&self) -> ShardStatus {
        self.status.borrow().clone()
    }

    /// Changes when leader, term, membership or `stopped` change, not with every entry.
    pub fn watch_status(&self) -> watch::Receiver<ShardStatus> {
        self.status.clone()
    }

    /// Whether this node leads the shard, as far as it knows.
    pub fn is_leader(&self) -> bool {
        false
    }

    /// Whether everything committed before the restart is applied again: until then no stale read is answered.
    pub fn is_recovered(&self) -> bool {
        false
    }

    /// Hands leadership to a voter that answered within the last heartbeat interval and lags less than 1 MiB;
    /// returns when another node leads.
    pub async fn transfer_leader(&self, to: NodeId, deadline: Instant) -> Result<(), MembershipError> {
        let _ = (to, deadline);
        Err(stopped().into())
    }

    /// Flushes a checkpoint and purges the log below it.
    pub async fn snapshot(&self) -> Result<(), ShardError> {
        Err(stopped())
    }

    /// Writes an entry without a command and returns its index: a number nobody else gets. Leader only.
    pub async fn write_blank(&self, deadline: Instant) -> Result<u64, ShardError> {
        let _ = deadline;
        Err(stopped())
    }

    /// The newest membership in this node's log, and whether it is committed.
    pub fn membership(&self) -> Membership {
        self.status().membership
    }

    /// The peer address of every member of that membership.
    pub fn addresses(&self) -> BTreeMap<NodeId, String> {
        BTreeMap::new()
    }

    /// On the leader: how many entries each other member is behind, at this moment.
    pub fn lag(&self) -> BTreeMap<NodeId, u64> {
        BTreeMap::new()
    }

    /// Adds members without a vote, if `planned` still is the log id of the newest membership. Leader only.
    pub async fn add_learners(
        &self,
        planned: Option<LogId>,
        learners: BTreeMap<NodeId, String>,
        deadline: Instant,
    ) -> Result<(), MembershipError> {
        let _ = (planned, learners, deadline);
        Err(stopped().into())
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
        let _ = (planned, voters, deadline);
        Err(stopped().into())
    }

    /// Leaves an open joint configuration for its newer half. Leader only.
    pub async fn finish_joint(
        &self,
        planned: Option<LogId>,
        deadline: Instant,
    ) -> Result<(), MembershipError> {
        let _ = (planned, deadline);
        Err(stopped().into())
    }

    /// Drops members that have no vote. Their ids are remembered as removed. Leader only.
    pub async fn remove_learners(
        &self,
        planned: Option<LogId>,
        learners: BTreeSet<NodeId>,
        deadline: Instant,
    ) -> Result<(), MembershipError> {
        let _ = (planned, learners, deadline);
        Err(stopped().into())
    }

    /// The entry that removed a member, if one did: known from the applied log, or told by a peer about this node.
    pub fn removed(&self, id: NodeId) -> Option<u64> {
        let _ = id;
        None
    }

    pub(super) async fn shutdown(&self) {}
}

fn stopped() -> ShardError {
    ShardError::Stopped { reason: "not started".into() }
}
