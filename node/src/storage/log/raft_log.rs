//! The `raft-log` crate as an engine, a log of its own for each shard: a candidate that is measured.

use super::engine::{Change, LogEngine, LogReader, Saved};
use super::{Mark, Record};
use bytes::Bytes;
use raft_log::api::raft_log_writer::RaftLogWriter;
use raft_log::{Config, RaftLog, Types};
use schedia_apps::ShardId;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ours;

impl Types for Ours {
    type LogId = (u64, Vec<u8>);
    type LogPayload = Vec<u8>;
    type Vote = Vec<u8>;
    type UserData = String;
    type Callback = SyncSender<io::Result<()>>;

    fn log_index(id: &Self::LogId) -> u64 {
        id.0
    }

    fn payload_size(payload: &Self::LogPayload) -> u64 {
        payload.len() as u64
    }
}

type Logs = Arc<Mutex<BTreeMap<ShardId, RaftLog<Ours>>>>;

/// Writes them.
pub(super) struct RaftLogs {
    dir: PathBuf,
    logs: Logs,
}

struct Reader {
    dir: PathBuf,
    logs: Logs,
}

impl RaftLogs {
    pub(super) fn open(dir: &Path) -> RaftLogs {
        RaftLogs { dir: dir.to_owned(), logs: Logs::default() }
    }

    fn config(&self, shard: ShardId) -> io::Result<Config> {
        let dir = self.dir.join(shard.to_string());
        std::fs::create_dir_all(&dir)?;
        let mut config = Config::new(dir.to_string_lossy());
        // As the others: the entries in memory are not the engine's, and the writer has gathered what there is.
        config.log_cache_max_items = Some(0);
        config.wal.flush_batch_wait = Some(Duration::ZERO);
        config.wal.chunk_max_size = Some(32 << 20);
        config.wal.chunk_max_records = Some(1 << 20);
        Ok(config)
    }
}

impl LogEngine for RaftLogs {
    fn file(&self) -> &Path {
        &self.dir
    }

    fn saved(&self) -> io::Result<Vec<(ShardId, Saved)>> {
        Ok(Vec::new())
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        Arc::new(Reader { dir: self.dir.clone(), logs: self.logs.clone() })
    }

    fn commit(&mut self, changes: &mut dyn Iterator<Item = (ShardId, &Change)>) -> io::Result<()> {
        let mut logs = self.logs.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let id = |mark: &Mark| (mark.index, mark.id.to_vec());
        let mut touched = std::collections::BTreeSet::new();
        for (shard, change) in changes {
            let log = match logs.entry(shard) {
                std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::btree_map::Entry::Vacant(new) => {
                    new.insert(RaftLog::open(Arc::new(self.config(shard)?))?)
                }
            };
            match change {
                Change::Append(records) => {
                    log.append(records.iter().map(|r| ((r.index, r.id.to_vec()), r.body.to_vec())))?
                }
                Change::Truncate(from) => log.truncate(*from)?,
                Change::Purge(mark) => log.purge(id(mark))?,
                Change::Vote(vote) => log.save_vote(vote.to_vec())?,
                Change::Committed(mark) => log.commit(id(mark))?,
            };
            touched.insert(shard);
        }
        for shard in touched {
            let (done, flushed) = sync_channel(1);
            logs.get_mut(&shard).ok_or(io::ErrorKind::NotFound)?.flush(true, Some(done))?;
            flushed.recv().map_err(io::Error::other)??;
        }
        Ok(())
    }

    fn has_garbage(&self) -> bool {
        false
    }
}

impl LogReader for Reader {
    fn file(&self) -> &Path {
        &self.dir
    }

    fn read(&self, shard: ShardId, range: Range<u64>, _: usize) -> io::Result<Vec<Record>> {
        let logs = self.logs.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(log) = logs.get(&shard) else { return Ok(Vec::new()) };
        log.read(range.start, range.end)
            .map(|entry| {
                let ((index, id), body) = entry?;
                Ok(Record { index, id: Bytes::from(id), body: Bytes::from(body) })
            })
            .collect()
    }
}
