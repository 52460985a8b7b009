//! What is due on one shard: its leader proposes that it be done, many rows in one entry.
//!
//! Everything due is in the state, so a new leader finds it there.
//!
//! Not here: what becomes of a row that is due (`schedia_apps::queue`).

use super::{Answer, look, propose, wrong};
use crate::shards::Shard;
use schedia_apps::queue;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How late something due may be noticed. A look is a read of this node's state, and only the leader's.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What is not done by then is tried again.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Does what is due while this node leads the shard. Ends when it is dropped.
pub(super) async fn run(shard: Shard) {
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        if !shard.leads() {
            continue;
        }
        if let Err(error) = do_due(&shard).await {
            tracing::debug!(shard = %shard.id(), %error, "what is due is tried again");
        }
    }
}

/// Does what is due now.
async fn do_due(shard: &Shard) -> Answer<()> {
    let mut next_ms = next_due(shard)?;
    // After a restart nobody knows the time of the log before an entry: this is one.
    while next_ms.is_some_and(|due_ms| shard.log_time_ms().is_none_or(|now_ms| due_ms <= now_ms)) {
        let tick = queue::Command::Tick { limit: queue::ROWS_MAX as u32 };
        next_ms = match propose(shard, tick, Instant::now() + TIMEOUT).await? {
            queue::Reply::Ticked { done: 0, .. } => return Ok(()),
            queue::Reply::Ticked { next_ms, .. } => next_ms,
            other => return Err(wrong(other)),
        };
    }
    Ok(())
}

/// When something is due next, as this node knows.
fn next_due(shard: &Shard) -> Answer<Option<u64>> {
    match look(shard, queue::Query::NextDue)? {
        queue::Reply::NextDue(next_ms) => Ok(next_ms),
        other => Err(wrong(other)),
    }
}
