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
    /// The last entry of each shard then.
    last: BTreeMap<ShardId, u64>,
    /// When a member was first seen to have that entry.
    had: BTreeMap<(ShardId, NodeId), Instant>,
}

impl Default for Seen {
    /// Of no generation.
    fn default() -> Seen {
        Seen { generation: 0, since: Instant::now(), last: BTreeMap::new(), had: BTreeMap::new() }
    }
}

impl Seen {
    /// Begins anew with a generation that is not the one before.
    pub(super) fn note<'a>(&mut self, generation: u64, shards: impl Iterator<Item = &'a Shard>) {
        if self.generation != generation {
            let last = shards.map(|shard| (shard.id(), last(shard))).collect();
            *self = Seen { generation, last, ..Seen::default() };
        }
    }

    /// How long ago the generation was first seen here.
    pub(super) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// How far the members of a shard that this node leads are.
    pub(super) fn progress(&mut self, shard: &Shard) -> Progress {
        let (status, acknowledged) = (shard.status(), shard.acknowledged());
        let seen = self.last.get(&shard.id()).copied().unwrap_or(u64::MAX);
        let last = status.last.map_or(0, |last| last.index);
        let mut progress = Progress { last, lag: status.lag, seen, ..Progress::default() };
        let committed = status.committed.is_some_and(|committed| committed.index >= seen);
        let have = progress.lag.keys().filter(|id| committed && progress.has_seen(**id));
        for id in have.copied().collect::<Vec<_>>() {
            let had = *self.had.entry((shard.id(), id)).or_insert_with(Instant::now);
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
