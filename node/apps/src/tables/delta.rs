//! The changes of one command on top of tables: merged into them only if it succeeds.

use super::{Bounds, Range, Row, RowKey, Rows, Table, Tables};
use crate::Stop;
use bytes::Bytes;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::RangeBounds;

/// So many changes are looked through faster than they are put in order: what almost every command makes.
const FEW: usize = 16;

/// Tables with changes on top that nobody else sees yet.
pub struct Delta<'a> {
    under: &'a dyn Tables,
    changes: Changes,
}

/// Rows written (`Some`) and removed (`None`): a row once, and all in `few` or all in `many`.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    few: Vec<(Table, RowKey, Option<Bytes>)>,
    many: BTreeMap<Table, BTreeMap<RowKey, Option<Bytes>>>,
}

impl<'a> Delta<'a> {
    /// No changes yet.
    pub fn new(under: &'a dyn Tables) -> Delta<'a> {
        Delta { under, changes: Changes::default() }
    }

    /// The changes, to be merged once the tables may be written again.
    pub fn into_changes(self) -> Changes {
        self.changes
    }
}

impl Changes {
    /// Makes the changes.
    pub fn merge_into(self, tables: &mut dyn Tables) {
        let many = self
            .many
            .into_iter()
            .flat_map(|(table, rows)| rows.into_iter().map(move |(key, value)| (table, key, value)));
        for (table, key, value) in self.few.into_iter().chain(many) {
            match value {
                Some(value) => tables.put(table, &key, value),
                None => tables.delete(table, &key),
            }
        }
    }

    fn get(&self, table: Table, key: &[u8]) -> Option<&Option<Bytes>> {
        if self.many.is_empty() {
            self.few.iter().find(|row| row.0 == table && *row.1 == *key).map(|row| &row.2)
        } else {
            self.many.get(&table)?.get(key)
        }
    }

    fn set(&mut self, table: Table, key: &[u8], value: Option<Bytes>) {
        if self.many.is_empty() {
            if let Some(row) = self.few.iter_mut().find(|row| row.0 == table && *row.1 == *key) {
                row.2 = value;
                return;
            }
            if self.few.len() < FEW {
                self.few.push((table, RowKey::from_slice(key), value));
                return;
            }
            for (table, key, value) in self.few.drain(..) {
                self.many.entry(table).or_default().insert(key, value);
            }
        }
        self.many.entry(table).or_default().insert(RowKey::from_slice(key), value);
    }

    /// The changes of a range, in key order.
    fn scan(&self, table: Table, bounds: Bounds<'_>) -> Box<dyn DoubleEndedIterator<Item = Change> + '_> {
        let owned = |key: &RowKey, value: &Option<Bytes>| (Bytes::copy_from_slice(key), value.clone());
        if let Some(rows) = self.many.get(&table) {
            return Box::new(rows.range::<[u8], _>(bounds).map(move |(key, value)| owned(key, value)));
        }
        let few = self
            .few
            .iter()
            .filter(|row| row.0 == table && RangeBounds::<[u8]>::contains(&bounds, &row.1[..]));
        let mut few: Vec<Change> = few.map(|(_, key, value)| owned(key, value)).collect();
        few.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Box::new(few.into_iter())
    }
}

/// A key, and its value or `None` where it was deleted.
type Change = (Bytes, Option<Bytes>);

impl Tables for Delta<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Stop> {
        match self.changes.get(table, key) {
            Some(changed) => Ok(changed.clone()),
            None => self.under.get(table, key),
        }
    }

    fn scan(&self, table: Table, range: Range, reverse: bool) -> Rows<'_> {
        let Some(bounds) = range.bounds() else { return Box::new(std::iter::empty()) };
        let changed = self.changes.scan(table, bounds);
        let under = self.under.scan(table, range.clone(), reverse);
        if reverse {
            Box::new(overlaid(changed.rev(), under, true))
        } else {
            Box::new(overlaid(changed, under, false))
        }
    }

    fn put(&mut self, table: Table, key: &[u8], value: Bytes) {
        self.changes.set(table, key, Some(value));
    }

    fn delete(&mut self, table: Table, key: &[u8]) {
        self.changes.set(table, key, None);
    }
}

/// The rows of `under` as changed by `over`; both in key order, or both backwards if `reverse`.
///
/// An error of `under` is passed on where it occurs.
pub fn overlaid<'a>(
    over: impl Iterator<Item = Change> + 'a,
    under: impl Iterator<Item = Result<Row, Stop>> + 'a,
    reverse: bool,
) -> impl Iterator<Item = Result<Row, Stop>> + 'a {
    let mut over = over.peekable();
    let mut under = under.peekable();
    std::iter::from_fn(move || {
        loop {
            let order = match (over.peek(), under.peek()) {
                (_, Some(Err(_))) => return under.next(),
                (None, _) => return under.next(),
                (Some(_), None) => Ordering::Less,
                (Some((a, _)), Some(Ok((b, _)))) if reverse => b.cmp(a),
                (Some((a, _)), Some(Ok((b, _)))) => a.cmp(b),
            };
            match order {
                Ordering::Greater => return under.next(),
                Ordering::Equal => drop(under.next()),
                Ordering::Less => {}
            }
            if let Some((key, Some(value))) = over.next() {
                return Some(Ok((key, value)));
            }
        }
    })
}
