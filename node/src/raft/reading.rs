//! The index of a linearizable read: by the leader's lease if it has one, else by one round to a majority.
//!
//! Invariants:
//! * An index is taken after the read began. It is the newer of what this node has applied and what it has told others to be committed: whatever was
//!   acknowledged or read anywhere was one of the two before, once this leader has applied an entry of its own term. (What is applied is told before it can be read: `super::machine`.)
//! * After that it is seen that nobody else can have committed anything before the read began: a majority has voted in no later term (`super::confirm`), or has promised not
//!   to (`super::lease`). What is read then may be newer, never older.
//! * Term and voters are of one moment. The voters may be one change behind those of raft's core (alpha.37 publishes what it knows between any two changes): each majority of the next
//!   membership, joint or not, shares a voter with every majority of these.

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
        let Leading { term, voters, index } = self.leading(deadline).await?;
        let own = (self.me.0, has_voted_in_none_after(&self.log, term));
        match rounds.confirm(own, &voters, |voter| self.network.confirm(NodeId(voter), term), deadline).await
        {
            true => Ok(index),
            false => Err(ReadError::Unconfirmed),
        }
    }

    /// The same without asking anybody; `None` if this node has no lease.
    pub(crate) fn leased_index(&self) -> Option<u64> {
        if !self.promises.given {
            return None;
        }
        let term = leads(&self.raft.metrics().borrow_watched())?;
        let index = index_of(term, *self.machine.applied().borrow(), self.lease.told())?;
        self.has_lease(term).then_some(index)
    }

    /// A member that waits for this entry is told soon that it is committed, if it was not told yet: by a heartbeat, which waits for nothing but the one before it.
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

    /// What this node knows when it leads. One that has just begun has applied its first entry in a moment.
    async fn leading(&self, deadline: Instant) -> Result<Leading, ReadError> {
        let mut applied = self.machine.applied();
        loop {
            let now = *applied.borrow_and_update();
            let (term, voters) = {
                let metrics = self.raft.metrics();
                let metrics = metrics.borrow_watched();
                let voters = metrics.membership_config.membership().get_joint_config().clone();
                (leads(&metrics).ok_or(ReadError::NotLeader)?, voters)
            };
            if let Some(index) = index_of(term, now, self.lease.told()) {
                return Ok(Leading { term, voters, index });
            }
            if Instant::now() >= deadline {
                return Err(ReadError::Unconfirmed);
            }
            // It may lead no more before that entry comes.
            let look_again = deadline.min(Instant::now() + self.timings.heartbeat() / 4);
            let _ = timeout_at(look_again, applied.changed()).await;
        }
    }
}

/// A leader, and the index of a read that began before this was looked up.
struct Leading {
    term: u64,
    /// Of both halves while the membership is joint, as they were in that term.
    voters: Vec<BTreeSet<u64>>,
    index: u64,
}

/// What can have been heard of by anybody from the leader of this term, or before it; `None` until it has applied an entry of that term.
pub(super) fn index_of(term: u64, applied: Option<LogId>, told: u64) -> Option<u64> {
    applied.filter(|applied| applied.term == term).map(|applied| applied.index.max(told))
}

fn leads(metrics: &Metrics) -> Option<u64> {
    (metrics.state == ServerState::Leader).then_some(metrics.current_term)
}
