//! Rows in memory above rows on disk: what was put and what was deleted since.
//!
//! Invariants:
//! * A key deleted here hides the one below.
//! * A merged scan yields each key once, from the uppermost layer that knows it.

use bytes::Bytes;
use schedia_apps::Stop;
use schedia_apps::tables::{Range, Row, Table};
use std::collections::BTreeMap;
use std::collections::btree_map;
use std::ops::Bound;

/// Room a row takes besides its bytes: its part of a tree node, and two allocations.
const ROW_BYTES: usize = 128;

/// A key, and its value or `None` where it was deleted.
pub(super) type Change = (Bytes, Option<Bytes>);

/// What one layer knows of a range, in the order of the scan.
pub(super) type Layer<'a> = Box<dyn Iterator<Item = Result<Change, Stop>> + 'a>;

/// Changed rows by table.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    tables: BTreeMap<Table, BTreeMap<Bytes, Option<Bytes>>>,
    bytes: usize,
}

impl Overlay {
    /// What the rows cost in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// `None`: nothing known of this key. `Some(None)`: deleted.
    pub(super) fn get(&self, table: Table, key: &[u8]) -> Option<Option<Bytes>> {
        self.tables.get(&table)?.get(key).cloned()
    }

    pub(super) fn set(&mut self, table: Table, key: Bytes, value: Option<Bytes>) {
        let size = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
        let (key_bytes, value_bytes) = (key.len(), size(&value));
        match self.tables.entry(table).or_default().insert(key, value) {
            Some(before) => self.bytes -= size(&before),
            None => self.bytes += ROW_BYTES + key_bytes,
        }
        self.bytes += value_bytes;
    }

    /// Every table with its changes in key order.
    pub(super) fn tables(&self) -> impl Iterator<Item = (Table, btree_map::Iter<'_, Bytes, Option<Bytes>>)> {
        self.tables.iter().map(|(table, rows)| (*table, rows.iter()))
    }

    /// The changes of a range that is not empty.
    pub(super) fn scan(&self, table: Table, range: &Range, reverse: bool) -> Option<Layer<'_>> {
        let rows = self.tables.get(&table)?.range::<[u8], _>(bounds(range));
        let owned = |(key, value): (&Bytes, &Option<Bytes>)| Ok((key.clone(), value.clone()));
        Some(if reverse { Box::new(rows.rev().map(owned)) } else { Box::new(rows.map(owned)) })
    }
}

/// The bounds of a range as the maps take them.
pub(super) fn bounds(range: &Range) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (range.start.as_ref().map(Bytes::as_ref), range.end.as_ref().map(Bytes::as_ref))
}

/// Whether no key lies in a range. The maps below panic at one that ends before it starts.
pub(super) fn is_empty(range: &Range) -> bool {
    match (&range.start, &range.end) {
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end) | Bound::Excluded(end)) => {
            start >= end
        }
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}

/// The rows of several layers, the uppermost first, as one.
pub(super) struct Merge<'a> {
    layers: Vec<Head<'a>>,
    reverse: bool,
    failed: bool,
}

struct Head<'a> {
    next: Option<Change>,
    rest: Layer<'a>,
}

impl<'a> Head<'a> {
    fn advance(&mut self) -> Result<Option<Change>, Stop> {
        let next = self.rest.next().transpose()?;
        Ok(std::mem::replace(&mut self.next, next))
    }
}

impl<'a> Merge<'a> {
    pub(super) fn new(layers: impl IntoIterator<Item = Layer<'a>>, reverse: bool) -> Result<Merge<'a>, Stop> {
        let mut layers: Vec<_> = layers.into_iter().map(|rest| Head { next: None, rest }).collect();
        for head in &mut layers {
            head.advance()?;
        }
        Ok(Merge { layers, reverse, failed: false })
    }

    /// The uppermost layer that has the next key.
    fn uppermost(&self) -> Option<usize> {
        let mut best: Option<(usize, &Bytes)> = None;
        for (layer, head) in self.layers.iter().enumerate() {
            let Some((key, _)) = &head.next else { continue };
            let before = |best: &Bytes| if self.reverse { key > best } else { key < best };
            if best.is_none_or(|(_, best)| before(best)) {
                best = Some((layer, key));
            }
        }
        best.map(|(layer, _)| layer)
    }

    fn step(&mut self) -> Result<Option<Row>, Stop> {
        while let Some(upper) = self.uppermost() {
            let Some((key, value)) = self.layers[upper].advance()? else { break };
            for head in &mut self.layers[upper + 1..] {
                if head.next.as_ref().is_some_and(|(below, _)| *below == key) {
                    head.advance()?;
                }
            }
            if let Some(value) = value {
                return Ok(Some((key, value)));
            }
        }
        Ok(None)
    }
}

impl Iterator for Merge<'_> {
    type Item = Result<Row, Stop>;

    fn next(&mut self) -> Option<Result<Row, Stop>> {
        if self.failed {
            return None;
        }
        let row = self.step();
        self.failed = row.is_err();
        row.transpose()
    }
}
