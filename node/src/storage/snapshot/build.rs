//! A state file that is put together from the blocks of a snapshot.

use super::position::{Position, SoFar};
use super::receive::{PREFIX, Received};
use super::{FORMAT_VERSION, PAYLOAD_BYTES_MAX};
use crate::storage::base::{self, Base, invalid, other};
use crate::storage::draft::Draft;
use crate::storage::file::DbFile;
use crate::storage::seal::unseal;
use crate::storage::state::Checkpoint;
use crate::storage::volume::Volume;
use redb::WriteTransaction;
use schedia_apps::ShardId;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Where a snapshot is received, and as what.
#[derive(Clone)]
pub(in crate::storage) struct Place {
    pub(in crate::storage) dir: PathBuf,
    /// The file whose place it takes.
    pub(in crate::storage) becomes: PathBuf,
    pub(in crate::storage) shard: ShardId,
    /// Names its file.
    pub(in crate::storage) number: u64,
    pub(in crate::storage) cache_bytes: usize,
    pub(in crate::storage) volume: Volume,
}

/// The file in the making: one open transaction, however often the stream breaks off. Dropped, it is deleted.
pub(super) struct Building {
    id: u128,
    checkpoint: Checkpoint,
    blocks: u64,
    so_far: SoFar,
    rows_bytes: u64,
    /// Where the last row was: rows are in order, and each comes once.
    last: Option<(String, Vec<u8>)>,
    shard: ShardId,
    txn: WriteTransaction,
    db: Arc<DbFile>,
    /// After `db`: deleted when that is closed.
    file: Draft,
}

impl Building {
    /// Makes the file, for the snapshot with this header.
    pub(super) fn begin(place: &Place, header: &[u8]) -> io::Result<Building> {
        let Place { dir, becomes, shard, number, cache_bytes, volume } = place;
        let (id, checkpoint) = parse_header(*shard, header)?;
        let file = Draft::new(dir.join(format!("{PREFIX}{number}.redb")));
        let db = DbFile::open(file.path(), becomes, *cache_bytes, volume)?;
        let txn = db.begin_write().map_err(other)?;
        let (blocks, so_far, rows_bytes, last) = (0, SoFar::default(), 0, None);
        let (shard, db) = (*shard, Arc::new(db));
        Ok(Building { id, checkpoint, blocks, so_far, rows_bytes, last, shard, txn, db, file })
    }

    /// What is here, if any block is.
    pub(super) fn position(&self) -> Option<Position> {
        let Building { id, blocks, so_far, last, .. } = self;
        let (table, key) = last.clone()?;
        Some(Position { id: *id, blocks: *blocks, so_far: *so_far, table, key })
    }

    pub(super) fn rows(&self) -> u64 {
        self.so_far.rows
    }

    /// Checks that a stream goes on behind what is here.
    pub(super) fn resume(&self, payload: &[u8]) -> io::Result<()> {
        match self.position() {
            Some(position) if position.resumption() == payload => Ok(()),
            _ => Err(invalid("the snapshot goes on where this one does not end".into())),
        }
    }

    pub(super) fn block(&mut self, payload: &[u8]) -> io::Result<()> {
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
        self.blocks += 1;
        self.so_far.rows += rows.len() as u64;
        self.so_far.digest = crc32c::crc32c_append(self.so_far.digest, &block);
        self.rows_bytes += rows.iter().map(|(key, sealed)| (key.len() + sealed.len()) as u64).sum::<u64>();
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

    pub(super) fn trailer(&self, payload: &[u8]) -> io::Result<()> {
        let (rows, digest) = payload.split_first_chunk().ok_or_else(malformed)?;
        let (rows, SoFar { rows: here, digest: digest_here }) = (u64::from_le_bytes(*rows), self.so_far);
        if rows != here {
            return Err(invalid(format!("the snapshot has {here} rows, and should have {rows}")));
        }
        if digest != digest_here.to_le_bytes() {
            return Err(invalid("the digest of the snapshot is wrong".into()));
        }
        Ok(())
    }

    /// Commits and syncs what is whole.
    pub(super) fn finish(self) -> io::Result<Received> {
        let Building { id: _, checkpoint, blocks: _, so_far: _, rows_bytes, last: _, shard, txn, db, file } =
            self;
        base::write_checkpoint(&txn, shard, &checkpoint, rows_bytes)?;
        base::commit(txn)?;
        Ok(Received::new(Base::new(db)?, file))
    }
}

/// The snapshot's id and what it covers.
fn parse_header(shard: ShardId, payload: &[u8]) -> io::Result<(u128, Checkpoint)> {
    let (format, rest) = take_u32(payload).ok_or_else(malformed)?;
    if format != FORMAT_VERSION as usize {
        let words =
            format!("snapshot format {format} is not known to this release, which reads {FORMAT_VERSION}");
        return Err(invalid(words));
    }
    let (of, rest) = take_u32(rest).ok_or_else(malformed)?;
    if of != shard.0 as usize {
        return Err(invalid(format!("the snapshot is of shard {of}, not of shard {shard}")));
    }
    let (id, checkpoint) = rest.split_first_chunk().ok_or_else(malformed)?;
    Ok((u128::from_le_bytes(*id), postcard::from_bytes(checkpoint).map_err(other)?))
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

pub(super) fn take_u32(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*number) as usize, rest))
}

pub(super) fn malformed() -> io::Error {
    invalid("a chunk of the snapshot is malformed".into())
}
