//! The changes of one command on top of tables: merged into them only if it succeeds.

use super::{Range, Row, Rows, Table, Tables};
use crate::Stop;
use bytes::Bytes;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Tables with changes on top that nobody else sees yet.
pub struct Delta<'a> {
    under: &'a dyn Tables,
    changes: Changes,
}

/// Rows written (`Some`) and removed (`None`), per table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(BTreeMap<Table, BTreeMap<Bytes, Option<Bytes>>>);

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
        for (table, rows) in self.0 {
            for (key, value) in rows {
                match value {
                    Some(value) => tables.put(table, key, value),
                    None => tables.delete(table, &key),
                }
            }
        }
    }
}

impl Tables for Delta<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Stop> {
        match self.changes.0.get(&table).and_then(|rows| rows.get(key)) {
            Some(changed) => Ok(changed.clone()),
            None => self.under.get(table, key),
        }
    }

    fn scan(&self, table: Table, range: Range, reverse: bool) -> Rows<'_> {
        let (Some(bounds), Some(changed)) = (range.bounds(), self.changes.0.get(&table)) else {
            return self.under.scan(table, range, reverse);
        };
        let changed = changed.range::<[u8], _>(bounds).map(|(key, value)| (key.clone(), value.clone()));
        if reverse {
            let under = self.under.scan(table, range.clone(), true);
            Box::new(overlaid(changed.rev(), under, true))
        } else {
            let under = self.under.scan(table, range.clone(), false);
            Box::new(overlaid(changed, under, false))
        }
    }

    fn put(&mut self, table: Table, key: Bytes, value: Bytes) {
        self.changes.0.entry(table).or_default().insert(key, Some(value));
    }

    fn delete(&mut self, table: Table, key: &[u8]) {
        self.changes.0.entry(table).or_default().insert(Bytes::copy_from_slice(key), None);
    }
}

/// The rows of `under` as changed by `over`; both in key order, or both backwards if `reverse`.
///
/// An error of `under` is passed on where it occurs.
pub fn overlaid<'a>(
    over: impl Iterator<Item = (Bytes, Option<Bytes>)> + 'a,
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
