//! What a proposal or a read can end with, split by who must act.

use schedia_apps::{NodeId, Refusal, Reply, Stop};

/// A proposal or read that ended without its reply.
///
/// Only two of these leave doubt about a write: [`ShardError::OutcomeUnknown`] may have been applied, or may yet be.
/// All others certainly were not: the same request may be sent again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    /// The application's deterministic no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Certainly not applied: the leader could not be reached, or stopped leading before it took the command.
    #[error("not applied, try again: {reason}")]
    Unavailable {
        /// What was in the way.
        reason: String,
    },
    /// Certainly not applied: this node knows no leader.
    #[error("no leader is known, try again")]
    NoLeader,
    /// Certainly not applied: only the leader does this, and it does not forward.
    #[error("this node does not lead; the leader is {}", name(*leader))]
    NotLeader {
        /// The leader, if this node knows one.
        leader: Option<NodeId>,
    },
    /// Leadership, the forwarding connection or the deadline was lost after the command was proposed:
    /// it may have been applied, or may be later.
    #[error("outcome unknown: {reason}")]
    OutcomeUnknown {
        /// What was lost.
        reason: String,
    },
    /// Certainly not applied: too many bytes wait to be replicated or flushed.
    #[error("too much is in flight, try again later")]
    Busy,
    /// A stale read before this node has applied what it had applied before its restart.
    #[error("this node has not recovered its state yet, try again")]
    NotRecovered,
    /// The shard does not run on this node: it failed, or was shut down.
    #[error("the shard is stopped on this node: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
    /// The command is longer than an entry may be.
    #[error("the command has {bytes} bytes, more than {bytes_max}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The most that is taken.
        bytes_max: usize,
    },
    /// Certainly not applied: the leader's disk is nearly full and the command would add to it.
    #[error("the leader's disk is nearly full: only deletions are taken")]
    DiskLow,
    /// Certainly not applied: nothing more fits on the leader's disk.
    #[error("the leader's disk is full: nothing is taken until there is room")]
    DiskFull,
}

impl ShardError {
    pub(crate) fn unavailable(reason: impl ToString) -> Self {
        ShardError::Unavailable { reason: reason.to_string() }
    }

    pub(crate) fn unknown(reason: impl ToString) -> Self {
        ShardError::OutcomeUnknown { reason: reason.to_string() }
    }

    /// A reply of another kind than the command or query: a defect of ours.
    pub(crate) fn wrong_reply(reply: &Reply) -> Self {
        ShardError::Stopped { reason: format!("a reply of the wrong kind: {reply:?}") }
    }
}

impl From<Stop> for ShardError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Refused(refusal) => refusal.into(),
            Stop::Broken(reason) => ShardError::Stopped { reason },
        }
    }
}

fn name(leader: Option<NodeId>) -> String {
    leader.map_or_else(|| "unknown".to_owned(), |id| id.to_string())
}

/// Why a change of raft's membership did not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// The membership is no longer the one the change was planned from. Nothing was changed by this call.
    #[error("the membership has changed meanwhile")]
    Stale,
    /// An earlier change is not committed yet. Nothing was changed by this call.
    #[error("another membership change is in progress")]
    InProgress,
    /// The joint configuration is committed, the final one is not: finish it with [`super::Shard::finish_joint`].
    #[error("the joint configuration is open: finish it")]
    JointOpen,
    /// A voter to be is not a learner yet.
    #[error("node {0} is not a member")]
    NotMember(NodeId),
    /// No leader to be: it is no voter, did not answer lately, or lags too far.
    #[error("node {0} is not caught up")]
    NotCaughtUp(NodeId),
    /// The change itself makes no sense, such as an empty set of voters.
    #[error("impossible membership: {0}")]
    Impossible(String),
    /// As for any proposal.
    #[error(transparent)]
    Shard(#[from] ShardError),
}
