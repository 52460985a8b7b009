//! The queues of all shards as doors see them: which shard a queue is on, ids for its tasks, batches over several shards, claims and
//! results that are waited for; and on each shard's leader what is due.
//!
//! A queue, a tenant and a command, is on one shard, and so are all its tasks: order, leases and keys are exact there. The id of a
//! task is drawn so that it names that shard.
//!
//! Invariants:
//! * A command is proposed once: what fails is told, with its outcome, and never tried again here.
//! * Nobody is told that there is no task before a majority has confirmed it, and this node has applied what they know.
//! * Nothing waits longer than it asked for.
//!
//! Not here: what a task may do next (`schedia_apps::queue`), who may ask and in which words (doors).

mod calls;
mod claim;
mod figures;
mod listen;
mod notices;
mod pages;
mod settings;
mod timer;
mod waiting;
mod webhooks;
pub(crate) mod words;

pub use claim::ClaimRequest;
pub use figures::{Calls, Figures};
pub(crate) use listen::Told;
pub(crate) use pages::{Mark, TasksRequest};
pub use settings::{Follower, Settings};

use crate::raft::News;
use crate::request::note_spent;
use crate::shards::{Consistency, SHARDS_MAX, Shard, ShardError, Shards};
use calls::Caller;
pub(crate) use calls::WEBHOOK;
use futures::FutureExt;
use notices::Notices;
use schedia_apps::queue::{
    self, Create, Created, Finish, Finished, Queue, SubscriptionId, Task, TaskId, TaskResult,
};
use schedia_apps::{Command, NodeId, Query, Refusal, Reply, ShardId};
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use waiting::Waiting;

/// How soon a shard that has just begun to run is served.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Somebody who waits looks this often though nothing was told: a paused queue that goes on is no news.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// After a panic.
const BEGIN_ANEW_AFTER: Duration = Duration::from_secs(1);

/// How long the last look of somebody who waited may take.
const LAST_LOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// What a shard answers, or why not.
pub type Answer<T> = Result<T, ShardError>;

/// The queues of all shards.
pub struct Queues {
    shards: Arc<Shards>,
    waiting: Arc<Waiting>,
    caller: Caller,
    /// The number of shards, once known: it never changes.
    count: OnceLock<u32>,
}

impl Queues {
    /// Serves nothing yet: see [`Queues::run`].
    pub fn new(shards: Arc<Shards>, settings: &Settings) -> Queues {
        let caller = Caller::new(settings.webhook_secret.as_deref(), settings.webhooks_local);
        Queues { shards, waiting: Arc::default(), caller, count: OnceLock::new() }
    }

    /// Wakes those who wait, and does what is due where this node leads, until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut served = [false; SHARDS_MAX];
        let mut tasks = JoinSet::new();
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(look.tick()).await.is_some() {
            for shard in self.shards.iter() {
                if !std::mem::replace(&mut served[shard.id().0 as usize], true) {
                    self.clone().serve(shard, &mut tasks);
                }
            }
        }
        // Dropped with their set.
        drop(tasks);
    }

    fn serve(self: Arc<Self>, shard: &Shard, tasks: &mut JoinSet<()>) {
        let Queues { shards, waiting, caller, .. } = &*self;
        let of = shard.clone();
        let told = waiting.clone();
        tasks.spawn(again("news", move || tell(told.clone(), of.clone())));
        let of = shard.clone();
        tasks.spawn(again("timer", move || timer::run(of.clone())));
        let (of, by) = (shard.clone(), caller.clone());
        tasks.spawn(again("webhooks", move || webhooks::run(of.clone(), by.clone())));
        let (of, by, all) = (shard.clone(), caller.clone(), shards.clone());
        tasks.spawn(again("notices", move || Notices::new(all.clone(), by.clone()).run(of.clone())));
    }

    fn count(&self) -> Answer<u32> {
        if let Some(count) = self.count.get() {
            return Ok(*count);
        }
        let record = self.shards.record_here();
        let record =
            record.ok_or_else(|| ShardError::unavailable("this node has not seen the cluster record yet"))?;
        Ok(*self.count.get_or_init(|| record.shards))
    }

    fn shard(&self, id: ShardId) -> Answer<&Shard> {
        self.shards
            .shard(id)
            .ok_or_else(|| ShardError::unavailable(format!("shard {id} does not run here yet")))
    }

    /// The shard of a queue.
    fn of_queue(&self, tenant: &str, command: &str) -> Answer<&Shard> {
        self.shard(queue::shard_of_queue(tenant, command, self.count()?))
    }

    /// The shard of a task.
    fn of_task(&self, id: TaskId) -> Answer<&Shard> {
        self.shard(queue::shard_of_task(id, self.count()?))
    }

    /// An id for a task of this queue.
    pub fn draw(&self, tenant: &str, command: &str) -> Answer<TaskId> {
        let count = self.count()?;
        let random = std::iter::repeat_with(|| uuid::Uuid::new_v4().as_u128());
        let drawn = TaskId::draw(now_ms(), queue::shard_of_queue(tenant, command, count), count, random);
        Ok(drawn.expect("random numbers do not end"))
    }

    /// Creates tasks, whose ids were drawn for their queues; each is answered, in their order.
    pub async fn create(&self, batch: Vec<Create>, deadline: Instant) -> Vec<Answer<Created>> {
        self.each(batch, |create| create.id, queue::Command::Create, created, deadline).await
    }

    /// Ends tasks; each is answered, in their order.
    pub async fn finish(&self, batch: Vec<Finish>, deadline: Instant) -> Vec<Answer<Finished>> {
        self.each(batch, |finish| finish.task, queue::Command::Finish, finished, deadline).await
    }

    /// Something done with one task, on its shard.
    pub async fn change(
        &self,
        task: TaskId,
        command: queue::Command,
        deadline: Instant,
    ) -> Answer<queue::Reply> {
        propose(self.of_task(task)?, command, deadline).await
    }

    /// Something done with topics and subscriptions, which are on shard 0.
    pub async fn administer(&self, command: queue::Command, deadline: Instant) -> Answer<queue::Reply> {
        propose(self.shard(ShardId(0))?, command, deadline).await
    }

    /// A question about one task, on its shard.
    pub async fn ask_of_task(
        &self,
        task: TaskId,
        query: queue::Query,
        deadline: Instant,
    ) -> Answer<queue::Reply> {
        read(self.of_task(task)?, query, deadline).await
    }

    /// A question about a queue, on its shard.
    pub async fn ask_of_queue(
        &self,
        (tenant, command): (&str, &str),
        query: queue::Query,
        deadline: Instant,
    ) -> Answer<queue::Reply> {
        read(self.of_queue(tenant, command)?, query, deadline).await
    }

    /// A question about topics and subscriptions.
    pub async fn ask_shard_0(&self, query: queue::Query, deadline: Instant) -> Answer<queue::Reply> {
        read(self.shard(ShardId(0))?, query, deadline).await
    }

    /// Whether this node leads the shard of a queue, or else who does.
    pub fn leads_queue(&self, tenant: &str, command: &str) -> Answer<Result<(), Option<NodeId>>> {
        self.of_queue(tenant, command).map(leads)
    }

    /// Whether this node leads the shard of a task, or else who does.
    pub fn leads_task(&self, task: TaskId) -> Answer<Result<(), Option<NodeId>>> {
        self.of_task(task).map(leads)
    }

    /// Whether this node leads the shard of topics and subscriptions, or else who does.
    pub fn leads_topics(&self) -> Answer<Result<(), Option<NodeId>>> {
        self.shard(ShardId(0)).map(leads)
    }

    /// All queues, by tenant and command.
    pub async fn all(&self, tenant: Option<&str>, deadline: Instant) -> Answer<Vec<Queue>> {
        let of_shards = (0..self.count()?).map(|id| self.all_of(ShardId(id), tenant, deadline));
        let mut queues: Vec<Queue> =
            futures::future::try_join_all(of_shards).await?.into_iter().flatten().collect();
        queues.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(queues)
    }

    async fn all_of(&self, id: ShardId, tenant: Option<&str>, deadline: Instant) -> Answer<Vec<Queue>> {
        let (shard, mut queues, mut after) = (self.shard(id)?, Vec::new(), None);
        loop {
            let query = queue::Query::Queues { tenant: tenant.map(str::to_owned), after, limit: 0 };
            let (page, next) = match read(shard, query, deadline).await? {
                queue::Reply::Queues { queues, next } => (queues, next),
                other => return Err(wrong(other)),
            };
            queues.extend(page);
            after = next;
            if after.is_none() {
                return Ok(queues);
            }
        }
    }

    /// Removes what will not be kept any longer by a time, at most so many tasks; how many.
    pub async fn cleanup(&self, before_ms: u64, most: u32, deadline: Instant) -> Answer<u32> {
        let mut removed = 0;
        for id in 0..self.count()? {
            let shard = self.shard(ShardId(id))?;
            while removed < most {
                let limit = (most - removed).min(queue::ROWS_MAX as u32);
                let cleanup = queue::Command::Cleanup { before_ms, limit };
                match propose(shard, cleanup, deadline).await? {
                    queue::Reply::Removed { removed: 0, .. } => break,
                    queue::Reply::Removed { removed: some, .. } => removed += some,
                    other => return Err(wrong(other)),
                }
            }
        }
        Ok(removed)
    }

    /// The policy of a topic as this node knows it, which may be a moment behind.
    pub fn topic(&self, tenant: &str, name: &str) -> Answer<Option<queue::Topic>> {
        let query = queue::Query::Topic { tenant: tenant.to_owned(), name: name.to_owned() };
        let shard_0 = self.shard(ShardId(0))?;
        if !shard_0.is_recovered() {
            return Err(ShardError::NotRecovered);
        }
        match look(shard_0, query)? {
            queue::Reply::Topic(topic) => Ok(topic),
            other => Err(wrong(other)),
        }
    }

    /// A task that has ended, and its result; what is there at `until`, if it has not by then.
    pub async fn ended(
        &self,
        (tenant, id): (&str, TaskId),
        until: Instant,
        deadline: Instant,
    ) -> Answer<(Task, Option<TaskResult>)> {
        let shard = self.of_task(id)?;
        let waiter = self.waiting.for_task(id);
        let query = queue::Query::Result { tenant: Some(tenant.to_owned()), id };
        let look_here = || result(look(shard, query.clone())?);
        let confirmed = result(read(shard, query.clone(), deadline).await?)?;
        if confirmed.0.ended_ms.is_some() || Instant::now() >= until {
            return Ok(confirmed);
        }
        loop {
            // Listens before it looks: what ends in between wakes it.
            let mut woken = std::pin::pin!(waiter.woken());
            woken.as_mut().enable();
            let answer = look_here()?;
            if answer.0.ended_ms.is_some() {
                return Ok(answer);
            }
            let again = until.min(Instant::now() + LOOK_AGAIN_AFTER);
            if on_purpose(timeout_at(again, woken)).await.is_err() && again == until {
                // The last look before nothing is said is a confirmed one.
                return result(read(shard, query, Instant::now() + LAST_LOOK_TIMEOUT).await?);
            }
        }
    }

    /// An id for a subscription.
    pub fn draw_subscription(&self) -> SubscriptionId {
        SubscriptionId::new(now_ms(), uuid::Uuid::new_v4().as_u128())
    }

    /// Takes a batch apart by shards and puts the answers together again.
    async fn each<T, R>(
        &self,
        batch: Vec<T>,
        id: impl Fn(&T) -> TaskId,
        command: impl Fn(Vec<T>) -> queue::Command,
        answers: impl Fn(queue::Reply) -> Answer<Vec<Answer<R>>>,
        deadline: Instant,
    ) -> Vec<Answer<R>> {
        let count = match self.count() {
            Ok(count) => count,
            Err(error) => return batch.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut parts: BTreeMap<ShardId, (Vec<usize>, Vec<T>)> = BTreeMap::new();
        let mut done: Vec<_> = batch.iter().map(|_| None).collect();
        for (place, item) in batch.into_iter().enumerate() {
            let (places, items) = parts.entry(queue::shard_of_task(id(&item), count)).or_default();
            places.push(place);
            items.push(item);
        }
        let proposed = parts.into_iter().map(|(shard, (places, items))| {
            let command = command(items);
            async move { (places, async { propose(self.shard(shard)?, command, deadline).await }.await) }
        });
        for (places, reply) in futures::future::join_all(proposed).await {
            match reply.and_then(&answers) {
                Ok(answers) => {
                    places.into_iter().zip(answers).for_each(|(place, answer)| done[place] = Some(answer))
                }
                Err(error) => places.into_iter().for_each(|place| done[place] = Some(Err(error.clone()))),
            }
        }
        let none = || Err(ShardError::unknown("the reply to a batch misses one"));
        done.into_iter().map(|answer| answer.unwrap_or_else(none)).collect()
    }
}

/// Runs a task to its end, and begins it anew if it panics: a defect of ours is not to end what is due for ever.
async fn again<F: Future<Output = ()>>(what: &'static str, begin: impl Fn() -> F) {
    while AssertUnwindSafe(begin()).catch_unwind().await.is_err() {
        tracing::error!(what, "a task of the queues panicked and begins anew: please report this");
        sleep(BEGIN_ANEW_AFTER).await;
    }
}

/// Wakes those whom the news of a shard concern.
async fn tell(waiting: Arc<Waiting>, shard: Shard) {
    let mut news = shard.news();
    loop {
        match news.recv().await {
            Ok(News::Happened(events)) => waiting.tell(&events),
            Ok(News::Replaced) | Err(RecvError::Lagged(_)) => waiting.tell_all(),
            Err(RecvError::Closed) => return,
        }
    }
}

/// Waits because it was asked for: such a request is not slow.
async fn on_purpose<T>(wait: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let done = wait.await;
    note_spent(|spent| spent.waited += begun.elapsed());
    done
}

fn leads(shard: &Shard) -> Result<(), Option<NodeId>> {
    if shard.is_leader() { Ok(()) } else { Err(shard.watch_status().borrow().leader) }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_millis() as u64)
}

async fn propose(shard: &Shard, command: queue::Command, deadline: Instant) -> Answer<queue::Reply> {
    queue_reply(shard.propose(Command::Queue(command), deadline).await?.value)
}

async fn read(shard: &Shard, query: queue::Query, deadline: Instant) -> Answer<queue::Reply> {
    queue_reply(shard.read(Query::Queue(query), Consistency::Linearizable, deadline).await?.value)
}

/// As this node knows.
fn look(shard: &Shard, query: queue::Query) -> Answer<queue::Reply> {
    queue_reply(shard.query_here(Query::Queue(query))?)
}

fn queue_reply(reply: Reply) -> Answer<queue::Reply> {
    match reply {
        Reply::Queue(reply) => Ok(reply),
        other => Err(ShardError::wrong_reply(&other)),
    }
}

/// A reply of another kind than was asked for: a defect of ours.
pub(crate) fn wrong(reply: queue::Reply) -> ShardError {
    ShardError::wrong_reply(&Reply::Queue(reply))
}

fn refused<T>(answers: Vec<Result<T, queue::Refusal>>) -> Vec<Answer<T>> {
    let refuse = |refusal| ShardError::Refused(Refusal::Queue(refusal));
    answers.into_iter().map(|answer| answer.map_err(refuse)).collect()
}

fn created(reply: queue::Reply) -> Answer<Vec<Answer<Created>>> {
    match reply {
        queue::Reply::Created(answers) => Ok(refused(answers)),
        other => Err(wrong(other)),
    }
}

fn finished(reply: queue::Reply) -> Answer<Vec<Answer<Finished>>> {
    match reply {
        queue::Reply::Finished(answers) => Ok(refused(answers)),
        other => Err(wrong(other)),
    }
}

fn result(reply: queue::Reply) -> Answer<(Task, Option<TaskResult>)> {
    match reply {
        queue::Reply::Result { task, result } => Ok((*task, result)),
        other => Err(wrong(other)),
    }
}
