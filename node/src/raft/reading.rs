//! The index of a linearizable read: by the leader's lease if it has one, else by one round to a majority.
//!
//! Invariants:
//! * An index is taken after the read began. In a round raft's core names it. With a lease it is the newer of what this node has applied and what it
//!   has told others to be committed: whatever was acknowledged or read anywhere was one of the two before, once this leader has applied an entry of its own term.
//! * The lease is looked at after that: at that moment nobody else can have committed anything (`super::lease`). What is read then may be newer, never older.
//! * The index is at or after the first entry of the leader's own term: whoever has applied it has all of the terms before.

use super::group::{Group, ReadError, leader};
use super::types::log_id;
use openraft::ReadPolicy;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{LinearizableReadError, RaftError};
use schedia_api::LogId;
use std::collections::BTreeSet;
use tokio::time::Instant;

impl Group {
    /// The entry that a linearizable read which begins now must have seen.
    pub(crate) async fn read_index(&self) -> Result<u64, ReadError> {
        let begun = Instant::now();
        match self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(linearizer) => self.confirmed(log_id(*linearizer.read_log_id().log_id()), begun).await,
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(ReadError::NotLeader { leader: leader(forward) })
            }
            Err(error) => Err(ReadError::Unconfirmed(error.to_string())),
        }
    }

    /// The same without asking anybody, raft's core included; `None` if this node has no lease.
    pub(crate) fn leased_index(&self) -> Option<u64> {
        if !self.promises.given || !self.is_leader() {
            return None;
        }
        let LogId { term, index } = (*self.machine.applied().borrow())?;
        let index = index.max(self.lease.told());
        self.has_lease(term).then_some(index)
    }

    /// Whether nobody else can have committed anything until now, if this node leads that term. The time is taken first.
    pub(crate) fn has_lease(&self, term: u64) -> bool {
        let (now, metrics) = (Instant::now(), self.raft.metrics());
        let metrics = metrics.borrow_watched();
        let voters = metrics.membership_config.membership().get_joint_config();
        metrics.current_term == term && self.lease.holds(term, now, self.me, voters)
    }

    /// Raft's own round may count an answer to what was sent before it: see `super::lease`.
    async fn confirmed(&self, must_see: LogId, begun: Instant) -> Result<u64, ReadError> {
        let deadline = Instant::now() + self.timings.election_max();
        match self.lease.confirms(must_see.term, begun, self.me, || self.voters(), deadline).await {
            true => Ok(must_see.index),
            false => Err(ReadError::Unconfirmed("no majority has answered since the read began".into())),
        }
    }

    /// The voters, of both halves while the membership is joint.
    fn voters(&self) -> Vec<BTreeSet<u64>> {
        let metrics = self.raft.metrics();
        metrics.borrow_watched().membership_config.membership().get_joint_config().clone()
    }
}
