//! Reads of one key and of a range, now or at an older revision.

use super::chain::put_at;
use super::history;
use super::rows::{self, Ended, Live, Stamp};
use super::write::{check_key, key_value};
use super::{
    Continuation, Detail, KeyRange, KeyValue, Kv, List, PAGE_BYTES, PAGE_ROWS_MAX, Page, Refusal, Reply,
    Revision,
};
use crate::Stop;
use crate::tables::{RowKey, Tables};
use bytes::Bytes;
use std::cmp::Ordering;
use std::iter::Peekable;
use std::ops::Bound;

/// Keys one page looks at, deleted ones included. Bounds the time that apply waits for a page.
const PAGE_KEYS_EXAMINED: usize = 10_000;

/// A key and its newest put at the revision read; `None` = it did not exist then.
type Found = (Bytes, Option<(Revision, Stamp)>);

impl Kv {
    pub(super) fn get(&self, key: Bytes, revision: Option<u64>, tables: &dyn Tables) -> Result<Reply, Stop> {
        let found = self.found(key, revision, tables)?;
        Ok(Reply::Got { revision: self.state.revision, found })
    }

    /// A key as of a revision, with its value.
    pub(super) fn found(
        &self,
        key: Bytes,
        revision: Option<u64>,
        tables: &dyn Tables,
    ) -> Result<Option<KeyValue>, Stop> {
        check_key(&key)?;
        let at = self.readable(revision)?;
        let found = put_at(tables, &key, rows::live(tables, &key)?.as_ref(), at)?;
        match found {
            Some((revision, stamp)) => {
                Ok(Some(key_value(key, history::value(tables, revision)?, revision, stamp)))
            }
            None => Ok(None),
        }
    }

    pub(super) fn list(&self, list: &List, tables: &dyn Tables) -> Result<Page, Stop> {
        Ok(self.page(list, PAGE_KEYS_EXAMINED, tables)?.0)
    }

    /// A page that looks at no more keys than these (at least one), and how many it has looked at.
    pub(super) fn page(
        &self,
        list: &List,
        examined_max: usize,
        tables: &dyn Tables,
    ) -> Result<(Page, usize), Stop> {
        let examined_max = examined_max.clamp(1, PAGE_KEYS_EXAMINED);
        let List { range, revision, after, limit, detail } = list;
        let at = self.readable(after.as_ref().map(|after| after.revision).or(*revision))?;
        let after = after.as_ref().map(|after| &after.key);
        let rows_max = match usize::try_from(*limit) {
            Ok(limit @ 1..PAGE_ROWS_MAX) => limit,
            _ => PAGE_ROWS_MAX,
        };
        let mut page =
            Page { revision: self.state.revision, at_revision: at, count: 0, rows: Vec::new(), next: None };
        let mut bytes = 0;
        let mut examined = 0;
        let mut last: Option<Bytes> = None;
        for found in self.keys(range, after, at, tables) {
            let (key, put) = found?;
            let full = page.rows.len() == rows_max || bytes >= PAGE_BYTES;
            if examined == examined_max || (full && put.is_some()) {
                page.next = last.map(|key| Continuation { revision: at, key });
                break;
            }
            examined += 1;
            last = Some(key.clone());
            let Some((revision, stamp)) = put else { continue };
            page.count += 1;
            let value = match detail {
                Detail::CountOnly => continue,
                Detail::KeysOnly => Bytes::new(),
                Detail::Whole => history::value(tables, revision)?,
            };
            bytes += key.len() + value.len();
            page.rows.push(key_value(key, value, revision, stamp));
        }
        Ok((page, examined))
    }

    /// The revision a read names (0 and `None` = the newest), if it can be read.
    pub(super) fn readable(&self, revision: Option<u64>) -> Result<u64, Stop> {
        let current = self.state.revision;
        let at = revision.filter(|&revision| revision > 0).unwrap_or(current);
        match self.state.compacted {
            _ if at > current => Err(Refusal::FutureRevision { current }.into()),
            Some(compacted) if at < compacted => Err(Refusal::Compacted { compacted }.into()),
            _ => Ok(at),
        }
    }

    /// The keys of a range behind `after`, in order, as of a revision.
    pub(super) fn keys<'a>(
        &self,
        range: &KeyRange,
        after: Option<&Bytes>,
        at: u64,
        tables: &'a dyn Tables,
    ) -> Box<dyn Iterator<Item = Result<Found, Stop>> + 'a> {
        let (start, end) = range.bounds(after);
        let lives = rows::lives(tables, start, end);
        if at == self.state.revision {
            Box::new(lives.map(|live| live.map(|(key, live)| (key, Some((live.revision, live.stamp))))))
        } else {
            let before = |key| rows::ended_key(key, Revision::first(0));
            let position = match start {
                Bound::Excluded(key) => behind(key),
                start => start.map(before),
            };
            let since = self.state.compacted.unwrap_or(0);
            let ended = EndedKeys { tables, since, position, end: end.map(before) };
            Box::new(KeysAt { tables, at, lives: lives.peekable(), ended: ended.peekable() })
        }
    }
}

/// The keys of a range as of an older revision: those that exist now, and those that were deleted.
struct KeysAt<'a, L: Iterator, E: Iterator> {
    tables: &'a dyn Tables,
    at: u64,
    lives: Peekable<L>,
    ended: Peekable<E>,
}

impl<L, E> Iterator for KeysAt<'_, L, E>
where
    L: Iterator<Item = Result<(Bytes, Live), Stop>>,
    E: Iterator<Item = Result<Bytes, Stop>>,
{
    type Item = Result<Found, Stop>;

    fn next(&mut self) -> Option<Self::Item> {
        let order = match (self.lives.peek(), self.ended.peek()) {
            (None, None) => return None,
            (Some(Err(_)), _) | (Some(_), None) => Ordering::Less,
            (_, Some(Err(_))) | (None, Some(_)) => Ordering::Greater,
            (Some(Ok((live, _))), Some(Ok(ended))) => live.cmp(ended),
        };
        let live = if order.is_le() { self.lives.next() } else { None };
        let ended = if order.is_ge() { self.ended.next() } else { None };
        self.found(live.transpose(), ended.transpose()).transpose()
    }
}

impl<L: Iterator, E: Iterator> KeysAt<'_, L, E> {
    fn found(
        &self,
        live: Result<Option<(Bytes, Live)>, Stop>,
        ended: Result<Option<Bytes>, Stop>,
    ) -> Result<Option<Found>, Stop> {
        let (key, live) = match (live?, ended?) {
            (Some((key, live)), _) => (key, Some(live)),
            (None, Some(key)) => (key, None),
            (None, None) => return Ok(None),
        };
        let put = put_at(self.tables, &key, live.as_ref(), self.at)?;
        Ok(Some((key, put)))
    }
}

/// The keys of a range that were deleted at a revision or later: the rows of earlier tombstones may be gone, on this member or on
/// another. Steps from key to key, however many lives each had.
struct EndedKeys<'a> {
    tables: &'a dyn Tables,
    since: u64,
    /// Among the rows of the table, as the end.
    position: Bound<RowKey>,
    end: Bound<RowKey>,
}

/// Behind all rows of a key.
fn behind(key: &[u8]) -> Bound<RowKey> {
    Bound::Excluded(rows::ended_key(key, Revision::last(u64::MAX)))
}

impl EndedKeys<'_> {
    fn step(&mut self) -> Result<Option<Bytes>, Stop> {
        loop {
            let mut rows = rows::ended(self.tables, self.position.clone(), self.end.clone());
            let Some((_, _, Ended { key, .. })) = rows.next().transpose()? else { return Ok(None) };
            self.position = behind(&key);
            if rows::ended_after(self.tables, &key, self.since.saturating_sub(1))?.is_some() {
                return Ok(Some(key));
            }
        }
    }
}

impl Iterator for EndedKeys<'_> {
    type Item = Result<Bytes, Stop>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}
