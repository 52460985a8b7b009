//! The index of a linearizable read: by the leader's lease if it has one, else by one round to a majority.
//!
//! Invariants:
//! * An index is taken after the read began. It is the newer of what this node has applied and what it has told others to be committed: whatever was
//!   acknowledged or read anywhere was one of the two before, once this leader has applied an entry of its own term. Raft's core is not asked.
//! * After that it is seen that nobody else can have committed anything before the read began: a majority has voted in no later term (`super::confirm`), or has promised not
//!   to (`super::lease`). What is read then may be newer, never older.
//! * Voters are those of the newest membership that raft's core has published, which may be one change behind: the next one's majorities, joint or not, still
//!   need one of these voters, and the core publishes each before the one after it.

use super::confirm::{Rounds, has_voted_in_none_after};
use super::group::{Group, Metrics, ReadError};
use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;
use schedia_api::LogId;
use schedia_apps::NodeId;
use std::collections::BTreeSet;
use tokio::time::{Instant, timeout_at};

impl Group {
    /// The entry that a linearizable read which begins now must have seen.
    pub(crate) async fn read_index(&self, rounds: &mut Rounds) -> Result<u64, ReadError> {
        let deadline = Instant::now() + self.timings.election_max();
        let (term, index) = self.index_of_its_term(deadline).await?;
        let ask = |voter| self.network.confirm(NodeId(voter), term);
        let confirmed = has_voted_in_none_after(&self.log, term)
            && rounds.confirm(self.me.0, &self.voters(), ask, deadline).await;
        if confirmed { Ok(index) } else { Err(ReadError::Unconfirmed) }
    }

    /// The same without asking anybody; `None` if this node has no lease.
    pub(crate) fn leased_index(&self) -> Option<u64> {
        if !self.promises.given {
            return None;
        }
        let term = self.leads()?;
        let index = index_of(term, *self.machine.applied().borrow(), self.lease.told())?;
        self.has_lease(term).then_some(index)
    }

    /// A member that waits for this entry is told at once that it is committed, if it was not told yet.
    pub(crate) async fn hurry(&self, member: NodeId, index: u64) {
        if self.lease.told_to(member) < index {
            // An error says that raft has stopped: the member finds that out by itself.
            let _ = self.raft.trigger().heartbeat().await;
        }
    }

    /// Whether nobody else can have committed anything until now, if this node leads that term. The time is taken first.
    pub(crate) fn has_lease(&self, term: u64) -> bool {
        let (now, metrics) = (Instant::now(), self.raft.metrics());
        let metrics = metrics.borrow_watched();
        let voters = metrics.membership_config.membership().get_joint_config();
        leads(&metrics) == Some(term) && self.lease.holds(term, now, self.me, voters)
    }

    /// The term in which this node leads, as far as it knows.
    fn leads(&self) -> Option<u64> {
        leads(&self.raft.metrics().borrow_watched())
    }

    /// Its term, and what can have been heard of by anybody: a leader that has just begun knows in a moment.
    async fn index_of_its_term(&self, deadline: Instant) -> Result<(u64, u64), ReadError> {
        let mut applied = self.machine.applied();
        loop {
            let term = self.leads().ok_or(ReadError::NotLeader)?;
            let now = *applied.borrow_and_update();
            if let Some(index) = index_of(term, now, self.lease.told()) {
                return Ok((term, index));
            }
            if !matches!(timeout_at(deadline, applied.changed()).await, Ok(Ok(()))) {
                return Err(ReadError::Unconfirmed);
            }
        }
    }

    /// The voters, of both halves while the membership is joint.
    pub(super) fn voters(&self) -> Vec<BTreeSet<u64>> {
        let metrics = self.raft.metrics();
        metrics.borrow_watched().membership_config.membership().get_joint_config().clone()
    }
}

/// What can have been heard of by anybody from the leader of this term, or before it; `None` until it has applied an entry of that term.
pub(super) fn index_of(term: u64, applied: Option<LogId>, told: u64) -> Option<u64> {
    applied.filter(|applied| applied.term == term).map(|applied| applied.index.max(told))
}

fn leads(metrics: &Metrics) -> Option<u64> {
    (metrics.state == ServerState::Leader).then_some(metrics.current_term)
}
