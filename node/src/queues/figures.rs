//! What queues look like at a moment, for whoever scrapes a node.

use super::{Answer, Queues, look, wrong};
use crate::shards::Shard;
use schedia_apps::queue::{self, Queue};

/// Queues of which figures are told one by one.
const LISTED_MAX: usize = 1_000;

/// What queues look like at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Of the shards that this node leads, each with how long its oldest ready task has been ready, in milliseconds: the first
    /// thousand of each shard, and of all.
    pub listed: Vec<(Queue, u64)>,
    /// Whether there are more.
    pub are_more: bool,
    /// Claims, and requests for results, that wait on this node.
    pub waits: usize,
    /// Webhooks and notices.
    pub calls: Calls,
}

/// Webhooks and notices of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Under way.
    pub under_way: usize,
    /// That worked, since the start.
    pub done: u64,
    /// That did not, since the start.
    pub failed: u64,
}

impl Queues {
    /// What queues look like, as this node knows.
    pub fn figures(&self) -> Figures {
        let mut figures =
            Figures { waits: self.waiting.count(), calls: self.caller.counts(), ..Figures::default() };
        for shard in self.shards.iter().filter(|shard| shard.leads()) {
            // A shard that stops has no figures.
            let (queues, more) = of_shard(shard).unwrap_or_default();
            let now_ms = shard.log_time_ms().unwrap_or_default();
            let age_ms =
                |queue: &Queue| queue.oldest_ready_ms.map_or(0, |since_ms| now_ms.saturating_sub(since_ms));
            figures.listed.extend(queues.into_iter().map(|queue| {
                let age_ms = age_ms(&queue);
                (queue, age_ms)
            }));
            figures.are_more |= more;
        }
        figures.are_more |= figures.listed.len() > LISTED_MAX;
        figures.listed.truncate(LISTED_MAX);
        figures
    }
}

fn of_shard(shard: &Shard) -> Answer<(Vec<Queue>, bool)> {
    let query = queue::Query::Queues { tenant: None, after: None, limit: LISTED_MAX as u32 };
    match look(shard, query)? {
        queue::Reply::Queues { queues, next } => Ok((queues, next.is_some())),
        other => Err(wrong(other)),
    }
}
