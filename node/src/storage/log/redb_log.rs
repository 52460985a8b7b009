//! The log in one redb file for all shards.
//!
//! ```text
//! table "format"    "log"                                 -> u32, 1
//! table "meta"      shard u32 BE | kind u8                -> value | crc32c u32 LE
//!                     kind 1 vote: opaque;  2 committed, 3 purged: index u64 BE | log id
//! table "records"   shard u32 BE | index u64 BE           -> id length u16 LE | log id | body | crc32c u32 LE
//! ```
//!
//! A commit is redb's plain one: one sync, 1/2 of the cost of one that would let a killed node reopen without reading
//! its file through. That reading is bounded: purging keeps the file small.
//!
//! Purged rows are removed a slice with each commit, because removing 100,000 at once would hold up every append:
//! what lies at or below the purged mark is garbage, and a crash leaves garbage, nothing else.

use super::engine::{Change, LogEngine, LogReader, Saved};
use super::{Mark, Record};
use crate::storage::file::DbFile;
use crate::storage::seal::{seal, unseal};
use crate::storage::volume::Volume;
use bytes::Bytes;
use redb::{ReadableDatabase, ReadableTable, Table, TableDefinition};
use schedia_apps::ShardId;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const FORMAT: TableDefinition<'_, &str, u32> = TableDefinition::new("format");
const META: TableDefinition<'_, &[u8; 5], &[u8]> = TableDefinition::new("meta");
const RECORDS: TableDefinition<'_, &[u8; 12], &[u8]> = TableDefinition::new("records");

const FORMAT_VERSION: u32 = 1;
const VOTE: u8 = 1;
const COMMITTED: u8 = 2;
const PURGED: u8 = 3;

/// Purged rows removed with one commit: about a millisecond of work.
const GARBAGE_ROWS_PER_COMMIT: usize = 1_000;

/// Writes the file.
pub(super) struct RedbLog {
    file: PathBuf,
    db: Arc<DbFile>,
    /// Purged indexes some of whose rows are still there.
    garbage: BTreeMap<ShardId, Range<u64>>,
    /// Reused between records.
    value: Vec<u8>,
}

struct Reader {
    file: PathBuf,
    db: Arc<DbFile>,
}

impl RedbLog {
    /// Opens a log file, or makes an empty one.
    pub(super) fn open(file: &Path, cache_bytes: usize, volume: &Volume) -> io::Result<RedbLog> {
        RedbLog::new(file, DbFile::open(file, file, cache_bytes, volume)?)
    }

    /// The log in a database that is open already.
    pub(super) fn new(file: &Path, db: DbFile) -> io::Result<RedbLog> {
        let txn = db.begin_write().map_err(other)?;
        {
            let mut format = txn.open_table(FORMAT).map_err(other)?;
            let found = format.get("log").map_err(other)?.map(|version| version.value());
            match found {
                Some(FORMAT_VERSION) => {}
                Some(version) => return Err(wrong_format(version)),
                None => drop(format.insert("log", FORMAT_VERSION).map_err(other)?),
            }
            txn.open_table(META).map_err(other)?;
            txn.open_table(RECORDS).map_err(other)?;
        }
        txn.commit().map_err(other)?;
        let mut log =
            RedbLog { file: file.to_owned(), db: Arc::new(db), garbage: BTreeMap::new(), value: Vec::new() };
        log.garbage = log.find_garbage()?;
        Ok(log)
    }

    /// Rows that a purge before the last stop left behind.
    fn find_garbage(&self) -> io::Result<BTreeMap<ShardId, Range<u64>>> {
        let records = self.db.begin_read().map_err(other)?.open_table(RECORDS).map_err(other)?;
        let mut garbage = BTreeMap::new();
        for (shard, saved) in self.saved()? {
            let Some(purged) = saved.purged else { continue };
            let (from, end) = (record_key(shard, 0), record_key(shard, purged.index));
            if records.range::<&[u8; 12]>(&from..=&end).map_err(other)?.next().is_some() {
                garbage.insert(shard, 0..purged.index + 1);
            }
        }
        Ok(garbage)
    }

    fn remove_garbage(&mut self, records: &mut Records<'_>) -> io::Result<()> {
        let mut rows = GARBAGE_ROWS_PER_COMMIT;
        while let Some(mut entry) = self.garbage.first_entry() {
            let (shard, range) = (*entry.key(), entry.get_mut());
            let removed = remove(records, shard, range.clone(), rows)?;
            if removed.len() == rows {
                range.start = removed.last().map_or(range.end, |last| last + 1);
                break;
            }
            rows -= removed.len();
            entry.remove();
        }
        Ok(())
    }
}

type Records<'txn> = Table<'txn, &'static [u8; 12], &'static [u8]>;

/// Removes the first `rows_max` rows of a range, and tells which.
fn remove(
    records: &mut Records<'_>,
    shard: ShardId,
    range: Range<u64>,
    rows_max: usize,
) -> io::Result<Vec<u64>> {
    let (from, end) = (record_key(shard, range.start), record_key(shard, range.end));
    let mut found = Vec::new();
    for row in records.range::<&[u8; 12]>(&from..&end).map_err(other)?.take(rows_max) {
        found.push(index_of(row.map_err(other)?.0.value()));
    }
    for index in &found {
        records.remove(&record_key(shard, *index)).map_err(other)?;
    }
    Ok(found)
}

impl LogEngine for RedbLog {
    fn file(&self) -> &Path {
        &self.file
    }

    fn saved(&self) -> io::Result<Vec<(ShardId, Saved)>> {
        let txn = self.db.begin_read().map_err(other)?;
        let meta = txn.open_table(META).map_err(other)?;
        let records = txn.open_table(RECORDS).map_err(other)?;
        let mut shards = BTreeMap::<ShardId, Saved>::new();
        for row in meta.iter().map_err(other)? {
            let (key, value) = row.map_err(other)?;
            let key = key.value();
            let value = unseal(key, value.value()).ok_or_else(|| bad(&self.file, "meta", key))?;
            let [a, b, c, d, kind] = *key;
            let saved = shards.entry(ShardId(u32::from_be_bytes([a, b, c, d]))).or_default();
            match kind {
                VOTE => saved.vote = Some(Bytes::copy_from_slice(value)),
                COMMITTED => {
                    saved.committed = Some(decode_mark(value).ok_or_else(|| bad(&self.file, "meta", key))?)
                }
                PURGED => {
                    saved.purged = Some(decode_mark(value).ok_or_else(|| bad(&self.file, "meta", key))?)
                }
                _ => return Err(bad(&self.file, "meta", key)),
            }
        }
        // A shard that has entries and nothing else: from the first row of each shard to that of the next.
        let mut found = BTreeSet::new();
        let mut next = Some(record_key(ShardId(0), 0));
        while let Some(from) = next.take() {
            if let Some(row) = records.range::<&[u8; 12]>(&from..).map_err(other)?.next() {
                let shard = shard_of(row.map_err(other)?.0.value());
                found.insert(shard);
                next = shard.0.checked_add(1).map(|after| record_key(ShardId(after), 0));
            }
        }
        for shard in found {
            shards.entry(shard).or_default();
        }
        Ok(shards.into_iter().collect())
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        Arc::new(Reader { file: self.file.clone(), db: self.db.clone() })
    }

    fn commit(&mut self, changes: &mut dyn Iterator<Item = (ShardId, &Change)>) -> io::Result<()> {
        let txn = self.db.begin_write().map_err(other)?;
        {
            let mut records = txn.open_table(RECORDS).map_err(other)?;
            let mut meta = txn.open_table(META).map_err(other)?;
            let mut save = |shard, kind, mut value: Vec<u8>| {
                let key = meta_key(shard, kind);
                seal(&key, &mut value);
                meta.insert(&key, value.as_slice()).map(drop).map_err(other)
            };
            for (shard, change) in changes {
                match change {
                    Change::Append(entries) => {
                        for record in entries {
                            let key = record_key(shard, record.index);
                            encode_record(&key, record, &mut self.value)?;
                            records.insert(&key, self.value.as_slice()).map_err(other)?;
                        }
                    }
                    Change::Truncate(from) => {
                        remove(&mut records, shard, *from..u64::MAX, usize::MAX)?;
                    }
                    Change::Purge(mark) => {
                        save(shard, PURGED, encode_mark(mark))?;
                        self.garbage.entry(shard).or_insert(0..0).end = mark.index + 1;
                    }
                    Change::Vote(vote) => save(shard, VOTE, vote.to_vec())?,
                    Change::Committed(mark) => save(shard, COMMITTED, encode_mark(mark))?,
                }
            }
            self.remove_garbage(&mut records)?;
        }
        txn.commit().map_err(other)
    }

    fn has_garbage(&self) -> bool {
        !self.garbage.is_empty()
    }
}

impl LogReader for Reader {
    fn file(&self) -> &Path {
        &self.file
    }

    fn read(&self, shard: ShardId, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Record>> {
        let (from, end) = (record_key(shard, range.start), record_key(shard, range.end));
        let mut found = Vec::new();
        if from >= end {
            return Ok(found);
        }
        let records = self.db.begin_read().map_err(other)?.open_table(RECORDS).map_err(other)?;
        let mut bytes = 0;
        for row in records.range::<&[u8; 12]>(&from..&end).map_err(other)? {
            let (key, value) = row.map_err(other)?;
            let record = decode_record(key.value(), value.value())
                .ok_or_else(|| bad(&self.file, "records", key.value()))?;
            bytes += record.bytes();
            if bytes > bytes_max && !found.is_empty() {
                break;
            }
            found.push(record);
        }
        Ok(found)
    }
}

fn meta_key(shard: ShardId, kind: u8) -> [u8; 5] {
    let [a, b, c, d] = shard.0.to_be_bytes();
    [a, b, c, d, kind]
}

fn record_key(shard: ShardId, index: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&shard.0.to_be_bytes());
    key[4..].copy_from_slice(&index.to_be_bytes());
    key
}

fn shard_of(key: &[u8; 12]) -> ShardId {
    ShardId(u32::from_be_bytes([key[0], key[1], key[2], key[3]]))
}

fn index_of(key: &[u8; 12]) -> u64 {
    let [_, _, _, _, index @ ..] = *key;
    u64::from_be_bytes(index)
}

fn encode_mark(mark: &Mark) -> Vec<u8> {
    [&mark.index.to_be_bytes(), mark.id.as_ref()].concat()
}

fn decode_mark(value: &[u8]) -> Option<Mark> {
    let (index, id) = value.split_first_chunk()?;
    Some(Mark { index: u64::from_be_bytes(*index), id: Bytes::copy_from_slice(id) })
}

fn encode_record(key: &[u8; 12], record: &Record, value: &mut Vec<u8>) -> io::Result<()> {
    let id_bytes = u16::try_from(record.id.len()).map_err(other)?;
    value.clear();
    value.extend_from_slice(&id_bytes.to_le_bytes());
    value.extend_from_slice(&record.id);
    value.extend_from_slice(&record.body);
    seal(key, value);
    Ok(())
}

fn decode_record(key: &[u8; 12], value: &[u8]) -> Option<Record> {
    let value = unseal(key, value)?;
    let (id_bytes, rest) = value.split_first_chunk()?;
    let (id, body) = rest.split_at_checked(u16::from_le_bytes(*id_bytes).into())?;
    Some(Record { index: index_of(key), id: Bytes::copy_from_slice(id), body: Bytes::copy_from_slice(body) })
}

fn bad(file: &Path, table: &str, key: &[u8]) -> io::Error {
    let words = format!("bad checksum in table {table} of {}, key {key:02x?}", file.display());
    io::Error::new(io::ErrorKind::InvalidData, words)
}

fn wrong_format(version: u32) -> io::Error {
    let words =
        format!("log format {version} is not known to this release, which reads format {FORMAT_VERSION}");
    io::Error::new(io::ErrorKind::InvalidData, words)
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(error)
}
