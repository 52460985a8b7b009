//! New tasks.

use super::position::{Kind, Position, due_key};
use super::read::{view, whole};
use super::refusal::each;
use super::rows::{self, Body, KeyRow, TaskRow};
use super::work::Work;
use super::{
    BATCH_MAX, Change, Create, Created, Due, Key, REPLY_BYTES, Refusal, Reply, Task, TaskId, bounds,
};
use crate::Stop;

/// Creates tasks, each for itself.
pub(super) fn create(work: &mut Work<'_>, batch: Vec<Create>) -> Result<Reply, Stop> {
    bounds::count("tasks of a batch", batch.len(), 0, BATCH_MAX)?;
    let mut replayed_bytes = 0;
    let created = batch.into_iter().map(|create| each(one(work, create, &mut replayed_bytes)));
    created.collect::<Result<_, Stop>>().map(Reply::Created)
}

fn one(work: &mut Work<'_>, create: Create, replayed_bytes: &mut usize) -> Result<Created, Stop> {
    bounds::create(&create)?;
    if let Some((id, task)) = known(work, &create)? {
        let created = Created { task: whole(&*work.tables, id, task, &create.tenant)?, replayed: true };
        // What is sent anew is as long as what was received; this is not.
        let bytes = created.task.payload.len();
        if *replayed_bytes > 0 && *replayed_bytes + bytes > REPLY_BYTES {
            return Err(Refusal::AnswersTooMuch { bytes_max: REPLY_BYTES as u64 }.into());
        }
        *replayed_bytes += bytes;
        return Ok(created);
    }
    let id = create.id;
    if rows::task(&*work.tables, id)?.is_some() {
        return Err(Refusal::TaskExists { id }.into());
    }
    let queue = work.find_or_make(&create.tenant, &create.command)?;
    if let Some(key) = &create.key {
        keep(work, queue, key, id)?;
    }
    Ok(Created { task: add(work, queue, create)?, replayed: false })
}

/// The task that was created under the same key, if it is known still and the task there.
fn known(work: &mut Work<'_>, create: &Create) -> Result<Option<(TaskId, TaskRow)>, Stop> {
    let Create { tenant, command, key: Some(key), .. } = create else { return Ok(None) };
    let Some(queue) = work.find(tenant, command)? else { return Ok(None) };
    match rows::get(&*work.tables, rows::KEYS, &rows::key_key(queue, &key.text))? {
        Some(KeyRow { task, expires_ms }) if expires_ms > work.at.time_ms => {
            Ok(rows::task(&*work.tables, task)?.map(|row| (task, row)))
        }
        _ => Ok(None),
    }
}

/// Keeps a key, in place of one that is not known any more.
fn keep(work: &mut Work<'_>, queue: u32, key: &Key, task: TaskId) -> Result<(), Stop> {
    let expires_ms = work.at.time_ms.saturating_add(key.keep_ms);
    let key = rows::key_key(queue, &key.text);
    let before: Option<KeyRow> = rows::get(&*work.tables, rows::KEYS, &key)?;
    if let Some(before) = before {
        work.tables.delete(rows::DUE, &due_key(Kind::Key, before.expires_ms, &key));
    }
    rows::put(work.tables, rows::KEYS, &key, &KeyRow { task, expires_ms });
    work.put_due(Kind::Key, expires_ms, &due_key(Kind::Key, expires_ms, &key));
    Ok(())
}

fn add(work: &mut Work<'_>, queue: u32, create: Create) -> Result<Task, Stop> {
    let Create {
        id,
        tenant,
        command,
        payload,
        priority,
        webhook,
        max_attempts,
        key,
        due,
        retry,
        retention_ms,
        trace_parent,
        trace_state,
    } = create;
    let now_ms = work.at.time_ms;
    let due_ms = match due {
        Due::Now => now_ms,
        Due::At(due_ms) => due_ms,
        Due::After(delay_ms) => now_ms.saturating_add(delay_ms),
    };
    let number = work.number(queue)?;
    let ready = due_ms <= now_ms;
    let position = if ready { Position::Ready { number } } else { Position::Delayed { due_ms, number } };
    let task = TaskRow {
        queue,
        priority,
        position,
        failures: 0,
        max_attempts,
        retry,
        retention_ms,
        created_ms: now_ms,
        updated_ms: now_ms,
        error: None,
        webhook: webhook.is_some(),
        hook_ms: None,
    };
    let body = Body { command, payload, webhook, trace_parent, trace_state, key: key.map(|key| key.text) };
    rows::put(work.tables, rows::BODIES, &id.0, &body);
    work.add(id, &task)?;
    let totals = &mut work.change(queue)?.totals;
    totals.created = totals.created.saturating_add(1);
    work.tell(id, queue, if ready { Change::Created } else { Change::CreatedDelayed })?;
    Ok(view(id, task, body, &tenant))
}
