//! Any bytes as a record, as a frame, and as what somebody wrote to a folder of segments.

use super::folder::{Folder, Segment};
use super::format::{self, FRAME_BYTES, HEAD_BYTES, Item};
use super::index::{Index, Place};
use super::recover::{End, RANGE_MAX};
use super::{SegmentLog, name, number_of};
use crate::fuzz::{Input, Target};
use crate::storage::failure::Failure;
use crate::storage::file::Patience;
use crate::storage::log::engine::{Change, LogEngine, Saved};
use crate::storage::log::{Mark, Record};
use crate::storage::volume::Volume;
use bytes::Bytes;
use schedia_apps::ShardId;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) const TARGETS: [Target; 3] = [
    Target { name: "log-record", memory: 4 << 10, run: record, seeds: record_seeds },
    Target { name: "log-frame", memory: 4 << 10, run: frame, seeds: frame_seeds },
    Target { name: "log-folder", memory: 256 << 10, run: folder, seeds: folder_seeds },
];

/// Bytes of a segment here: some entries.
const SEGMENT: usize = 1 << 10;

fn record(input: &[u8]) {
    one_record(input);
    let mut sealed = input.to_vec();
    if sealed.len() >= 8 {
        let length = (sealed.len() as u32).to_le_bytes();
        sealed[4..8].copy_from_slice(&length);
        let crc = crc32c::crc32c(&sealed[4..]);
        sealed[..4].copy_from_slice(&crc.to_le_bytes());
        one_record(&sealed);
    }
}

fn one_record(bytes: &[u8]) {
    if let Some((shard, item, length)) = format::read(bytes) {
        let mut again = Vec::new();
        assert_eq!((format::push(&mut again, shard, &item), item.bytes()), (length, length));
        assert_eq!(again, bytes[..length]);
    }
}

fn items() -> Vec<Item> {
    let mark = Mark { index: 7, id: Bytes::from_static(&[1, 3, 7]) };
    let record =
        Record { index: 8, id: Bytes::from_static(&[1, 3, 8]), body: Bytes::from_static(b"\x01\x00") };
    let vote = Bytes::from_static(&[1, 7, 2, 1]);
    vec![
        Item::Entry(record.clone()),
        Item::Copy(record),
        Item::Truncate(8),
        Item::Purge(mark.clone()),
        Item::Vote(vote),
        Item::Committed(mark),
        Item::Range(1, 9),
        Item::Continued,
    ]
}

fn record_seeds() -> Vec<Vec<u8>> {
    let encode = |item: &Item| {
        let mut bytes = Vec::new();
        format::push(&mut bytes, ShardId(2), item);
        bytes
    };
    items().iter().map(encode).collect()
}

fn frame(input: &[u8]) {
    one_frame(input);
    let mut sealed = input.to_vec();
    if sealed.len() >= FRAME_BYTES {
        let length = sealed.len();
        sealed[4..8].copy_from_slice(&((length - FRAME_BYTES) as u32).to_le_bytes());
        sealed[8..12].copy_from_slice(&format::name_in_frames(1).to_le_bytes());
        let crc = crc32c::crc32c(&sealed[4..]);
        sealed[..4].copy_from_slice(&crc.to_le_bytes());
        one_frame(&sealed);
    }
}

fn one_frame(bytes: &[u8]) {
    if let Some((frame, records)) = format::read_frame(bytes, format::name_in_frames(1)) {
        let mut again = [&[0; FRAME_BYTES], records].concat();
        assert_eq!(format::seal(&mut again, 1, frame.before, frame.sync), frame.crc);
        assert_eq!(again[..FRAME_BYTES + frame.length], bytes[..FRAME_BYTES + frame.length]);
    }
    if let Ok(number) = format::read_head(bytes) {
        assert_eq!(format::head(number)[..HEAD_BYTES - 4], bytes[..HEAD_BYTES - 4]);
    }
}

fn frame_seeds() -> Vec<Vec<u8>> {
    let mut frame = vec![0; FRAME_BYTES];
    items().iter().for_each(|item| _ = format::push(&mut frame, ShardId(0), item));
    format::seal(&mut frame, 1, 0, 1);
    vec![format::head(1).to_vec(), frame]
}

/// Recovers what the input wrote. What is recovered is recovered again, and takes entries that are there afterwards; what
/// is not is named by its file.
fn folder(input: &[u8]) {
    let folder = Arc::new(Memory(written(&mut Input(input))));
    let log = match open(&folder) {
        Ok(log) => log,
        Err(error) => return assert!(error.to_string().contains(".log: "), "{error}"),
    };
    let before = seen(&log);
    drop(log);
    let mut log = open(&folder).expect("what was recovered is recovered again");
    assert_eq!(seen(&log), before);
    let index = log.shared.known().index.shards.get(&ShardId(0)).and_then(|shard| shard.end()).unwrap_or(1);
    let record = Record { index, id: Bytes::from_static(b"id"), body: Bytes::from_static(b"body") };
    if index == u64::MAX
        || log.commit(&mut [(ShardId(0), &Change::Append(vec![record.clone()]))].into_iter()).is_err()
    {
        return;
    }
    let (entries, saved) = seen(&log);
    assert_eq!((entries[&ShardId(0)].last(), &saved), (Some(&record), &before.1));
    drop(log);
    assert_eq!(seen(&open(&folder).expect("what was acknowledged is recovered")), (entries, saved));
}

fn open(folder: &Arc<Memory>) -> io::Result<SegmentLog> {
    SegmentLog::on(folder.clone(), SEGMENT, Patience::none(Volume::new(Failure::new(), false)))
}

type Seen = (BTreeMap<ShardId, Vec<Record>>, BTreeMap<ShardId, Saved>);

/// Entries, and what else was saved. A shard that has nothing may be forgotten.
fn seen(log: &SegmentLog) -> Seen {
    let saved: BTreeMap<_, _> = log.saved().expect("it is in memory").into_iter().collect();
    let read =
        |shard| log.reader().read(shard, 0..u64::MAX, usize::MAX).expect("what was recovered is readable");
    let entries = saved.keys().map(|shard| (*shard, read(*shard)));
    let entries = entries.filter(|(_, entries)| !entries.is_empty()).collect();
    (entries, saved.into_iter().filter(|(_, saved)| *saved != Saved::default()).collect())
}

/// Files that the input describes: frames as the log writes them, and now and then something else.
fn written(input: &mut Input<'_>) -> Mutex<BTreeMap<String, Arc<Content>>> {
    let mut files = Vec::new();
    let mut pen =
        Pen { number: 1, bytes: format::head(1).to_vec(), end: End::default(), index: Index::default() };
    pen.frame(&[]);
    while let Some(what) = input.byte() {
        match what % 8 {
            0..=3 => {
                let items: Vec<_> = (0..=what / 64).map_while(|_| item(input, &pen.index)).collect();
                pen.frame(&items);
            }
            4 => {
                pen.frame(&[(ShardId(0), Item::Continued)]);
                let state = pen.index.state();
                files.push((pen.number, std::mem::take(&mut pen.bytes)));
                pen.number = pen.number.wrapping_add(1);
                pen.bytes = format::head(pen.number).to_vec();
                pen.end = End { sync: pen.end.sync, ..End::default() };
                pen.frame(&state);
            }
            5 => pen.bytes.extend_from_slice(input.bytes().unwrap_or_default()),
            6 => pen.end.sync = pen.end.sync.wrapping_add(input.number().unwrap_or(0)),
            _ => {
                let (at, mask) = (input.number().unwrap_or(0) as usize, input.byte().unwrap_or(1));
                let length = pen.bytes.len();
                pen.bytes[at % length] ^= mask;
            }
        }
    }
    files.push((pen.number, pen.bytes));
    let content = |bytes: Vec<u8>| Arc::new(Content(Mutex::new(bytes)));
    Mutex::new(files.into_iter().map(|(number, bytes)| (name(number), content(bytes))).collect())
}

/// A record, most often one that fits.
fn item(input: &mut Input<'_>, index: &Index) -> Option<(ShardId, Item)> {
    let (kind, shard) = (input.byte()?, ShardId(u32::from(input.byte()? % 2)));
    let next = index.shards.get(&shard).and_then(|shard| shard.end()).unwrap_or(1);
    let number = if kind < 128 { next.saturating_sub(u64::from(kind / 9 % 3)) } else { input.number()? };
    let mut bytes = || input.bytes().map(Bytes::copy_from_slice).unwrap_or_default();
    let item = match kind % 9 {
        0 | 8 => Item::Entry(Record { index: number, id: bytes(), body: bytes() }),
        1 => Item::Copy(Record { index: number, id: bytes(), body: bytes() }),
        2 => Item::Truncate(number),
        3 => Item::Purge(Mark { index: number, id: bytes() }),
        4 => Item::Vote(bytes()),
        5 => Item::Committed(Mark { index: number, id: bytes() }),
        // Up to its bound a range takes memory for what it speaks of.
        6 => match input.number()? {
            end if (1_000..=RANGE_MAX).contains(&end.saturating_sub(number)) => Item::Continued,
            end => Item::Range(number, end),
        },
        _ => Item::Continued,
    };
    Some((shard, item))
}

/// Writes one segment after another, as the log does.
struct Pen {
    number: u32,
    bytes: Vec<u8>,
    end: End,
    index: Index,
}

impl Pen {
    fn frame(&mut self, items: &[(ShardId, Item)]) {
        let mut frame = vec![0; FRAME_BYTES];
        for (shard, item) in items {
            let at = (self.bytes.len() + frame.len()) as u32;
            let bytes = format::push(&mut frame, *shard, item) as u32;
            // What does not fit is written all the same. A range is no part of any state but the first.
            if !matches!(item, Item::Range(..)) {
                let _ = self.index.apply(*shard, item, Place { segment: self.number, at, bytes });
            }
        }
        self.end.sync = self.end.sync.wrapping_add(1);
        self.end.before = format::seal(&mut frame, self.number, self.end.before, self.end.sync);
        self.bytes.extend_from_slice(&frame);
    }
}

fn folder_seeds() -> Vec<Vec<u8>> {
    // Entries of two shards, a vote, a purge; the same over three segments; with a torn end; with a flipped bit.
    let entries = [0x40, 0, 0, 3, 1, 3, 1, 2, 1, 0, 0, 1, 1, 9, 1, 8];
    let marks = [0x80, 4, 0, 2, 1, 7, 5, 0, 1, 9, 3, 0, 1, 9];
    let one = [&entries[..], &marks].concat();
    let three = [&one[..], &[4], &entries, &[4], &marks, &entries].concat();
    let torn = [&three[..], &[5, 4, 1, 2, 3, 4]].concat();
    let flipped = [&three[..], &[7, 90, 4]].concat();
    let lost = [&one[..], &[6, 3], &entries].concat();
    vec![one, three, torn, flipped, lost]
}

/// A folder in memory.
struct Memory(Mutex<BTreeMap<String, Arc<Content>>>);

#[derive(Debug)]
struct Content(Mutex<Vec<u8>>);

impl Memory {
    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Content>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Folder for Memory {
    fn path(&self) -> &Path {
        Path::new("log")
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files().keys().filter(|name| number_of(name).is_some()).cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Segment>> {
        let content = self.files().get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(content))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Segment>> {
        let content = Arc::new(Content(Mutex::default()));
        self.files().insert(name.to_owned(), content.clone());
        Ok(Box::new(content))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let content = self.files().remove(from).ok_or(io::ErrorKind::NotFound)?;
        self.files().insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files().remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Segment for Arc<Content> {
    fn bytes(&self) -> io::Result<u64> {
        Ok(Content::bytes(self).len() as u64)
    }

    fn read(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = Content::bytes(self);
        let found = bytes.get(at as usize..at as usize + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write(&self, at: u64, new: &[u8]) -> io::Result<()> {
        let (mut bytes, end) = (Content::bytes(self), at as usize + new.len());
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[at as usize..end].copy_from_slice(new);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
