//! Revisions and ranges of keys.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::ops::Bound;

/// The place of a change in the history of all keys: changes of one command share `main` and count `sub` from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Revision {
    /// The store's revision after the command.
    pub main: u64,
    /// The place among the command's changes.
    pub sub: u32,
}

impl Revision {
    /// Before every change of the command that wrote `main`.
    pub(super) fn first(main: u64) -> Revision {
        Revision { main, sub: 0 }
    }

    /// The last change that the command that wrote `main` could have made.
    pub(super) fn last(main: u64) -> Revision {
        Revision { main, sub: u32::MAX }
    }
}

/// The keys from `start` to before `end`. An end at or before the start is an empty range, no error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRange {
    /// The first key.
    pub start: Bytes,
    /// The first key behind the range; `None` = the range has no end.
    pub end: Option<Bytes>,
}

impl KeyRange {
    /// Every key.
    pub fn all() -> KeyRange {
        KeyRange { start: Bytes::new(), end: None }
    }

    /// The keys that begin with `prefix`.
    pub fn prefix(prefix: Bytes) -> KeyRange {
        let end = successor_of_prefix(&prefix);
        KeyRange { start: prefix, end }
    }

    /// The keys of both ranges.
    #[must_use]
    pub fn and(self, other: KeyRange) -> KeyRange {
        let end = match (self.end, other.end) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        KeyRange { start: self.start.max(other.start), end }
    }

    /// The keys of the range, those behind `after`.
    pub(super) fn bounds<'a>(&'a self, after: Option<&'a Bytes>) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
        let start = match after {
            Some(after) if *after >= self.start => Bound::Excluded(&after[..]),
            _ => Bound::Included(&self.start[..]),
        };
        (start, self.end.as_ref().map_or(Bound::Unbounded, |end| Bound::Excluded(&end[..])))
    }

    /// Whether a key lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= &self.start[..] && self.end.as_ref().is_none_or(|end| key < &end[..])
    }
}

/// The first key behind all that begin with `prefix`; `None` if there is none (a prefix of only 0xff).
fn successor_of_prefix(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end.into())
}
