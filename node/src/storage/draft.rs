//! A state file in the making, beside the one in force: deleted unless it takes that one's place.

use super::failure::Failure;
use super::{defragment, snapshot, sync_dir};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A file that is deleted when this is dropped, unless it took the place of another.
pub(super) struct Draft {
    path: PathBuf,
    in_force: bool,
}

impl Draft {
    /// Of a file that is there, or will be.
    pub(super) fn new(path: PathBuf) -> Draft {
        Draft { path, in_force: false }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts the file, which is whole and synced, in the place of another one. If the directory cannot be synced nobody knows which
    /// one a restart would find: that stops the node.
    pub(super) fn replace(mut self, dir: &Path, other: &Path, failure: &Failure) -> io::Result<()> {
        fs::rename(&self.path, other)?;
        self.in_force = true;
        sync_dir(dir).map_err(|error| failure.set(dir, error).into())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.in_force
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(file = %self.path.display(), %error, "an unfinished file stays until the next start");
        }
    }
}

/// Deletes what an earlier process left unfinished in a shard's directory.
pub(super) fn remove_leftovers(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if [snapshot::PREFIX, defragment::FILE].iter().any(|known| name.to_string_lossy().starts_with(known))
        {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
