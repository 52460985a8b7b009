//! A task queue: create, claim under a lease, finish.
//!
//! A queue is a tenant and a command, which is compared in lower case (of ASCII). The life of a task:
//!
//! 1. [`Command::Create`] makes it ready, or delayed until it is due (`create.rs`). A known idempotency key answers the first.
//! 2. [`Command::Claim`] leases it to a worker: high priorities first, then the first that was ready (`claim.rs`).
//! 3. The worker extends its lease, or gives the task back, which is ready in its old place (`lease.rs`).
//! 4. A claim that failed, said so or by a lease that ended, is tried again after a delay; as many as may fail, and the task is
//!    dead: a dead letter (`fail.rs`, `retry.rs`).
//! 5. [`Command::Finish`] ends it with a result (`finish.rs`), and its webhook is called until that has worked (`hooks.rs`).
//! 6. It is kept for a time after its end, then removed (`due.rs`).
//!
//! Time is the entry's (`At::time_ms`), so every member ends the same lease at the same entry; the leader proposes
//! [`Command::Tick`] when something is due, and a claim does what delays and leases are due itself.
//!
//! Tables. Every row begins with its format, 01, and goes on in postcard, if at all. Numbers in keys are most significant
//! byte first: `number` and times 8 bytes, `queue` 4, `id` 16; `text` as `keys.rs` writes it.
//!
//! ```text
//! queue.queues         text(tenant) text(command)   its number, whether paused, the next number, counts and totals
//!                      command: in lower case
//! queue.names          queue                        tenant and command of a queue's number
//! queue.tasks          id                           what changes of a task: position, failures, error, …
//! queue.bodies         id                           what never changes: command as spelled, payload, webhook, …
//! queue.results        id                           result and artifacts, if a worker ended it
//! queue.places         queue 01 priority number id  ready; priority: 1 byte, 9 less the priority
//!                      queue 02 due number id       delayed
//!                      queue 03 number id           in progress, by lease
//!                      queue 04..07 number id       dead, completed, failed, cancelled, as they ended
//! queue.due            01 time number id            a delay ends
//!                      02 time number id            a lease ends
//!                      03 time number id            an ended task is no longer kept
//!                      04 time queue key            an idempotency key is no longer known
//!                      05 time id                   a subscription ends
//! queue.keys           queue key                    the task created under a key, and until when that is known
//! queue.hooks          time id                      a webhook to be called: which end of the task it tells, tries so far, where
//! queue.topics         text(tenant) text(name)      a topic (on shard 0 only)
//! queue.subscriptions  id                           a subscription (on shard 0 only)
//! queue.meta           "1"                          how many queues and subscriptions there are, what new queues count from, and until when no lease ends
//! ```
//!
//! Invariants:
//! * A task is in exactly one place, and counted there.
//! * Ready tasks are ordered by priority, then by number; a number is never given twice.
//! * A lease token is never given twice. A lease that has ended is never believed, whether it was taken back or not.
//! * No task that has not ended is ever removed, but by [`Command::Purge`].
//! * Only claims that failed are counted, so a task gets as many claims as may fail.
//! * What a command answers never depends on memory: there are only hints in it (`hints.rs`).
//!
//! A queue that was used once is never forgotten: its row is small, and its totals are counted on.
//!
//! Not here: which shard a queue is on (whoever proposes, by [`shard_of_queue`]); enforcing topics, who is allowed to ask,
//! the wire (doors); calling webhooks and telling subscribers (the leader); waiting for a task (`shards`).

mod bounds;
mod claim;
mod command;
mod create;
mod due;
mod fail;
mod finish;
mod hints;
mod hooks;
mod id;
mod lease;
mod moves;
mod position;
mod query;
mod read;
mod refusal;
mod reply;
mod retry;
mod rows;
mod subscriptions;
mod topics;
mod view;
mod work;

pub use bounds::{
    ARTIFACTS_MAX, BATCH_MAX, COMMAND_BYTES_MAX, COMMANDS_MAX, ERROR_BYTES_MAX, KEY_BYTES_MAX,
    NAME_BYTES_MAX, PRIORITIES, QUEUES_MAX, REPLY_BYTES, ROWS_MAX, SUBSCRIPTIONS_MAX, TASK_BYTES_MAX,
    TENANT_BYTES_MAX, TIERS_MAX, TOPICS_MAX, URL_BYTES_MAX,
};
pub use command::{
    Artifact, Claim, Command, Create, Delivered, Delivery, Due, Finish, Key, Move, Nack, Outcome, Owner,
    Purge, Source, Subscribe, Token,
};
pub use id::{InvalidUuid, SubscriptionId, TaskId, shard_of_queue, shard_of_task};
pub use query::{List, Query, Span};
pub use refusal::Refusal;
pub use reply::{Change, Created, Event, Finished, Reply};
pub use retry::{Backoff, Retry};
pub use topics::Policy;
pub use view::{Counts, Hook, Lease, Place, Queue, QueueName, Subscription, Task, TaskResult, Topic, Totals};

use crate::tables::{Digester, Table, Tables};
use crate::{App, At, Stop};
use hints::Hints;
use rows::Meta;
use work::{Done, Work};

/// Every table of the queue.
pub(crate) const TABLES: [Table; 12] = [
    rows::META,
    rows::QUEUES,
    rows::NAMES,
    rows::TASKS,
    rows::BODIES,
    rows::RESULTS,
    rows::PLACES,
    rows::DUE,
    rows::KEYS,
    rows::HOOKS,
    rows::TOPICS,
    rows::SUBSCRIPTIONS,
];

/// All queues of one shard: a few numbers and hints; all rows are in their tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queues {
    meta: Meta,
    hints: Hints,
}

impl App for Queues {
    type Command = Command;
    type Query = Query;
    type Reply = Reply;
    type Event = Event;

    fn open(tables: &dyn Tables) -> Result<Queues, Stop> {
        Ok(Queues { meta: rows::meta(tables)?, hints: Hints::default() })
    }

    fn apply(
        &mut self,
        at: At,
        command: Command,
        tables: &mut dyn Tables,
    ) -> Result<(Reply, Vec<Event>), Stop> {
        let mut work = Work::new(at, self.meta, &self.hints, tables);
        let reply = execute(&mut work, command)?;
        let Done { meta, hints, events } = work.finish();
        self.meta = meta;
        self.hints.merge(hints);
        Ok((reply, events))
    }

    fn query(&self, at: At, query: Query, tables: &dyn Tables) -> Result<Reply, Stop> {
        match query {
            Query::Task { tenant, id } => {
                read::task(tables, tenant.as_deref(), id).map(Box::new).map(Reply::Task)
            }
            Query::Result { tenant, id } => read::result(tables, tenant.as_deref(), id),
            Query::Head { tenant, from } => read::head(tables, &tenant, &from).map(Reply::Head),
            Query::Queue { tenant, command } => {
                let queue = read::queue(tables, QueueName::of(&tenant, &command))?;
                Ok(Reply::Queue(queue.map(Box::new)))
            }
            Query::Queues { tenant, after, limit } => {
                read::queues(tables, tenant.as_deref(), after.as_ref(), limit)
            }
            Query::List(list) => read::list(tables, &list),
            Query::Hooks { until_ms, after, limit } => {
                hooks::due(tables, &self.hints, until_ms, after, limit)
            }
            Query::NextDue => due::next_ms(tables, &self.hints, self.meta.grace_until_ms).map(Reply::NextDue),
            Query::Topic { tenant, name } => rows::topic(tables, &tenant, &name).map(Reply::Topic),
            Query::Topics { tenant, after, limit } => topics::list(tables, &tenant, after.as_deref(), limit),
            Query::Subscriptions { after, limit } => subscriptions::list(tables, at, after, limit),
        }
    }
}

fn execute(work: &mut Work<'_>, command: Command) -> Result<Reply, Stop> {
    match command {
        Command::Create(batch) => create::create(work, batch),
        Command::Claim(claim) => claim::claim(work, &claim),
        Command::Heartbeat { task, owner, extend_ms } => lease::heartbeat(work, task, &owner, extend_ms),
        Command::Abandon { task, owner } => lease::abandon(work, task, &owner),
        Command::Nack(nack) => fail::nack(work, &nack),
        Command::Finish(batch) => finish::finish(work, batch),
        Command::Tick { limit } => due::tick(work, limit),
        Command::Lead { grace_ms } => Ok(lease::lead(work, grace_ms)),
        Command::Cancel { tenant, task } => finish::cancel(work, &tenant, task),
        Command::Pause { tenant, command, paused } => moves::pause(work, &tenant, &command, paused),
        Command::Move(order) => moves::move_tasks(work, &order),
        Command::Purge(order) => moves::purge(work, &order),
        Command::Cleanup { before_ms, limit } => due::cleanup(work, before_ms, limit),
        Command::Delivered(delivered) => hooks::delivered(work, &delivered),
        Command::PutTopic { tenant, name, policy } => topics::put(work, tenant, name, policy),
        Command::DeleteTopic { tenant, name } => topics::delete(work, &tenant, &name),
        Command::Subscribe(asked) => subscriptions::subscribe(work, asked),
        Command::Renew { tenant, id, ttl_ms } => subscriptions::renew(work, &tenant, id, ttl_ms),
        Command::Unsubscribe { tenant, id } => subscriptions::unsubscribe(work, &tenant, id),
    }
}

/// Adds the logical state: every row.
pub(crate) fn digest(tables: &dyn Tables, digester: &mut Digester) -> Result<(), Stop> {
    TABLES.into_iter().try_for_each(|table| digester.table(tables, table))
}

/// How commands are compared. Of ASCII only: what else a release takes for a capital may change with it.
fn lower(command: &str) -> String {
    command.to_ascii_lowercase()
}

/// FNV-1a of 64 bits, of all parts one after another.
fn fnv1a(parts: &[&[u8]]) -> u64 {
    let bytes = parts.iter().copied().flatten();
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests;
