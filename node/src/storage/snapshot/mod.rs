//! Snapshots as a stream of checksummed chunks: out of a checkpoint held open, into a new state file.
//!
//! ```text
//! stream   chunk (header) | chunk (rows) ... | chunk (trailer)
//! chunk    payload length u32 LE | crc32c of kind and payload u32 LE | kind u8 | payload
//! header   kind 1: format u32 LE | shard u32 LE | Checkpoint in postcard
//! rows     kind 2: block length u32 LE | block, compressed with zstd
//!            block: table name length u8 | name | rows of this table in key order
//!            row:   key length u32 LE | value length u32 LE | key | value with its checksum, as in the file
//! trailer  kind 3: number of rows u64 LE | crc32c of all blocks u32 LE
//! ```
//!
//! Invariants:
//! * A snapshot is of a checkpoint, never of an overlay: what it covers is on a disk.
//! * Both sides need memory for a few chunks, whatever the state's size.
//! * A received file is in force only whole: every checksum, order, count and digest right, and synced.

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod receive;
mod send;
#[cfg(test)]
mod tests;

pub use receive::{Received, Receiver};
pub use send::{Chunks, Snapshot};

pub(super) use receive::PREFIX;

const FORMAT_VERSION: u32 = 1;
const HEADER: u8 = 1;
const ROWS: u8 = 2;
const TRAILER: u8 = 3;

/// Bytes before the payload of a chunk.
const CHUNK_HEAD_BYTES: usize = 9;
/// A block of rows ends behind the row that reaches this size.
const BLOCK_BYTES: usize = 1 << 20;
/// Bound of a payload and of a block on the receiving side: far above a block and its last row.
const PAYLOAD_BYTES_MAX: usize = 32 << 20;

fn checksum(kind: u8, payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&[kind]), payload)
}
