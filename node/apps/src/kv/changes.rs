//! Reading the history of changes: what a watch replays, and goes on from wherever it was.

use super::rows::{self, Past};
use super::write::key_value;
use super::{Change, Changed, Changes, Kv, PAGE_BYTES, Refusal, Revision, Since};
use crate::Stop;
use crate::tables::Tables;
use bytes::Bytes;

/// Changes one page looks at, those outside of its range included; the command that brings it there is still looked at whole.
const PAGE_CHANGES_EXAMINED: usize = 10_000;

/// One revision is split over pages beyond this: only values that a deletion of many keys leaves behind come to that.
const REVISION_BYTES: usize = 4 << 20;

impl Kv {
    pub(super) fn changes(&self, since: &Since, tables: &dyn Tables) -> Result<Changes, Stop> {
        let Since { range, from, previous } = since;
        let current = self.state.revision;
        let compacted = self.state.compacted.unwrap_or(0);
        if from.main < compacted {
            return Err(Refusal::Compacted { compacted }.into());
        }
        let mut page =
            Changes { revision: current, changes: Vec::new(), next: Revision::first(current + 1).max(*from) };
        let (mut bytes, mut main) = (0, None);
        for (examined, row) in rows::history(tables, *from, Revision::last(current)).enumerate() {
            let (_, _, revision, Past { key, put }) = row?;
            let begins = main.replace(revision.main) != Some(revision.main);
            let full = if begins {
                examined >= PAGE_CHANGES_EXAMINED || bytes >= PAGE_BYTES
            } else {
                bytes >= REVISION_BYTES
            };
            if full {
                page.next = revision;
                break;
            }
            if !range.contains(&key) {
                continue;
            }
            // What came before a change at the compaction itself may be gone, on this member or on another.
            let previous = match *previous && revision.main > compacted {
                true => before(tables, &key, revision)?,
                false => None,
            };
            bytes += key.len() + previous.as_ref().map_or(0, |row| row.value.len());
            let change = match put {
                Some((stamp, value)) => {
                    bytes += value.len();
                    Change::Put(key_value(key, value, revision, stamp))
                }
                None => Change::Delete { key },
            };
            page.changes.push(Changed { revision, change, previous });
        }
        Ok(page)
    }
}

/// What a key was before a change.
fn before(tables: &dyn Tables, key: &Bytes, revision: Revision) -> Result<Option<super::KeyValue>, Stop> {
    match rows::before(tables, key, revision)? {
        Some((key, revision, Some(stamp))) => {
            Ok(Some(key_value(key, rows::value(tables, revision)?, revision, stamp)))
        }
        _ => Ok(None),
    }
}
