//! How far a snapshot has come: what its receiver has, and what its sender remembers of that.

use serde::{Deserialize, Serialize};
use std::sync::{Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// What a receiver has of a snapshot whose stream broke off: whole blocks, from the first on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub(super) id: u128,
    /// At least one.
    pub(super) blocks: u64,
    pub(super) so_far: SoFar,
    /// Of the last row.
    pub(super) table: String,
    /// Of the last row.
    pub(super) key: Vec<u8>,
}

/// What the blocks up to one come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SoFar {
    pub(super) rows: u64,
    /// crc32c of all blocks.
    pub(super) digest: u32,
}

/// What a sender remembers of a block that it has made: 16 bytes for a MiB of rows.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Mark {
    so_far: SoFar,
    /// crc32c of the table and the key of the last row.
    place: u32,
}

/// The blocks that were made of one snapshot, in all attempts to send it.
pub(super) struct Trail {
    pub(super) id: u128,
    /// std Mutex: never held across an await.
    marks: Mutex<Vec<Mark>>,
}

impl Position {
    /// Whole blocks received.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// How a resumption behind this begins.
    pub(super) fn resumption(&self) -> Vec<u8> {
        let Position { id, blocks, so_far: SoFar { rows, digest }, table: _, key: _ } = self;
        [&id.to_le_bytes()[..], &blocks.to_le_bytes(), &rows.to_le_bytes(), &digest.to_le_bytes()].concat()
    }

    fn mark(&self) -> Mark {
        Mark { so_far: self.so_far, place: place(&self.table, &self.key) }
    }
}

impl Trail {
    pub(super) fn new() -> Trail {
        Trail { id: Uuid::new_v4().as_u128(), marks: Mutex::default() }
    }

    /// A block was made, with these before it. A checkpoint reads the same each time: what is known stays.
    pub(super) fn note(&self, blocks_before: u64, so_far: SoFar, (table, key): (&str, &[u8])) {
        let mut marks = self.lock();
        if marks.len() as u64 == blocks_before {
            marks.push(Mark { so_far, place: place(table, key) });
        }
    }

    /// Whether a receiver has the first blocks of this snapshot, and nothing else.
    pub(super) fn leads_to(&self, position: &Position) -> bool {
        let last = position.blocks.checked_sub(1).and_then(|last| usize::try_from(last).ok());
        let marks = self.lock();
        position.id == self.id && last.and_then(|last| marks.get(last)) == Some(&position.mark())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Mark>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place(table: &str, key: &[u8]) -> u32 {
    // A table's name is below 256 bytes: its length keeps the two apart.
    let table = crc32c::crc32c_append(crc32c::crc32c(&[table.len() as u8]), table.as_bytes());
    crc32c::crc32c_append(table, key)
}
