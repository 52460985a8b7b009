//! A fingerprint of logical state: equal on two members that applied the same log, whatever each has already removed.

use super::{Range, Table, Tables};
use crate::Stop;
use sha2::{Digest as _, Sha256};
use std::fmt;

/// A fingerprint of logical state.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

/// Takes rows in an order that all members agree on.
#[derive(Default)]
pub struct Digester(Sha256);

impl Digester {
    /// Adds a row. Lengths go in too, so that no two sequences of rows read the same.
    pub fn row(&mut self, table: Table, key: &[u8], value: &[u8]) {
        for part in [table.0.as_bytes(), key, value] {
            self.0.update((part.len() as u64).to_be_bytes());
            self.0.update(part);
        }
    }

    /// Adds every row of a table.
    pub(crate) fn table(&mut self, tables: &dyn Tables, table: Table) -> Result<(), Stop> {
        for row in tables.scan(table, Range::all(), false) {
            let (key, row) = row?;
            self.row(table, &key, &row);
        }
        Ok(())
    }

    /// The fingerprint of all rows added.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
