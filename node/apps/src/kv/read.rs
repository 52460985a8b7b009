//! Reads of one key and of a range, now or at an older revision.

use super::rows::{self, Stamp};
use super::write::{check_key, key_value};
use super::{
    Continuation, Detail, KeyRange, KeyValue, Kv, List, PAGE_BYTES, PAGE_ROWS_MAX, Page, Refusal, Reply,
    Revision,
};
use crate::Stop;
use crate::tables::{Range, RowKey, Tables};
use bytes::Bytes;
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
        let found = match rows::live(tables, &key)? {
            Some(live) if live.revision.main <= at => Some((live.revision, live.stamp)),
            None if at == self.state.revision => None,
            _ => put_at(tables, &key, at)?,
        };
        match found {
            Some((revision, stamp)) => {
                Ok(Some(key_value(key, rows::value(tables, revision)?, revision, stamp)))
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
                Detail::Whole => rows::value(tables, revision)?,
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
        let start = match after {
            Some(after) if *after >= range.start => Bound::Excluded(after.clone()),
            _ => Bound::Included(range.start.clone()),
        };
        if at == self.state.revision {
            let start = start.map(|key| RowKey::from_slice(&key));
            let end =
                range.end.as_ref().map_or(Bound::Unbounded, |key| Bound::Excluded(RowKey::from_slice(key)));
            Box::new(tables.scan(rows::LIVE, Range { start, end }, false).map(|row| {
                let (key, row) = row?;
                let live = rows::parse_live(&key, &row)?;
                Ok((key, Some((live.revision, live.stamp))))
            }))
        } else {
            Box::new(KeysAt { tables, at, position: start, end: range.end.clone() })
        }
    }
}

/// A key's newest put at a revision; `None` if it did not exist then.
fn put_at(tables: &dyn Tables, key: &[u8], at: u64) -> Result<Option<(Revision, Stamp)>, Stop> {
    let version = rows::newest(tables, key, Revision::last(at))?;
    Ok(version.and_then(|(_, revision, stamp)| Some((revision, stamp?))))
}

/// The keys of a range as of an older revision. Steps from key to key, however many versions each has.
struct KeysAt<'a> {
    tables: &'a dyn Tables,
    at: u64,
    position: Bound<Bytes>,
    end: Option<Bytes>,
}

impl KeysAt<'_> {
    fn step(&mut self) -> Result<Option<Found>, Stop> {
        let start = match &self.position {
            Bound::Excluded(key) => Bound::Excluded(rows::version_key(key, Revision::last(u64::MAX))),
            Bound::Included(key) => Bound::Included(rows::version_key(key, Revision::first(0))),
            Bound::Unbounded => Bound::Unbounded,
        };
        let end = match &self.end {
            Some(end) => Bound::Excluded(rows::version_key(end, Revision::first(0))),
            None => Bound::Unbounded,
        };
        let Some((key, oldest, _)) = rows::version_between(self.tables, start, end, false)? else {
            return Ok(None);
        };
        self.position = Bound::Excluded(key.clone());
        let put = if oldest.main <= self.at { put_at(self.tables, &key, self.at)? } else { None };
        Ok(Some((key, put)))
    }
}

impl Iterator for KeysAt<'_> {
    type Item = Result<Found, Stop>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}
