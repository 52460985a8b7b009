//! A follower whose leader's connection ends looks for another leader as soon as it may: when the lease of that leader is over.
//!
//! Left alone it would wait for a random time more. A process that dies has its connections closed by the kernel at once; one that is cut off
//! has not, and is waited for as ever.
//!
//! Invariants:
//! * Only a pre-vote is asked for: it changes nothing anywhere unless a majority would vote, and nobody would within the lease.
//! * A leader that is heard again, or another one, ends the looking.

use super::group::Group;
use schedia_apps::NodeId;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// The lease of others ends a little later than here: they heard the leader last at their own time.
const MARGIN: Duration = Duration::from_millis(5);

impl Group {
    /// The connection over which a peer sent its frames has ended. One looking at a time: more would ask the same.
    pub(crate) fn connection_lost(self: &Arc<Self>, peer: NodeId) {
        let follows = !self.is_leader() && self.leader().is_some_and(|leader| leader.id == peer);
        if follows && !self.looking.swap(true, Ordering::AcqRel) {
            let group = self.clone();
            tokio::spawn(async move {
                group.look_sooner(peer).await;
                group.looking.store(false, Ordering::Release);
            });
        }
    }

    /// Asks for pre-votes from the end of the lease on, until there is news or raft's own timer has rung.
    async fn look_sooner(&self, lost: NodeId) {
        let (heard, pause) = (self.heard_at(), self.timings.heartbeat() / 2);
        let lease_ends = (heard + self.timings.election_max()).max(self.promises.old_end) + MARGIN;
        let mut next = lease_ends + pause * self.rank_without(lost);
        while next < lease_ends + self.timings.election_max() {
            sleep_until(next).await;
            let is_news = self.heard_at() != heard || self.leader().is_none_or(|leader| leader.id != lost);
            if is_news || self.raft.trigger().elect(true).await.is_err() {
                return;
            }
            next = Instant::now() + pause * 2;
        }
    }

    /// This voter's place among those that are left: they look one after another, so that their votes are not split.
    fn rank_without(&self, lost: NodeId) -> u32 {
        let metrics = self.metrics();
        let before = metrics.membership_config.voter_ids().filter(|id| *id != lost.0 && *id < self.me.0);
        before.count() as u32
    }
}
