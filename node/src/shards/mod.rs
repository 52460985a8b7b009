//! The shards of this node: one raft group and its state each.
//!
//! Owns which shards run, the bound on bytes in flight over all of them, and their common end.
//!
//! Invariants:
//! * A command answered with its reply is applied, and on the disks of a majority.
//! * A deposed leader never answers a linearizable read.
//! * A command is proposed at most once by one call: nothing here retries after proposing.
//! * No queue here is unbounded: beyond its bound a caller gets [`ShardError::Busy`].
//!
//! Not here: openraft's types (`crate::raft`), who may ask (doors), what membership should be (`membership`).

mod error;
mod membership;
mod shard;

pub use error::{MembershipError, ShardError};
pub use shard::{Applied, Consistency, Shard};

use crate::peer::Peers;
use crate::storage::Storage;
use schedia_apps::{ClusterId, NodeId, ShardId};
use std::sync::{Arc, OnceLock};

/// The most shards a cluster may have.
pub const SHARDS_MAX: usize = 16;

/// The raft timings of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// How often a leader shows that it lives.
    pub heartbeat_ms: u64,
    /// The least time a follower waits for the leader before it stands for election.
    pub election_min_ms: u64,
    /// The most time.
    pub election_max_ms: u64,
}

impl Default for Timings {
    fn default() -> Self {
        Timings { heartbeat_ms: 100, election_min_ms: 300, election_max_ms: 500 }
    }
}

/// The shards of this node. None runs until the node knows its cluster and its id.
pub struct Shards {
    storage: Arc<Storage>,
    timings: Timings,
    peers: Peers,
    slots: [OnceLock<Shard>; SHARDS_MAX],
}

impl Shards {
    /// Opens nothing yet: see [`Shards::start`].
    pub fn new(storage: Arc<Storage>, timings: Timings, peers: Peers) -> Self {
        Shards { storage, timings, peers, slots: Default::default() }
    }

    /// Starts shards `0..count` that do not run yet, as node `node_id` of `cluster_id`. Repeatable.
    ///
    /// A fresh shard is in no membership: it waits for a leader that adds it, or for [`Shards::initialize`].
    pub async fn start(&self, cluster_id: &ClusterId, node_id: NodeId, count: u32) -> Result<(), ShardError> {
        let _ = (&self.storage, &self.timings, &self.peers, cluster_id, node_id, count);
        Err(ShardError::Stopped { reason: "not started".into() })
    }

    /// Makes this node the only voter of every started shard that is in no membership yet. Repeatable.
    pub async fn initialize(&self, address: &str) -> Result<(), ShardError> {
        let _ = address;
        Err(ShardError::Stopped { reason: "not started".into() })
    }

    /// The shard, if it runs here.
    pub fn shard(&self, id: ShardId) -> Option<&Shard> {
        self.slots.get(id.0 as usize)?.get()
    }

    /// The shards that run here, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Shard> {
        self.slots.iter().filter_map(OnceLock::get)
    }

    /// Hands leadership over where this node leads (for at most two maximal election timeouts), flushes, stops.
    pub async fn shutdown(&self) {
        for shard in self.iter() {
            shard.shutdown().await;
        }
    }
}
