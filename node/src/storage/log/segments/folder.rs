//! The files below the log: what the log asks of a directory, and the real one. Tests have one that forgets.
//!
//! Invariant: a file that is there under its own name is whole. It is made under another one, synced, and renamed.

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A directory of segments.
pub(in crate::storage::log) trait Folder: Send + Sync {
    /// What it is called in messages.
    fn path(&self) -> &Path;

    /// The names in it.
    fn list(&self) -> io::Result<Vec<String>>;

    fn open(&self, name: &str) -> io::Result<Box<dyn Segment>>;

    /// An empty file; what it held is gone.
    fn create(&self, name: &str) -> io::Result<Box<dyn Segment>>;

    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes the names durable.
    fn sync(&self) -> io::Result<()>;
}

/// A file of it. It stays readable while somebody has it, removed or not.
pub(in crate::storage::log) trait Segment: Send + Sync + Debug {
    fn bytes(&self) -> io::Result<u64>;

    /// Fills `out` from `at` on.
    fn read(&self, at: u64, out: &mut [u8]) -> io::Result<()>;

    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes its bytes and its length durable.
    fn sync(&self) -> io::Result<()>;
}

/// A directory of the file system.
pub(super) struct Directory(pub(super) PathBuf);

impl Directory {
    fn segment(&self, name: &str, options: &OpenOptions) -> io::Result<Box<dyn Segment>> {
        Ok(Box::new(options.open(self.0.join(name))?))
    }
}

impl Folder for Directory {
    fn path(&self) -> &Path {
        &self.0
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let names = std::fs::read_dir(&self.0)?;
        names.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Segment>> {
        self.segment(name, OpenOptions::new().read(true).write(true))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Segment>> {
        self.segment(name, OpenOptions::new().read(true).write(true).create(true).truncate(true))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.0.join(from), self.0.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.0.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

impl Segment for File {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(out, at)
    }

    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
