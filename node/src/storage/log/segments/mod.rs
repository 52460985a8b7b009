//! The log in segments: files of one size that are written from front to end, each sync one write behind the last.
//!
//! A segment is filled with zeros when it is made, and used again when nothing in it is needed any more: a sync then writes
//! its bytes and no metadata. `format` draws the bytes. `index` knows where each entry is. `recover` reads all of it at start.
//!
//! Invariants:
//! * What a sync acknowledged is read at the next start, or the start fails and says what is missing.
//! * Segments go oldest first, and only when each of their entries is purged, cut off, or copied into a newer one.
//! * A segment is begun with what every shard has besides its entries: the oldest one needs none before it.
//! * The files take at most twice the bytes of the entries, and two segments.
//!
//! Not here: who waits for what (`writer`), the newest entries (`tail`), the disk that is full (`storage::file`).

mod folder;
mod format;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod index;
mod recover;
mod spare;

use super::Record;
use super::engine::{Change, LogEngine, LogReader, Saved};
use crate::storage::file::Patience;
use folder::{Directory, Folder, Segment};
use format::{FRAME_BYTES, Item, frame_bytes};
use index::{Index, Place};
use recover::{End, Recovered, recover};
use schedia_apps::ShardId;
use spare::Spares;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of a segment.
pub(super) const SEGMENT_BYTES: usize = 8 << 20;
/// Bytes of entries copied out of an old segment with one commit.
const COPY_BYTES: usize = 1 << 20;

/// Whether a directory has segments.
pub(super) fn is_there(dir: &Path) -> io::Result<bool> {
    match Directory(dir.to_owned()).list() {
        Ok(names) => Ok(names.iter().any(|name| number_of(name).is_some())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes the segments.
pub(super) struct SegmentLog {
    segment_bytes: usize,
    patience: Patience,
    spares: Spares,
    /// Whether the next segment is made while this one is written.
    prepares: bool,
    shared: Arc<Shared>,
    active: Arc<dyn Segment>,
    number: u32,
    end: End,
    /// Records that are encoded, with where they will be; the bytes begin with room for the frame.
    frame: Vec<u8>,
    pending: Vec<(ShardId, Item, Place)>,
    /// Entries of the oldest segment that are still to be copied.
    copying: Vec<(ShardId, u64)>,
}

/// What the reader sees as well. The mutex is never held across reading or writing.
struct Shared {
    path: PathBuf,
    known: Mutex<Known>,
}

struct Known {
    index: Index,
    segments: BTreeMap<u32, Arc<dyn Segment>>,
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SegmentLog {
    /// Opens the log in a directory, or makes an empty one.
    pub(super) fn open(dir: &Path, segment_bytes: usize, patience: Patience) -> io::Result<SegmentLog> {
        std::fs::create_dir_all(dir)?;
        let mut log = SegmentLog::on(Arc::new(Directory(dir.to_owned())), segment_bytes, patience)?;
        log.prepares = true;
        Ok(log)
    }

    /// The same in any folder; a segment is made when it is needed.
    pub(in crate::storage::log) fn on(
        folder: Arc<dyn Folder>,
        segment_bytes: usize,
        patience: Patience,
    ) -> io::Result<SegmentLog> {
        let Recovered { index, mut segments, mut end } = recover(folder.as_ref())?;
        let mut spares = Spares::find(folder.clone(), segment_bytes, patience.clone())?;
        if segments.is_empty() {
            let (segment, begun) = spares.make(1, &[], 0)?;
            (segments, end) = (BTreeMap::from([(1, segment)]), begun);
        }
        let (number, active) =
            segments.last_key_value().map(|(n, s)| (*n, s.clone())).ok_or(io::ErrorKind::NotFound)?;
        let shared = Shared { path: folder.path().to_owned(), known: Mutex::new(Known { index, segments }) };
        Ok(SegmentLog {
            segment_bytes,
            patience,
            spares,
            prepares: false,
            shared: Arc::new(shared),
            active,
            number,
            end,
            frame: vec![0; FRAME_BYTES],
            pending: Vec::new(),
            copying: Vec::new(),
        })
    }

    /// Encodes a record behind the others; goes on in the next segment if it does not fit.
    fn push(&mut self, shard: ShardId, item: Item) -> io::Result<()> {
        let needed = frame_bytes(self.frame.len() - FRAME_BYTES + item.bytes());
        if self.end.at + needed > self.room() {
            self.sync()?;
            self.roll()?;
            if self.end.at + frame_bytes(item.bytes()) > self.room() {
                let words =
                    format!("{} bytes do not fit into a segment of {}", item.bytes(), self.segment_bytes);
                return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
            }
        }
        let at = (self.end.at + self.frame.len()) as u32;
        let bytes = format::push(&mut self.frame, shard, &item) as u32;
        self.pending.push((shard, item, Place { segment: self.number, at, bytes }));
        Ok(())
    }

    /// Where a segment ends for everything but the note that the next one goes on.
    fn room(&self) -> usize {
        self.segment_bytes - frame_bytes(Item::Continued.bytes())
    }

    /// Writes what is encoded, makes it durable, and lets readers see it.
    fn sync(&mut self) -> io::Result<()> {
        if self.frame.len() == FRAME_BYTES {
            return Ok(());
        }
        let End { at, before, sync } = self.end;
        let crc = format::seal(&mut self.frame, self.number, before, sync + 1);
        self.write(&self.frame)?;
        self.end = End { at: at + self.frame.len(), before: crc, sync: sync + 1 };
        self.frame.clear();
        self.frame.resize(FRAME_BYTES, 0);
        let mut known = self.shared.known();
        for (shard, item, place) in self.pending.drain(..) {
            known.index.apply(shard, &item, place)?;
        }
        Ok(())
    }

    /// Writes a frame at the end, and makes it durable.
    fn write(&self, frame: &[u8]) -> io::Result<()> {
        let at = self.end.at as u64;
        self.patience.with_room(&self.shared.path, || self.active.write(at, frame))?;
        self.patience.sync(|| self.active.sync())
    }

    /// Goes on in a new segment. Everything before it is durable.
    fn roll(&mut self) -> io::Result<()> {
        let number = self.number.checked_add(1).ok_or_else(|| io::Error::other("no numbers are left"))?;
        let state = self.shared.known().index.state();
        let (segment, begun) = self.spares.make(number, &state, self.end.sync)?;
        // It is there for good: now the one before may say so.
        self.write(&format::note(self.number, self.end.before, self.end.sync + 1))?;
        self.shared.known().segments.insert(number, segment.clone());
        (self.active, self.number, self.end) = (segment, number, End { sync: begun.sync + 1, ..begun });
        Ok(())
    }

    /// Lets go of segments that nobody needs. The last of them waits for its turn as the next one.
    fn retire(&mut self) -> io::Result<()> {
        loop {
            let mut known = self.shared.known();
            let Some((&oldest, _)) = known.segments.first_key_value() else { return Ok(()) };
            if oldest == self.number || known.index.live(oldest) > 0 {
                return Ok(());
            }
            known.index.forget(oldest);
            let segment = known.segments.remove(&oldest);
            drop(known);
            let is_unread = segment.is_some_and(|segment| Arc::strong_count(&segment) == 1);
            self.spares.retire(oldest, is_unread)?;
        }
    }

    /// Whether the files take more than they should.
    fn is_too_large(&self) -> bool {
        let known = self.shared.known();
        let files = known.segments.len() as u64 + u64::from(self.spares.is_there());
        files * self.segment_bytes as u64 > 2 * known.index.live_total() + 2 * self.segment_bytes as u64
            && known.segments.len() > 1
    }

    /// Encodes copies of some entries of the oldest segment.
    fn copy_some(&mut self) -> io::Result<()> {
        if self.copying.is_empty() && self.is_too_large() {
            let known = self.shared.known();
            let oldest = known.segments.first_key_value().map(|(number, _)| *number);
            self.copying = oldest.map(|oldest| known.index.entries_in(oldest)).unwrap_or_default();
        }
        let (reader, mut copied) = (self.reader(), 0);
        while copied < COPY_BYTES
            && let Some((shard, index)) = self.copying.pop()
        {
            // Purged or cut off meanwhile: there is nothing to copy.
            for record in reader.read(shard, index..index + 1, 0)? {
                copied += record.bytes();
                self.push(shard, Item::Copy(record))?;
            }
        }
        Ok(())
    }
}

impl LogEngine for SegmentLog {
    fn file(&self) -> &Path {
        &self.shared.path
    }

    fn saved(&self) -> io::Result<Vec<(ShardId, Saved)>> {
        let known = self.shared.known();
        Ok(known.index.shards.iter().map(|(id, shard)| (*id, shard.saved.clone())).collect())
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        self.shared.clone()
    }

    fn commit(&mut self, changes: &mut dyn Iterator<Item = (ShardId, &Change)>) -> io::Result<()> {
        self.copy_some()?;
        for (shard, change) in changes {
            match change {
                Change::Append(records) => {
                    for record in records {
                        self.push(shard, Item::Entry(record.clone()))?;
                    }
                }
                Change::Truncate(from) => self.push(shard, Item::Truncate(*from))?,
                Change::Purge(mark) => self.push(shard, Item::Purge(mark.clone()))?,
                Change::Vote(vote) => self.push(shard, Item::Vote(vote.clone()))?,
                Change::Committed(mark) => self.push(shard, Item::Committed(mark.clone()))?,
            }
        }
        self.sync()?;
        self.retire()?;
        let is_half_full = self.end.at > self.segment_bytes / 2;
        if self.prepares && is_half_full { self.spares.prepare() } else { Ok(()) }
    }

    fn has_garbage(&self) -> bool {
        !self.copying.is_empty() || self.is_too_large()
    }
}

impl LogReader for Shared {
    fn file(&self) -> &Path {
        &self.path
    }

    fn read(&self, shard: ShardId, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Record>> {
        let mut places = Vec::new();
        {
            let (known, mut bytes) = (self.known(), 0);
            let Some(shard) = known.index.shards.get(&shard) else { return Ok(Vec::new()) };
            for (index, place) in shard.places(range) {
                bytes += place.bytes as usize;
                if bytes > bytes_max && !places.is_empty() {
                    break;
                }
                let segment = known.segments.get(&place.segment).ok_or(io::ErrorKind::NotFound)?;
                places.push((index, place, segment.clone()));
            }
        }
        let mut found = Vec::with_capacity(places.len());
        for run in places.chunk_by(|(_, a, _), (_, b, _)| a.is_shortly_before(*b)) {
            let [(_, first, segment), ..] = run else { continue };
            let end = run.last().map_or(0, |(_, last, _)| last.at + last.bytes);
            let mut bytes = vec![0; (end - first.at) as usize];
            segment.read(first.at.into(), &mut bytes)?;
            for (index, place, _) in run {
                let record = match format::read(&bytes[(place.at - first.at) as usize..]) {
                    Some((read, Item::Entry(record) | Item::Copy(record), _))
                        if read == shard && record.index == *index =>
                    {
                        record
                    }
                    _ => return Err(bad(&self.path, *place, shard, *index)),
                };
                found.push(record);
            }
        }
        Ok(found)
    }
}

fn bad(dir: &Path, place: Place, shard: ShardId, index: u64) -> io::Error {
    let file = dir.join(name(place.segment));
    let words =
        format!("bad checksum in {} at byte {}: entry {index} of shard {shard}", file.display(), place.at);
    io::Error::new(io::ErrorKind::InvalidData, words)
}

fn name(number: u32) -> String {
    format!("{number:010}.log")
}

fn number_of(name: &str) -> Option<u32> {
    name.strip_suffix(".log").filter(|digits| digits.len() == 10)?.parse().ok()
}

#[cfg(test)]
pub(super) mod forgetful;
#[cfg(test)]
mod tests;
