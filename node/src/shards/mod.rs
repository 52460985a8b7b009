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

mod clock;
mod error;
mod forward;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod grace;
mod lonely;
mod membership;
mod proposer;
mod reads;
mod rules;
mod shard;
mod spread;
#[cfg(test)]
mod tests;
mod watch;

pub use error::{MembershipError, ShardError};
pub use shard::{Applied, Consistency, Queues, Shard};
pub use watch::Watch;

use crate::metrics::Metrics;
use crate::peer::{Kind, Parts, Peers, Refused, Request, Service};
use crate::raft::{Group, Open, Promises, Wall};
use crate::storage::{OpenError, Storage};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use rules::Rules;
use schedia_apps::{ClusterId, NodeId, ShardId};
use shard::Common;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::Instant;

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

impl Timings {
    /// [`Timings::heartbeat_ms`].
    pub(crate) fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.heartbeat_ms)
    }

    /// [`Timings::election_max_ms`].
    pub(crate) fn election_max(&self) -> Duration {
        Duration::from_millis(self.election_max_ms)
    }
}

impl Default for Timings {
    fn default() -> Self {
        Timings { heartbeat_ms: 100, election_min_ms: 300, election_max_ms: 500 }
    }
}

/// Bytes of commands in flight on one node, all shards together. Beyond this, callers get Busy.
const IN_FLIGHT_BYTES: usize = 64 << 20;

/// The shards of this node. None runs until the node knows its cluster and its id.
pub struct Shards {
    storage: Arc<Storage>,
    timings: Timings,
    peers: Peers,
    metrics: Arc<Metrics>,
    in_flight: Arc<Semaphore>,
    /// Held while shards start or stop.
    starting: tokio::sync::Mutex<()>,
    slots: [OnceLock<Shard>; SHARDS_MAX],
    signals: membership::Signals,
    wall: Wall,
    promises: Promises,
    /// Done before the first shard starts.
    promised: OnceCell<()>,
}

impl Shards {
    /// Opens nothing yet: see [`Shards::start`].
    pub fn new(storage: Arc<Storage>, timings: Timings, peers: Peers, metrics: Arc<Metrics>) -> Self {
        let promises = Promises { given: false, old_end: Instant::now() + storage.promised() };
        Shards {
            storage,
            timings,
            peers,
            metrics,
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT_BYTES)),
            starting: tokio::sync::Mutex::default(),
            slots: Default::default(),
            signals: Default::default(),
            wall: Wall::system(),
            promises,
            promised: OnceCell::new(),
        }
    }

    /// With lease reads or without them.
    pub fn lease_reads(mut self, on: bool) -> Self {
        self.promises.given = on;
        self
    }

    /// On another wall clock.
    #[cfg(test)]
    fn on(self, wall: Wall) -> Self {
        Shards { wall, ..self }
    }

    /// Starts shards `0..count` that do not run yet, as node `node_id` of `cluster_id`. Repeatable.
    ///
    /// A fresh shard is in no membership: it waits for a leader that adds it, or for [`Shards::initialize`].
    pub async fn start(&self, cluster_id: &ClusterId, node_id: NodeId, count: u32) -> Result<(), ShardError> {
        let _starting = self.starting.lock().await;
        self.peers.assign(cluster_id.clone(), node_id);
        self.storage.expect(count);
        if count as usize > SHARDS_MAX {
            let reason = format!("{count} shards are more than this release runs: {SHARDS_MAX}");
            return Err(ShardError::Stopped { reason });
        }
        self.promised.get_or_try_init(|| self.promise()).await?;
        // Shard 0 first: the others take the cluster's rules from it.
        for ids in [0..count.min(1), 1..count] {
            let missing = ids.map(ShardId).filter(|id| self.shard(*id).is_none());
            // Each is opened to its end, whatever becomes of the others.
            let opened = futures::future::join_all(missing.map(|id| self.open(id, node_id))).await;
            opened.into_iter().collect::<Result<(), _>>()?;
        }
        Ok(())
    }

    /// Keeps on the disk for how long this node's promises may hold: those of the processes before it, until they have ended, and
    /// its own.
    async fn promise(&self) -> Result<(), ShardError> {
        let Promises { given, old_end } = self.promises;
        let (old, own) = (self.storage.promised(), self.timings.election_max());
        let own = if given { own } else { Duration::ZERO };
        let save = |storage: Arc<Storage>, promise| async move {
            let saved = tokio::task::spawn_blocking(move || storage.promise(promise)).await;
            saved.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
        };
        if own > old {
            save(self.storage.clone(), own).await.map_err(|reason| ShardError::Stopped { reason })?;
        } else if own < old {
            let storage = Arc::downgrade(&self.storage);
            tokio::spawn(async move {
                tokio::time::sleep_until(old_end).await;
                let Some(storage) = storage.upgrade() else { return };
                if let Err(error) = save(storage, own).await {
                    tracing::warn!(%error, "the next start waits longer than it need before it votes");
                }
            });
        }
        Ok(())
    }

    /// Starts the shards that the record speaks of and that do not run yet: a new member learns of them from shard 0.
    pub async fn start_missing(&self) -> Result<(), ShardError> {
        let Some(record) = self.record_here().filter(|record| self.iter().count() < record.shards as usize)
        else {
            return Ok(());
        };
        match self.storage.identity().assigned {
            Some(assigned) => self.start(&assigned.cluster_id, assigned.node_id, record.shards).await,
            None => Ok(()),
        }
    }

    /// Whether every shard of the cluster runs here, as far as this node knows.
    pub fn all_run(&self) -> bool {
        self.record_here().is_none_or(|record| self.iter().count() >= record.shards as usize)
    }

    async fn open(&self, id: ShardId, me: NodeId) -> Result<(), ShardError> {
        let stopped =
            |reason: String| ShardError::Stopped { reason: format!("failed to open shard {id}: {reason}") };
        let storage = self.storage.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let log = storage.log(id)?;
            let state = storage.state(id, log.flushed(), Some(Arc::new(schedia_apps::sweep)))?;
            Ok::<_, OpenError>((log, state))
        });
        let (log, state) =
            opened.await.map_err(|e| stopped(e.to_string()))?.map_err(|e| stopped(e.to_string()))?;
        let (timings, peers, failure) = (self.timings, self.peers.clone(), self.storage.failure().clone());
        let metrics = self.metrics.shard(id);
        let (counted, wall) = (metrics.clone(), self.wall.clone());
        let promises = self.promises;
        let open =
            Open { shard: id, me, timings, log, state, peers, failure, metrics: counted, wall, promises };
        let group = Group::open(open).await;
        let group = Arc::new(group.map_err(|e| stopped(e.to_string()))?);
        let rules = match self.shard(ShardId(0)) {
            Some(shard_0) => Rules::of(shard_0.watch_record()),
            None => Rules::of(group.machine().record()),
        };
        let (peers, storage, in_flight) = (self.peers.clone(), self.storage.clone(), self.in_flight.clone());
        let common = Common { me, timings, peers, storage, in_flight, metrics };
        let _ = self.slots[id.0 as usize].set(Shard::start(id, group, rules, common));
        Ok(())
    }

    /// Makes this node the only voter of every started shard that is in no membership yet. Repeatable.
    pub async fn initialize(&self, address: &str) -> Result<(), ShardError> {
        for shard in self.iter() {
            shard.initialize(address).await?;
        }
        Ok(())
    }

    /// The shard, if it runs here.
    pub fn shard(&self, id: ShardId) -> Option<&Shard> {
        self.slots.get(id.0 as usize)?.get()
    }

    /// The shards that run here, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Shard> + Clone {
        self.slots.iter().filter_map(OnceLock::get)
    }

    /// The entry that removed this node from its cluster, once it has applied it or a peer has said so.
    pub fn own_removal(&self, me: NodeId) -> Option<u64> {
        self.iter().find_map(|shard| shard.removed(me)).or_else(|| self.peers.removed())
    }

    /// What is wrong with this node's clock, if it leads and is over a second off the middle of the voters'.
    pub fn clock_skew(&self) -> Option<String> {
        self.iter().filter_map(Shard::clock_offset_ms).find_map(clock::skew)
    }

    /// Bytes of commands that wait for their reply, all shards together.
    pub fn in_flight_bytes(&self) -> usize {
        IN_FLIGHT_BYTES - self.in_flight.available_permits()
    }

    /// Hands leadership over where this node leads (for at most two maximal election timeouts), flushes, stops.
    pub async fn shutdown(&self) {
        let _starting = self.starting.lock().await;
        futures::future::join_all(self.iter().map(Shard::leave)).await;
        // A full disk must not keep a node from ending: a restart applies what the log has.
        self.storage.stop_waiting();
        futures::future::join_all(self.iter().map(Shard::stop)).await;
    }
}

/// Frames of peers, each to its shard.
impl Service for Shards {
    fn call(&self, request: Request) -> BoxFuture<'static, Result<Bytes, Refused>> {
        if request.kind == Kind::Standing {
            let shards = self.iter().cloned().collect();
            return membership::serve_standing(shards, request).map(Ok).boxed();
        }
        match self.shard(request.shard).cloned() {
            Some(shard) => shard.serve(request).boxed(),
            None => std::future::ready(Err(Refused::NoShard { shard: request.shard })).boxed(),
        }
    }

    fn snapshot(&self, request: Request, parts: Parts) -> BoxFuture<'static, Result<Bytes, Refused>> {
        match self.shard(request.shard).cloned() {
            Some(shard) => shard.receive(request, parts).boxed(),
            None => std::future::ready(Err(Refused::NoShard { shard: request.shard })).boxed(),
        }
    }

    fn lost(&self, peer: NodeId) {
        self.iter().for_each(|shard| shard.connection_lost(peer));
    }

    /// Whoever is in a membership was not removed; who is not may be new, or gone.
    fn removed(&self, shard: ShardId, id: NodeId) -> Option<u64> {
        if self.shard(shard)?.is_member(id) {
            return None;
        }
        self.shard(ShardId(0))?.removed(id)
    }
}
