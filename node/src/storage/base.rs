//! The state file of one shard as of one checkpoint: a read transaction with its tables open.
//!
//! ```text
//! table "schedia"       "format"                    -> format u32 LE | shard u32 LE | crc32c u32 LE
//!                       "checkpoint"                -> Checkpoint in postcard | crc32c u32 LE
//!                       "rows_bytes"                -> bytes of all keys and values u64 LE | crc32c u32 LE
//! table "t.<name>"      key                         -> value | crc32c u32 LE      one for each table of an application
//! ```

use super::file::DbFile;
use super::overlay::{Change, Overlay};
use super::seal::{seal, unseal};
use super::state::Checkpoint;
use super::volume::Volume;
use bytes::Bytes;
use redb::{ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition, TableHandle, WriteTransaction};
use schedia_apps::ShardId;
use schedia_apps::tables::{Bounds, Table};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

const SCHEDIA: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("schedia");
const FORMAT: &str = "format";
const CHECKPOINT: &str = "checkpoint";
const ROWS_BYTES: &str = "rows_bytes";
const FORMAT_VERSION: u32 = 1;
const PREFIX: &str = "t.";

/// A table of rows.
pub(super) type Rows = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// One checkpoint, held open. While it lives, redb keeps the pages it reads.
pub(super) struct Base {
    pub(super) db: Arc<DbFile>,
    pub(super) checkpoint: Checkpoint,
    /// Bytes of all keys and values.
    pub(super) rows_bytes: u64,
    tables: BTreeMap<String, Rows>,
}

/// Opens a state file, or makes an empty one of this shard.
pub(super) fn open(file: &Path, shard: ShardId, cache_bytes: usize, volume: &Volume) -> io::Result<Base> {
    prepare(DbFile::open(file, file, cache_bytes, volume)?, shard)
}

/// The last checkpoint of a shard's database, or an empty one in a new database.
pub(super) fn prepare(db: DbFile, shard: ShardId) -> io::Result<Base> {
    let txn = db.begin_write().map_err(other)?;
    let found =
        txn.open_table(SCHEDIA).map_err(other)?.get(FORMAT).map_err(other)?.map(|row| row.value().to_vec());
    match found {
        Some(sealed) => check_format(shard, &sealed)?,
        None => write_checkpoint(&txn, shard, &Checkpoint::default(), 0)?,
    }
    commit(txn)?;
    Base::new(Arc::new(db))
}

impl Base {
    /// The last checkpoint of a file.
    pub(super) fn new(db: Arc<DbFile>) -> io::Result<Base> {
        let txn = db.begin_read().map_err(other)?;
        let about = txn.open_table(SCHEDIA).map_err(other)?;
        let checkpoint = postcard::from_bytes(&said(&about, CHECKPOINT)?).map_err(other)?;
        let rows_bytes = said(&about, ROWS_BYTES)?;
        let rows_bytes =
            rows_bytes.first_chunk().ok_or_else(|| invalid("no size in the state file".into()))?;
        let mut tables = BTreeMap::new();
        for table in txn.list_tables().map_err(other)? {
            if let Some(name) = table.name().strip_prefix(PREFIX) {
                tables.insert(name.to_owned(), txn.open_table(rows(table.name())).map_err(other)?);
            }
        }
        Ok(Base { db, checkpoint, rows_bytes: u64::from_le_bytes(*rows_bytes), tables })
    }

    /// Every table by name.
    pub(super) fn tables(&self) -> impl Iterator<Item = (&str, &Rows)> {
        self.tables.iter().map(|(name, rows)| (name.as_str(), rows))
    }

    pub(super) fn get(&self, table: Table, key: &[u8]) -> io::Result<Option<Bytes>> {
        let Some(rows) = self.tables.get(table.0) else { return Ok(None) };
        match rows.get(key).map_err(other)? {
            Some(sealed) => value(table.0, key, sealed.value()).map(Some),
            None => Ok(None),
        }
    }

    /// The rows between two bounds.
    pub(super) fn scan(
        &self,
        table: Table,
        bounds: Bounds<'_>,
        reverse: bool,
    ) -> io::Result<Option<impl Iterator<Item = io::Result<Change>> + use<>>> {
        let Some(rows) = self.tables.get(table.0) else { return Ok(None) };
        let mut rows = rows.range::<&[u8]>(bounds).map_err(other)?;
        let next = move || if reverse { rows.next_back() } else { rows.next() };
        Ok(Some(std::iter::from_fn(next).map(move |row| {
            let (key, sealed) = row.map_err(other)?;
            let value = value(table.0, key.value(), sealed.value())?;
            Ok((Bytes::copy_from_slice(key.value()), Some(value)))
        })))
    }
}

/// Writes the changes of an overlay, of rows that are within. Answers by how many bytes the rows have grown.
pub(super) fn write_changes(
    txn: &WriteTransaction,
    changes: &Overlay,
    within: impl Fn(&str, &[u8]) -> bool,
) -> io::Result<i64> {
    let mut grown = 0;
    let mut sealed = Vec::new();
    for (table, changes) in changes.tables() {
        let name = format!("{PREFIX}{}", table.0);
        let mut rows = txn.open_table(rows(&name)).map_err(other)?;
        for (key, change) in changes.filter(|(key, _)| within(table.0, key)) {
            let before = match change {
                Some(value) => {
                    sealed.clear();
                    sealed.extend_from_slice(value);
                    seal(key, &mut sealed);
                    grown += (key.len() + sealed.len()) as i64;
                    rows.insert(key.as_ref(), sealed.as_slice()).map_err(other)?
                }
                None => rows.remove(key.as_ref()).map_err(other)?,
            };
            grown -= before.map_or(0, |before| key.len() + before.value().len()) as i64;
        }
    }
    Ok(grown)
}

/// A table that takes rows as another file had them, checksums and all. The caller has verified those.
pub(super) struct Sealed<'t>(redb::Table<'t, &'static [u8], &'static [u8]>);

impl<'t> Sealed<'t> {
    pub(super) fn open(txn: &'t WriteTransaction, table: &str) -> io::Result<Sealed<'t>> {
        txn.open_table(rows(&format!("{PREFIX}{table}"))).map(Sealed).map_err(other)
    }

    pub(super) fn write(&mut self, key: &[u8], sealed: &[u8]) -> io::Result<()> {
        self.0.insert(key, sealed).map(drop).map_err(other)
    }
}

/// Writes what the rows of this transaction cover.
pub(super) fn write_checkpoint(
    txn: &WriteTransaction,
    shard: ShardId,
    checkpoint: &Checkpoint,
    rows_bytes: u64,
) -> io::Result<()> {
    let mut format = [FORMAT_VERSION.to_le_bytes(), shard.0.to_le_bytes()].concat();
    seal(FORMAT.as_bytes(), &mut format);
    let mut value = postcard::to_stdvec(checkpoint).map_err(other)?;
    seal(CHECKPOINT.as_bytes(), &mut value);
    let mut size = rows_bytes.to_le_bytes().to_vec();
    seal(ROWS_BYTES.as_bytes(), &mut size);
    let mut about = txn.open_table(SCHEDIA).map_err(other)?;
    for (name, sealed) in [(FORMAT, format), (CHECKPOINT, value), (ROWS_BYTES, size)] {
        about.insert(name, sealed.as_slice()).map_err(other)?;
    }
    Ok(())
}

/// What a state file says about itself.
fn said(about: &ReadOnlyTable<&str, &[u8]>, name: &str) -> io::Result<Vec<u8>> {
    let sealed = about.get(name).map_err(other)?;
    let sealed = sealed.ok_or_else(|| invalid(format!("no {name} in the state file")))?;
    let value = unseal(name.as_bytes(), sealed.value());
    let value = value.ok_or_else(|| invalid(format!("bad checksum of {name} in the state file")))?;
    Ok(value.to_vec())
}

/// Commits so that a killed node reopens the file without reading it through: two syncs instead of one, at most
/// each three seconds.
pub(super) fn commit(mut txn: WriteTransaction) -> io::Result<()> {
    txn.set_quick_repair(true);
    txn.commit().map_err(other)
}

pub(super) fn check_format(shard: ShardId, sealed: &[u8]) -> io::Result<()> {
    let value = unseal(FORMAT.as_bytes(), sealed).and_then(|value| value.split_first_chunk::<4>());
    let Some((version, of)) = value else {
        return Err(invalid("bad checksum of the format of the state file".into()));
    };
    let version = u32::from_le_bytes(*version);
    if version != FORMAT_VERSION {
        let words = format!(
            "state format {version} is not known to this release, which reads format {FORMAT_VERSION}"
        );
        return Err(invalid(words));
    }
    if of != shard.0.to_le_bytes() {
        return Err(invalid(format!("the state file belongs to another shard than {shard}")));
    }
    Ok(())
}

fn rows(name: &str) -> TableDefinition<'_, &'static [u8], &'static [u8]> {
    TableDefinition::new(name)
}

fn value(table: &str, key: &[u8], sealed: &[u8]) -> io::Result<Bytes> {
    match unseal(key, sealed) {
        Some(value) => Ok(Bytes::copy_from_slice(value)),
        None => Err(invalid(format!("bad checksum in table {table}, key {key:02x?}"))),
    }
}

pub(super) fn invalid(words: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, words)
}

pub(super) fn other(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(error)
}
