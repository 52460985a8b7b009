//! Tasks that end: with a result, or because nobody wants them any more.

use super::position::{End, Position};
use super::refusal::each;
use super::rows::{self, ResultRow, TaskRow};
use super::work::Work;
use super::{BATCH_MAX, Change, Finish, Finished, Outcome, Place, Refusal, Reply, TaskId, bounds, lease};
use crate::Stop;

/// Ends tasks with results, each for itself.
pub(super) fn finish(work: &mut Work<'_>, batch: Vec<Finish>) -> Result<Reply, Stop> {
    bounds::count("results of a batch", batch.len(), 0, BATCH_MAX)?;
    let finished = batch.into_iter().map(|finish| each(one(work, finish)));
    finished.collect::<Result<_, Stop>>().map(Reply::Finished)
}

fn one(work: &mut Work<'_>, finish: Finish) -> Result<Finished, Stop> {
    bounds::finish(&finish)?;
    let Finish { task: id, owner, outcome, artifacts } = finish;
    let mut task = work.task(&owner.tenant, id)?;
    let (_, lease) = lease::valid(&task, work.at, work.meta.grace_until_ms).ok_or(Refusal::NotInProgress)?;
    if !lease::is_of(lease, &owner) {
        return Err(Refusal::NotOwner.into());
    }
    let (how, error, result) = match outcome {
        Outcome::Completed { result } => (End::Completed, None, Some(result)),
        Outcome::Failed { error, result } => (End::Failed, Some(error), result),
    };
    task.error = error;
    rows::put(work.tables, rows::RESULTS, &id.0, &ResultRow { result, artifacts });
    end(work, id, &mut task, how)?;
    Ok(Finished { ended_ms: work.at.time_ms })
}

/// Ends a task that has not ended. A worker that has it learns so when it next speaks of it.
pub(super) fn cancel(work: &mut Work<'_>, tenant: &str, id: TaskId) -> Result<Reply, Stop> {
    let mut task = work.task(tenant, id)?;
    match task.position.place() {
        Place::Ready | Place::Delayed | Place::InProgress => {}
        Place::Dead | Place::Completed | Place::Failed | Place::Cancelled => {
            return Err(Refusal::AlreadyEnded.into());
        }
    }
    task.error = Some("CANCELLED".to_owned());
    end(work, id, &mut task, End::Cancelled)?;
    Ok(Reply::Cancelled)
}

/// Ends a task now, and counts that.
pub(super) fn end(work: &mut Work<'_>, id: TaskId, task: &mut TaskRow, end: End) -> Result<(), Stop> {
    let number = work.number(task.queue)?;
    work.shift(id, task, Position::Ended { end, number, ended_ms: work.at.time_ms })?;
    let totals = &mut work.change(task.queue)?.totals;
    let (total, change) = match end {
        End::Dead => (&mut totals.dead, Change::Dead),
        End::Completed => (&mut totals.completed, Change::Completed),
        End::Failed => (&mut totals.failed, Change::Failed),
        End::Cancelled => (&mut totals.cancelled, Change::Cancelled),
    };
    *total = total.saturating_add(1);
    work.tell(id, task.queue, change)
}
