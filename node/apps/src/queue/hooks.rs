//! Webhooks that are to be called because a task has ended: kept until one was, or its caller gives up.

use super::hints::{Hints, Walk};
use super::rows::{self, HookRow};
use super::work::Work;
use super::{Delivered, Hook, ROWS_MAX, Reply, TaskId};
use crate::Stop;
use crate::keys::take_u64;
use crate::tables::{Range, RowKey, Tables};
use std::ops::Bound;

/// A webhook was called: it is done with, or called again later.
pub(super) fn delivered(work: &mut Work<'_>, delivered: &Delivered) -> Result<Reply, Stop> {
    let Delivered { task: id, end, tries, again_ms } = delivered;
    let Some((mut task, hook)) = pending(&*work.tables, *id)? else {
        return Ok(Reply::Delivered { changed: false });
    };
    if (hook.end, hook.tries) != (*end, *tries) {
        return Ok(Reply::Delivered { changed: false });
    }
    work.unhook(*id, &mut task);
    if let Some(again_ms) = again_ms {
        work.hook(*id, &mut task, HookRow { tries: tries.saturating_add(1), ..hook }, *again_ms);
    }
    rows::put(work.tables, rows::TASKS, &id.0, &task);
    let first = hook_from(work.hints.first(Walk::Hooks));
    let first_ms = match from(&*work.tables, first).next().transpose()? {
        Some(first) => first.due_ms,
        None => u64::MAX,
    };
    work.hints.raise(Walk::Hooks, first_ms);
    Ok(Reply::Delivered { changed: true })
}

/// The delivery of a task that is pending.
fn pending(tables: &dyn Tables, id: TaskId) -> Result<Option<(rows::TaskRow, HookRow)>, Stop> {
    let Some(task) = rows::task(tables, id)? else { return Ok(None) };
    let Some(due_ms) = task.hook_ms else { return Ok(None) };
    let hook = rows::expect(tables, rows::HOOKS, &rows::hook_key(due_ms, id))?;
    Ok(Some((task, hook)))
}

/// Those to be called by a time, and when the next one is.
pub(super) fn due(
    tables: &dyn Tables,
    hints: &Hints,
    until_ms: u64,
    after: Option<(u64, TaskId)>,
    limit: u32,
) -> Result<Reply, Stop> {
    let limit = super::read::page(limit);
    let mut due = Vec::new();
    let start = match after {
        None => hook_from(hints.first(Walk::Hooks)),
        Some((due_ms, id)) => Bound::Excluded(rows::hook_key(due_ms, id)),
    };
    for hook in from(tables, start) {
        let hook = hook?;
        if hook.due_ms > until_ms || due.len() == limit.min(ROWS_MAX) {
            return Ok(Reply::Hooks { due, next_ms: Some(hook.due_ms) });
        }
        due.push(hook);
    }
    Ok(Reply::Hooks { due, next_ms: None })
}

/// No hook is due before.
fn hook_from(first_ms: u64) -> Bound<RowKey> {
    Bound::Included(RowKey::from_slice(&first_ms.to_be_bytes()))
}

fn from(tables: &dyn Tables, start: Bound<RowKey>) -> impl Iterator<Item = Result<Hook, Stop>> {
    tables.scan(rows::HOOKS, Range { start, end: Bound::Unbounded }, false).map(|row| {
        let (key, row) = row?;
        let HookRow { end, tries, url } = rows::parse(rows::HOOKS, &key, &row)?;
        let (due_ms, _) = take_u64(&key).ok_or_else(|| rows::broken(rows::HOOKS, &key))?;
        Ok(Hook { task: rows::last_id(rows::HOOKS, &key)?, end, tries, due_ms, url })
    })
}
