//! Reads all segments at start: what they say together, where the last one ends, and whether anything is missing.
//!
//! A frame that cannot be read is the torn end of what was never acknowledged only if it could have been under way when
//! the power went: in the newest segment, with nothing behind it that a later sync wrote. Anything else is damage, and
//! is named, not repaired.

use super::folder::{Folder, Segment};
use super::format::{self, ALIGN, FRAME_BYTES, Frame, HEAD_BYTES, Item, frame_bytes};
use super::index::{Index, Place};
use super::{name, number_of};
use schedia_apps::ShardId;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// Entries that a segment may say are before it: far more than a log is let grow to. A file that speaks of more is damaged,
/// and costs no memory. (They need not be there any more: what was purged since is purged by a later record.)
pub(super) const RANGE_MAX: u64 = 1 << 26;

/// What there was.
pub(super) struct Recovered {
    pub(super) index: Index,
    /// By number, the newest last; none in a folder without a log.
    pub(super) segments: BTreeMap<u32, Arc<dyn Segment>>,
    /// Where the newest goes on.
    pub(super) end: End,
}

/// Where a segment goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct End {
    pub(super) at: usize,
    /// The crc of the last frame.
    pub(super) before: u32,
    /// The number of the last sync.
    pub(super) sync: u64,
}

/// Reads everything there is.
pub(super) fn recover(folder: &dyn Folder) -> io::Result<Recovered> {
    let mut numbers: Vec<u32> = folder.list()?.iter().filter_map(|name| number_of(name)).collect();
    numbers.sort_unstable();
    for pair in numbers.windows(2) {
        if pair[1] != pair[0] + 1 {
            return Err(damage(folder, pair[0] + 1, "the segment is missing"));
        }
    }
    let (mut index, mut segments, mut end) = (Index::default(), BTreeMap::new(), End::default());
    for (place, number) in numbers.iter().enumerate() {
        let segment: Arc<dyn Segment> = folder.open(&name(*number))?.into();
        let read = read_segment(segment.as_ref(), *number, place == 0, &mut index)
            .map_err(|words| damage(folder, *number, &words))?;
        let newest = place + 1 == numbers.len();
        // The one before the newest was synced before that was made.
        let just_begun = place + 2 == numbers.len() && is_only_begun(folder, numbers[place + 1])?;
        match (read.continued, newest) {
            (true, true) => return Err(damage(folder, number + 1, "the segment is missing")),
            (false, false) if !just_begun => {
                let words =
                    format!("a bad checksum at byte {}, though more was synced behind it", read.end.at);
                return Err(damage(folder, *number, &words));
            }
            // The power went before the note was durable that the next segment is there.
            (false, false) => {
                go_on(segment.as_ref(), *number, &read).map_err(|words| damage(folder, *number, &words))?
            }
            _ => {}
        }
        if newest {
            clean(segment.as_ref(), *number, &read).map_err(|words| damage(folder, *number, &words))?;
        }
        end = read.end;
        segments.insert(*number, segment);
    }
    if let Some((shard, entry)) = index.lost() {
        let words = format!("entry {entry} of shard {shard} is in no segment: an older one is missing");
        return Err(damage(folder, numbers[0], &words));
    }
    Ok(Recovered { index, segments, end })
}

/// What a segment said.
struct Read {
    bytes: Vec<u8>,
    end: End,
    continued: bool,
}

fn read_segment(segment: &dyn Segment, number: u32, oldest: bool, index: &mut Index) -> Result<Read, String> {
    let bytes = whole(segment).map_err(|e| e.to_string())?;
    let found = format::read_head(&bytes)?;
    if found != number {
        return Err(format!("it calls itself number {found}"));
    }
    let mut read =
        Read { end: End { at: HEAD_BYTES, ..End::default() }, continued: false, bytes: Vec::new() };
    while let Some((frame, records)) = next_frame(&bytes, number, read.end) {
        let first = read.end.at == HEAD_BYTES;
        let items = items(records, number, read.end.at + FRAME_BYTES)?;
        if first && !oldest {
            let said: Vec<_> = items.into_iter().map(|(shard, item, _)| (shard, item)).collect();
            if said != index.state() {
                return Err("it does not go on where the segment before it ended".to_owned());
            }
        } else {
            for (shard, item, place) in items {
                read.continued |= item == Item::Continued;
                if let Item::Range(from, end) = item {
                    let is_one = end.checked_sub(from).is_some_and(|entries| entries <= RANGE_MAX);
                    if !is_one || !first {
                        return Err(format!("no log has the entries {from} to {end} that it speaks of"));
                    }
                }
                index.apply(shard, &item, place).map_err(|e| e.to_string())?;
            }
        }
        read.end = End { at: read.end.at + frame_bytes(frame.length), before: frame.crc, sync: frame.sync };
    }
    if read.end.at == HEAD_BYTES {
        return Err("a bad checksum in its first frame".to_owned());
    }
    read.bytes = bytes;
    Ok(read)
}

/// The frame at the end, if one goes on there.
fn next_frame(bytes: &[u8], number: u32, end: End) -> Option<(Frame, &[u8])> {
    let (frame, records) = format::read_frame(bytes.get(end.at..)?, format::name_in_frames(number))?;
    (frame.before == end.before).then_some((frame, records))
}

fn items(mut records: &[u8], segment: u32, at: usize) -> Result<Vec<(ShardId, Item, Place)>, String> {
    let (whole, mut items) = (records.len(), Vec::new());
    while !records.is_empty() {
        let at = at + whole - records.len();
        let (shard, item, length) =
            format::read(records).ok_or_else(|| format!("a record at byte {at} that nobody knows"))?;
        items.push((shard, item, Place { segment, at: at as u32, bytes: length as u32 }));
        records = &records[length..];
    }
    Ok(items)
}

/// Whether a segment has nothing but its first frame.
fn is_only_begun(folder: &dyn Folder, number: u32) -> io::Result<bool> {
    let bytes = whole(folder.open(&name(number))?.as_ref())?;
    let begun = End { at: HEAD_BYTES, ..End::default() };
    let Some((frame, _)) = next_frame(&bytes, number, begun) else { return Ok(false) };
    let end = End { at: HEAD_BYTES + frame_bytes(frame.length), before: frame.crc, sync: frame.sync };
    Ok(next_frame(&bytes, number, end).is_none())
}

/// Looks behind the end for frames of this segment. Of the one sync that may have been under way: they are blotted out, so
/// that nobody ever takes them for later ones. Of a later sync: what was there before them was acknowledged, and is gone.
fn clean(segment: &dyn Segment, number: u32, read: &Read) -> Result<(), String> {
    let (named, mut torn) = (format::name_in_frames(number), Vec::new());
    for at in (read.end.at..read.bytes.len()).step_by(ALIGN) {
        if let Some((frame, _)) = format::read_frame(&read.bytes[at..], named) {
            if frame.sync > read.end.sync + 1 {
                return Err(format!(
                    "a bad checksum at byte {}, though more was synced behind it",
                    read.end.at
                ));
            }
            torn.push(at);
        }
    }
    for at in &torn {
        segment.write(*at as u64, &[0; FRAME_BYTES]).map_err(|e| e.to_string())?;
    }
    if torn.is_empty() { Ok(()) } else { segment.sync().map_err(|e| e.to_string()) }
}

/// Writes the note that the next segment goes on: without it, what is written there later could not be told from damage here.
fn go_on(segment: &dyn Segment, number: u32, read: &Read) -> Result<(), String> {
    clean(segment, number, read)?;
    let note = format::note(number, read.end.before, read.end.sync + 1);
    segment.write(read.end.at as u64, &note).and_then(|()| segment.sync()).map_err(|e| e.to_string())
}

fn whole(segment: &dyn Segment) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; segment.bytes()? as usize];
    segment.read(0, &mut bytes)?;
    Ok(bytes)
}

fn damage(folder: &dyn Folder, number: u32, words: &str) -> io::Error {
    let file = folder.path().join(name(number));
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {words}", file.display()))
}
