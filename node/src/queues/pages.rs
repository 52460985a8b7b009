//! Pages over the queues of all shards: of queues by name, of tasks queue by queue; and what is done with one whole queue.
//!
//! A page of tasks is bounded in the tasks it looks at, in bytes and in time, so it may be short or empty though there are more: its
//! [`Mark`] says where to go on.

use super::{Answer, Queues, propose, read, wrong};
use bytes::Bytes;
use schedia_apps::ShardId;
use schedia_apps::queue::{self, Counts, List, Place, Queue, QueueName, REPLY_BYTES, Span, Task};
use std::time::Duration;
use tokio::time::Instant;

/// Queues that one step of a page over all queues looks at on each shard.
const QUEUES_STEP: u32 = 100;
/// How long one page over all queues may go on from queue to queue.
const WALK_TIME: Duration = Duration::from_secs(2);

/// Which tasks.
#[derive(Clone, Debug)]
pub(crate) struct TasksRequest {
    /// Whose.
    pub(crate) tenant: String,
    /// Of which queue; `None` = of all.
    pub(crate) command: Option<String>,
    /// Only there.
    pub(crate) place: Option<Place>,
    /// Only those created then.
    pub(crate) created: Span,
    /// Only those that ended then.
    pub(crate) ended: Span,
    /// Where the page before ended.
    pub(crate) after: Option<Mark>,
    /// Looks at so many, at most [`ROWS_MAX`](queue::ROWS_MAX).
    pub(crate) limit: u32,
    /// Whether to tell payloads.
    pub(crate) payloads: bool,
}

/// Where a page of tasks ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// In this queue.
    pub(crate) command: String,
    /// Behind this task of it; `None` = behind all of them.
    pub(crate) after: Option<Bytes>,
}

/// A page of tasks, as far as it is full.
struct Filling {
    tasks: Vec<Task>,
    bytes: usize,
    /// Tasks that may still be looked at.
    left: u32,
}

impl Queues {
    /// Something done with one queue, on its shard.
    pub(crate) async fn change_queue(
        &self,
        (tenant, command): (&str, &str),
        change: queue::Command,
        deadline: Instant,
    ) -> Answer<queue::Reply> {
        propose(self.of_queue(tenant, command)?, change, deadline).await
    }

    /// About the time that the next entry of a queue's shard will have, in milliseconds since 1970; by the wall clock, if this node
    /// has not seen one since its start.
    pub(crate) fn time_ms(&self, tenant: &str, command: &str) -> Answer<u64> {
        Ok(self.of_queue(tenant, command)?.log_time_ms().unwrap_or_else(super::now_ms))
    }

    /// The first queues of a tenant behind a command, and whether there are more.
    pub(crate) async fn page(
        &self,
        tenant: &str,
        after: Option<&str>,
        limit: u32,
        deadline: Instant,
    ) -> Answer<(Vec<Queue>, bool)> {
        let after = after.map(|command| QueueName::of(tenant, command));
        let of_shards = (0..self.count()?).map(|id| {
            let (tenant, after) = (Some(tenant.to_owned()), after.clone());
            let query = queue::Query::Queues { tenant, after, limit };
            async move { queues(read(self.shard(ShardId(id))?, query, deadline).await?) }
        });
        let pages = futures::future::try_join_all(of_shards).await?;
        let more = pages.iter().any(|(_, more)| *more);
        let mut queues: Vec<Queue> = pages.into_iter().flat_map(|(queues, _)| queues).collect();
        queues.sort_by(|a, b| a.name.cmp(&b.name));
        let more = more || queues.len() > limit as usize;
        // Of a shard that has more there are as many as asked for: what is cut off lies behind all of these.
        queues.truncate(limit as usize);
        Ok((queues, more))
    }

    /// A page of tasks, and where the next one begins.
    pub(crate) async fn tasks(
        &self,
        request: &TasksRequest,
        deadline: Instant,
    ) -> Answer<(Vec<Task>, Option<Mark>)> {
        let mut page = Filling { tasks: Vec::new(), bytes: 0, left: request.limit };
        let next = match (&request.command, &request.after) {
            (Some(command), Some(Mark { after: Some(after), .. })) => {
                self.fill(request, command, Some(after.clone()), &mut page, deadline).await?
            }
            (Some(_), Some(Mark { after: None, .. })) => None,
            (Some(command), None) => self.fill(request, command, None, &mut page, deadline).await?,
            (None, _) => self.fill_from_all(request, &mut page, deadline).await?,
        };
        Ok((page.tasks, next))
    }

    /// Goes from queue to queue until the page is full.
    async fn fill_from_all(
        &self,
        request: &TasksRequest,
        page: &mut Filling,
        deadline: Instant,
    ) -> Answer<Option<Mark>> {
        let give_up = Instant::now() + WALK_TIME;
        let mut behind = None;
        if let Some(Mark { command, after }) = &request.after {
            if let Some(after) = after.clone()
                && let Some(mark) = self.fill(request, command, Some(after), page, deadline).await?
            {
                return Ok(Some(mark));
            }
            behind = Some(command.clone());
        }
        loop {
            let (queues, more) = self.page(&request.tenant, behind.as_deref(), QUEUES_STEP, deadline).await?;
            for Queue { name: QueueName { command, .. }, counts, .. } in queues {
                let there = there(&counts, request.place);
                if there > 0 {
                    if let Some(mark) = self.fill(request, &command, None, page, deadline).await? {
                        return Ok(Some(mark));
                    }
                    page.left = page.left.saturating_sub(u32::try_from(there).unwrap_or(u32::MAX));
                }
                if page.is_full() || Instant::now() >= give_up {
                    return Ok(Some(Mark { command, after: None }));
                }
                behind = Some(command);
            }
            if !more {
                return Ok(None);
            }
        }
    }

    /// Adds tasks of one queue. The mark is where it has more of them.
    async fn fill(
        &self,
        request: &TasksRequest,
        command: &str,
        after: Option<Bytes>,
        page: &mut Filling,
        deadline: Instant,
    ) -> Answer<Option<Mark>> {
        let TasksRequest { tenant, command: _, place, created, ended, after: _, limit: _, payloads } =
            request;
        let list = List {
            tenant: tenant.clone(),
            command: command.to_owned(),
            place: *place,
            created: *created,
            ended: *ended,
            after,
            limit: page.left,
            payloads: *payloads,
        };
        let asked = self.ask_of_queue((tenant, command), queue::Query::List(list), deadline);
        let (tasks, next) = match asked.await? {
            queue::Reply::Tasks { tasks, next } => (tasks, next),
            other => return Err(wrong(other)),
        };
        let size = |task: &Task| task.payload.len() + task.error.as_ref().map_or(0, String::len);
        page.bytes += tasks.iter().map(size).sum::<usize>();
        page.tasks.extend(tasks);
        Ok(next.map(|next| Mark { command: command.to_owned(), after: Some(next) }))
    }
}

impl Filling {
    fn is_full(&self) -> bool {
        self.left == 0 || self.bytes >= REPLY_BYTES
    }
}

/// How many tasks of a queue a list would look at.
fn there(counts: &Counts, place: Option<Place>) -> u64 {
    let Counts { ready, delayed, in_progress, dead, completed, failed, cancelled } = counts;
    let ready = ready.iter().sum();
    match place {
        Some(Place::Ready) => ready,
        Some(Place::Delayed) => *delayed,
        Some(Place::InProgress) => *in_progress,
        Some(Place::Dead) => *dead,
        Some(Place::Completed) => *completed,
        Some(Place::Failed) => *failed,
        Some(Place::Cancelled) => *cancelled,
        None => ready + delayed + in_progress + dead + completed + failed + cancelled,
    }
}

fn queues(reply: queue::Reply) -> Answer<(Vec<Queue>, bool)> {
    match reply {
        queue::Reply::Queues { queues, next } => Ok((queues, next.is_some())),
        other => Err(wrong(other)),
    }
}
