//! Webhooks of tasks that have ended: called by the leader of their shard until one call has worked, or enough have not.
//!
//! Which are pending is state. So a call may be made twice, by a leader and by the next one, and none is forgotten.
//!
//! Invariants:
//! * A receiver holds up nobody but itself: calls are made beside everything else, and their number is bounded. Those for which
//!   there is no room are passed over, and the next look goes on behind them.
//! * Only a leader that a majority has answered lately calls.

use super::calls::{Caller, Permit};
use super::{Answer, look, propose, result, words, wrong};
use crate::shards::{Shard, ShardError};
use schedia_apps::Refusal;
use schedia_apps::queue::{self, Artifact, Delivered, Hook, Task, TaskId, TaskResult};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// How late a webhook may be called. A look is a read of this node's state, and only the leader's.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Looks are fewer while nothing that is due can be called.
const BUSY_LOOK_EVERY: Duration = Duration::from_millis(250);
/// Those that are due are read in pages of so many, and so many pages in one look.
const PAGE: u32 = 100;
const PAGES_MAX: usize = 10;
/// Calls of one webhook.
const TRIES_MAX: u32 = 5;
/// The pause before the second call, doubled before each one more up to the most.
const PAUSE_MS: (u64, u64) = (2_000, 60_000);
/// What is not recorded by then is called again.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Webhooks that are being called from here: which end of which task.
type UnderWay = Arc<Mutex<HashSet<(TaskId, u64)>>>;

/// Calls the webhooks of a shard while this node leads it. Ends when it is dropped.
pub(super) async fn run(shard: Shard, caller: Caller) {
    let mut webhooks = Webhooks { shard, caller, under_way: UnderWay::default(), after: None };
    let mut calls = JoinSet::new();
    loop {
        while calls.try_join_next().is_some() {}
        let looked = match webhooks.look() {
            Ok(looked) => looked,
            Err(error) => {
                tracing::debug!(shard = %webhooks.shard.id(), %error, "webhooks are looked for again");
                Looked::default()
            }
        };
        let busy = looked.found > 0 && looked.calls.is_empty();
        for call in looked.calls {
            calls.spawn(call.make());
        }
        sleep(if busy { BUSY_LOOK_EVERY } else { LOOK_EVERY }).await;
    }
}

/// The webhooks of a shard.
struct Webhooks {
    shard: Shard,
    caller: Caller,
    under_way: UnderWay,
    /// Where the last look ended, if it did not see all that is due.
    after: Option<(u64, TaskId)>,
}

/// What a look has found.
#[derive(Default)]
struct Looked {
    found: usize,
    calls: Vec<Call>,
}

impl Webhooks {
    /// Looks at what is due; those for which there is room are to be called.
    fn look(&mut self) -> Answer<Looked> {
        let mut looked = Looked::default();
        let Some(until_ms) = self.shard.log_time_ms().filter(|_| self.shard.leads()) else {
            self.after = None;
            return Ok(looked);
        };
        for _ in 0..PAGES_MAX {
            let page = self.page(until_ms)?;
            let whole = page.len() < PAGE as usize;
            for hook in page {
                if self.caller.is_full() {
                    return Ok(looked);
                }
                looked.found += 1;
                self.after = Some((hook.due_ms, hook.task));
                looked.calls.extend(self.call(hook));
            }
            if whole {
                self.after = None;
                break;
            }
        }
        Ok(looked)
    }

    fn page(&self, until_ms: u64) -> Answer<Vec<Hook>> {
        let query = queue::Query::Hooks { until_ms, after: self.after, limit: PAGE };
        match look(&self.shard, query)? {
            queue::Reply::Hooks { due, .. } => Ok(due),
            other => Err(wrong(other)),
        }
    }

    /// Nothing if it is under way, if there is no room, or if there is nothing to tell any more.
    fn call(&self, hook: Hook) -> Option<Call> {
        let turn = Turn::take(&self.under_way, &hook)?;
        let permit = self.caller.permit(&hook.url)?;
        let query = queue::Query::Result { tenant: None, id: hook.task };
        let (task, told) = look(&self.shard, query).and_then(result).ok()?;
        let body = body(&task, told.as_ref());
        Some(Call { shard: self.shard.clone(), hook, body, permit, _turn: turn })
    }
}

/// One call of one webhook.
struct Call {
    shard: Shard,
    hook: Hook,
    body: String,
    permit: Permit,
    _turn: Turn,
}

/// Nobody else here calls the same one.
struct Turn(UnderWay, (TaskId, u64));

impl Turn {
    fn take(under_way: &UnderWay, hook: &Hook) -> Option<Turn> {
        let which = (hook.task, hook.end);
        let taken = under_way.lock().unwrap_or_else(PoisonError::into_inner).insert(which);
        taken.then(|| Turn(under_way.clone(), which))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

impl Call {
    async fn make(self) {
        let Call { shard, hook: Hook { task, end, tries, .. }, body, permit, _turn } = self;
        let called = permit.post(body).await;
        // Recording it takes no room from other calls.
        drop(permit);
        let again_ms = match called {
            Ok(()) => None,
            Err(error) => {
                let pause_ms = pause_ms(tries);
                tracing::info!(%task, tries = tries + 1, again_ms = pause_ms, %error, "a webhook did not work");
                pause_ms.map(|pause_ms| shard.log_time_ms().unwrap_or_default() + pause_ms)
            }
        };
        let delivered = queue::Command::Delivered(Delivered { task, end, tries, again_ms });
        match propose(&shard, delivered, Instant::now() + TIMEOUT).await {
            Ok(_) | Err(ShardError::Refused(Refusal::Queue(_))) => {}
            Err(error) => {
                tracing::debug!(%task, %error, "a webhook may be called again");
                // Not at once, and again and again, while nothing can be recorded here.
                sleep(Duration::from_millis(pause_ms(tries).unwrap_or(PAUSE_MS.1))).await;
            }
        }
    }
}

/// How long to wait after a call did not work; `None`: it is given up.
fn pause_ms(tries_before: u32) -> Option<u64> {
    let (first, most) = PAUSE_MS;
    let grown = first.saturating_mul(2u64.saturating_pow(tries_before));
    (tries_before + 1 < TRIES_MAX).then_some(grown.min(most))
}

/// What is sent, as codeQ sends it.
fn body(task: &Task, told: Option<&TaskResult>) -> String {
    let result = told.and_then(|told| serde_json::from_slice::<Value>(told.result.as_ref()?).ok());
    let artifact = |Artifact { name, url }: &Artifact| json!({ "name": name, "url": url });
    let artifacts = told.filter(|told| !told.artifacts.is_empty());
    let artifacts: Option<Vec<Value>> = artifacts.map(|told| told.artifacts.iter().map(artifact).collect());
    json!({
        "taskId": task.id.to_string(),
        "eventType": task.command,
        "status": words::status(task.place),
        "result": result,
        "error": task.error.as_deref().unwrap_or_default(),
        "artifacts": artifacts,
        "completedAt": words::time(task.ended_ms.unwrap_or_default()),
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_the_fifth_call_is_the_last() {
        let pauses: Vec<_> = (0..5).map(pause_ms).collect();
        assert_eq!(pauses, [Some(2_000), Some(4_000), Some(8_000), Some(16_000), None]);
    }
}
