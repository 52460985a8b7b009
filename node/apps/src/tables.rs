//! Ordered tables of bytes: the only storage an application sees.

use crate::Stop;
use bytes::Bytes;
use std::ops::Bound;

/// A table's name: unique among all applications, written to disk, never reused for another meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table(pub &'static str);

/// A key and its value.
pub type Row = (Bytes, Bytes);

/// Rows in key order (or its reverse), read lazily.
pub type Rows<'a> = Box<dyn Iterator<Item = Result<Row, Stop>> + 'a>;

/// The keys between two bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// Where the range begins.
    pub start: Bound<Bytes>,
    /// Where it ends.
    pub end: Bound<Bytes>,
}

/// Ordered tables of bytes. Reading fails only with [`Stop::Broken`].
pub trait Tables {
    /// The value of a key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Stop>;
    /// The rows of a range in key order, or backwards.
    fn scan(&self, table: Table, range: Range, reverse: bool) -> Rows<'_>;
    /// Inserts or replaces a row.
    fn put(&mut self, table: Table, key: Bytes, value: Bytes);
    /// Removes a row if it is there.
    fn delete(&mut self, table: Table, key: &[u8]);
}
