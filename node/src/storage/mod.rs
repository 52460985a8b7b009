//! What a node keeps on its disk: who it is, the log of every shard, the state of every shard.
//!
//! Contract first: the bodies follow.

pub mod failure;
pub mod identity;
pub mod log;
pub mod options;
pub mod snapshot;
pub mod space;
pub mod state;

pub use failure::{Failed, Failure};
pub use identity::{Assigned, Identity};
pub use log::{Ends, Flushed, Log, Mark, Record, ShardLog};
pub use options::Options;
pub use snapshot::{Chunks, Received, Receiver, Snapshot};
pub use state::{Batch, Checkpoint, State, Sweep, View};

use schedia_apps::ShardId;
use std::io;
use std::path::Path;

/// The disk of a node: the directory's lock, its identity, its log. Opens the state of each shard.
pub struct Storage {}

/// Why a data directory was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Reading or writing failed.
    #[error("failed to open {file}: {source}")]
    Io {
        /// The file.
        file: std::path::PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl Storage {
    /// Locks a data directory (made if missing), draws its store id if it is empty, opens the log, deletes leftovers.
    pub fn open(dir: &Path, options: Options) -> Result<Storage, OpenError> {
        let _ = (dir, options);
        unimplemented!()
    }

    /// Who lives here.
    pub fn identity(&self) -> Identity {
        unimplemented!()
    }

    /// Makes a blank disk a member's; durable on return. The same again is fine, another one is an error.
    pub fn assign(&self, assigned: Assigned) -> io::Result<()> {
        let _ = assigned;
        unimplemented!()
    }

    /// The log of a shard.
    pub fn log(&self, shard: ShardId) -> ShardLog {
        let _ = shard;
        unimplemented!()
    }

    /// Opens the state of a shard and starts its flusher. `flushed` is that of the shard's log.
    pub fn state(&self, shard: ShardId, flushed: Flushed, sweep: Option<Sweep>) -> Result<State, OpenError> {
        let _ = (shard, flushed, sweep);
        unimplemented!()
    }

    /// The latch that stops everything.
    pub fn failure(&self) -> &Failure {
        unimplemented!()
    }

    /// Whether the disk is below its low-space watermark: writes are then refused, deletes and votes are not.
    /// Measured at most once a second.
    pub fn is_low(&self) -> bool {
        unimplemented!()
    }
}
