//! Claims: from the first queue that has something, on whichever shard it is, waited for if there is nothing.
//!
//! A claim is an entry of the log only when there is something to claim: first this node looks at its own state; then, if there is
//! nothing, it asks the leader, which may know more; and if that knows of nothing either, it looks at a state that a majority has
//! confirmed.

use super::{Answer, LOOK_AGAIN_AFTER, Queues, look, on_purpose, propose, read, wrong};
use crate::shards::Shard;
use futures::future::select_all;
use schedia_apps::ShardId;
use schedia_apps::queue::{self, Claim, QueueName, Source, Task};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// What a worker asks for.
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    /// Of whom.
    pub tenant: String,
    /// From these queues, in this order.
    pub from: Vec<Source>,
    /// Who will work.
    pub worker: String,
    /// For how long each task is leased.
    pub lease_ms: u64,
    /// So many tasks at most.
    pub count: u32,
    /// Until when to wait for the first one.
    pub until: Instant,
}

/// A part of a claim: the queues on one shard, with their places in the whole.
struct Part<'a> {
    shard: &'a Shard,
    places: Vec<usize>,
    from: Vec<Source>,
}

/// Whose state is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// This node's, as it is.
    Here,
    /// The leader's, as it is: it takes the claim, or answers at once that it has nothing.
    Leaders,
    /// What a majority has confirmed.
    Confirmed,
}

impl Queues {
    /// Leases tasks to a worker: none if none came up in time. Each look and each try may take as long as `patience`.
    pub async fn claim(&self, request: ClaimRequest, patience: Duration) -> Answer<Vec<Task>> {
        let parts = self.parts(&request)?;
        let names = request.from.iter().map(|source| QueueName::of(&request.tenant, &source.command));
        let waiters: Vec<_> = names.map(|name| self.waiting.for_queue(name)).collect();
        let mut state = State::Here;
        loop {
            let tasks = self.try_claim(&request, &parts, state, Instant::now() + patience).await?;
            if !tasks.is_empty() {
                return Ok(tasks);
            }
            match state {
                // Who leads has looked at the leader's; of several shards several leaders would be asked one after the other.
                State::Here => {
                    let one = matches!(parts.as_slice(), [part] if !part.shard.is_leader());
                    state = if one { State::Leaders } else { State::Confirmed };
                }
                State::Leaders => state = State::Confirmed,
                State::Confirmed if Instant::now() >= request.until || waiters.is_empty() => {
                    return Ok(tasks);
                }
                State::Confirmed => {
                    let again = request.until.min(Instant::now() + LOOK_AGAIN_AFTER);
                    let woken = select_all(waiters.iter().map(|waiter| Box::pin(waiter.woken())));
                    let _ = on_purpose(timeout_at(again, woken)).await;
                    // The last look before nothing is said must be a confirmed one.
                    state = if again == request.until { State::Confirmed } else { State::Here };
                }
            }
        }
    }

    fn parts(&self, request: &ClaimRequest) -> Answer<Vec<Part<'_>>> {
        let count = self.count()?;
        let mut parts: BTreeMap<ShardId, Part<'_>> = BTreeMap::new();
        for (place, source) in request.from.iter().enumerate() {
            let id = queue::shard_of_queue(&request.tenant, &source.command, count);
            let shard = self.shard(id)?;
            let part =
                parts.entry(id).or_insert_with(|| Part { shard, places: Vec::new(), from: Vec::new() });
            part.places.push(place);
            part.from.push(source.clone());
        }
        Ok(parts.into_values().collect())
    }

    /// Takes from shard after shard, the one first that has the first queue with something, until there are enough.
    async fn try_claim(
        &self,
        request: &ClaimRequest,
        parts: &[Part<'_>],
        state: State,
        deadline: Instant,
    ) -> Answer<Vec<Task>> {
        let heads = parts.iter().map(|part| head(request, part, state, deadline));
        let (mut found, mut failed) = (Vec::new(), None);
        for (head, part) in futures::future::join_all(heads).await.into_iter().zip(parts) {
            match head {
                Ok(Some(place)) => found.push((place, part)),
                Ok(None) => {}
                Err(error) => failed = Some(error),
            }
        }
        // What one shard has is not held back because another one has no leader.
        if let (true, Some(error)) = (found.is_empty(), failed) {
            return Err(error);
        }
        found.sort_by_key(|(place, _)| *place);
        let mut tasks: Vec<Task> = Vec::new();
        for (_, part) in found {
            let count = request.count.saturating_sub(tasks.len() as u32);
            if count == 0 {
                break;
            }
            match claim_from(request, part, count, deadline).await {
                Ok(more) => tasks.extend(more),
                // What was leased is told, and nothing is lost: the rest is there for the next claim.
                Err(_) if !tasks.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(tasks)
    }
}

/// The place in the whole claim of the first queue of a part that has something.
async fn head(
    request: &ClaimRequest,
    part: &Part<'_>,
    state: State,
    deadline: Instant,
) -> Answer<Option<usize>> {
    let query = queue::Query::Head { tenant: request.tenant.clone(), from: part.from.clone() };
    let reply = match state {
        State::Here => look(part.shard, query)?,
        State::Leaders => return Ok(part.places.first().copied()),
        State::Confirmed => read(part.shard, query, deadline).await?,
    };
    match reply {
        queue::Reply::Head(first) => Ok(first.and_then(|first| part.places.get(first as usize).copied())),
        other => Err(wrong(other)),
    }
}

async fn claim_from(
    request: &ClaimRequest,
    part: &Part<'_>,
    count: u32,
    deadline: Instant,
) -> Answer<Vec<Task>> {
    let ClaimRequest { tenant, worker, lease_ms, .. } = request.clone();
    let claim = Claim { tenant, from: part.from.clone(), worker, lease_ms, count };
    match propose(part.shard, queue::Command::Claim(claim), deadline).await? {
        queue::Reply::Claimed(tasks) => Ok(tasks),
        other => Err(wrong(other)),
    }
}
