//! The tables of the key/value store, drawn in the head of [`super`]: rows to bytes and back.

use super::Revision;
use crate::keys::{put_text, take_text, take_u32, take_u64};
use crate::tables::{Range, RowKey, Table, Tables};
use crate::{Stop, keys};
use bytes::{BufMut, Bytes, BytesMut};
use std::ops::Bound;

pub(super) const STATE: Table = Table("kv.state");
pub(super) const LIVE: Table = Table("kv.live");
pub(super) const VERSIONS: Table = Table("kv.versions");
pub(super) const HISTORY: Table = Table("kv.history");
pub(super) const CLOCK: Table = Table("kv.clock");
pub(super) const SWEPT: Table = Table("kv.swept");

/// The key of the one row of [`STATE`] and of [`SWEPT`].
pub(super) const ONLY: &[u8] = b"1";

/// The first byte of every row.
const FORMAT: u8 = 1;
const DELETE: u8 = 0;
const PUT: u8 = 1;

/// What a put leaves beside its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// The revision that created the key.
    pub create: u64,
    /// Puts since then.
    pub version: u64,
    /// The lease it is attached to; 0 = none.
    pub lease: u64,
}

/// A row of [`LIVE`]: the newest put of a key that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Live {
    pub revision: Revision,
    pub stamp: Stamp,
}

/// A row of [`HISTORY`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Past {
    pub key: Bytes,
    /// `None` = a tombstone.
    pub put: Option<(Stamp, Bytes)>,
}

/// The row of [`STATE`]: what the store keeps in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// The newest revision.
    pub revision: u64,
    /// The oldest readable one, once anything was compacted.
    pub compacted: Option<u64>,
    /// The newest minute in [`CLOCK`].
    pub minute: Option<u64>,
}

fn broken(table: Table, key: &[u8]) -> Stop {
    Stop::Broken(format!("unreadable row of {}: {}", table.0, key.escape_ascii()))
}

fn revision_key(revision: Revision) -> RowKey {
    let mut out = RowKey::new();
    out.extend_from_slice(&revision.main.to_be_bytes());
    out.extend_from_slice(&revision.sub.to_be_bytes());
    out
}

fn put_revision(out: &mut BytesMut, revision: Revision) {
    out.put_u64(revision.main);
    out.put_u32(revision.sub);
}

fn take_revision(bytes: &[u8]) -> Option<(Revision, &[u8])> {
    let (main, rest) = take_u64(bytes)?;
    let (sub, rest) = take_u32(rest)?;
    Some((Revision { main, sub }, rest))
}

fn put_stamp(out: &mut BytesMut, stamp: Stamp) {
    let Stamp { create, version, lease } = stamp;
    out.put_u64(create);
    out.put_u64(version);
    out.put_u64(lease);
}

fn take_stamp(bytes: &[u8]) -> Option<(Stamp, &[u8])> {
    let (create, rest) = take_u64(bytes)?;
    let (version, rest) = take_u64(rest)?;
    let (lease, rest) = take_u64(rest)?;
    Some((Stamp { create, version, lease }, rest))
}

fn put_option(out: &mut BytesMut, number: Option<u64>) {
    out.put_u8(number.is_some().into());
    out.put_u64(number.unwrap_or_default());
}

fn take_option(bytes: &[u8]) -> Option<(Option<u64>, &[u8])> {
    let (&some, rest) = bytes.split_first()?;
    let (number, rest) = take_u64(rest)?;
    match some {
        0 => Some((None, rest)),
        1 => Some((Some(number), rest)),
        _ => None,
    }
}

fn formatted(bytes: &[u8]) -> Option<&[u8]> {
    bytes.strip_prefix(&[FORMAT])
}

/// Reads the one row of [`STATE`]; `None` in a store never written to.
pub(super) fn state(tables: &dyn Tables) -> Result<Option<State>, Stop> {
    let parse = |row: &[u8]| {
        let (revision, rest) = take_u64(formatted(row)?)?;
        let (compacted, rest) = take_option(rest)?;
        let (minute, rest) = take_option(rest)?;
        rest.is_empty().then_some(State { revision, compacted, minute })
    };
    let Some(row) = tables.get(STATE, ONLY)? else { return Ok(None) };
    parse(&row).map(Some).ok_or_else(|| broken(STATE, ONLY))
}

pub(super) fn put_state(tables: &mut dyn Tables, state: State) {
    let State { revision, compacted, minute } = state;
    let mut out = BytesMut::with_capacity(27);
    out.put_u8(FORMAT);
    out.put_u64(revision);
    put_option(&mut out, compacted);
    put_option(&mut out, minute);
    tables.put(STATE, ONLY, out.freeze());
}

/// The newest put of a key, if the key exists.
pub(super) fn live(tables: &dyn Tables, key: &[u8]) -> Result<Option<Live>, Stop> {
    tables.get(LIVE, key)?.map(|row| parse_live(key, &row)).transpose()
}

pub(super) fn parse_live(key: &[u8], row: &[u8]) -> Result<Live, Stop> {
    let parse = || {
        let (revision, rest) = take_revision(formatted(row)?)?;
        let (stamp, rest) = take_stamp(rest)?;
        rest.is_empty().then_some(Live { revision, stamp })
    };
    parse().ok_or_else(|| broken(LIVE, key))
}

pub(super) fn put_live(tables: &mut dyn Tables, key: &[u8], live: Live) {
    let mut out = BytesMut::with_capacity(37);
    out.put_u8(FORMAT);
    put_revision(&mut out, live.revision);
    put_stamp(&mut out, live.stamp);
    tables.put(LIVE, key, out.freeze());
}

/// The key of a row of [`VERSIONS`].
pub(super) fn version_key(key: &[u8], revision: Revision) -> RowKey {
    let mut out = RowKey::new();
    put_text(&mut out, key);
    out.extend_from_slice(&revision_key(revision));
    out
}

/// A row of [`VERSIONS`]: a change of a key, and what a put left (`None` = a tombstone).
pub(super) type Version = (Bytes, Revision, Option<Stamp>);

fn parse_version(row_key: &Bytes, row: &[u8]) -> Result<Version, Stop> {
    let parse = || {
        let (key, rest) = take_text(row_key)?;
        let (revision, rest) = take_revision(&rest)?;
        let (&kind, stamp) = formatted(row)?.split_first()?;
        let stamp = match (kind, stamp) {
            (DELETE, []) => None,
            (PUT, stamp) => Some(take_stamp(stamp).filter(|(_, rest)| rest.is_empty())?.0),
            _ => return None,
        };
        rest.is_empty().then_some((key, revision, stamp))
    };
    parse().ok_or_else(|| broken(VERSIONS, row_key))
}

/// The first row of [`VERSIONS`] between two row keys, or the last.
pub(super) fn version_between(
    tables: &dyn Tables,
    start: Bound<RowKey>,
    end: Bound<RowKey>,
    last: bool,
) -> Result<Option<Version>, Stop> {
    let row = tables.scan(VERSIONS, Range { start, end }, last).next().transpose()?;
    row.map(|(key, row)| parse_version(&key, &row)).transpose()
}

/// The newest change of a key up to (and with) a revision.
pub(super) fn newest(tables: &dyn Tables, key: &[u8], upto: Revision) -> Result<Option<Version>, Stop> {
    let start = version_key(key, Revision::first(0));
    version_between(tables, Bound::Included(start), Bound::Included(version_key(key, upto)), true)
}

/// The change of a key before a revision.
pub(super) fn before(tables: &dyn Tables, key: &[u8], than: Revision) -> Result<Option<Version>, Stop> {
    let start = version_key(key, Revision::first(0));
    version_between(tables, Bound::Included(start), Bound::Excluded(version_key(key, than)), true)
}

/// Every row of [`VERSIONS`] with its bytes.
pub(super) fn versions(tables: &dyn Tables) -> impl Iterator<Item = Result<(Bytes, Bytes, Version), Stop>> {
    tables.scan(VERSIONS, Range::all(), false).map(|row| {
        let (key, row) = row?;
        let version = parse_version(&key, &row)?;
        Ok((key, row, version))
    })
}

/// Writes a change into [`HISTORY`] and [`VERSIONS`].
pub(super) fn put_past(tables: &mut dyn Tables, revision: Revision, past: &Past) {
    let Past { key, put } = past;
    let mut version = BytesMut::with_capacity(26);
    version.put_u8(FORMAT);
    match put {
        None => version.put_u8(DELETE),
        Some((stamp, _)) => {
            version.put_u8(PUT);
            put_stamp(&mut version, *stamp);
        }
    }
    let value = put.as_ref().map(|(_, value)| &value[..]).unwrap_or_default();
    let mut history = BytesMut::with_capacity(version.len() + 2 + key.len() + value.len());
    history.extend_from_slice(&version);
    let key_bytes = u16::try_from(key.len()).expect("a key's length was checked before it is written");
    history.put_u16(key_bytes);
    history.extend_from_slice(key);
    history.extend_from_slice(value);
    tables.put(VERSIONS, &version_key(key, revision), version.freeze());
    tables.put(HISTORY, &revision_key(revision), history.freeze());
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
        let (key_bytes, rest) = rest.split_first_chunk()?;
        let (key, value) = rest.split_at_checked(u16::from_be_bytes(*key_bytes).into())?;
        let put = stamp.map(|stamp| (stamp, row.slice_ref(value)));
        let whole = end.is_empty() && (put.is_some() || value.is_empty());
        whole.then(|| (revision, Past { key: row.slice_ref(key), put }))
    };
    parse().ok_or_else(|| broken(HISTORY, row_key))
}

/// The value of a put.
pub(super) fn value(tables: &dyn Tables, revision: Revision) -> Result<Bytes, Stop> {
    let row_key = revision_key(revision);
    let row = tables.get(HISTORY, &row_key)?;
    let past = row.map(|row| parse_past(&row_key, &row)).transpose()?;
    match past {
        Some((_, Past { put: Some((_, value)), .. })) => Ok(value),
        _ => Err(Stop::Broken(format!("no put in {} at {revision:?}", HISTORY.0))),
    }
}

/// The rows of [`HISTORY`] from one revision to another (both included), with their bytes.
pub(super) fn history(
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

/// Where the rows of a change stand.
pub(super) fn places(key: &[u8], revision: Revision) -> [(Table, RowKey); 2] {
    [(VERSIONS, version_key(key, revision)), (HISTORY, revision_key(revision))]
}

/// Notes the first revision written in a minute.
pub(super) fn put_minute(tables: &mut dyn Tables, minute: u64, first_revision: u64) {
    let mut out = BytesMut::with_capacity(9);
    out.put_u8(FORMAT);
    out.put_u64(first_revision);
    tables.put(CLOCK, &minute.to_be_bytes(), out.freeze());
}

/// Minutes up to (and with) one, and the first revision written in each.
pub(super) fn minutes(
    tables: &dyn Tables,
    upto: u64,
    reverse: bool,
) -> impl Iterator<Item = Result<(Bytes, u64), Stop>> {
    let end = Bound::Included(RowKey::from_slice(&upto.to_be_bytes()));
    tables.scan(CLOCK, Range { start: Bound::Unbounded, end }, reverse).map(|row| {
        let (key, row) = row?;
        match formatted(&row).and_then(keys::take_u64) {
            Some((first_revision, [])) => Ok((key, first_revision)),
            _ => Err(broken(CLOCK, &key)),
        }
    })
}

/// The row of [`SWEPT`]: how far removal came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Swept {
    /// The compaction it was removing for.
    pub compacted: u64,
    /// The first change it has not looked at.
    pub position: Revision,
}

/// How far removal came; `None` = it never began.
pub(super) fn swept(tables: &dyn Tables) -> Result<Option<Swept>, Stop> {
    let parse = |row: &[u8]| {
        let (compacted, rest) = take_u64(formatted(row)?)?;
        let (position, rest) = take_revision(rest)?;
        rest.is_empty().then_some(Swept { compacted, position })
    };
    let Some(row) = tables.get(SWEPT, ONLY)? else { return Ok(None) };
    parse(&row).map(Some).ok_or_else(|| broken(SWEPT, ONLY))
}

/// The row of [`SWEPT`] that says so.
pub(super) fn swept_row(swept: Swept) -> (Table, &'static [u8], Bytes) {
    let mut out = BytesMut::with_capacity(21);
    out.put_u8(FORMAT);
    out.put_u64(swept.compacted);
    put_revision(&mut out, swept.position);
    (SWEPT, ONLY, out.freeze())
}
