//! What a node keeps on its disk: who it is, the log of every shard, the state of every shard.
//!
//! ```text
//! <data>/lock                        locked while a process has the directory open
//! <data>/identity                    store id; cluster and node id once assigned             identity.rs
//! <data>/promise                     how long a promise to a leader may hold; only with lease reads  promise.rs
//! <data>/aside/                      identity, log and states from before the last reset       reset.rs
//! <data>/log/<number>.log            the logs of all shards: entries, votes, marks            log/segments/format.rs
//! <data>/shards/<id>/state.redb      the rows of one shard, and what they cover               base.rs
//! <data>/shards/<id>/incoming-<n>.redb   a snapshot being received; deleted at start          snapshot/
//! ```
//! Every byte of a file is drawn at the top of the module named beside it; every value on disk ends with a checksum
//! of its key and itself (`seal`).
//!
//! # Reading order
//! [`log`] takes entries and acknowledges them, many by one sync, in files of its own. [`state`] is what was made of them: an overlay in
//! memory (`overlay`, `stack`) above a file (`base`), read and written through [`View`] and [`Batch`], brought to disk by a thread (`flusher`). [`snapshot`] sends
//! a state and receives one. `file` and `volume` are what lies under both: redb, waiting for room. [`identity`], [`space`] and
//! [`failure`] are small and stand alone.
//!
//! # Orders that must hold
//! 1. The identity is durable before a node answers to it. A store id is drawn once, on an empty directory only.
//! 2. An append, vote or truncation is acknowledged after the sync that covers it, in the order of the calls.
//! 3. A checkpoint never covers an entry that this node's log has not flushed ([`Flushed`]): apply may be ahead of
//!    it, since an entry is committed when a majority has it.
//! 4. The committed mark goes behind the entries it speaks of, and costs no sync of its own.
//! 5. A received snapshot is whole, verified and synced before it is renamed into place; the directory is synced
//!    before anybody reads it.
//! 6. A log is purged only up to what a checkpoint covers. That is the caller's to keep (`raft`).
//!
//! # What a crash leaves
//! Everything acknowledged is in the log. The state is that of its last checkpoint, at most some seconds old;
//! the entries behind it are applied again, which gives the same rows. Nothing half written is ever read: redb
//! commits are atomic, a torn end of the log is known as one, other files are renamed into place.
//!
//! # Trouble
//! A failed sync, an unreadable row or a bad checksum sets the [`Failure`] latch: every shard of the node stops, for
//! good. Nothing is retried: after a failed sync the kernel may have dropped what it could not write. A write that finds the
//! disk full is no such trouble: it was not taken, and waits until there is room ([`Storage::full`]).
//!
//! # What is missing, and why
//! Files never shrink: redb gives back only free space at the end of a file. Rewriting one is a snapshot install from
//! itself, and comes with defragmentation. There is no encryption at rest: that is the volume's.

mod access;
mod base;
#[cfg(test)]
mod crash;
mod defragment;
mod draft;
pub mod failure;
mod file;
mod flusher;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
pub mod identity;
mod line;
pub mod log;
pub mod options;
mod overlay;
mod promise;
mod reset;
mod seal;
pub mod snapshot;
pub mod space;
mod stack;
pub mod state;
#[cfg(test)]
mod tests;
mod volume;

pub use access::{Batch, ReceivedView, View};
pub use defragment::Defragmented;
pub use failure::{Failed, Failure};
pub use identity::{AssignError, Assigned, Former, Identity};
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use log::fuzz as log_fuzz;
pub use log::{Ends, Flushed, Log, Mark, Record, ShardLog};
pub use options::Options;
pub use snapshot::{Chunks, Position, Received, Receiver, Snapshot};
pub use space::Space;
pub use state::{Checkpoint, Installing, Replaced, State, Sweep};
pub use volume::Full;

use schedia_apps::{ShardId, StoreId};
use state::Home;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use volume::Volume;

const LOCK: &str = "lock";
const LOG: &str = "log";
const SHARDS: &str = "shards";

/// Who lives in a data directory, without opening it; `None` if it has no identity file.
pub fn who_lives_in(dir: &Path) -> io::Result<Option<Identity>> {
    Identity::load(dir)
}

/// The disk of a node: its directory locked, its identity, its log. Opens the state of each shard.
pub struct Storage {
    dir: PathBuf,
    options: Options,
    identity: Mutex<Identity>,
    /// Of the processes before this one.
    promised: Duration,
    log: Log,
    meter: space::Meter,
    volume: Volume,
    /// Shards that share the page cache: those that were here before, or as many as are expected.
    shards: AtomicUsize,
    /// Shared with the states: unlocked when every file is closed.
    lock: Arc<File>,
}

/// Why a data directory was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the data directory is in use by another process: {}", .0.display())]
    Locked(PathBuf),
    /// There are data, but it is not known whose.
    #[error("the data directory has data but no identity file; restore it, or empty the directory: {}", .0.display())]
    IdentityMissing(PathBuf),
    /// It belongs to a member, whose votes and entries are gone.
    #[error("the log of this member is missing; restore it, or empty the data directory and replace the member: {}", .0.display())]
    LogMissing(PathBuf),
    /// Entries of a shard were purged because its state covered them, and the state is gone.
    #[error("the state of a shard is missing; restore it, or empty the data directory and replace the member: {}", .0.display())]
    StateMissing(PathBuf),
    /// A file cannot be read or written, or makes no sense.
    #[error("failed to open {}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl OpenError {
    fn at(file: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> OpenError {
        |source| OpenError::Io { file: file.into(), source }
    }
}

impl Storage {
    /// Locks a data directory (made if missing), draws its store id if it is empty, opens the log. Blocking.
    pub fn open(dir: &Path, options: Options) -> Result<Storage, OpenError> {
        fs::create_dir_all(dir).map_err(OpenError::at(dir))?;
        let lock = lock(dir)?;
        let (log, volume) = (dir.join(LOG), Volume::new(Failure::new(), options.unsafe_no_fsync));
        let identity = match Identity::load(dir).map_err(OpenError::at(dir.join("identity")))? {
            Some(identity) => reset::finish(dir, identity).map_err(OpenError::at(dir))?,
            None if log.exists() => return Err(OpenError::IdentityMissing(dir.to_owned())),
            None => {
                let blank = Identity::draw().map_err(OpenError::at(dir))?;
                blank.save(dir).map_err(OpenError::at(dir))?;
                blank
            }
        };
        let promised = promise::load(dir).map_err(OpenError::at(dir.join(promise::FILE)))?;
        fs::create_dir_all(dir.join(SHARDS)).map_err(OpenError::at(dir))?;
        let meter = space::Meter::new(dir).map_err(OpenError::at(dir))?;
        if identity.assigned.is_some() && !Log::is_there(&log).map_err(OpenError::at(&log))? {
            return Err(OpenError::LogMissing(log));
        }
        let log = Log::open(&log, &options, &volume).map_err(OpenError::at(log))?;
        sync_dir(dir).map_err(OpenError::at(dir))?;
        let before = fs::read_dir(dir.join(SHARDS)).map_err(OpenError::at(dir))?.count();
        let shards = AtomicUsize::new(before.max(options.shards));
        let (dir, identity) = (dir.to_owned(), Mutex::new(identity));
        Ok(Storage { dir, options, identity, promised, log, meter, volume, shards, lock: Arc::new(lock) })
    }

    /// From now on a state is opened with its part of a page cache for so many shards. One opened before keeps what it
    /// has: on a node that learns the number of its shards from shard 0, that one is larger until the next start.
    pub fn expect(&self, shards: u32) {
        self.shards.fetch_max(shards as usize, Ordering::Relaxed);
    }

    /// Who lives here.
    pub fn identity(&self) -> Identity {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a blank disk a member's; durable on return. The same member again may change its seed. Blocking.
    pub fn assign(&self, assigned: Assigned) -> Result<Identity, AssignError> {
        let mut identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        let next = identity.assign(assigned)?;
        if next != *identity {
            next.save(&self.dir)?;
            *identity = next.clone();
        }
        Ok(next)
    }

    /// For how long from the start of this process what this node promised before may hold.
    pub fn promised(&self) -> Duration {
        self.promised
    }

    /// From now on promises of this node may hold for so long; durable on return. Blocking.
    pub fn promise(&self, promise: Duration) -> Result<(), OpenError> {
        promise::save(&self.dir, promise).map_err(OpenError::at(self.dir.join(promise::FILE)))
    }

    /// Makes this a blank disk with the next open; durable on return. Until then it is who it was. Blocking.
    ///
    /// Returns the id of the disk to be. Data are moved aside, those of the reset before are deleted.
    pub fn reset(&self) -> io::Result<StoreId> {
        let identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        reset::begin(&self.dir, &identity)
    }

    /// The log of a shard, empty if it is new.
    pub fn log(&self, shard: ShardId) -> Result<ShardLog, OpenError> {
        self.log.shard(shard).map_err(OpenError::at(self.dir.join(LOG)))
    }

    /// Opens the state of a shard and starts its flusher. `flushed` is that of the shard's log. Blocking. Once per
    /// shard: the file refuses a second one.
    pub fn state(&self, shard: ShardId, flushed: Flushed, sweep: Option<Sweep>) -> Result<State, OpenError> {
        let dir = self.dir.join(SHARDS).join(shard.to_string());
        fs::create_dir_all(&dir).map_err(OpenError::at(&dir))?;
        sync_dir(&self.dir.join(SHARDS)).map_err(OpenError::at(&dir))?;
        let shards = self.shards.load(Ordering::Relaxed);
        let (options, volume) = (Options { shards, ..self.options.clone() }, self.volume.clone());
        let (file, lock) = (dir.join(state::FILE), Some(self.lock.clone()));
        if !file.exists() && self.log(shard)?.ends().purged.is_some() {
            return Err(OpenError::StateMissing(file));
        }
        State::open(Home { shard, dir, lock }, options, volume, flushed, sweep).map_err(OpenError::at(file))
    }

    /// Bytes of changes of all shards that wait for the log's writer, or are being written.
    pub fn log_queue_bytes(&self) -> usize {
        self.log.queue_bytes()
    }

    /// The latch that stops everything.
    pub fn failure(&self) -> &Failure {
        self.volume.failure()
    }

    /// A file whose writes wait because the disk is full. Nothing is lost; they go on by themselves once there is room.
    pub fn full(&self) -> Option<Full> {
        self.volume.full()
    }

    /// Whether what is acknowledged survives a power loss: not with `unsafe_no_fsync`.
    pub fn is_synced(&self) -> bool {
        self.volume.is_synced()
    }

    /// Nobody waits for room any more: the node is ending. A write that has waited fails, and storage with it.
    pub fn stop_waiting(&self) {
        self.volume.close();
    }

    /// From now on measures this room, or again what is there.
    #[cfg(test)]
    pub(crate) fn pretend(&self, space: Option<Space>) {
        self.meter.pretend(space);
    }

    /// The room on the disk, measured at most once a second.
    pub fn space(&self) -> Space {
        self.meter.space()
    }
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join(LOCK);
    let file = File::create(&path).map_err(OpenError::at(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(OpenError::Io { file: path, source }),
    }
}

/// Makes the names in a directory durable.
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
