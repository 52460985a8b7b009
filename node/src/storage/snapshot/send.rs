//! A checkpoint, held open and streamed.

use super::{BLOCK_BYTES, CHUNK_HEAD_BYTES, FORMAT_VERSION, HEADER, ROWS, TRAILER, checksum};
use crate::storage::base::{Base, invalid, other};
use crate::storage::seal::unseal;
use crate::storage::state::{Checkpoint, Shared};
use bytes::Bytes;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

/// Fast: a snapshot competes with apply for two cores.
const ZSTD_LEVEL: i32 = 1;

/// A checkpoint held open. A cheap clone.
#[derive(Clone)]
pub struct Snapshot {
    base: Arc<Base>,
    /// Last: it may hold the directory's lock.
    shared: Arc<Shared>,
}

/// The stream of one snapshot: each item is one chunk, at most about 1 MiB unless one row is larger.
pub struct Chunks {
    stage: Stage,
    tables: VecDeque<Rows>,
    rows: u64,
    digest: u32,
    snapshot: Snapshot,
}

/// What is left of one table.
struct Rows {
    table: String,
    left: redb::Range<'static, &'static [u8], &'static [u8]>,
}

enum Stage {
    Header,
    Rows,
    End,
}

impl Snapshot {
    pub(in crate::storage) fn new(shared: Arc<Shared>, base: Arc<Base>) -> Snapshot {
        Snapshot { shared, base }
    }

    /// What it covers.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.base.checkpoint
    }

    /// The stream, from its beginning. Blocking: reads the disk and compresses at each step.
    pub fn chunks(&self) -> Chunks {
        let (stage, tables) = (Stage::Header, VecDeque::new());
        Chunks { snapshot: self.clone(), stage, tables, rows: 0, digest: 0 }
    }
}

impl Chunks {
    fn header(&mut self) -> io::Result<Bytes> {
        let Snapshot { shared, base } = &self.snapshot;
        for (table, rows) in base.tables() {
            let left = rows.range::<&[u8]>(..).map_err(other)?;
            self.tables.push_back(Rows { table: table.to_owned(), left });
        }
        let mut payload = [FORMAT_VERSION.to_le_bytes(), shared.shard.0.to_le_bytes()].concat();
        payload.extend(postcard::to_stdvec(&base.checkpoint).map_err(other)?);
        Ok(chunk(HEADER, &payload))
    }

    /// The next block of rows of the first table that has any left.
    fn rows(&mut self) -> io::Result<Option<Bytes>> {
        while let Some(rows) = self.tables.front_mut() {
            let mut block = Vec::with_capacity(BLOCK_BYTES + (BLOCK_BYTES >> 3));
            let count = rows.fill(&mut block)?;
            if count == 0 {
                self.tables.pop_front();
                continue;
            }
            self.rows += count;
            self.digest = crc32c::crc32c_append(self.digest, &block);
            let length = u32::try_from(block.len()).map_err(other)?;
            let mut payload = length.to_le_bytes().to_vec();
            payload.extend(zstd::bulk::compress(&block, ZSTD_LEVEL)?);
            return Ok(Some(chunk(ROWS, &payload)));
        }
        Ok(None)
    }

    fn trailer(&self) -> Bytes {
        let mut payload = self.rows.to_le_bytes().to_vec();
        payload.extend(self.digest.to_le_bytes());
        chunk(TRAILER, &payload)
    }

    fn step(&mut self) -> io::Result<Option<Bytes>> {
        match self.stage {
            Stage::Header => {
                self.stage = Stage::Rows;
                self.header().map(Some)
            }
            Stage::Rows => match self.rows()? {
                Some(rows) => Ok(Some(rows)),
                None => {
                    self.stage = Stage::End;
                    Ok(Some(self.trailer()))
                }
            },
            Stage::End => Ok(None),
        }
    }
}

impl Iterator for Chunks {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<io::Result<Bytes>> {
        let step = self.step().map_err(|error| {
            // The file could not be read: never a short stream, and never in silence.
            self.stage = Stage::End;
            let Snapshot { shared, base: _ } = &self.snapshot;
            shared.failure.set(&shared.file, error).into()
        });
        step.transpose()
    }
}

impl Rows {
    /// Appends a block of rows; answers how many.
    fn fill(&mut self, block: &mut Vec<u8>) -> io::Result<u64> {
        let name = u8::try_from(self.table.len()).map_err(other)?;
        block.push(name);
        block.extend_from_slice(self.table.as_bytes());
        let mut count = 0;
        while block.len() < BLOCK_BYTES {
            let Some(row) = self.left.next() else { break };
            let (key, sealed) = row.map_err(other)?;
            let (key, sealed) = (key.value(), sealed.value());
            if unseal(key, sealed).is_none() {
                return Err(invalid(format!("bad checksum in table {}, key {key:02x?}", self.table)));
            }
            block.extend_from_slice(&u32::try_from(key.len()).map_err(other)?.to_le_bytes());
            block.extend_from_slice(&u32::try_from(sealed.len()).map_err(other)?.to_le_bytes());
            block.extend_from_slice(key);
            block.extend_from_slice(sealed);
            count += 1;
        }
        Ok(count)
    }
}

fn chunk(kind: u8, payload: &[u8]) -> Bytes {
    let mut chunk = Vec::with_capacity(CHUNK_HEAD_BYTES + payload.len());
    // A payload is one block and at most one row more: far below 4 GiB.
    chunk.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    chunk.extend_from_slice(&checksum(kind, payload).to_le_bytes());
    chunk.push(kind);
    chunk.extend_from_slice(payload);
    chunk.into()
}
