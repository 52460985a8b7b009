//! Ordered tables of bytes: the only storage an application sees.
//!
//! Not here: where the rows live (`storage` of schedia-node; [`MemoryTables`] for tests and models).

mod delta;
mod digest;
mod memory;

pub use delta::{Changes, Delta, overlaid};
pub use digest::{Digest, Digester};
pub use memory::MemoryTables;

use crate::Stop;
use bytes::Bytes;
use smallvec::SmallVec;
use std::ops::Bound;

/// A table's name: unique among all applications, written to disk, never reused for another meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table(pub &'static str);

/// A row's key in memory. Most are short, and stand here without an allocation.
pub type RowKey = SmallVec<[u8; 40]>;

/// A key and its value.
pub type Row = (Bytes, Bytes);

/// Rows in key order (or its reverse), read lazily.
pub type Rows<'a> = Box<dyn Iterator<Item = Result<Row, Stop>> + 'a>;

/// The keys between two bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// Where the range begins.
    pub start: Bound<RowKey>,
    /// Where it ends.
    pub end: Bound<RowKey>,
}

/// Two bounds as `BTreeMap::range` takes them.
pub type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

impl Range {
    /// Every key.
    pub fn all() -> Range {
        Range { start: Bound::Unbounded, end: Bound::Unbounded }
    }

    /// The bounds as slices; `None` if no key can lie between them (which `BTreeMap::range` answers with a panic).
    pub fn bounds(&self) -> Option<Bounds<'_>> {
        let start = self.start.as_ref().map(|key| &key[..]);
        let end = self.end.as_ref().map(|key| &key[..]);
        let empty = match (start, end) {
            (Bound::Included(a), Bound::Included(b)) => a > b,
            (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => a >= b,
            _ => false,
        };
        (!empty).then_some((start, end))
    }
}

/// Ordered tables of bytes. Reading fails only with [`Stop::Broken`].
pub trait Tables {
    /// The value of a key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Stop>;
    /// The rows of a range in key order, or backwards.
    fn scan(&self, table: Table, range: Range, reverse: bool) -> Rows<'_>;
    /// Inserts or replaces a row.
    fn put(&mut self, table: Table, key: &[u8], value: Bytes);
    /// Removes a row if it is there.
    fn delete(&mut self, table: Table, key: &[u8]);
}
