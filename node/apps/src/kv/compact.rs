//! Giving up history: what a compaction means, what a leader may propose, and which rows may then be removed.
//!
//! A compaction takes effect in apply, at once and on every member alike, by its number alone. The rows it makes
//! invisible are removed later, by each member in its own time.

use super::chain::put_at;
use super::history::{self, Past};
use super::rows::{self, Ended, Swept};
use super::{Event, Kv, Refusal, Reply, Revision};
use crate::Stop;
use crate::tables::{Digester, RowKey, Table, Tables};
use bytes::Bytes;
use std::ops::Bound;

impl Kv {
    pub(super) fn compact(
        &mut self,
        revision: u64,
        tables: &mut dyn Tables,
    ) -> Result<(Reply, Vec<Event>), Stop> {
        let current = self.state.revision;
        match self.state.compacted {
            Some(compacted) if revision <= compacted => Err(Refusal::Compacted { compacted }.into()),
            // So `compacted + 1` never overflows.
            _ if revision > current => Err(Refusal::FutureRevision { current }.into()),
            _ => {
                self.state.compacted = Some(revision);
                rows::put_state(tables, self.state);
                Ok((Reply::Compacted { revision: current }, Vec::new()))
            }
        }
    }

    /// The newest revision that may be compacted while all that was readable `keep_ms` ago stays so, and at least
    /// `keep_revisions` of the newest revisions.
    ///
    /// Known to the minute: what was written in the newest minute before that time is kept too, unless nothing was
    /// written since.
    pub(super) fn compactable(
        &self,
        now_ms: u64,
        keep_ms: u64,
        keep_revisions: u64,
        tables: &dyn Tables,
    ) -> Result<Option<u64>, Stop> {
        let horizon = now_ms.saturating_sub(keep_ms) / 60_000;
        let by_time = match self.state.minute {
            Some(newest) if newest < horizon => self.state.revision,
            _ => match rows::minutes(tables, horizon, true).next().transpose()? {
                Some((_, first)) => first.saturating_sub(1),
                None => return Ok(None),
            },
        };
        let by_count = self.state.revision.saturating_sub(keep_revisions);
        let revision = by_time.min(by_count);
        // Revision 1 is the empty store: giving it up would free nothing.
        Ok((revision > self.state.compacted.unwrap_or(1)).then_some(revision))
    }
}

/// One bounded batch of rows that compaction made invisible: removed in one commit together with writing `progress`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The rows to remove. Some may be named twice, or be gone.
    pub rows: Vec<(Table, RowKey)>,
    /// The row that lets the next batch begin where this one ends.
    pub progress: (Table, &'static [u8], Bytes),
    /// Whether there is a next batch already.
    pub more: bool,
}

/// The next batch of rows that may be removed; `None` when there are none.
///
/// Looks at no more than `examined_max` changes (at least one) and names no more than four times as many rows. To be computed from durable state (a checkpoint), never
/// from what a crash could take back: a compaction that was lost must not have removed anything.
///
/// A change is what makes an older one removable: the put or tombstone it replaced. So each batch looks only at changes
/// newer than the batch before, never again at old rows that stay.
pub fn removable(tables: &dyn Tables, examined_max: usize) -> Result<Option<Removal>, Stop> {
    let Some(compacted) = rows::state(tables)?.and_then(|state| state.compacted) else { return Ok(None) };
    let from = match rows::swept(tables)? {
        None => Revision::first(0),
        Some(swept) if swept.compacted == compacted => swept.position,
        // Tombstones exactly at the compaction before were left: now they may go.
        Some(swept) => swept.position.min(Revision::first(swept.compacted)),
    };
    let examined_max = examined_max.max(1);
    let mut removed = minutes_before(compacted, examined_max, tables)?;
    let minutes_left = removed.len() == examined_max;
    let done = Revision::first(compacted + 1);
    if from >= done && removed.is_empty() {
        return Ok(None);
    }
    let mut position = done;
    if from < done {
        for (examined, change) in history::changes(tables, from, Revision::last(compacted)).enumerate() {
            let (_, _, revision, Past { key, older, put }) = change?;
            if examined == examined_max {
                position = revision;
                break;
            }
            removed.extend(older.map(|older| history::place(older.previous)));
            // A tombstone exactly at the compaction stays: whoever watches from there must see the delete.
            if put.is_none() && revision.main < compacted {
                removed.extend([history::place(revision), (rows::ENDED, rows::ended_key(&key, revision))]);
            }
        }
    }
    let progress = rows::swept_row(Swept { compacted, position });
    Ok(Some(Removal { rows: removed, progress, more: minutes_left || position < done }))
}

/// The rows of minutes whose revisions were all compacted: [`Kv::compactable`] answers nothing from them.
fn minutes_before(
    compacted: u64,
    rows_max: usize,
    tables: &dyn Tables,
) -> Result<Vec<(Table, RowKey)>, Stop> {
    let mut removed = Vec::new();
    for minute in rows::minutes(tables, u64::MAX, false).take(rows_max) {
        let (key, first) = minute?;
        if first > compacted + 1 {
            break;
        }
        removed.push((rows::CLOCK, RowKey::from_slice(&key)));
    }
    Ok(removed)
}

/// Adds the logical state: all rows but those [`removable`] could ever name for what is compacted by now.
pub(crate) fn digest(tables: &dyn Tables, digester: &mut Digester) -> Result<(), Stop> {
    digester.table(tables, rows::STATE)?;
    digester.table(tables, rows::LIVE)?;
    let compacted = rows::state(tables)?.and_then(|state| state.compacted);
    for life in rows::ended(tables, Bound::Unbounded, Bound::Unbounded) {
        let (row_key, row, Ended { revision, .. }) = life?;
        if compacted.is_none_or(|compacted| revision.main >= compacted) {
            digester.row(rows::ENDED, &row_key, &row);
        }
    }
    for change in history::changes(tables, Revision::first(0), Revision::last(u64::MAX)) {
        let (row_key, row, revision, Past { key, put, .. }) = change?;
        let visible = match compacted {
            Some(compacted) if revision.main < compacted => {
                let readable = put_at(tables, &key, rows::live(tables, &key)?.as_ref(), compacted)?;
                put.is_some() && readable.is_some_and(|(readable, _)| readable == revision)
            }
            _ => true,
        };
        if visible {
            digester.row(history::HISTORY, &row_key, &row);
        }
    }
    for minute in rows::minutes(tables, u64::MAX, false) {
        let (key, first) = minute?;
        if compacted.is_none_or(|compacted| first > compacted + 1) {
            digester.row(rows::CLOCK, &key, &first.to_be_bytes());
        }
    }
    Ok(())
}
