//! A checkpoint, held open and streamed.

use super::position::{Position, SoFar, Trail};
use super::{BLOCK_BYTES, CHUNK_HEAD_BYTES, FORMAT_VERSION, HEADER, RESUMPTION, ROWS, TRAILER, checksum};
use crate::storage::base::{Base, invalid, other};
use crate::storage::seal::unseal;
use crate::storage::state::{Checkpoint, Shared};
use bytes::Bytes;
use std::collections::VecDeque;
use std::io;
use std::ops::Bound;
use std::sync::Arc;

/// Fast: a snapshot competes with apply for two cores.
const ZSTD_LEVEL: i32 = 1;

/// A checkpoint held open. A cheap clone, which is the same snapshot.
#[derive(Clone)]
pub struct Snapshot {
    base: Arc<Base>,
    trail: Arc<Trail>,
    /// Last: it may hold the directory's lock.
    shared: Arc<Shared>,
}

/// The stream of one snapshot: each item is one chunk, at most about 1 MiB unless one row is larger.
pub struct Chunks {
    stage: Stage,
    tables: VecDeque<Rows>,
    blocks: u64,
    so_far: SoFar,
    snapshot: Snapshot,
}

/// What is left of one table.
struct Rows {
    table: String,
    left: redb::Range<'static, &'static [u8], &'static [u8]>,
    /// Of the last one taken.
    key: Vec<u8>,
}

enum Stage {
    Header,
    Resumption(Position),
    Rows,
    End,
}

impl Snapshot {
    pub(in crate::storage) fn new(shared: Arc<Shared>, base: Arc<Base>) -> Snapshot {
        Snapshot { shared, base, trail: Arc::new(Trail::new()) }
    }

    /// What it covers.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.base.checkpoint
    }

    /// Whether a receiver that has this can go on: these are the first blocks of this very snapshot.
    pub fn leads_to(&self, position: &Position) -> bool {
        self.trail.leads_to(position)
    }

    /// The stream, from its beginning, or what is behind a position that this snapshot [leads to](Snapshot::leads_to). Blocking:
    /// reads the disk and compresses at each step.
    pub fn chunks(&self, behind: Option<Position>) -> Chunks {
        let (blocks, so_far) =
            behind.as_ref().map_or((0, SoFar::default()), |position| (position.blocks, position.so_far));
        let stage = behind.map_or(Stage::Header, Stage::Resumption);
        Chunks { snapshot: self.clone(), stage, tables: VecDeque::new(), blocks, so_far }
    }
}

impl Chunks {
    fn header(&mut self) -> io::Result<Bytes> {
        self.open(None)?;
        let Snapshot { shared, base, trail } = &self.snapshot;
        let mut payload = [FORMAT_VERSION.to_le_bytes(), shared.shard.0.to_le_bytes()].concat();
        payload.extend(trail.id.to_le_bytes());
        payload.extend(postcard::to_stdvec(&base.checkpoint).map_err(other)?);
        Ok(chunk(HEADER, &payload))
    }

    fn resumption(&mut self, position: &Position) -> io::Result<Bytes> {
        self.open(Some((&position.table, &position.key)))?;
        Ok(chunk(RESUMPTION, &position.resumption()))
    }

    /// Opens the tables, behind a row.
    fn open(&mut self, behind: Option<(&str, &[u8])>) -> io::Result<()> {
        for (table, rows) in self.snapshot.base.tables() {
            let from = match behind {
                Some((last, _)) if table < last => continue,
                Some((last, key)) if table == last => Bound::Excluded(key),
                _ => Bound::Unbounded,
            };
            let left = rows.range::<&[u8]>((from, Bound::Unbounded)).map_err(other)?;
            self.tables.push_back(Rows { table: table.to_owned(), left, key: Vec::new() });
        }
        Ok(())
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
            let SoFar { rows: before, digest } = self.so_far;
            self.so_far = SoFar { rows: before + count, digest: crc32c::crc32c_append(digest, &block) };
            self.snapshot.trail.note(self.blocks, self.so_far, (&rows.table, &rows.key));
            self.blocks += 1;
            let length = u32::try_from(block.len()).map_err(other)?;
            let mut payload = length.to_le_bytes().to_vec();
            payload.extend(zstd::bulk::compress(&block, ZSTD_LEVEL)?);
            return Ok(Some(chunk(ROWS, &payload)));
        }
        Ok(None)
    }

    fn trailer(&self) -> Bytes {
        let SoFar { rows, digest } = self.so_far;
        let mut payload = rows.to_le_bytes().to_vec();
        payload.extend(digest.to_le_bytes());
        chunk(TRAILER, &payload)
    }

    fn step(&mut self) -> io::Result<Option<Bytes>> {
        match std::mem::replace(&mut self.stage, Stage::Rows) {
            Stage::Header => self.header().map(Some),
            Stage::Resumption(position) => self.resumption(&position).map(Some),
            Stage::Rows => match self.rows()? {
                Some(rows) => Ok(Some(rows)),
                None => {
                    self.stage = Stage::End;
                    Ok(Some(self.trailer()))
                }
            },
            Stage::End => {
                self.stage = Stage::End;
                Ok(None)
            }
        }
    }
}

impl Iterator for Chunks {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<io::Result<Bytes>> {
        let step = self.step().map_err(|error| {
            // The file could not be read: never a short stream, and never in silence.
            self.stage = Stage::End;
            let Snapshot { shared, base: _, trail: _ } = &self.snapshot;
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
        let (mut count, mut last) = (0, None);
        while block.len() < BLOCK_BYTES {
            let Some(row) = self.left.next() else { break };
            let (found, sealed) = row.map_err(other)?;
            let (key, sealed) = (found.value(), sealed.value());
            if unseal(key, sealed).is_none() {
                return Err(invalid(format!("bad checksum in table {}, key {key:02x?}", self.table)));
            }
            block.extend_from_slice(&u32::try_from(key.len()).map_err(other)?.to_le_bytes());
            block.extend_from_slice(&u32::try_from(sealed.len()).map_err(other)?.to_le_bytes());
            block.extend_from_slice(key);
            block.extend_from_slice(sealed);
            count += 1;
            last = Some(found);
        }
        if let Some(last) = last {
            self.key = last.value().to_vec();
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
