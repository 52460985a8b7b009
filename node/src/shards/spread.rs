//! Leaders of shards are spread over the voters: a leader does more work than a follower, and one node that leads all shards
//! does it alone.
//!
//! Whoever leads the most hands some of it to whoever leads the least, as far as it hears of them. Nobody else acts, so that two
//! do not help the same one. The node looks again only when nothing has changed hands for a while: an election or a restart
//! is over by then, and what moved does not move back at once.
//!
//! Invariants:
//! * Leadership is never handed to a node that does not answer, nor while a membership changes.
//! * A cluster whose voters lead as many shards each, or one more, is left alone: with one shard nothing ever moves.

use super::Shards;
use schedia_apps::{NodeId, ShardId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Nothing has changed hands for so many maximal election timeouts: 5 s by default.
const QUIET_ELECTIONS: u32 = 10;
/// How often it is looked whether something has. A look costs no entry and no frame.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long handing over one shard may take.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(5);

type Leaders = BTreeMap<ShardId, NodeId>;

impl Shards {
    /// Hands shards over where this node leads too many; runs on every member until `stop`.
    pub async fn spread_leaders(self: Arc<Self>, stop: CancellationToken) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let spreading = async {
            let (mut seen, mut since) = (None, Instant::now());
            loop {
                look.tick().await;
                let leaders = self.leaders();
                if leaders != seen {
                    (seen, since) = (leaders, Instant::now());
                } else if since.elapsed() >= QUIET_ELECTIONS * self.timings.election_max()
                    && let Some(leaders) = leaders
                {
                    self.hand_some_over(leaders).await;
                    since = Instant::now();
                }
            }
        };
        stop.run_until_cancelled(spreading).await;
    }

    /// Who leads each shard, if all are known and the cluster is not about to change.
    fn leaders(&self) -> Option<Leaders> {
        let settled = self.record_here().filter(|record| record.settled && record.shards > 1)?;
        let leaders: Option<Leaders> =
            self.iter().map(|shard| Some((shard.id(), shard.watch_status().borrow().leader?))).collect();
        leaders.filter(|leaders| leaders.len() == settled.shards as usize)
    }

    async fn hand_some_over(&self, mut leaders: Leaders) {
        let Some((me, record)) = self.peers.me().zip(self.record_here()) else { return };
        let Some(led) = self.iter().find(|shard| shard.is_leader()) else { return };
        let voters: BTreeSet<NodeId> = record.voters.into_iter().filter(|id| led.hears(*id)).collect();
        while let Some((shard, to)) = next(&leaders, &voters, me) {
            let Some(led) = self.shard(shard).filter(|shard| shard.is_leader()) else { return };
            if let Err(error) = led.transfer_leader(to, Instant::now() + HAND_OVER_TIMEOUT).await {
                tracing::debug!(%shard, %to, %error, "the shard stays where it is");
                return;
            }
            tracing::info!(%shard, %to, "handed a shard over: this node led more than others");
            leaders.insert(shard, to);
        }
    }
}

/// The shard that `me` hands over next, and to whom, if it leads more than anybody else and that is two more than some voter.
fn next(leaders: &Leaders, voters: &BTreeSet<NodeId>, me: NodeId) -> Option<(ShardId, NodeId)> {
    let led = |id: NodeId| leaders.values().filter(|leader| **leader == id).count();
    // Of several the first by id.
    let most = voters.iter().copied().rev().max_by_key(|id| led(*id))?;
    let least = voters.iter().copied().min_by_key(|id| led(*id))?;
    if most != me || led(me) < led(least) + 2 {
        return None;
    }
    let (shard, _) = leaders.iter().rev().find(|(_, leader)| **leader == me)?;
    Some((*shard, least))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn leaders(ids: &[u64]) -> Leaders {
        ids.iter().enumerate().map(|(shard, id)| (ShardId(shard as u32), NodeId(*id))).collect()
    }

    fn voters(ids: &[u64]) -> BTreeSet<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    fn moved(ids: &[u64], me: u64) -> Option<(u32, u64)> {
        let (shard, to) = next(&leaders(ids), &voters(&[1, 2, 3]), NodeId(me))?;
        Some((shard.0, to.0))
    }

    #[test]
    fn whoever_leads_most_gives_its_last_shard_to_whoever_leads_least() {
        assert_eq!(moved(&[1, 1, 1, 1], 1), Some((3, 2)));
        assert_eq!(moved(&[1, 1, 1, 2], 1), Some((2, 3)));
        assert_eq!(moved(&[1, 1, 1, 2], 2), None, "not its turn");
        assert_eq!(moved(&[1, 1, 2, 2, 2], 1), None, "another one leads more");
        assert_eq!(moved(&[1, 1, 2, 2], 1), Some((1, 3)), "of two that lead as many the first");
        assert_eq!(moved(&[1, 1, 2, 2], 2), None);
    }

    #[test]
    fn what_is_even_or_one_more_is_left_alone() {
        assert_eq!(moved(&[1], 1), None);
        assert_eq!(moved(&[2, 1, 3, 1], 1), None);
        assert_eq!(moved(&[2, 2, 3, 3, 1], 2), None);
    }

    #[test]
    fn nobody_gives_to_a_voter_that_is_not_heard() {
        assert_eq!(next(&leaders(&[1, 1, 2]), &voters(&[1, 2]), NodeId(1)), None);
        assert_eq!(next(&leaders(&[1, 1, 1]), &voters(&[1]), NodeId(1)), None);
    }

    proptest! {
        /// However the shards begin, they end spread evenly, each handed over a few times at most.
        #[test]
        fn it_ends_even(begin in prop::collection::vec(1u64..6, 1..16), count in 1u64..6) {
            let voters: BTreeSet<NodeId> = (1..=count).map(NodeId).collect();
            // A leader that is no voter any more is elected anew before anything is handed over.
            let begin: Vec<u64> = begin.into_iter().map(|id| 1 + id % count).collect();
            let mut leaders = leaders(&begin);
            let mut moves = 0;
            while let Some((shard, to)) = voters.iter().find_map(|me| next(&leaders, &voters, *me)) {
                prop_assert_ne!(leaders.insert(shard, to), Some(to));
                moves += 1;
                prop_assert!(moves <= begin.len(), "each is handed over once at most");
            }
            let led = |id: &NodeId| leaders.values().filter(|leader| *leader == id).count();
            let (least, most) = (voters.iter().map(led).min().unwrap(), voters.iter().map(led).max().unwrap());
            prop_assert!(most - least <= 1, "{leaders:?}");
        }
    }
}
