//! openraft's own suite of storage tests, on our storage.
//!
//! It applies entries that it never appended: the flushed watermark is `all`, as of a state without a log.

use super::log::LogStore;
use super::machine::Machine;
use super::types::Types;
use crate::storage::{Flushed, Options, Storage};
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use schedia_apps::ShardId;
use tempfile::TempDir;

struct Builder;

/// Both hold files of the directory: it goes last.
type Guard = (Storage, TempDir);

impl StoreBuilder<Types, LogStore, Machine, Guard> for Builder {
    async fn build(&self) -> Result<(Guard, LogStore, Machine), StorageError<Types>> {
        let dir = TempDir::new().unwrap();
        let storage = Storage::open(dir.path(), Options::default()).unwrap();
        let log = storage.log(ShardId(0)).unwrap();
        let state = storage.state(ShardId(0), Flushed::all(), None).unwrap();
        let machine = Machine::open(state, crate::metrics::Metrics::new().shard(ShardId(0))).unwrap();
        Ok(((storage, dir), LogStore::new(log), machine))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_log_and_state_machine_pass_openrafts_suite() {
    Suite::test_all(Builder).await.unwrap();
}
