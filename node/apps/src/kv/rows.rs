//! The tables of the key/value store, drawn in the head of [`super`]: rows to bytes and back.

use super::Revision;
use super::chain::{Marks, marks_count};
use crate::keys::{put_text, take_text, take_u32, take_u64};
use crate::tables::{Range, RowKey, Table, Tables};
use crate::{Stop, keys};
use bytes::{BufMut, Bytes, BytesMut};
use std::ops::Bound;

pub(super) const STATE: Table = Table("kv.state");
pub(super) const LIVE: Table = Table("kv.live");
pub(super) const ENDED: Table = Table("kv.ended");
pub(super) const CLOCK: Table = Table("kv.clock");
pub(super) const SWEPT: Table = Table("kv.swept");

/// The key of the one row of [`STATE`] and of [`SWEPT`].
pub(super) const ONLY: &[u8] = b"1";

/// The first byte of every row.
pub(super) const FORMAT: u8 = 1;

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Live {
    pub revision: Revision,
    pub stamp: Stamp,
    pub marks: Marks,
}

/// A row of [`ENDED`]: a life of a key that a delete ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub key: Bytes,
    /// The tombstone.
    pub revision: Revision,
    /// The revision that created the key.
    pub create: u64,
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

pub(super) fn broken(table: Table, key: &[u8]) -> Stop {
    Stop::Broken(format!("unreadable row of {}: {}", table.0, key.escape_ascii()))
}

pub(super) fn revision_key(revision: Revision) -> RowKey {
    let mut out = RowKey::new();
    out.extend_from_slice(&revision.main.to_be_bytes());
    out.extend_from_slice(&revision.sub.to_be_bytes());
    out
}

pub(super) fn put_revision(out: &mut BytesMut, revision: Revision) {
    out.put_u64(revision.main);
    out.put_u32(revision.sub);
}

pub(super) fn take_revision(bytes: &[u8]) -> Option<(Revision, &[u8])> {
    let (main, rest) = take_u64(bytes)?;
    let (sub, rest) = take_u32(rest)?;
    Some((Revision { main, sub }, rest))
}

pub(super) fn put_stamp(out: &mut BytesMut, stamp: Stamp) {
    let Stamp { create, version, lease } = stamp;
    out.put_u64(create);
    out.put_u64(version);
    out.put_u64(lease);
}

pub(super) fn take_stamp(bytes: &[u8]) -> Option<(Stamp, &[u8])> {
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

pub(super) fn formatted(bytes: &[u8]) -> Option<&[u8]> {
    bytes.strip_prefix(&[FORMAT])
}

/// Reads the one row of [`STATE`]; `None` in a store never written to.
pub(super) fn state(tables: &dyn Tables) -> Result<Option<State>, Stop> {
    let parse = |row: &[u8]| {
        let (revision, rest) = take_u64(formatted(row)?)?;
        let (compacted, rest) = take_option(rest)?;
        let (minute, rest) = take_option(rest)?;
        // So one more than either is a number.
        let counted = revision < u64::MAX && compacted.is_none_or(|compacted| compacted <= revision);
        (counted && rest.is_empty()).then_some(State { revision, compacted, minute })
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

fn parse_live(key: &[u8], row: &[u8]) -> Result<Live, Stop> {
    let parse = || {
        let (revision, rest) = take_revision(formatted(row)?)?;
        let (stamp, mut rest) = take_stamp(rest)?;
        let mut marks = Marks::new();
        for _ in 0..marks_count(stamp.version) {
            let (mark, behind) = take_revision(rest)?;
            marks.push(mark);
            rest = behind;
        }
        rest.is_empty().then_some(Live { revision, stamp, marks })
    };
    parse().ok_or_else(|| broken(LIVE, key))
}

/// The keys of a range that exist, in order.
pub(super) fn lives<'t>(
    tables: &'t dyn Tables,
    start: Bound<&[u8]>,
    end: Bound<&[u8]>,
) -> impl Iterator<Item = Result<(Bytes, Live), Stop>> + use<'t> {
    let range = Range { start: start.map(RowKey::from_slice), end: end.map(RowKey::from_slice) };
    tables.scan(LIVE, range, false).map(|row| {
        let (key, row) = row?;
        let live = parse_live(&key, &row)?;
        Ok((key, live))
    })
}

pub(super) fn put_live(tables: &mut dyn Tables, key: &[u8], live: &Live) {
    let mut out = BytesMut::with_capacity(37 + 12 * live.marks.len());
    out.put_u8(FORMAT);
    put_revision(&mut out, live.revision);
    put_stamp(&mut out, live.stamp);
    live.marks.iter().for_each(|mark| put_revision(&mut out, *mark));
    tables.put(LIVE, key, out.freeze());
}

/// The key of a row of [`ENDED`].
pub(super) fn ended_key(key: &[u8], revision: Revision) -> RowKey {
    let mut out = RowKey::new();
    put_text(&mut out, key);
    out.extend_from_slice(&revision_key(revision));
    out
}

pub(super) fn put_ended(tables: &mut dyn Tables, ended: &Ended) {
    let Ended { key, revision, create } = ended;
    let mut out = BytesMut::with_capacity(9);
    out.put_u8(FORMAT);
    out.put_u64(*create);
    tables.put(ENDED, &ended_key(key, *revision), out.freeze());
}

/// The rows of [`ENDED`] between two of its keys, with their bytes.
pub(super) fn ended(
    tables: &dyn Tables,
    start: Bound<RowKey>,
    end: Bound<RowKey>,
) -> impl Iterator<Item = Result<(Bytes, Bytes, Ended), Stop>> {
    let parse = |row_key: &Bytes, row: &[u8]| {
        let (key, rest) = take_text(row_key)?;
        let (revision, end) = take_revision(&rest)?;
        let (create, rest) = take_u64(formatted(row)?)?;
        (end.is_empty() && rest.is_empty()).then_some(Ended { key, revision, create })
    };
    tables.scan(ENDED, Range { start, end }, false).map(move |row| {
        let (row_key, row) = row?;
        let ended = parse(&row_key, &row).ok_or_else(|| broken(ENDED, &row_key))?;
        Ok((row_key, row, ended))
    })
}

/// The first life of a key that ended after a revision.
pub(super) fn ended_after(tables: &dyn Tables, key: &[u8], than: u64) -> Result<Option<Ended>, Stop> {
    let start = Bound::Excluded(ended_key(key, Revision::last(than)));
    let end = Bound::Included(ended_key(key, Revision::last(u64::MAX)));
    Ok(ended(tables, start, end).next().transpose()?.map(|(_, _, ended)| ended))
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
