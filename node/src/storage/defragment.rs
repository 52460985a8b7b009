//! A fresh copy of a state file, made beside it while the node works, and then put in its place.
//!
//! redb writes new rows where old ones were, but gives a file's room back only at its end, and its own compaction wants nobody
//! to read meanwhile. After most rows are gone, a copy is what gives their room back.
//!
//! The flusher makes it, between its checkpoints: it copies some rows of the newest checkpoint at a time, in the order of tables
//! and keys, and writes each later checkpoint to both files.
//!
//! Invariants:
//! * In the copy are the rows of the newest checkpoint up to a position, and no others.
//! * The copy takes the place of the file it was made of, with that file's newest checkpoint. A file put there meanwhile by
//!   a snapshot stays.
//! * Whatever happens to the copy does no harm: it is deleted, and the file stays.

use super::base::{self, Base, invalid, other};
use super::draft::Draft;
use super::file::DbFile;
use super::overlay::Overlay;
use super::seal::unseal;
use super::space::Space;
use super::state::Shared;
use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The copy's name in its shard's directory.
pub(super) const FILE: &str = "copy.redb";

/// A file smaller than this is left as it is, unless somebody asks.
const BYTES_MIN: u64 = 64 << 20;
/// And one that is smaller than so many times its rows. As measured it is 1.7 times them right after a copy, and 3.3 after random writes.
const TIMES_ROWS: u64 = 5;
/// Pause after a copy, or an attempt at one, before the next that nobody asked for.
const PAUSE: Duration = Duration::from_secs(600);
/// Pause between steps: clients want the disk too.
pub(super) const STEP_PAUSE: Duration = Duration::from_micros(if cfg!(test) { 100 } else { 50_000 });
/// Rows copied at a time: about a tenth of a second with the sync.
const STEP_BYTES: usize = if cfg!(test) { 16 } else { 8 << 20 };

/// What defragmenting a state file gave back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defragmented {
    /// Size of the file before.
    pub before_bytes: u64,
    /// Size of its copy.
    pub after_bytes: u64,
}

/// A copy in the making.
struct Copy {
    source: Arc<DbFile>,
    db: Arc<DbFile>,
    /// After `db`: deleted when that is closed.
    draft: Draft,
    /// Table and key of the last row copied.
    position: Option<(String, Vec<u8>)>,
    before_bytes: u64,
    begun: Instant,
}

/// Somebody who waits for a copy.
pub(super) type Asked = oneshot::Sender<io::Result<Defragmented>>;

/// The flusher's own: the copy that is under way, if there is one, and who waits for it.
#[derive(Default)]
pub(super) struct Copier {
    copy: Option<Copy>,
    asked: Vec<Asked>,
    rested: Option<Instant>,
}

impl Copier {
    /// Whether there is more to do soon.
    pub(super) fn is_busy(&self) -> bool {
        self.copy.is_some()
    }

    /// Somebody wants a copy: that under way, or a new one.
    pub(super) fn ask(&mut self, asked: Vec<Asked>) {
        self.asked.extend(asked);
    }

    /// A checkpoint was made of these changes.
    pub(super) fn follow(&mut self, changes: [&Overlay; 2]) {
        if let Some(Err(error)) = self.copy.as_ref().map(|copy| copy.follow(changes)) {
            self.end(Err(error));
        }
    }

    /// Begins a copy if one is wanted, goes on with it, puts it in force when it is whole.
    pub(super) fn go_on(&mut self, shared: &Shared) {
        match self.step(shared) {
            Ok(None) => {}
            Ok(Some(done)) => self.end(Ok(done)),
            Err(error) => self.end(Err(error)),
        }
    }

    fn step(&mut self, shared: &Shared) -> io::Result<Option<Defragmented>> {
        let copy = match &mut self.copy {
            Some(copy) => copy,
            None => {
                let rested = self.rested.is_none_or(|since| since.elapsed() >= PAUSE);
                if self.asked.is_empty() && !(rested && is_due(shared)?) {
                    return Ok(None);
                }
                self.copy.insert(Copy::begin(shared)?)
            }
        };
        if !copy.step(shared)? {
            return Ok(None);
        }
        self.copy.take().map(|copy| copy.finish(shared)).transpose()
    }

    fn end(&mut self, result: io::Result<Defragmented>) {
        self.copy = None;
        self.rested = Some(Instant::now());
        if let Err(error) = &result {
            tracing::warn!(%error, "a state file was not copied, and stays as it is");
        }
        for asked in self.asked.drain(..) {
            let _ = asked.send(result.as_ref().copied().map_err(|e| io::Error::new(e.kind(), e.to_string())));
        }
    }
}

/// Whether most of the file is room that no row needs.
fn is_due(shared: &Shared) -> io::Result<bool> {
    let file_bytes = shared.file_bytes()?;
    Ok(file_bytes >= BYTES_MIN && file_bytes / TIMES_ROWS > shared.layers().base.rows_bytes)
}

impl Copy {
    /// An empty copy. An error if the disk might not have room for a whole one.
    fn begin(shared: &Shared) -> io::Result<Copy> {
        let base = shared.layers().base.clone();
        let before_bytes = shared.file_bytes()?;
        let Space { total_bytes, free_bytes } = Space::measure(&shared.dir)?;
        let needed = before_bytes.min(base.rows_bytes * 3);
        if (Space { total_bytes, free_bytes: free_bytes.saturating_sub(needed) }).is_low() {
            let words =
                format!("a copy of {} needs up to {needed} bytes more of free disk", shared.file.display());
            return Err(io::Error::new(io::ErrorKind::StorageFull, words));
        }
        let draft = Draft::new(shared.dir.join(FILE));
        let db =
            DbFile::open(draft.path(), draft.path(), shared.options.state_cache_bytes(), shared.volume())?;
        let (source, position, begun) = (base.db.clone(), None, Instant::now());
        Ok(Copy { source, db: Arc::new(db), draft, position, before_bytes, begun })
    }

    /// A checkpoint was made of these changes: makes them to the rows that are in the copy.
    fn follow(&self, changes: [&Overlay; 2]) -> io::Result<()> {
        let Some((table, key)) = &self.position else { return Ok(()) };
        let txn = self.db.begin_write().map_err(other)?;
        for changes in changes {
            base::write_changes(&txn, changes, |t, k| (t, k) <= (table, key))?;
        }
        txn.commit().map_err(other)
    }

    /// Copies some more rows of the newest checkpoint. Whether those were the last.
    fn step(&mut self, shared: &Shared) -> io::Result<bool> {
        let base = self.newest(shared)?;
        let txn = self.db.begin_write().map_err(other)?;
        let mut room = STEP_BYTES;
        for (table, rows) in base.tables() {
            let start = match &self.position {
                Some((at, _)) if table < at.as_str() => continue,
                Some((at, key)) if table == at => Bound::Excluded(key.clone()),
                _ => Bound::Unbounded,
            };
            let start = start.as_ref().map(Vec::as_slice);
            let mut copied = base::Sealed::open(&txn, table)?;
            for row in rows.range::<&[u8]>((start, Bound::Unbounded)).map_err(other)? {
                let (key, sealed) = row.map_err(other)?;
                let (key, sealed) = (key.value(), sealed.value());
                if unseal(key, sealed).is_none() {
                    return Err(invalid(format!("bad checksum in table {table}, key {key:02x?}")));
                }
                copied.write(key, sealed)?;
                room = room.saturating_sub(key.len() + sealed.len());
                if room == 0 {
                    self.position = Some((table.to_owned(), key.to_owned()));
                    drop(copied);
                    txn.commit().map_err(other)?;
                    return Ok(false);
                }
            }
        }
        txn.commit().map_err(other)?;
        Ok(true)
    }

    /// Puts the whole copy in the place of its file. No checkpoint may have been made since the last step.
    fn finish(self, shared: &Shared) -> io::Result<Defragmented> {
        let _writing = shared.writing();
        shared.failure.check()?;
        let base = self.newest(shared)?;
        let txn = self.db.begin_write().map_err(other)?;
        base::write_checkpoint(&txn, shared.shard, &base.checkpoint, base.rows_bytes)?;
        base::commit(txn)?;
        let Copy { db, draft, before_bytes, begun, .. } = self;
        let copy = Base::new(db)?;
        shared.put_in_place(&copy, draft)?;
        let replaced = shared.change(|layers| std::mem::replace(&mut layers.base, Arc::new(copy)));
        drop((replaced, base));
        let done = Defragmented { before_bytes, after_bytes: shared.file_bytes()? };
        tracing::info!(
            shard = %shared.shard,
            before_bytes,
            after_bytes = done.after_bytes,
            seconds = begun.elapsed().as_secs_f64(),
            "a copy has taken the place of the state file"
        );
        Ok(done)
    }

    /// The newest checkpoint of the file that is copied.
    fn newest(&self, shared: &Shared) -> io::Result<Arc<Base>> {
        let base = shared.layers().base.clone();
        if Arc::ptr_eq(&base.db, &self.source) {
            return Ok(base);
        }
        Err(io::Error::other("a snapshot has taken the place of the state file meanwhile"))
    }
}
