//! Writes that wait while the disk is full: those of a redb file, and those of the log.
//!
//! redb cannot go on after a write that failed. One that was refused for want of room was not taken at all: made again,
//! with the same bytes at the same place, it is what redb wanted. So it waits here, below redb, as a frame of the log does, in the thread that writes,
//! while reads of what is committed go on.
//!
//! Invariants:
//! * Only a write or a growth that was refused for want of room is made again. A failed sync or read never is.
//! * A file that is being opened, received or closed does not wait: whoever does that is told.

use super::base::other;
use super::volume::Volume;
use redb::backends::FileBackend;
use redb::{BackendError, Database, StorageBackend};
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::{Bound, Deref};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// An open redb file.
pub(super) struct DbFile {
    db: Database,
    patience: Patience,
}

/// Whether the writes to one file wait for room. Clones speak of the same file.
#[derive(Clone)]
pub(super) struct Patience {
    volume: Volume,
    patient: Arc<AtomicBool>,
}

impl Patience {
    /// None to begin with.
    pub(super) fn none(volume: Volume) -> Patience {
        Patience { volume, patient: Arc::default() }
    }

    /// From now on they wait.
    pub(super) fn begin(&self) {
        self.patient.store(true, Ordering::Release);
    }

    /// From now on they do not, and those that do are refused.
    pub(super) fn end(&self) {
        self.patient.store(false, Ordering::Release);
        self.volume.wake();
    }

    /// Syncs, unless nothing on the volume is synced.
    pub(super) fn sync(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.volume.is_synced() { sync() } else { Ok(()) }
    }

    #[cfg(test)]
    pub(super) fn volume(&self) -> &Volume {
        &self.volume
    }

    fn is_on(&self) -> bool {
        self.patient.load(Ordering::Acquire)
    }

    /// Writes, and as long as there is no room for it, again. `name`: of what waits.
    pub(super) fn with_room(&self, name: &Path, write: impl Fn() -> io::Result<()>) -> io::Result<()> {
        let mut waited = false;
        loop {
            let written = write();
            match &written {
                Err(error) if lacks_room(error) => {
                    waited = true;
                    if self.volume.wait(name, error, || self.is_on()) {
                        continue;
                    }
                }
                _ => {}
            }
            if waited {
                self.volume.waited(name, written.is_ok());
            }
            return written;
        }
    }
}

impl DbFile {
    /// Opens a file, or makes an empty one. It has no patience yet. `name` is what it is called when it waits for room.
    pub(super) fn open(path: &Path, name: &Path, cache_bytes: usize, volume: &Volume) -> io::Result<DbFile> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        DbFile::on(FileBackend::new(file).map_err(other)?, name, cache_bytes, volume)
    }

    /// The same on any backend.
    pub(super) fn on(
        backend: impl StorageBackend,
        name: &Path,
        cache_bytes: usize,
        volume: &Volume,
    ) -> io::Result<DbFile> {
        let patience = Patience::none(volume.clone());
        let backend = Waiting { backend, name: name.to_owned(), patience: patience.clone() };
        let db =
            Database::builder().set_cache_size(cache_bytes).create_with_backend(backend).map_err(other)?;
        Ok(DbFile { db, patience })
    }

    pub(super) fn patience(&self) -> &Patience {
        &self.patience
    }
}

impl Deref for DbFile {
    type Target = Database;

    fn deref(&self) -> &Database {
        &self.db
    }
}

impl Drop for DbFile {
    /// Closing writes too, and nobody waits for a file that nobody has.
    fn drop(&mut self) {
        self.patience.end();
    }
}

/// A backend that waits for room, and syncs unless it was told not to.
struct Waiting<B> {
    backend: B,
    name: PathBuf,
    patience: Patience,
}

/// No room on the disk, in the quota, or below the limit on a file's size.
fn lacks_room(error: &io::Error) -> bool {
    use io::ErrorKind as E;
    matches!(error.kind(), E::StorageFull | E::QuotaExceeded | E::FileTooLarge)
}

impl<B> fmt::Debug for Waiting<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Waiting").field(&self.name).finish()
    }
}

impl<B: StorageBackend> StorageBackend for Waiting<B> {
    fn len(&self) -> io::Result<u64> {
        self.backend.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.backend.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.patience.with_room(&self.name, || self.backend.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.patience.sync(|| self.backend.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.patience.with_room(&self.name, || self.backend.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.backend.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.backend.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.backend.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.backend.query_lock_range(start, end)
    }
}
