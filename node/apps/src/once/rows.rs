//! The tables drawn in the head of [`super`]: rows to bytes and back.

use super::command::{Fingerprint, Outcome};
use crate::Stop;
use crate::keys::{put_text, take_u64};
use crate::tables::{Range, RowKey, Table, Tables};
use bytes::{BufMut, Bytes, BytesMut};

pub(super) const REPLIES: Table = Table("once.replies");
pub(super) const ORDER: Table = Table("once.order");

/// The first byte of every row.
const FORMAT: u8 = 1;

/// A row of [`REPLIES`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// Its place in [`ORDER`].
    pub number: u64,
    /// Log time of its command.
    pub time_ms: u64,
    pub fingerprint: Fingerprint,
    pub outcome: Outcome,
}

/// A row of [`ORDER`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub time_ms: u64,
    /// The key of the row of [`REPLIES`].
    pub reply: Bytes,
}

fn broken(table: Table, key: &[u8]) -> Stop {
    Stop::Broken(format!("unreadable row of {}: {}", table.0, key.escape_ascii()))
}

/// The key of a reply.
pub(super) fn reply_key(principal: &str, application: u8, key: &str) -> RowKey {
    let mut out = RowKey::new();
    put_text(&mut out, principal.as_bytes());
    out.push(application);
    out.extend_from_slice(key.as_bytes());
    out
}

pub(super) fn reply(tables: &dyn Tables, key: &[u8]) -> Result<Option<Kept>, Stop> {
    let parse = |row: &[u8]| {
        let (number, rest) = take_u64(row.strip_prefix(&[FORMAT])?)?;
        let (time_ms, rest) = take_u64(rest)?;
        let (fingerprint, rest) = rest.split_first_chunk::<32>()?;
        let (outcome, []) = postcard::take_from_bytes(rest).ok()? else { return None };
        Some(Kept { number, time_ms, fingerprint: Fingerprint(*fingerprint), outcome })
    };
    let Some(row) = tables.get(REPLIES, key)? else { return Ok(None) };
    parse(&row).map(Some).ok_or_else(|| broken(REPLIES, key))
}

/// An outcome as it stands in a row.
pub(super) fn encoded(outcome: &Outcome) -> Vec<u8> {
    postcard::to_stdvec(outcome).expect("an outcome is plain data, which postcard always encodes")
}

/// Writes a reply and its place.
pub(super) fn put_reply(
    tables: &mut dyn Tables,
    key: &[u8],
    (number, time_ms): (u64, u64),
    fingerprint: Fingerprint,
    outcome: &[u8],
) {
    let mut row = BytesMut::with_capacity(49 + outcome.len());
    row.put_u8(FORMAT);
    row.put_u64(number);
    row.put_u64(time_ms);
    row.put_slice(&fingerprint.0);
    row.put_slice(outcome);
    let mut place = BytesMut::with_capacity(9 + key.len());
    place.put_u8(FORMAT);
    place.put_u64(time_ms);
    place.put_slice(key);
    tables.put(ORDER, &number.to_be_bytes(), place.freeze());
    tables.put(REPLIES, key, row.freeze());
}

fn parse_place(key: &[u8], row: &Bytes) -> Result<(u64, Place), Stop> {
    let parse = || {
        let (number, []) = take_u64(key)? else { return None };
        let (time_ms, reply) = take_u64(row.strip_prefix(&[FORMAT])?)?;
        Some((number, Place { time_ms, reply: row.slice_ref(reply) }))
    };
    parse().ok_or_else(|| broken(ORDER, key))
}

/// The place of a number.
pub(super) fn place(tables: &dyn Tables, number: u64) -> Result<Option<Place>, Stop> {
    let key = number.to_be_bytes();
    let Some(row) = tables.get(ORDER, &key)? else { return Ok(None) };
    parse_place(&key, &row).map(|(_, place)| Some(place))
}

/// The oldest place, or the newest.
pub(super) fn end(tables: &dyn Tables, newest: bool) -> Result<Option<(u64, Place)>, Stop> {
    let Some(row) = tables.scan(ORDER, Range::all(), newest).next() else { return Ok(None) };
    let (key, row) = row?;
    parse_place(&key, &row).map(Some)
}

pub(super) fn delete_place(tables: &mut dyn Tables, number: u64) {
    tables.delete(ORDER, &number.to_be_bytes());
}
