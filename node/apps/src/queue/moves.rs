//! Many tasks of one queue at once: another try, or the end.

use super::position::{place_prefix, prefix_range};
use super::rows::{self, TaskRow};
use super::work::Work;
use super::{Move, Place, Purge, ROWS_MAX, Refusal, Reply, TaskId, bounds, fail};
use crate::Stop;
use bytes::Bytes;

/// Claims pass over a paused queue. One that was never used can be paused, too.
pub(super) fn pause(work: &mut Work<'_>, tenant: &str, command: &str, paused: bool) -> Result<Reply, Stop> {
    bounds::queue(tenant, command)?;
    let queue = work.find_or_make(tenant, command)?;
    let changed = work.queue(queue)?.paused != paused;
    if changed {
        work.change(queue)?.paused = paused;
    }
    Ok(Reply::Paused { changed })
}

/// Gives tasks another try.
pub(super) fn move_tasks(work: &mut Work<'_>, order: &Move) -> Result<Reply, Stop> {
    let Move { tenant, command, from, due_ms, ids, limit } = order;
    let movable = match from {
        Place::Dead | Place::Failed | Place::Cancelled => true,
        Place::Delayed => due_ms.is_none(),
        Place::Ready | Place::InProgress | Place::Completed => false,
    };
    if !movable {
        return Err(Refusal::WrongPlace { place: *from }.into());
    }
    bounds::count("ids", ids.as_ref().map_or(0, Vec::len), 0, ROWS_MAX)?;
    let Some(queue) = work.find(tenant, command)? else { return Ok(Reply::Moved { moved: 0, more: false }) };
    let limit = (*limit as usize).min(ROWS_MAX);
    let (found, more) = match ids {
        Some(ids) => (ids.clone(), false),
        None => walk(work, queue, *from, None, limit)?,
    };
    let mut moved = 0;
    for id in found {
        // Of ids that were named some may be elsewhere by now, or there twice, or above the limit.
        let Some(mut task) = rows::task(&*work.tables, id)? else { continue };
        if task.queue != queue || task.position.place() != *from {
            continue;
        }
        if moved as usize == limit {
            return Ok(Reply::Moved { moved, more: true });
        }
        again(work, id, &mut task, due_ms.unwrap_or(0))?;
        moved += 1;
    }
    Ok(Reply::Moved { moved, more })
}

/// As if the task were new, unless it only waits.
fn again(work: &mut Work<'_>, id: TaskId, task: &mut TaskRow, due_ms: u64) -> Result<(), Stop> {
    if task.position.place() != Place::Delayed {
        task.failures = 0;
        task.error = None;
        work.tables.delete(rows::RESULTS, &id.0);
    }
    fail::wait(work, id, task, due_ms)
}

/// Removes tasks.
pub(super) fn purge(work: &mut Work<'_>, order: &Purge) -> Result<Reply, Stop> {
    let Purge { tenant, command, place, before_ms, after, limit } = order;
    if *place == Place::InProgress {
        return Err(Refusal::WrongPlace { place: *place }.into());
    }
    let Some(queue) = work.find(tenant, command)? else {
        return Ok(Reply::Removed { removed: 0, next: None });
    };
    let limit = (*limit as usize).clamp(1, ROWS_MAX);
    let (found, more) = walk(work, queue, *place, after.as_ref(), limit)?;
    let mut removed = 0;
    let mut last = None;
    for id in found {
        let task = rows::expect_task(&*work.tables, id)?;
        last = Some(task.position.place_key(queue, task.priority, id));
        let time_ms = task.position.ended_ms().unwrap_or(task.created_ms);
        if before_ms.is_none_or(|before_ms| time_ms < before_ms) {
            work.remove(id, task)?;
            removed += 1;
        }
    }
    let next = last.filter(|_| more).map(|key| Bytes::copy_from_slice(&key[4..]));
    Ok(Reply::Removed { removed, next })
}

/// The first tasks of a place, behind where a page ended; and whether there are more.
fn walk(
    work: &Work<'_>,
    queue: u32,
    place: Place,
    after: Option<&Bytes>,
    limit: usize,
) -> Result<(Vec<TaskId>, bool), Stop> {
    let after = after.map(|after| [&queue.to_be_bytes()[..], after].concat());
    let range = prefix_range(&place_prefix(queue, Some(place)), after.as_deref());
    let mut ids = Vec::new();
    for row in work.tables.scan(rows::PLACES, range, false) {
        let (key, _) = row?;
        if ids.len() == limit {
            return Ok((ids, true));
        }
        ids.push(rows::last_id(rows::PLACES, &key)?);
    }
    Ok((ids, false))
}
