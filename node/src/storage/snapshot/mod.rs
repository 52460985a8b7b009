//! Snapshots as a stream of checksummed chunks: out of a checkpoint held open, into a new state file.
//!
//! ```text
//! stream   chunk (header) | chunk (rows) ... | chunk (trailer)
//! the rest of one: chunk (resumption) | chunk (rows) ... | chunk (trailer)
//! chunk    payload length u32 LE | crc32c of kind and payload u32 LE | kind u8 | payload
//! header   kind 1: format u32 LE | shard u32 LE | snapshot's id u128 LE | Checkpoint in postcard
//! rows     kind 2: block length u32 LE | block, compressed with zstd
//!            block: table name length u8 | name | rows of this table in key order
//!            row:   key length u32 LE | value length u32 LE | key | value with its checksum, as in the file
//! trailer  kind 3: number of rows u64 LE | crc32c of all blocks u32 LE
//! resumption
//!          kind 4: snapshot's id u128 LE | of what the receiver has: blocks u64 LE | rows u64 LE | crc32c of all blocks u32 LE
//! ```
//!
//! A stream that breaks off goes on behind the last whole block. The receiver keeps its draft as it is, an open transaction, and says
//! what it has ([`Position`]). The sender, as long as it has the checkpoint open, compares that with what it noted of each
//! block it made; if it does not agree, or has the checkpoint no more, it begins again, with a header.
//!
//! What is proved when: a chunk, a row and their order, as they arrive. That sender and receiver mean the same snapshot and the same first
//! blocks of it, at each resumption: its id, how many, their rows, the digest of all their bytes, and the last key. The whole, however
//! often it broke: by the trailer, as number and digest go on over all parts, on both sides each for itself.
//!
//! Invariants:
//! * A snapshot is of a checkpoint, never of an overlay: what it covers is on a disk.
//! * Both sides need memory for a few chunks, whatever the state's size; the sender 16 bytes more for each block.
//! * A received file is in force only whole: every checksum, order, count and digest right, and synced.

mod build;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod position;
mod receive;
mod send;
#[cfg(test)]
mod tests;

pub(super) use build::Place;
pub use position::Position;
pub use receive::{Received, Receiver};
pub use send::{Chunks, Snapshot};

pub(super) use receive::PREFIX;

const FORMAT_VERSION: u32 = 2;
const HEADER: u8 = 1;
const ROWS: u8 = 2;
const TRAILER: u8 = 3;
const RESUMPTION: u8 = 4;

/// Bytes before the payload of a chunk.
const CHUNK_HEAD_BYTES: usize = 9;
/// A block of rows ends behind the row that reaches this size.
const BLOCK_BYTES: usize = 1 << 20;
/// Bound of a payload and of a block on the receiving side: far above a block and its last row.
const PAYLOAD_BYTES_MAX: usize = 32 << 20;

fn checksum(kind: u8, payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&[kind]), payload)
}
