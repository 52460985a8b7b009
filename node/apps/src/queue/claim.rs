//! Leases for tasks that are ready.

use super::hints::Walk;
use super::position::{Kind, Position, place_prefix, ready_number, ready_range};
use super::read::whole;
use super::work::Work;
use super::{
    Change, Claim, Lease, PRIORITIES, Place, REPLY_BYTES, Reply, Source, Task, TaskId, Token, bounds, due,
    rows,
};
use crate::Stop;

/// So many due rows a claim does itself, so that it need not wait for the leader to see to them.
const DUE_MAX: usize = 32;

/// Leases tasks in order: the queues as they were given, then high priorities first, then the first that was ready.
pub(super) fn claim(work: &mut Work<'_>, claim: &Claim) -> Result<Reply, Stop> {
    bounds::claim(claim)?;
    due::run(work, &[Kind::Delay, Kind::Lease], work.at.time_ms, DUE_MAX)?;
    let mut claimed = Claimed { claim, tasks: Vec::new(), bytes: 0 };
    for source in &claim.from {
        claimed.take_from(work, source)?;
    }
    Ok(Reply::Claimed(claimed.tasks))
}

struct Claimed<'a> {
    claim: &'a Claim,
    tasks: Vec<Task>,
    bytes: usize,
}

impl Claimed<'_> {
    fn take_from(&mut self, work: &mut Work<'_>, source: &Source) -> Result<(), Stop> {
        let Some(queue) = work.find(&self.claim.tenant, &source.command)? else { return Ok(()) };
        for priority in (0..PRIORITIES as u8).rev() {
            let row = work.queue(queue)?;
            let room = open(row, source).min(self.room());
            if room == 0 {
                return Ok(());
            }
            if row.counts.ready[usize::from(priority)] == 0 {
                continue;
            }
            for (number, id) in ready(work, queue, priority, room)? {
                if self.room() == 0 {
                    return Ok(());
                }
                self.take(work, id)?;
                work.hints.raise(Walk::Ready(queue, priority), number.saturating_add(1));
            }
        }
        Ok(())
    }

    /// How many more tasks the reply takes.
    fn room(&self) -> usize {
        if self.bytes >= REPLY_BYTES {
            0
        } else {
            (self.claim.count as usize).saturating_sub(self.tasks.len())
        }
    }

    fn take(&mut self, work: &mut Work<'_>, id: TaskId) -> Result<(), Stop> {
        let mut task = rows::expect_task(&*work.tables, id)?;
        let Position::Ready { number: ready } = task.position else {
            return Err(rows::broken(rows::TASKS, &id.0));
        };
        let token = Token { epoch: work.at.epoch, number: work.number(task.queue)? };
        let until_ms = work.at.time_ms.saturating_add(self.claim.lease_ms);
        let lease = Lease { token, worker: self.claim.worker.clone(), until_ms };
        work.shift(id, &mut task, Position::InProgress { ready, lease })?;
        let totals = &mut work.change(task.queue)?.totals;
        totals.claimed = totals.claimed.saturating_add(1);
        work.tell(id, task.queue, Change::Claimed)?;
        let task = whole(&*work.tables, id, task, &self.claim.tenant)?;
        self.bytes += task.payload.len();
        self.tasks.push(task);
        Ok(())
    }
}

/// How many tasks may be claimed from a queue as far as it is concerned.
pub(super) fn open(row: &rows::QueueRow, source: &Source) -> usize {
    if row.paused {
        return 0;
    }
    let most = source.in_progress_max.map_or(u64::MAX, u64::from);
    usize::try_from(most.saturating_sub(row.counts.in_progress)).unwrap_or(usize::MAX)
}

/// The first tasks of a priority. The queue counts some.
fn ready(work: &mut Work<'_>, queue: u32, priority: u8, limit: usize) -> Result<Vec<(u64, TaskId)>, Stop> {
    let walk = Walk::Ready(queue, priority);
    let range = ready_range(queue, priority, work.hints.first(walk));
    let mut found = Vec::new();
    for row in work.tables.scan(rows::PLACES, range, false).take(limit) {
        let (key, _) = row?;
        let number = ready_number(&key).ok_or_else(|| rows::broken(rows::PLACES, &key))?;
        found.push((number, rows::last_id(rows::PLACES, &key)?));
    }
    match found.first() {
        Some((number, _)) => work.hints.raise(walk, *number),
        None => return Err(rows::missing(rows::PLACES, &place_prefix(queue, Some(Place::Ready)))),
    }
    Ok(found)
}
