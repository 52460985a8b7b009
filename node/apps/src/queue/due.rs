//! What is due at a time of the log: delays and leases that end, and what is no longer kept.

use super::hints::{Hints, Walk};
use super::position::{Kind, Position, due_range, take_due};
use super::rows::{self, KeyRow};
use super::work::Work;
use super::{Change, ROWS_MAX, Reply, fail};
use crate::Stop;
use crate::tables::Tables;
use bytes::Bytes;

/// Does what is due, oldest first: what somebody waits for before what is only no longer kept, of which there may be a lot.
pub(super) fn tick(work: &mut Work<'_>, limit: u32) -> Result<Reply, Stop> {
    let (limit, now_ms) = ((limit as usize).min(ROWS_MAX), work.at.time_ms);
    let mut found = due(work, &[Kind::Delay, Kind::Lease], now_ms, limit)?;
    let left = limit - found.len();
    found.extend(due(work, &[Kind::Retention, Kind::Key, Kind::Subscription], now_ms, left)?);
    let done = act_on(work, &found)?;
    let mut next_ms = None;
    for kind in Kind::ALL {
        let walk = Walk::Due(kind as u8);
        let first_ms = first(&*work.tables, kind, work.hints.first(walk))?;
        work.hints.raise(walk, first_ms.unwrap_or(u64::MAX));
        next_ms = earlier(next_ms, held(kind, first_ms, work.meta.grace_until_ms));
    }
    Ok(Reply::Ticked { done, next_ms })
}

/// Removes what will not be kept any longer at a time, which may be to come.
pub(super) fn cleanup(work: &mut Work<'_>, before_ms: u64, limit: u32) -> Result<Reply, Stop> {
    let removed = run(work, &[Kind::Retention], before_ms, (limit as usize).min(ROWS_MAX))?;
    Ok(Reply::Removed { removed, next: None })
}

/// When the next row is due.
pub(super) fn next_ms(tables: &dyn Tables, hints: &Hints, grace_until_ms: u64) -> Result<Option<u64>, Stop> {
    Kind::ALL.into_iter().try_fold(None, |next_ms, kind| {
        let first_ms = first(tables, kind, hints.first(Walk::Due(kind as u8)))?;
        Ok(earlier(next_ms, held(kind, first_ms, grace_until_ms)))
    })
}

/// No lease ends within the time of grace.
fn held(kind: Kind, due_ms: Option<u64>, grace_until_ms: u64) -> Option<u64> {
    if kind == Kind::Lease { due_ms.map(|due_ms| due_ms.max(grace_until_ms)) } else { due_ms }
}

fn earlier(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    [a, b].into_iter().flatten().min()
}

fn first(tables: &dyn Tables, kind: Kind, from_ms: u64) -> Result<Option<u64>, Stop> {
    let Some(row) = tables.scan(rows::DUE, due_range(kind, from_ms), false).next() else { return Ok(None) };
    let (key, _) = row?;
    take_due(&key).map(|(due_ms, _)| Some(due_ms)).ok_or_else(|| rows::broken(rows::DUE, &key))
}

/// Does what is due up to a time: so many rows at most, the oldest of these kinds.
pub(super) fn run(work: &mut Work<'_>, kinds: &[Kind], upto_ms: u64, limit: usize) -> Result<u32, Stop> {
    let found = due(work, kinds, upto_ms, limit)?;
    act_on(work, &found)
}

fn due(work: &mut Work<'_>, kinds: &[Kind], upto_ms: u64, limit: usize) -> Result<Vec<Row>, Stop> {
    let mut found = Vec::new();
    for kind in kinds {
        find(work, *kind, upto_ms, limit, &mut found)?;
    }
    found.sort_by_key(|(due_ms, _, _)| *due_ms);
    found.truncate(limit);
    Ok(found)
}

fn act_on(work: &mut Work<'_>, found: &[Row]) -> Result<u32, Stop> {
    for (_, kind, key) in found {
        act(work, *kind, key)?;
    }
    Ok(found.len() as u32)
}

/// When, what kind, and the key.
type Row = (u64, Kind, Bytes);

fn find(
    work: &mut Work<'_>,
    kind: Kind,
    upto_ms: u64,
    limit: usize,
    found: &mut Vec<Row>,
) -> Result<(), Stop> {
    let (walk, before) = (Walk::Due(kind as u8), found.len());
    let first_ms = work.hints.first(walk);
    if first_ms > upto_ms || limit == 0 || kind == Kind::Lease && work.at.time_ms < work.meta.grace_until_ms {
        return Ok(());
    }
    let mut next_ms = u64::MAX;
    for row in work.tables.scan(rows::DUE, due_range(kind, first_ms), false).take(limit) {
        let (key, _) = row?;
        let (due_ms, _) = take_due(&key).ok_or_else(|| rows::broken(rows::DUE, &key))?;
        if due_ms > upto_ms {
            next_ms = due_ms;
            break;
        }
        found.push((due_ms, kind, key));
    }
    work.hints.raise(walk, found.get(before).map_or(next_ms, |(due_ms, _, _)| *due_ms));
    Ok(())
}

fn act(work: &mut Work<'_>, kind: Kind, key: &Bytes) -> Result<(), Stop> {
    let broken = || rows::broken(rows::DUE, key);
    let (_, what) = take_due(key).ok_or_else(broken)?;
    match kind {
        Kind::Delay | Kind::Lease | Kind::Retention => task(work, kind, key),
        Kind::Key => forget_key(work, key, what),
        Kind::Subscription => {
            work.tables.delete(rows::DUE, key);
            work.tables.delete(rows::SUBSCRIPTIONS, what);
            work.meta.subscriptions = work.meta.subscriptions.checked_sub(1).ok_or_else(broken)?;
            Ok(())
        }
    }
}

fn task(work: &mut Work<'_>, kind: Kind, key: &Bytes) -> Result<(), Stop> {
    let id = rows::last_id(rows::DUE, key)?;
    let mut task = rows::expect_task(&*work.tables, id)?;
    if task.position.due(task.retention_ms, id).is_none_or(|(_, _, due)| *due != **key) {
        return Err(rows::broken(rows::DUE, key));
    }
    match kind {
        Kind::Lease => fail::expire(work, id, &mut task),
        Kind::Delay => {
            let number = work.number(task.queue)?;
            work.shift(id, &mut task, Position::Ready { number })?;
            work.tell(id, task.queue, Change::Ready)
        }
        _ => work.remove(id, task),
    }
}

fn forget_key(work: &mut Work<'_>, due: &Bytes, key: &[u8]) -> Result<(), Stop> {
    let _: KeyRow = rows::expect(&*work.tables, rows::KEYS, key)?;
    work.tables.delete(rows::DUE, due);
    work.tables.delete(rows::KEYS, key);
    Ok(())
}
