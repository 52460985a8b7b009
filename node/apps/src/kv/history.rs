//! The history of changes: its rows to bytes and back, drawn in the head of [`super`].

use super::Revision;
use super::chain::Older;
use super::rows::{
    FORMAT, Stamp, broken, formatted, put_revision, put_stamp, revision_key, take_revision, take_stamp,
};
use crate::Stop;
use crate::tables::{Range, RowKey, Table, Tables};
use bytes::{BufMut, Bytes, BytesMut};
use std::ops::Bound;

pub(super) const HISTORY: Table = Table("kv.history");

const DELETE: u8 = 0;
const PUT: u8 = 1;

/// A row of [`HISTORY`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Past {
    pub key: Bytes,
    /// Earlier puts of the same life; `None` if this is the first.
    pub older: Option<Older>,
    /// `None` = a tombstone.
    pub put: Option<(Stamp, Bytes)>,
}

/// Appends a change to [`HISTORY`].
pub(super) fn append(tables: &mut dyn Tables, revision: Revision, past: &Past) {
    let Past { key, older, put } = past;
    let value = put.as_ref().map(|(_, value)| &value[..]).unwrap_or_default();
    let mut out = BytesMut::with_capacity(2 + 24 + 25 + 2 + key.len() + value.len());
    out.put_u8(FORMAT);
    match put {
        None => out.put_u8(DELETE),
        Some((stamp, _)) => {
            out.put_u8(PUT);
            put_stamp(&mut out, *stamp);
        }
    }
    if let Some(Older { previous, jump }) = older {
        put_revision(&mut out, *previous);
        put_revision(&mut out, *jump);
    }
    let key_bytes = u16::try_from(key.len()).expect("a key's length was checked before it is written");
    out.put_u16(key_bytes);
    out.extend_from_slice(key);
    out.extend_from_slice(value);
    tables.put(HISTORY, &revision_key(revision), out.freeze());
}

fn parse_past(row_key: &[u8], row: &Bytes) -> Result<(Revision, Past), Stop> {
    let parse = || {
        let (revision, end) = take_revision(row_key)?;
        let (&kind, rest) = formatted(row)?.split_first()?;
        let (stamp, rest) = match kind {
            DELETE => (None, rest),
            PUT => take_stamp(rest).map(|(stamp, rest)| (Some(stamp), rest))?,
            _ => return None,
        };
        let is_first = stamp.is_some_and(|stamp| stamp.version <= 1);
        let (older, rest) = if is_first { (None, rest) } else { take_older(rest)? };
        let (key_bytes, rest) = rest.split_first_chunk()?;
        let (key, value) = rest.split_at_checked(u16::from_be_bytes(*key_bytes).into())?;
        let put = stamp.map(|stamp| (stamp, row.slice_ref(value)));
        // Or a search would not end.
        let goes_back = older.is_none_or(|older| older.jump <= older.previous && older.previous < revision);
        let whole = end.is_empty() && goes_back && (put.is_some() || value.is_empty());
        whole.then(|| (revision, Past { key: row.slice_ref(key), older, put }))
    };
    parse().ok_or_else(|| broken(HISTORY, row_key))
}

fn take_older(bytes: &[u8]) -> Option<(Option<Older>, &[u8])> {
    let (previous, rest) = take_revision(bytes)?;
    let (jump, rest) = take_revision(rest)?;
    Some((Some(Older { previous, jump }), rest))
}

/// A change that must be there.
pub(super) fn change(tables: &dyn Tables, revision: Revision) -> Result<Past, Stop> {
    let row_key = revision_key(revision);
    match tables.get(HISTORY, &row_key)? {
        Some(row) => Ok(parse_past(&row_key, &row)?.1),
        None => Err(Stop::Broken(format!("no change in {} at {revision:?}", HISTORY.0))),
    }
}

/// The value of a put.
pub(super) fn value(tables: &dyn Tables, revision: Revision) -> Result<Bytes, Stop> {
    match change(tables, revision)?.put {
        Some((_, value)) => Ok(value),
        None => Err(Stop::Broken(format!("no put in {} at {revision:?}", HISTORY.0))),
    }
}

/// The rows of [`HISTORY`] from one revision to another (both included), with their bytes.
pub(super) fn changes(
    tables: &dyn Tables,
    from: Revision,
    upto: Revision,
) -> impl Iterator<Item = Result<(Bytes, Bytes, Revision, Past), Stop>> {
    let range =
        Range { start: Bound::Included(revision_key(from)), end: Bound::Included(revision_key(upto)) };
    tables.scan(HISTORY, range, false).map(|row| {
        let (key, row) = row?;
        let (revision, past) = parse_past(&key, &row)?;
        Ok((key, row, revision, past))
    })
}

/// Where a change stands.
pub(super) fn place(revision: Revision) -> (Table, RowKey) {
    (HISTORY, revision_key(revision))
}
