//! Claims that failed: the worker said so, or let its lease end.

use super::position::{End, Position};
use super::rows::TaskRow;
use super::work::Work;
use super::{Change, ERROR_BYTES_MAX, Nack, Reply, TaskId, bounds, finish, lease, retry};
use crate::Stop;

/// The worker failed.
pub(super) fn nack(work: &mut Work<'_>, nack: &Nack) -> Result<Reply, Stop> {
    let Nack { task: id, owner, delay_s, reason } = nack;
    bounds::text("reason", reason.len(), 0, ERROR_BYTES_MAX)?;
    let (mut task, _, _) = lease::owned(work, *id, owner)?;
    let reason = if reason.is_empty() { "MAX_ATTEMPTS" } else { reason };
    let delay_s = fail(work, *id, &mut task, *delay_s, reason)?;
    Ok(Reply::Nacked { delay_s })
}

/// The lease of a task has ended by time.
pub(super) fn expire(work: &mut Work<'_>, id: TaskId, task: &mut TaskRow) -> Result<(), Stop> {
    let totals = &mut work.change(task.queue)?.totals;
    totals.expired = totals.expired.saturating_add(1);
    work.tell(id, task.queue, Change::Expired)?;
    fail(work, id, task, None, "LEASE_EXPIRED")?;
    Ok(())
}

/// The task waits for its next attempt, for so many seconds; or it is dead.
fn fail(
    work: &mut Work<'_>,
    id: TaskId,
    task: &mut TaskRow,
    asked_s: Option<u32>,
    reason: &str,
) -> Result<Option<u32>, Stop> {
    let at = work.at;
    task.failures = task.failures.saturating_add(1);
    if task.failures >= task.max_attempts {
        task.error = Some(reason.to_owned());
        finish::end(work, id, task, End::Dead)?;
        return Ok(None);
    }
    let delay_s = task.retry.delay_s(asked_s, task.failures, retry::draw(at, id));
    wait(work, id, task, at.time_ms.saturating_add(u64::from(delay_s) * 1_000))?;
    Ok(Some(delay_s))
}

/// The task becomes ready at a time, behind those that are by then.
pub(super) fn wait(work: &mut Work<'_>, id: TaskId, task: &mut TaskRow, due_ms: u64) -> Result<(), Stop> {
    let number = work.number(task.queue)?;
    let (position, change) = if due_ms <= work.at.time_ms {
        (Position::Ready { number }, Change::Ready)
    } else {
        (Position::Delayed { due_ms, number }, Change::Delayed)
    };
    work.shift(id, task, position)?;
    work.tell(id, task.queue, change)
}
