//! Giving up old history: the leader looks how far the settings allow, and proposes it.
//!
//! Only the proposal is made here; the effect is in apply, the same on every member, and rows go in the background.

use crate::node::Node;
use crate::shards::{Applied, Consistency, Shard, ShardError};
use schedia_apps::{Command, Query, Reply, ShardId, kv};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// History is kept by the minute: looking more often frees nothing more.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The revisions that stay readable however old they are.
const KEEP_REVISIONS: u64 = 10_000;

/// A minute's look that is not done by then is left to the next one.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Compacts kv while this node leads, until `stop`. Without `keep`, only people compact.
pub(crate) async fn run(node: Arc<Node>, keep: Option<Duration>, stop: CancellationToken) {
    let Some(keep) = keep else { return };
    let mut every = tokio::time::interval(LOOK_EVERY);
    while stop.run_until_cancelled(every.tick()).await.is_some() {
        let Ok(shard) = node.shard(ShardId(0)) else { continue };
        if !shard.is_leader() {
            continue;
        }
        if let Err(error) = compact(shard, keep).await {
            tracing::info!(%error, "history was not compacted, next try in a minute");
        }
    }
}

async fn compact(shard: &Shard, keep: Duration) -> Result<(), ShardError> {
    let deadline = Instant::now() + TIMEOUT;
    let read = |query| shard.read(Query::Kv(query), Consistency::Stale, deadline);
    let Applied { at, .. } = read(kv::Query::Revisions).await?;
    let keep_ms = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
    let query = kv::Query::Compactable { now_ms: at.time_ms, keep_ms, keep_revisions: KEEP_REVISIONS };
    if let Reply::Kv(kv::Reply::Compactable(Some(revision))) = read(query).await?.value {
        shard.propose(Command::Kv(kv::Command::Compact { revision }), deadline).await?;
        tracing::info!(revision, "history compacted");
    }
    Ok(())
}
