//! What the driver has seen of a change since it first looked at it: who has caught up, who knows.

use super::super::Shard;
use super::plan::Progress;
use schedia_apps::{NodeId, ShardId};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// What this node has seen of the newest generation of the record.
pub(super) struct Seen {
    generation: u64,
    since: Instant,
    shards: BTreeMap<ShardId, OfShard>,
}

/// What it has seen of it on one shard.
struct OfShard {
    /// The last entry when the generation was first seen here.
    last: u64,
    /// When a member was first seen to have that entry.
    had: BTreeMap<NodeId, Instant>,
}

/// A shard that this node leads, and what was seen there.
pub(super) struct Led<'a> {
    pub(super) shard: &'a Shard,
    seen: &'a mut OfShard,
    since: Instant,
}

impl Default for Seen {
    /// Of no generation.
    fn default() -> Seen {
        Seen { generation: 0, since: Instant::now(), shards: BTreeMap::new() }
    }
}

impl Seen {
    /// Begins anew with a generation that is not the one before.
    pub(super) fn note<'a>(&mut self, generation: u64, shards: impl Iterator<Item = &'a Shard> + Clone) {
        if self.generation != generation || shards.clone().any(|shard| !self.shards.contains_key(&shard.id()))
        {
            let fresh = |shard: &Shard| OfShard { last: last(shard), had: BTreeMap::new() };
            let shards = shards.map(|shard| (shard.id(), fresh(shard))).collect();
            *self = Seen { generation, since: Instant::now(), shards };
        }
    }

    /// How long ago the generation was first seen here.
    pub(super) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Those of these shards that were there when the generation was first seen.
    pub(super) fn led<'a>(&'a mut self, led: Vec<&'a Shard>) -> impl Iterator<Item = Led<'a>> {
        let since = self.since;
        let of = move |id| led.iter().find(|shard| shard.id() == id).copied();
        let both = self.shards.iter_mut().filter_map(move |(id, seen)| Some((of(*id)?, seen)));
        both.map(move |(shard, seen)| Led { shard, seen, since })
    }
}

impl Led<'_> {
    /// How long ago the generation was first seen here.
    pub(super) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// How far the members of the shard are.
    pub(super) fn progress(&mut self) -> Progress {
        let (status, acknowledged) = (self.shard.status(), self.shard.acknowledged());
        let OfShard { last: seen, had } = &mut *self.seen;
        let last = status.last.map_or(0, |last| last.index);
        // A shard without writes has no entry of this generation to tell by: who has not answered since may be dead, and level.
        let answered = |id: &NodeId| acknowledged.get(id).is_some_and(|sent| *sent > self.since);
        let lag = status.lag.into_iter().filter(|(id, _)| answered(id)).collect();
        let mut progress = Progress { last, lag, seen: *seen, ..Progress::default() };
        let committed = status.committed.is_some_and(|committed| committed.index >= *seen);
        let have = progress.lag.keys().filter(|id| committed && progress.has_seen(**id));
        for id in have.copied().collect::<Vec<_>>() {
            let had = *had.entry(id).or_insert_with(Instant::now);
            // What was sent after that said that the entry is committed.
            if acknowledged.get(&id).is_some_and(|sent| *sent > had) {
                progress.told.insert(id);
            }
        }
        progress
    }
}

fn last(shard: &Shard) -> u64 {
    shard.status().last.map_or(0, |last| last.index)
}
