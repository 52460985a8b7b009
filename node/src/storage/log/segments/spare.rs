//! Where new segments come from: one that waits for its turn, made beside the writer or used again.
//!
//! Filling a segment with zeros takes longer than anybody should wait for a sync, so the next one is made when the one before
//! it is half full. What has the name of a spare is not known to be whole: its length is looked at before it is used.
//!
//! Invariant: a segment is there under its own name only when its first frame is durable.

use super::folder::{Folder, Segment};
use super::format::{self, FRAME_BYTES, HEAD_BYTES, Item};
use super::name;
use super::recover::End;
use crate::storage::file::Patience;
use schedia_apps::ShardId;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Its name until it has a number.
const SPARE: &str = "spare";
/// Zeros written at once. A page: what is written at once is kept as one piece in the page cache, and each small write into a large piece
/// would count, and be looked through, as all of it.
const ZEROS: usize = 4 << 10;

/// Makes segments.
pub(super) struct Spares {
    folder: Arc<dyn Folder>,
    segment_bytes: usize,
    patience: Patience,
    /// A whole one waits.
    ready: bool,
    making: Option<JoinHandle<io::Result<()>>>,
}

impl Spares {
    /// Takes what an earlier run left, if it is whole.
    pub(super) fn find(
        folder: Arc<dyn Folder>,
        segment_bytes: usize,
        patience: Patience,
    ) -> io::Result<Spares> {
        let mut spares = Spares { folder, segment_bytes, patience, ready: false, making: None };
        if spares.folder.list()?.iter().any(|name| name == SPARE) {
            spares.ready = spares.folder.open(SPARE)?.bytes()? == segment_bytes as u64;
            if !spares.ready {
                spares.folder.remove(SPARE)?;
            }
        }
        Ok(spares)
    }

    /// Begins to make one in the background, if there is none. Trouble with it is met again when it is needed.
    pub(super) fn prepare(&mut self) -> io::Result<()> {
        if !self.ready && self.making.is_none() {
            let (folder, bytes) = (self.folder.clone(), self.segment_bytes);
            let make = move || fill(folder.as_ref(), bytes, |write| write());
            self.making = Some(std::thread::Builder::new().name("log-spare".into()).spawn(make)?);
        }
        Ok(())
    }

    /// Whether the folder has one, or will soon.
    pub(super) fn is_there(&self) -> bool {
        self.ready || self.making.is_some()
    }

    /// Waits for the one that is being made.
    fn settle(&mut self) {
        match self.making.take().map(JoinHandle::join) {
            Some(Ok(Ok(()))) => self.ready = true,
            Some(Ok(Err(error))) => tracing::debug!(%error, "no segment could be made ahead of its time"),
            Some(Err(_)) => tracing::error!("the maker of segments panicked"),
            None => {}
        }
    }

    /// A segment that begins with the state of all shards, durable and under its name.
    pub(super) fn make(
        &mut self,
        number: u32,
        state: &[(ShardId, Item)],
        sync: u64,
    ) -> io::Result<(Arc<dyn Segment>, End)> {
        self.settle();
        if !self.ready {
            fill(self.folder.as_ref(), self.segment_bytes, |write| {
                self.patience.with_room(self.folder.path(), write)
            })?;
        }
        let segment: Arc<dyn Segment> = self.folder.open(SPARE)?.into();
        self.ready = false;
        let mut frame = vec![0; FRAME_BYTES];
        for (shard, item) in state {
            format::push(&mut frame, *shard, item);
        }
        let before = format::seal(&mut frame, number, 0, sync);
        let end = End { at: HEAD_BYTES + frame.len(), before, sync };
        let begun = [&format::head(number)[..], &frame].concat();
        self.patience.with_room(self.folder.path(), || segment.write(0, &begun))?;
        self.patience.sync(|| segment.sync())?;
        self.folder.rename(SPARE, &name(number))?;
        self.patience.sync(|| self.folder.sync())?;
        Ok((segment, end))
    }

    /// Lets go of a segment; keeps it as the spare, if there is none and nobody reads in it. Whoever reads in it still
    /// reads what was there.
    pub(super) fn retire(&mut self, number: u32, is_unread: bool) -> io::Result<()> {
        if is_unread && !self.is_there() {
            self.folder.rename(&name(number), SPARE)?;
            self.ready = true;
        } else {
            self.folder.remove(&name(number))?;
        }
        // Before anything is written into it under its new name, the old one must be gone for good.
        self.patience.sync(|| self.folder.sync())
    }
}

impl Drop for Spares {
    /// Nobody writes into a directory that is closed.
    fn drop(&mut self) {
        self.settle();
    }
}

/// A file of zeros. What could not be filled is removed: it takes room.
fn fill(
    folder: &dyn Folder,
    bytes: usize,
    written: impl Fn(&dyn Fn() -> io::Result<()>) -> io::Result<()>,
) -> io::Result<()> {
    let segment = folder.create(SPARE)?;
    let zeros = vec![0; ZEROS.min(bytes)];
    for at in (0..bytes).step_by(zeros.len()) {
        let part = &zeros[..zeros.len().min(bytes - at)];
        if let Err(error) = written(&|| segment.write(at as u64, part)) {
            let _ = folder.remove(SPARE);
            return Err(error);
        }
    }
    segment.sync()
}
