//! What queries see: a task, its result, queues, and pages of tasks.

use super::position::{Position, place_prefix, prefix_range, ready_range};
use super::rows::{self, Body, QueueRow, ResultRow, TaskRow};
use super::{
    List, PRIORITIES, Queue, QueueName, REPLY_BYTES, ROWS_MAX, Refusal, Reply, Source, Span, Task, TaskId,
    TaskResult, bounds, claim,
};
use crate::Stop;
use crate::keys::put_text;
use crate::tables::{RowKey, Tables};
use bytes::Bytes;

/// So many bytes of payloads that a list leaves out count as one that it tells: they cost the reading only.
const UNSEEN_BYTES: usize = 8;

/// The rows of a page: as many as were asked for, or as one holds.
pub(super) fn page(limit: u32) -> usize {
    match limit as usize {
        limit @ 1..ROWS_MAX => limit,
        _ => ROWS_MAX,
    }
}

/// A task as others see it, with its payload.
pub(super) fn whole(tables: &dyn Tables, id: TaskId, row: TaskRow, tenant: &str) -> Result<Task, Stop> {
    let body = rows::expect(tables, rows::BODIES, &id.0)?;
    Ok(view(id, row, body, tenant))
}

/// A task as others see it.
pub(super) fn view(id: TaskId, row: TaskRow, body: Body, tenant: &str) -> Task {
    let place = row.position.place();
    let ended_ms = row.position.ended_ms();
    let (lease, due_ms) = match row.position {
        Position::InProgress { lease, .. } => (Some(lease), None),
        Position::Delayed { due_ms, .. } => (None, Some(due_ms)),
        Position::Ready { .. } | Position::Ended { .. } => (None, None),
    };
    Task {
        id,
        tenant: tenant.to_owned(),
        command: body.command,
        payload: body.payload,
        priority: row.priority,
        webhook: body.webhook,
        trace_parent: body.trace_parent,
        trace_state: body.trace_state,
        key: body.key,
        place,
        lease,
        due_ms,
        ended_ms,
        failures: row.failures,
        max_attempts: row.max_attempts,
        error: row.error,
        retry: row.retry,
        retention_ms: row.retention_ms,
        created_ms: row.created_ms,
        updated_ms: row.updated_ms,
    }
}

/// A task, if it is there and the tenant's.
pub(super) fn task(tables: &dyn Tables, tenant: Option<&str>, id: TaskId) -> Result<Task, Stop> {
    let row = rows::task(tables, id)?.ok_or(Refusal::UnknownTask)?;
    let owner = rows::name(tables, row.queue)?.tenant;
    if tenant.is_some_and(|tenant| tenant != owner) {
        return Err(Refusal::UnknownTask.into());
    }
    whole(tables, id, row, &owner)
}

pub(super) fn result(tables: &dyn Tables, tenant: Option<&str>, id: TaskId) -> Result<Reply, Stop> {
    let task = task(tables, tenant, id)?;
    let row: Option<ResultRow> = rows::get(tables, rows::RESULTS, &id.0)?;
    let result = row.map(|ResultRow { result, artifacts }| TaskResult { result, artifacts });
    Ok(Reply::Result { task: Box::new(task), result })
}

/// The first queue that a claim would take from.
pub(super) fn head(tables: &dyn Tables, tenant: &str, from: &[Source]) -> Result<Option<u32>, Stop> {
    bounds::sources(from)?;
    for (place, source) in (0..).zip(from) {
        let Some(row) = rows::queue(tables, &QueueName::of(tenant, &source.command))? else { continue };
        if claim::open(&row, source) > 0 && row.counts.ready.iter().any(|count| *count > 0) {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

pub(super) fn queue(tables: &dyn Tables, name: QueueName) -> Result<Option<Queue>, Stop> {
    rows::queue(tables, &name)?.map(|row| queue_view(tables, name, row)).transpose()
}

fn queue_view(tables: &dyn Tables, name: QueueName, row: QueueRow) -> Result<Queue, Stop> {
    let mut oldest_ready_ms: Option<u64> = None;
    for priority in (0..PRIORITIES).filter(|priority| row.counts.ready[*priority] > 0) {
        let range = ready_range(row.number, priority as u8, 0);
        let Some(first) = tables.scan(rows::PLACES, range, false).next() else { continue };
        let task = rows::expect_task(tables, rows::last_id(rows::PLACES, &first?.0)?)?;
        oldest_ready_ms = Some(oldest_ready_ms.map_or(task.updated_ms, |oldest| oldest.min(task.updated_ms)));
    }
    let QueueRow { number: _, paused, next: _, counts, totals } = row;
    Ok(Queue { name, paused, counts, totals, oldest_ready_ms })
}

/// A page of queues.
pub(super) fn queues(
    tables: &dyn Tables,
    tenant: Option<&str>,
    after: Option<&QueueName>,
    limit: u32,
) -> Result<Reply, Stop> {
    let limit = page(limit);
    let mut prefix = RowKey::new();
    if let Some(tenant) = tenant {
        put_text(&mut prefix, tenant.as_bytes());
    }
    let after = after.map(|after| rows::name_key(&after.tenant, &after.command));
    let mut queues: Vec<Queue> = Vec::new();
    for row in tables.scan(rows::QUEUES, prefix_range(&prefix, after.as_deref()), false) {
        let (key, row) = row?;
        if queues.len() == limit {
            let next = queues.last().map(|queue| queue.name.clone());
            return Ok(Reply::Queues { queues, next });
        }
        let row: QueueRow = rows::parse(rows::QUEUES, &key, &row)?;
        let name = rows::name(tables, row.number)?;
        queues.push(queue_view(tables, name, row)?);
    }
    Ok(Reply::Queues { queues, next: None })
}

/// A page of tasks.
pub(super) fn list(tables: &dyn Tables, list: &List) -> Result<Reply, Stop> {
    let List { tenant, command, place, created, ended, after, limit, payloads } = list;
    let Some(QueueRow { number, .. }) = rows::queue(tables, &QueueName::of(tenant, command))? else {
        return Ok(Reply::Tasks { tasks: Vec::new(), next: None });
    };
    let after = after.as_ref().map(|after| [&number.to_be_bytes()[..], after].concat());
    let range = prefix_range(&place_prefix(number, *place), after.as_deref());
    let (mut tasks, mut bytes, mut examined) = (Vec::new(), 0, 0);
    let mut last = Bytes::new();
    for row in tables.scan(rows::PLACES, range, false) {
        let (key, _) = row?;
        if examined == page(*limit) || bytes >= REPLY_BYTES {
            return Ok(Reply::Tasks { tasks, next: Some(last) });
        }
        examined += 1;
        last = key.slice(4.min(key.len())..);
        let id = rows::last_id(rows::PLACES, &key)?;
        let row = rows::expect_task(tables, id)?;
        if !created.has(Some(row.created_ms)) || !ended.has(row.position.ended_ms()) {
            continue;
        }
        let mut task = whole(tables, id, row, tenant)?;
        bytes += task.error.as_ref().map_or(0, String::len);
        if *payloads {
            bytes += task.payload.len();
        } else {
            bytes += task.payload.len() / UNSEEN_BYTES;
            task.payload = Bytes::new();
        }
        tasks.push(task);
    }
    Ok(Reply::Tasks { tasks, next: None })
}

impl Span {
    /// Whether a time lies in it. None does only if the span has no bounds.
    fn has(&self, time_ms: Option<u64>) -> bool {
        let Span { from_ms, before_ms } = self;
        from_ms.is_none_or(|from_ms| time_ms.is_some_and(|time_ms| time_ms >= from_ms))
            && before_ms.is_none_or(|before_ms| time_ms.is_some_and(|time_ms| time_ms < before_ms))
    }
}
