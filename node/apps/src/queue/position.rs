//! Where a task stands: its one row of `queue.places`, and the row of `queue.due` that ends its stay there.

use super::{Lease, PRIORITIES, Place, TaskId};
use crate::tables::{Range, RowKey};
use serde::{Deserialize, Serialize};
use std::ops::Bound;

/// Where a task stands, with the numbers that order it there. Numbers count up per queue, and none is given twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Position {
    Ready {
        number: u64,
    },
    Delayed {
        due_ms: u64,
        number: u64,
    },
    InProgress {
        /// Its place among the ready, should the worker give it back.
        ready: u64,
        lease: Lease,
    },
    Ended {
        end: End,
        number: u64,
        ended_ms: u64,
    },
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum End {
    Dead,
    Completed,
    Failed,
    Cancelled,
}

/// What is due: the kinds of rows of `queue.due`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A delayed task becomes ready.
    Delay = 1,
    /// A lease ends.
    Lease = 2,
    /// An ended task is no longer kept.
    Retention = 3,
    /// An idempotency key is no longer known.
    Key = 4,
    /// A subscription ends.
    Subscription = 5,
}

impl Kind {
    pub(super) const ALL: [Kind; 5] =
        [Kind::Delay, Kind::Lease, Kind::Retention, Kind::Key, Kind::Subscription];
}

impl Place {
    /// What stands for it in keys.
    fn byte(self) -> u8 {
        match self {
            Place::Ready => 1,
            Place::Delayed => 2,
            Place::InProgress => 3,
            Place::Dead => 4,
            Place::Completed => 5,
            Place::Failed => 6,
            Place::Cancelled => 7,
        }
    }
}

impl Position {
    pub(super) fn place(&self) -> Place {
        match self {
            Position::Ready { .. } => Place::Ready,
            Position::Delayed { .. } => Place::Delayed,
            Position::InProgress { .. } => Place::InProgress,
            Position::Ended { end, .. } => end.place(),
        }
    }

    /// The key of its row of `queue.places`.
    pub(super) fn place_key(&self, queue: u32, priority: u8, id: TaskId) -> RowKey {
        let mut key = place_prefix(queue, Some(self.place()));
        match self {
            Position::Ready { number } => {
                key.push(priority_byte(priority));
                key.extend_from_slice(&number.to_be_bytes());
            }
            Position::Delayed { due_ms, number } => {
                key.extend_from_slice(&due_ms.to_be_bytes());
                key.extend_from_slice(&number.to_be_bytes());
            }
            Position::InProgress { lease, .. } => key.extend_from_slice(&lease.token.number.to_be_bytes()),
            Position::Ended { number, .. } => key.extend_from_slice(&number.to_be_bytes()),
        }
        key.extend_from_slice(&id.0);
        key
    }

    /// What ends its stay there, when, and the key of the row that says so.
    pub(super) fn due(&self, retention_ms: u64, id: TaskId) -> Option<(Kind, u64, RowKey)> {
        let (kind, due_ms, number) = match self {
            Position::Ready { .. } => return None,
            Position::Delayed { due_ms, number } => (Kind::Delay, *due_ms, *number),
            Position::InProgress { lease, .. } => (Kind::Lease, lease.until_ms, lease.token.number),
            Position::Ended { number, ended_ms, .. } => {
                (Kind::Retention, ended_ms.saturating_add(retention_ms), *number)
            }
        };
        let mut what = RowKey::from_slice(&number.to_be_bytes());
        what.extend_from_slice(&id.0);
        Some((kind, due_ms, due_key(kind, due_ms, &what)))
    }

    pub(super) fn ended_ms(&self) -> Option<u64> {
        match self {
            Position::Ended { ended_ms, .. } => Some(*ended_ms),
            _ => None,
        }
    }
}

impl End {
    pub(super) fn place(self) -> Place {
        match self {
            End::Dead => Place::Dead,
            End::Completed => Place::Completed,
            End::Failed => Place::Failed,
            End::Cancelled => Place::Cancelled,
        }
    }
}

/// High priorities first.
fn priority_byte(priority: u8) -> u8 {
    (PRIORITIES as u8 - 1).saturating_sub(priority)
}

/// The beginning of all keys of a queue, or of one place of it.
pub(super) fn place_prefix(queue: u32, place: Option<Place>) -> RowKey {
    let mut key = RowKey::from_slice(&queue.to_be_bytes());
    key.extend(place.map(Place::byte));
    key
}

/// The ready tasks of a priority from a number on.
pub(super) fn ready_range(queue: u32, priority: u8, first: u64) -> Range {
    let key = |number: u64, rest: &[u8]| {
        let mut key = place_prefix(queue, Some(Place::Ready));
        key.push(priority_byte(priority));
        key.extend_from_slice(&number.to_be_bytes());
        key.extend_from_slice(rest);
        key
    };
    Range { start: Bound::Included(key(first, &[])), end: Bound::Included(key(u64::MAX, &[0xff; 16])) }
}

/// The number of a ready task, from its key.
pub(super) fn ready_number(key: &[u8]) -> Option<u64> {
    key.get(6..14)?.try_into().ok().map(u64::from_be_bytes)
}

pub(super) fn due_key(kind: Kind, due_ms: u64, what: &[u8]) -> RowKey {
    let mut key = RowKey::from_slice(&[kind as u8]);
    key.extend_from_slice(&due_ms.to_be_bytes());
    key.extend_from_slice(what);
    key
}

/// What is due of a kind from a time on.
pub(super) fn due_range(kind: Kind, first_ms: u64) -> Range {
    let end = RowKey::from_slice(&[kind as u8 + 1]);
    Range { start: Bound::Included(due_key(kind, first_ms, &[])), end: Bound::Excluded(end) }
}

/// The time in a key of `queue.due`, and what is due.
pub(super) fn take_due(key: &[u8]) -> Option<(u64, &[u8])> {
    crate::keys::take_u64(key.get(1..)?)
}

/// Everything that begins with a prefix, behind a key.
pub(super) fn prefix_range(prefix: &[u8], after: Option<&[u8]>) -> Range {
    // Where a page ended is what somebody sent: it may lie before everything.
    let start = match after {
        Some(after) if after >= prefix => Bound::Excluded(RowKey::from_slice(after)),
        _ => Bound::Included(RowKey::from_slice(prefix)),
    };
    let mut end = RowKey::from_slice(prefix);
    while end.last() == Some(&0xff) {
        end.pop();
    }
    let end = match end.last_mut() {
        Some(last) => {
            *last += 1;
            Bound::Excluded(end)
        }
        None => Bound::Unbounded,
    };
    Range { start, end }
}
