//! How an older put of a key is found: every change of a key points back to two earlier ones.
//!
//! The life of a key is its puts, counted by `version` from 1, and the tombstone that ends it, which counts as one more.
//! Change `v` points to `v - 1` and to `v` without the lowest bit that is set in it, as in a binary indexed tree (Fenwick
//! 1994). So an older put is found in `log2(v)` squared steps at most, and a put writes the row of its key and appends to
//! the history, nothing else: an index by key and revision would be a second page in a random place.
//!
//! ```text
//! 13 -> 12 -> 8        the marks of 13 are 12 and 8; those of 14 are 12 and 8 too, and it points to 13 and 12
//! ```
//!
//! Invariants:
//! * A row that a readable revision needs is never removed, and a search at a readable revision passes no other: it goes only
//!   to changes after that revision, and ends at the first that is not.

use super::Revision;
use super::history;
use super::rows::{self, Live, Stamp};
use crate::Stop;
use crate::tables::Tables;
use smallvec::SmallVec;

/// Where the earlier puts stand that later changes will point to, the newest first.
pub(super) type Marks = SmallVec<[Revision; 4]>;

/// Where a change of a key points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Older {
    /// The put before it.
    pub previous: Revision,
    /// A put further back, or the one before it again.
    pub jump: Revision,
}

/// How many marks a put has.
pub(super) fn marks_count(version: u64) -> usize {
    (version.count_ones() as usize).saturating_sub(1)
}

impl Live {
    /// Where the next change of the key points to, and the marks of the next put.
    pub(super) fn next(&self) -> (Older, Marks) {
        let ended = self.stamp.version.trailing_ones() as usize;
        let all = std::iter::once(self.revision).chain(self.marks.iter().copied());
        let marks: Marks = all.skip(ended).collect();
        let previous = self.revision;
        (Older { previous, jump: marks.first().copied().unwrap_or(previous) }, marks)
    }
}

/// The newest put of a key at a revision that is readable; `None` if the key did not exist then.
pub(super) fn put_at(
    tables: &dyn Tables,
    key: &[u8],
    live: Option<&Live>,
    at: u64,
) -> Result<Option<(Revision, Stamp)>, Stop> {
    let newest = match live {
        Some(live) if live.revision.main <= at => return Ok(Some((live.revision, live.stamp))),
        Some(live) if live.stamp.create <= at => live.revision,
        _ => match rows::ended_after(tables, key, at)? {
            Some(ended) if ended.create <= at => ended.revision,
            _ => return Ok(None),
        },
    };
    let mut position = newest;
    loop {
        let change = history::change(tables, position)?;
        if position.main <= at {
            return Ok(change.put.map(|(stamp, _)| (position, stamp)));
        }
        let Some(Older { previous, jump }) = change.older else {
            return Err(Stop::Broken(format!("the first put of a key, {position:?}, is after its creation")));
        };
        position = if jump.main > at { jump } else { previous };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::{Command, Delete, Kv, Put, Query, Reply};
    use crate::tables::{MemoryTables, Range, Rows, Table};
    use crate::{App, At};
    use bytes::Bytes;
    use std::cell::Cell;

    /// Tables that count what is read.
    struct Counted(MemoryTables, Cell<u32>);

    impl Tables for Counted {
        fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Stop> {
            self.1.set(self.1.get() + 1);
            self.0.get(table, key)
        }

        fn scan(&self, table: Table, range: Range, reverse: bool) -> Rows<'_> {
            self.0.scan(table, range, reverse)
        }

        fn put(&mut self, table: Table, key: &[u8], value: Bytes) {
            self.0.put(table, key, value);
        }

        fn delete(&mut self, table: Table, key: &[u8]) {
            self.0.delete(table, key);
        }
    }

    #[test]
    fn every_put_of_a_key_is_found_in_few_steps_and_after_its_deletion_too() {
        const PUTS: u64 = 3_000;
        let key = Bytes::from_static(b"key");
        let mut tables = Counted(MemoryTables::default(), Cell::new(0));
        let mut kv = Kv::open(&tables).expect("an empty store opens");
        for n in 1..=PUTS {
            let put = Put { key: key.clone(), value: n.to_string().into(), if_mod_revision: None };
            kv.apply(At::default(), Command::Put(put), &mut tables).expect("a put");
        }
        for newest in ["put", "tombstone"] {
            let mut most = 0;
            for n in 1..=PUTS {
                tables.1.set(0);
                let get = Query::Get { key: key.clone(), revision: Some(n + 1) };
                let Ok(Reply::Got { found: Some(found), .. }) = kv.query(At::default(), get, &tables) else {
                    panic!("put {n} is not found behind a {newest}");
                };
                assert_eq!((found.version, &found.value[..]), (n, n.to_string().as_bytes()));
                most = most.max(tables.1.get());
            }
            assert!(most < 80, "{most} rows were read for one put of {PUTS} behind a {newest}");
            let delete = Delete { key: key.clone(), if_mod_revision: None };
            drop(kv.apply(At::default(), Command::Delete(delete), &mut tables));
        }
    }
}
