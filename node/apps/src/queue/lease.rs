//! Whose a task in progress is, and what its worker says of it while it works.

use super::position::Position;
use super::rows::TaskRow;
use super::work::Work;
use super::{Change, Lease, Owner, Refusal, Reply, TaskId};
use crate::{At, Stop};

/// When a lease ends: never within the time of grace of a new leader.
pub(super) fn end_ms(lease: &Lease, grace_until_ms: u64) -> u64 {
    lease.until_ms.max(grace_until_ms)
}

/// The lease of a task, if it has not ended: one that has is not valid, though nothing has taken it back yet.
pub(super) fn valid(task: &TaskRow, at: At, grace_until_ms: u64) -> Option<(u64, &Lease)> {
    match &task.position {
        Position::InProgress { ready, lease } if end_ms(lease, grace_until_ms) > at.time_ms => {
            Some((*ready, lease))
        }
        _ => None,
    }
}

pub(super) fn is_of(lease: &Lease, owner: &Owner) -> bool {
    lease.worker == owner.worker && owner.token.is_none_or(|token| token == lease.token)
}

/// A task that is leased to this worker, its lease, and its place among the ready.
pub(super) fn owned(work: &mut Work<'_>, id: TaskId, owner: &Owner) -> Result<(TaskRow, u64, Lease), Stop> {
    let task = work.task(&owner.tenant, id)?;
    match valid(&task, work.at, work.meta.grace_until_ms) {
        Some((ready, lease)) if is_of(lease, owner) => {
            let lease = lease.clone();
            Ok((task, ready, lease))
        }
        _ => Err(Refusal::NotOwner.into()),
    }
}

/// The lease ends so long from now.
pub(super) fn heartbeat(
    work: &mut Work<'_>,
    id: TaskId,
    owner: &Owner,
    extend_ms: u64,
) -> Result<Reply, Stop> {
    let (mut task, ready, lease) = owned(work, id, owner)?;
    let until_ms = work.at.time_ms.saturating_add(extend_ms);
    work.shift(id, &mut task, Position::InProgress { ready, lease: Lease { until_ms, ..lease } })?;
    Ok(Reply::Extended { until_ms })
}

/// The task is ready again, in its old place.
pub(super) fn abandon(work: &mut Work<'_>, id: TaskId, owner: &Owner) -> Result<Reply, Stop> {
    let (mut task, number, _) = owned(work, id, owner)?;
    work.shift(id, &mut task, Position::Ready { number })?;
    work.tell(id, task.queue, Change::Ready)?;
    Ok(Reply::Abandoned)
}

/// A new leader: what it could not extend before it knew does not end at once.
pub(super) fn lead(work: &mut Work<'_>, grace_ms: u64) -> Reply {
    let grace_until_ms = work.at.time_ms.saturating_add(grace_ms).max(work.meta.grace_until_ms);
    work.meta.grace_until_ms = grace_until_ms;
    Reply::Leading { grace_until_ms }
}
