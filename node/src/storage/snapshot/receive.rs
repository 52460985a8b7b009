//! A stream, checked while it arrives and written to a new state file.

use super::{CHUNK_HEAD_BYTES, FORMAT_VERSION, HEADER, PAYLOAD_BYTES_MAX, ROWS, TRAILER, checksum};
use crate::storage::base::{self, Base, invalid, other};
use crate::storage::draft::Draft;
use crate::storage::file::DbFile;
use crate::storage::seal::unseal;
use crate::storage::state::Checkpoint;
use crate::storage::volume::Volume;
use redb::WriteTransaction;
use schedia_apps::ShardId;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Files of snapshots being received begin with this.
pub(in crate::storage) const PREFIX: &str = "incoming-";

/// Builds a new state file while the stream arrives. Dropped early, it deletes what it wrote. Blocking.
pub struct Receiver {
    stage: Stage,
    /// What has arrived of a chunk that is not whole yet.
    partial: Vec<u8>,
    rows: u64,
    rows_bytes: u64,
    digest: u32,
    /// Where the last row was: rows are in order, and each comes once.
    last: Option<(String, Vec<u8>)>,
    shard: ShardId,
    txn: WriteTransaction,
    db: Arc<DbFile>,
    /// After `db`: deleted when that is closed.
    file: Draft,
}

enum Stage {
    Header,
    Rows(Checkpoint),
    End(Checkpoint),
    Failed,
}

/// A snapshot that is whole and on disk, but not in force. Dropped without
/// [`State::install`](crate::storage::State::install), its file is deleted.
pub struct Received {
    base: Base,
    file: Draft,
}

impl Receiver {
    pub(in crate::storage) fn new(
        dir: &Path,
        becomes: &Path,
        shard: ShardId,
        number: u64,
        cache_bytes: usize,
        volume: &Volume,
    ) -> io::Result<Receiver> {
        let file = Draft::new(dir.join(format!("{PREFIX}{number}.redb")));
        let db = DbFile::open(file.path(), becomes, cache_bytes, volume)?;
        let txn = db.begin_write().map_err(other)?;
        let (stage, partial, last) = (Stage::Header, Vec::new(), None);
        let db = Arc::new(db);
        Ok(Receiver { stage, partial, rows: 0, rows_bytes: 0, digest: 0, last, shard, txn, db, file })
    }

    /// Takes the next bytes of the stream, cut anywhere.
    pub fn push(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let wanted = match whole(&self.partial)? {
                Some(length) => length,
                None => CHUNK_HEAD_BYTES,
            };
            let (now, later) = bytes.split_at(bytes.len().min(wanted - self.partial.len()));
            self.partial.extend_from_slice(now);
            bytes = later;
            if whole(&self.partial)? == Some(self.partial.len()) {
                let chunk = std::mem::take(&mut self.partial);
                self.chunk(&chunk)?;
                self.partial = chunk;
                self.partial.clear();
            }
        }
        Ok(())
    }

    /// Verifies the whole, syncs the file. An error names what is missing or wrong.
    pub fn finish(self) -> io::Result<Received> {
        let Receiver { stage, partial, rows: _, rows_bytes, digest: _, last: _, shard, txn, db, file } = self;
        let checkpoint = match stage {
            Stage::End(checkpoint) if partial.is_empty() => checkpoint,
            _ => return Err(invalid("the snapshot ends before its trailer".into())),
        };
        base::write_checkpoint(&txn, shard, &checkpoint, rows_bytes)?;
        base::commit(txn)?;
        Ok(Received { base: Base::new(db)?, file })
    }

    fn chunk(&mut self, chunk: &[u8]) -> io::Result<()> {
        let (head, payload) = chunk.split_at(CHUNK_HEAD_BYTES);
        let kind = head[CHUNK_HEAD_BYTES - 1];
        if head[4..8] != checksum(kind, payload).to_le_bytes() {
            return Err(invalid(format!("bad checksum in the snapshot, behind row {}", self.rows)));
        }
        match (std::mem::replace(&mut self.stage, Stage::Failed), kind) {
            (Stage::Header, HEADER) => self.stage = Stage::Rows(header(self.shard, payload)?),
            (Stage::Rows(checkpoint), ROWS) => {
                self.block(payload)?;
                self.stage = Stage::Rows(checkpoint);
            }
            (Stage::Rows(checkpoint), TRAILER) => {
                self.trailer(payload)?;
                self.stage = Stage::End(checkpoint);
            }
            (_, kind) => {
                return Err(invalid(format!("a chunk of kind {kind} has no place here in the snapshot")));
            }
        }
        Ok(())
    }

    fn block(&mut self, payload: &[u8]) -> io::Result<()> {
        let (length, compressed) = take_u32(payload).ok_or_else(malformed)?;
        if length > PAYLOAD_BYTES_MAX {
            return Err(invalid(format!("a block of {length} bytes in the snapshot is too large")));
        }
        let block = zstd::bulk::decompress(compressed, length)?;
        let (name, rows) = block.split_first().ok_or_else(malformed)?;
        let (name, rows) = rows.split_at_checked(usize::from(*name)).ok_or_else(malformed)?;
        let table = std::str::from_utf8(name).map_err(|_| malformed())?;
        let rows = parse_rows(rows).ok_or_else(malformed)?;
        self.check_rows(table, &rows)?;
        let mut table_rows = base::Sealed::open(&self.txn, table)?;
        rows.iter().try_for_each(|(key, sealed)| table_rows.write(key, sealed))?;
        drop(table_rows);
        self.rows += rows.len() as u64;
        self.rows_bytes += rows.iter().map(|(key, sealed)| (key.len() + sealed.len()) as u64).sum::<u64>();
        self.digest = crc32c::crc32c_append(self.digest, &block);
        if let Some((key, _)) = rows.last() {
            self.last = Some((table.to_owned(), key.to_vec()));
        }
        Ok(())
    }

    /// Every row has its checksum and lies behind the one before.
    fn check_rows(&self, table: &str, rows: &[(&[u8], &[u8])]) -> io::Result<()> {
        let mut before = self.last.as_ref().map(|(table, key)| (table.as_str(), key.as_slice()));
        for (key, sealed) in rows {
            if unseal(key, sealed).is_none() {
                return Err(invalid(format!(
                    "bad checksum of a row in the snapshot, table {table}, key {key:02x?}"
                )));
            }
            if before.is_some_and(|before| before >= (table, key)) {
                return Err(invalid(format!(
                    "rows of the snapshot out of order, table {table}, key {key:02x?}"
                )));
            }
            before = Some((table, key));
        }
        Ok(())
    }

    fn trailer(&self, payload: &[u8]) -> io::Result<()> {
        let (rows, digest) = payload.split_first_chunk().ok_or_else(malformed)?;
        let rows = u64::from_le_bytes(*rows);
        if rows != self.rows {
            return Err(invalid(format!("the snapshot has {} rows, and should have {rows}", self.rows)));
        }
        if digest != self.digest.to_le_bytes() {
            return Err(invalid("the digest of the snapshot is wrong".into()));
        }
        Ok(())
    }
}

impl Received {
    /// What it covers.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.base.checkpoint
    }

    pub(in crate::storage) fn base(&self) -> &Base {
        &self.base
    }

    pub(in crate::storage) fn into_parts(self) -> (Base, Draft) {
        (self.base, self.file)
    }
}

/// The length of the chunk that begins here, once its head has arrived.
fn whole(partial: &[u8]) -> io::Result<Option<usize>> {
    if partial.len() < CHUNK_HEAD_BYTES {
        return Ok(None);
    }
    let (length, _) = take_u32(partial).ok_or_else(malformed)?;
    if length > PAYLOAD_BYTES_MAX {
        return Err(invalid(format!("a chunk of {length} bytes in the snapshot is too large")));
    }
    Ok(Some(CHUNK_HEAD_BYTES + length))
}

fn header(shard: ShardId, payload: &[u8]) -> io::Result<Checkpoint> {
    let (format, rest) = take_u32(payload).ok_or_else(malformed)?;
    if format != FORMAT_VERSION as usize {
        let words =
            format!("snapshot format {format} is not known to this release, which reads {FORMAT_VERSION}");
        return Err(invalid(words));
    }
    let (of, checkpoint) = take_u32(rest).ok_or_else(malformed)?;
    if of != shard.0 as usize {
        return Err(invalid(format!("the snapshot is of shard {of}, not of shard {shard}")));
    }
    postcard::from_bytes(checkpoint).map_err(other)
}

/// Keys and sealed values of a block.
fn parse_rows(mut block: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut rows = Vec::new();
    while !block.is_empty() {
        let (key_bytes, rest) = take_u32(block)?;
        let (value_bytes, rest) = take_u32(rest)?;
        let (key, rest) = rest.split_at_checked(key_bytes)?;
        let (value, rest) = rest.split_at_checked(value_bytes)?;
        rows.push((key, value));
        block = rest;
    }
    Some(rows)
}

fn take_u32(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*number) as usize, rest))
}

fn malformed() -> io::Error {
    invalid("a chunk of the snapshot is malformed".into())
}
