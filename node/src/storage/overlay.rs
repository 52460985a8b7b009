//! Rows in memory above rows on disk: what was put and what was deleted since.
//!
//! Invariants:
//! * A key deleted here hides the one below.
//! * A merged scan yields each key once, from the uppermost layer that knows it.

use bytes::Bytes;
use schedia_apps::Stop;
use schedia_apps::tables::{Bounds, Row, RowKey, Table};
use std::collections::{BTreeMap, btree_map};

/// Room a row takes besides its bytes: its part of a tree node, and an allocation.
const ROW_BYTES: usize = 128;

/// A key, and its value or `None` where it was deleted.
pub(super) type Change = (Bytes, Option<Bytes>);

/// What one layer knows of a range, in the order of the scan.
pub(super) type Layer<'a> = Box<dyn Iterator<Item = Result<Change, Stop>> + 'a>;

type Rows = BTreeMap<RowKey, Option<Bytes>>;

/// Changed rows by table.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    /// A handful, found by looking through them.
    tables: Vec<(Table, Rows)>,
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

    fn rows(&self, table: Table) -> Option<&Rows> {
        self.tables.iter().find(|(name, _)| *name == table).map(|(_, rows)| rows)
    }

    fn rows_mut(&mut self, table: Table) -> &mut Rows {
        let place = self.tables.iter().position(|(name, _)| *name == table).unwrap_or_else(|| {
            self.tables.push((table, Rows::new()));
            self.tables.len() - 1
        });
        &mut self.tables[place].1
    }

    /// `None`: nothing known of this key. `Some(None)`: deleted.
    pub(super) fn get(&self, table: Table, key: &[u8]) -> Option<Option<Bytes>> {
        self.rows(table)?.get(key).cloned()
    }

    pub(super) fn set(&mut self, table: Table, key: &[u8], value: Option<Bytes>) {
        let size = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
        let value_bytes = size(&value);
        match self.rows_mut(table).insert(RowKey::from_slice(key), value) {
            Some(before) => self.bytes -= size(&before),
            None => self.bytes += ROW_BYTES + key.len(),
        }
        self.bytes += value_bytes;
    }

    /// Every table with its changes in key order.
    pub(super) fn tables(&self) -> impl Iterator<Item = (Table, btree_map::Iter<'_, RowKey, Option<Bytes>>)> {
        self.tables.iter().map(|(table, rows)| (*table, rows.iter()))
    }

    /// The changes between two bounds.
    pub(super) fn scan(&self, table: Table, bounds: Bounds<'_>, reverse: bool) -> Option<Layer<'_>> {
        let rows = self.rows(table)?.range::<[u8], _>(bounds);
        let owned =
            |(key, value): (&RowKey, &Option<Bytes>)| Ok((Bytes::copy_from_slice(key), value.clone()));
        Some(if reverse { Box::new(rows.rev().map(owned)) } else { Box::new(rows.map(owned)) })
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
