//! Snapshots as a stream of checksummed chunks: out of a read transaction, into a new file.

use super::state::Checkpoint;
use bytes::Bytes;
use std::io;

/// A checkpoint held open. A cheap clone.
#[derive(Clone)]
pub struct Snapshot {}

impl Snapshot {
    /// What it covers.
    pub fn checkpoint(&self) -> &Checkpoint {
        unimplemented!()
    }

    /// The stream, from its beginning. Blocking: reads the disk and compresses at each step; memory for one chunk.
    pub fn chunks(&self) -> Chunks {
        unimplemented!()
    }
}

/// The stream of one snapshot: each item is one chunk, at most about 1.2 MiB unless one row is larger.
pub struct Chunks {}

impl Iterator for Chunks {
    type Item = io::Result<Bytes>;
    fn next(&mut self) -> Option<io::Result<Bytes>> {
        unimplemented!()
    }
}

/// Builds a new state file while the stream arrives. Dropped early, it deletes what it wrote. Blocking.
pub struct Receiver {}

impl Receiver {
    /// Takes the next bytes of the stream, cut anywhere.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        let _ = bytes;
        unimplemented!()
    }

    /// Verifies the whole, syncs the file. An error names what is missing or wrong.
    pub fn finish(self) -> io::Result<Received> {
        unimplemented!()
    }
}

/// A snapshot that is whole and on disk, but not in force. Dropped without [`super::State::install`], its file is
/// deleted.
pub struct Received {}

impl Received {
    /// What it covers.
    pub fn checkpoint(&self) -> &Checkpoint {
        unimplemented!()
    }
}
