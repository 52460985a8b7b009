//! Reading the history of changes: what a watch replays, and goes on from wherever it was.

use super::chain::Older;
use super::history::{self, Past};
use super::write::key_value;
use super::{Change, Changed, Changes, KeyValue, Kv, PAGE_BYTES, Refusal, Revision, Since};
use crate::Stop;
use crate::tables::Tables;

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
        for (examined, row) in history::changes(tables, *from, Revision::last(current)).enumerate() {
            let (_, _, revision, Past { key, older, put }) = row?;
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
            let older = older.filter(|_| *previous && revision.main > compacted);
            let previous = older.map(|older| put_before(tables, older)).transpose()?;
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
fn put_before(tables: &dyn Tables, older: Older) -> Result<KeyValue, Stop> {
    let Past { key, put, .. } = history::change(tables, older.previous)?;
    match put {
        Some((stamp, value)) => Ok(key_value(key, value, older.previous, stamp)),
        None => Err(Stop::Broken(format!("the change before a change is no put: {older:?}"))),
    }
}
