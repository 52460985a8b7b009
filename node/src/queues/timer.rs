//! What is due on one shard: its leader proposes that it be done, many rows in one entry.
//!
//! Everything due is in the state, so a new leader finds it there. It first makes leases hold for one maximal election timeout more:
//! nobody could extend one while there was no leader.
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
    let mut led = None;
    loop {
        look.tick().await;
        let term = shard.term_led();
        let Some(term) = term else { continue };
        match do_due(&shard, led == Some(term)).await {
            Ok(()) => led = Some(term),
            Err(error) => tracing::debug!(shard = %shard.id(), %error, "what is due is tried again"),
        }
    }
}

/// Does what is due now; leases last longer first, if this leader is new.
async fn do_due(shard: &Shard, leads_already: bool) -> Answer<()> {
    let Some(due_ms) = next_due(shard)? else { return Ok(()) };
    let deadline = Instant::now() + TIMEOUT;
    if !leads_already {
        let grace_ms = shard.election_max().as_millis() as u64;
        propose(shard, queue::Command::Lead { grace_ms }, deadline).await?;
    }
    let mut next_ms = Some(due_ms);
    while next_ms.is_some_and(|due_ms| due_ms <= shard.log_time_ms()) {
        let tick = queue::Command::Tick { limit: queue::ROWS_MAX as u32 };
        next_ms = match propose(shard, tick, deadline).await? {
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
