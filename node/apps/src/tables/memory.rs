//! Tables in memory: for tests and models.

use super::{Range, Rows, Table, Tables};
use crate::Stop;
use bytes::Bytes;
use std::collections::BTreeMap;

/// Tables in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryTables(BTreeMap<Table, BTreeMap<Bytes, Bytes>>);

impl Tables for MemoryTables {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Stop> {
        Ok(self.0.get(&table).and_then(|rows| rows.get(key)).cloned())
    }

    fn scan(&self, table: Table, range: Range, reverse: bool) -> Rows<'_> {
        let (Some(bounds), Some(rows)) = (range.bounds(), self.0.get(&table)) else {
            return Box::new(std::iter::empty());
        };
        let rows = rows.range::<[u8], _>(bounds).map(|(key, value)| Ok((key.clone(), value.clone())));
        if reverse { Box::new(rows.rev()) } else { Box::new(rows) }
    }

    fn put(&mut self, table: Table, key: &[u8], value: Bytes) {
        self.0.entry(table).or_default().insert(Bytes::copy_from_slice(key), value);
    }

    fn delete(&mut self, table: Table, key: &[u8]) {
        if let Some(rows) = self.0.get_mut(&table) {
            rows.remove(key);
        }
    }
}
