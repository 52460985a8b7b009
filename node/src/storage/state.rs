//! The state of one shard: a redb file, and above it an overlay of what was applied since its last checkpoint.
//!
//! Apply writes into the *active* overlay. The flusher freezes it, writes it to the file with the mark that covers it
//! while apply goes on in a fresh one, and drops it when the file has it. Whoever reads takes active, frozen and file
//! under one lock: there is no moment at which a row is in none of them.
//!
//! Invariants:
//! * A checkpoint never covers an entry that the log of this node has not flushed.
//! * A checkpoint holds whole batches: rows and the mark that covers them are one commit.
//! * A view sees all of a batch or nothing of it.
//! * The overlay is bounded: above its hard mark [`State::room`] waits for the flusher.
//!
//! Not here: what the rows mean (`schedia-apps`), when to take or send a snapshot (`raft`).

use super::access::{Batch, ReceivedView, View};
use super::base::{self, Base};
use super::defragment::Defragmented;
use super::draft::Draft;
use super::failure::Failure;
use super::flusher::{Flusher, Progress};
use super::log::{Flushed, Mark};
use super::options::Options;
use super::overlay::Overlay;
use super::snapshot::{Place, Received, Receiver, Snapshot};
use super::space::Space;
use super::stack::{Stack, Trouble};
use super::volume::Volume;
use bytes::Bytes;
use schedia_apps::tables::Tables;
use schedia_apps::{Epoch, Level, ShardId, Stop};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

/// The state file's name in its shard's directory.
pub(super) const FILE: &str = "state.redb";

/// What a state has applied: goes to disk with the rows it covers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The last entry applied.
    pub mark: Option<Mark>,
    /// The membership in force at `mark`, encoded by `raft`. Empty before the first.
    pub membership: Bytes,
    /// Log time of `mark`.
    pub time_ms: u64,
    /// Epoch of `mark`.
    pub epoch: Epoch,
    /// The highest level of the entries applied.
    pub level: Option<Level>,
}

/// Removes rows that no reader can ask for any more. Called by the flusher inside a checkpoint, with at most how many
/// rows it may write and delete; answers whether there is more to do. Must be pure: of `tables` and nothing else. It
/// sees the rows of the checkpoint, not those applied since, and must write none that an application writes.
pub type Sweep = Arc<dyn Fn(&mut dyn Tables, usize) -> Result<bool, Stop> + Send + Sync>;

/// The state of one shard. A cheap clone; the last one dropped ends the flusher.
#[derive(Clone)]
pub struct State {
    shared: Arc<Shared>,
    flusher: Arc<Flusher>,
}

/// Where a state lives.
pub(super) struct Home {
    pub(super) shard: ShardId,
    /// A directory of its own.
    pub(super) dir: PathBuf,
    /// The lock of the data directory: held until the last file in it is closed.
    pub(super) lock: Option<Arc<File>>,
}

/// A snapshot whose file is in place, and whose rows nobody sees yet. While it lives no flush begins.
pub struct Installing<'a> {
    shared: &'a Shared,
    base: Base,
    _writing: MutexGuard<'a, ()>,
}

impl Installing<'_> {
    /// Puts the rows in force, and gives back what they cover. Never touches the disk.
    #[must_use = "dropping it closes a file, which is better done without a lock"]
    pub fn swap(self) -> (Checkpoint, Replaced) {
        let Installing { shared, base, _writing } = self;
        let checkpoint = base.checkpoint.clone();
        let replaced = shared.change(|layers| {
            layers.applied = checkpoint.clone();
            let base = std::mem::replace(&mut layers.base, Arc::new(base));
            Replaced { _overlays: (std::mem::take(&mut layers.active), layers.frozen.take()), _base: base }
        });
        (checkpoint, replaced)
    }
}

/// A state that is no more: dropped, its file is closed unless a snapshot of it is being sent.
pub struct Replaced {
    _overlays: (Overlay, Option<Arc<Overlay>>),
    _base: Arc<Base>,
}

/// What the flusher and the state share.
pub(super) struct Shared {
    pub(super) shard: ShardId,
    pub(super) dir: PathBuf,
    pub(super) file: PathBuf,
    pub(super) options: Options,
    pub(super) failure: Failure,
    volume: Volume,
    pub(super) flushed: Flushed,
    pub(super) sweep: Option<Sweep>,
    /// Never held while the disk is written or a reader waits.
    layers: RwLock<Layers>,
    /// What active and frozen overlay cost together: readable without the lock.
    bytes: AtomicUsize,
    /// Held while the file is written or replaced. Taken before `layers`.
    writing: Mutex<()>,
    /// Names the files of snapshots being received.
    received: AtomicU64,
    /// After everything that has a file open.
    _lock: Option<Arc<File>>,
}

/// The state at one moment.
pub(super) struct Layers {
    pub(super) active: Overlay,
    pub(super) frozen: Option<Arc<Overlay>>,
    pub(super) base: Arc<Base>,
    pub(super) applied: Checkpoint,
    /// A batch was begun and not committed: the rows are not those of any entry.
    pub(super) torn: bool,
}

impl Shared {
    pub(super) fn layers(&self) -> RwLockReadGuard<'_, Layers> {
        self.layers.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the layers, and gives back what `change` took out of them, to be dropped without the lock.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Layers) -> T) -> T {
        let mut layers = self.layers.write().unwrap_or_else(PoisonError::into_inner);
        let out = change(&mut layers);
        self.bytes.store(layers.bytes(), Ordering::Relaxed);
        out
    }

    pub(super) fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn volume(&self) -> &Volume {
        &self.volume
    }

    pub(super) fn file_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Puts a draft in the place of the file. `writing` is held; readers see the old rows until the layers change.
    pub(super) fn put_in_place(&self, base: &Base, draft: Draft) -> io::Result<()> {
        draft.replace(&self.dir, &self.file, &self.failure)?;
        base.db.patience().begin();
        Ok(())
    }

    pub(super) fn stack<'a>(&'a self, layers: &'a Layers) -> Stack<'a> {
        Stack {
            overlays: [Some(&layers.active), layers.frozen.as_deref()],
            base: &layers.base,
            trouble: Trouble { failure: &self.failure, file: &self.file },
        }
    }
}

impl Layers {
    fn bytes(&self) -> usize {
        self.active.bytes() + self.frozen.as_ref().map_or(0, |frozen| frozen.bytes())
    }
}

impl State {
    /// Opens the state in a directory of its own and starts its flusher. Snapshots that were being received are gone.
    pub(super) fn open(
        home: Home,
        options: Options,
        volume: Volume,
        flushed: Flushed,
        sweep: Option<Sweep>,
    ) -> io::Result<State> {
        super::draft::remove_leftovers(&home.dir)?;
        let base = base::open(&home.dir.join(FILE), home.shard, options.state_cache_bytes(), &volume)?;
        super::sync_dir(&home.dir)?;
        State::start(home, base, options, volume, flushed, sweep)
    }

    /// A state above an open file.
    pub(super) fn start(
        home: Home,
        base: Base,
        options: Options,
        volume: Volume,
        flushed: Flushed,
        sweep: Option<Sweep>,
    ) -> io::Result<State> {
        base.db.patience().begin();
        let (active, applied) = (Overlay::default(), base.checkpoint.clone());
        let layers = Layers { active, frozen: None, base: Arc::new(base), applied, torn: false };
        let Home { shard, dir, lock } = home;
        let shared = Arc::new(Shared {
            shard,
            file: dir.join(FILE),
            dir,
            options,
            failure: volume.failure().clone(),
            volume,
            flushed,
            sweep,
            layers: RwLock::new(layers),
            bytes: AtomicUsize::new(0),
            writing: Mutex::default(),
            received: AtomicU64::new(0),
            _lock: lock,
        });
        let flusher = Arc::new(Flusher::start(shared.clone())?);
        Ok(State { shared, flusher })
    }

    /// What was applied last.
    pub fn applied(&self) -> Checkpoint {
        self.shared.layers().applied.clone()
    }

    /// What the disk covers: after a crash, the entries behind it are applied again.
    pub fn checkpoint(&self) -> Checkpoint {
        self.shared.layers().base.checkpoint.clone()
    }

    /// The rows as applied. Holds apply and the flusher off while it lives: keep it for one page, and open one at a
    /// time in a thread. Not `Send`, so it cannot live across an await.
    pub fn view(&self) -> View<'_> {
        View::new(&self.shared)
    }

    /// Waits while the overlay is above its hard mark. Call it before [`State::batch`].
    pub async fn room(&self) -> io::Result<()> {
        if self.shared.bytes() < self.shared.options.overlay_bytes {
            return Ok(());
        }
        let mut progress = self.flusher.progress();
        self.flusher.request();
        loop {
            progress.borrow_and_update().check()?;
            if self.shared.bytes() < self.shared.options.overlay_bytes {
                return Ok(());
            }
            self.flusher.request();
            progress.changed().await.map_err(|_| Progress::closed())?;
        }
    }

    /// Write access for one batch of entries. Not `Send`; no view opens meanwhile.
    pub fn batch(&self) -> Batch<'_> {
        let layers = self.shared.layers.write().unwrap_or_else(PoisonError::into_inner);
        Batch::new(self, layers)
    }

    /// A batch ended; its lock is still held.
    pub(super) fn batch_committed(&self, layers: &Layers) {
        self.shared.bytes.store(layers.bytes(), Ordering::Relaxed);
        if layers.active.bytes() >= self.shared.options.flush_bytes() {
            self.flusher.request();
        }
    }

    pub(super) fn stack<'a>(&'a self, layers: &'a Layers) -> Stack<'a> {
        self.shared.stack(layers)
    }

    /// Whether the overlay is above its soft mark: a leader then admits no proposals.
    pub fn is_pressed(&self) -> bool {
        self.shared.bytes() >= self.shared.options.overlay_bytes / 2
    }

    /// A file of this data directory that waits for room.
    #[cfg(test)]
    pub(super) fn full(&self) -> Option<super::Full> {
        self.shared.volume.full()
    }

    /// What the overlay costs in memory.
    pub fn overlay_bytes(&self) -> usize {
        self.shared.bytes()
    }

    /// Makes a checkpoint of everything applied before the call; waits for it.
    pub async fn flush(&self) -> io::Result<Checkpoint> {
        let mut progress = self.flusher.progress();
        let ticket = self.flusher.request();
        loop {
            let now = progress.borrow_and_update().clone();
            if now.done >= ticket {
                return Ok(self.checkpoint());
            }
            now.check()?;
            progress.changed().await.map_err(|_| Progress::closed())?;
        }
    }

    /// The last checkpoint, held open for streaming. Pins pages of the file: drop it soon.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.shared.clone(), self.shared.layers().base.clone())
    }

    /// Begins to receive a snapshot into a new file beside the state's.
    pub fn receive(&self) -> Receiver {
        let number = self.shared.received.fetch_add(1, Ordering::Relaxed);
        let Shared { dir, file, shard, volume, options, .. } = &*self.shared;
        Receiver::new(Place {
            dir: dir.clone(),
            becomes: file.clone(),
            shard: *shard,
            number,
            cache_bytes: options.state_cache_bytes(),
            volume: volume.clone(),
        })
    }

    /// Whether the disk is below its low-space watermark now. Measures.
    pub fn is_disk_low(&self) -> io::Result<bool> {
        Ok(Space::measure(&self.shared.dir)?.is_low())
    }

    /// The rows of a received snapshot, to derive things from before it is in force.
    pub fn look_into<'a>(&'a self, received: &'a Received) -> ReceivedView<'a> {
        let trouble = Trouble { failure: &self.shared.failure, file: &self.shared.file };
        ReceivedView::new(received.base(), trouble)
    }

    /// Puts the file of a received snapshot in the place of this state's: rename, sync of the directory. Blocks while a
    /// flush is under way. Readers see the old rows until [`Installing::swap`], which must follow.
    pub fn install(&self, received: Received) -> io::Result<Installing<'_>> {
        let shared = &*self.shared;
        let writing = shared.writing();
        shared.failure.check()?;
        let (base, draft) = received.into_parts();
        shared.put_in_place(&base, draft)?;
        Ok(Installing { shared, base, _writing: writing })
    }

    /// Makes a fresh copy of the file, beside it and while everything goes on, and puts it in the file's place: that gives back the
    /// room of rows that are gone. An error leaves the file as it is.
    pub async fn defragment(&self) -> io::Result<Defragmented> {
        self.flusher.defragment().await.unwrap_or_else(|_| Err(Progress::closed()))
    }

    /// Size of the file, and of the keys and values in it.
    pub fn file_bytes(&self) -> io::Result<(u64, u64)> {
        Ok((self.shared.file_bytes()?, self.shared.layers().base.rows_bytes))
    }

    /// Stops the flusher after a last flush. For a clean shutdown; without it a restart applies the log again.
    pub async fn close(&self) -> io::Result<()> {
        let flushed = self.flush().await.map(drop);
        self.flusher.close();
        flushed
    }
}
