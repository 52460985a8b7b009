//! The bytes of a segment: what a frame is, and which records there are. Pure.
//!
//! ```text
//! segment    head | frame | frame | ... | anything that is not a frame of this segment
//! head       "schedia log\0" | version u32, 1 | number u32 | zeros                                          24 bytes
//! frame      crc u32 | length u32 | segment u32 | before u32 | sync u64 | records | zeros up to 8 bytes
//!              crc      CRC-32C of everything behind it but the zeros
//!              length   of the records
//!              segment  CRC-32C of the head: what a recycled file held before is no frame of it
//!              before   crc of the frame before it; 0 for the first
//!              sync     number of the sync that makes it durable: a frame is all that is written between two of them
//! record     crc u32 | length u32 | kind u8 | shard u32 | the rest, by kind; crc: CRC-32C of everything behind it
//!   1 entry      index u64 | id length u16 | id | body
//!   2 copy       an entry of an older segment that is to go: the same entry in another place
//!   3 truncate   from u64
//!   4 purge      index u64 | id
//!   5 vote       opaque
//!   6 committed  index u64 | id
//!   7 range      first u64 | end u64: in the first frame only, which entries the shard has
//!   8 continued  nothing (shard 0): the next segment is there and goes on
//! ```
//! Numbers are little-endian.

use crate::storage::log::{Mark, Record};
use bytes::Bytes;
use schedia_apps::ShardId;

/// Bytes of the head.
pub(super) const HEAD_BYTES: usize = 24;
/// Bytes of a frame without its records.
pub(super) const FRAME_BYTES: usize = 24;
/// Bytes of a record before what its kind says.
const RECORD_BYTES: usize = 13;
/// Frames begin at multiples of it.
pub(super) const ALIGN: usize = 8;

const MAGIC: &[u8; 12] = b"schedia log\0";
const VERSION: u32 = 1;

/// What a segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Entry(Record),
    Copy(Record),
    Truncate(u64),
    Purge(Mark),
    Vote(Bytes),
    Committed(Mark),
    Range(u64, u64),
    Continued,
}

/// What stands before a frame's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Of everything behind it.
    pub(super) crc: u32,
    /// Bytes of its records.
    pub(super) length: usize,
    pub(super) before: u32,
    pub(super) sync: u64,
}

/// The head of a segment.
pub(super) fn head(number: u32) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..12].copy_from_slice(MAGIC);
    head[12..16].copy_from_slice(&VERSION.to_le_bytes());
    head[16..20].copy_from_slice(&number.to_le_bytes());
    head
}

/// What every frame of a segment names it by. Not its number: small numbers stand everywhere.
pub(super) fn name_in_frames(number: u32) -> u32 {
    crc32c::crc32c(&head(number))
}

/// The number of the segment that begins with these bytes; `Err`: why they are no head.
pub(super) fn read_head(bytes: &[u8]) -> Result<u32, String> {
    let head = bytes.first_chunk::<HEAD_BYTES>().filter(|head| head.starts_with(MAGIC));
    let head = head.ok_or("it is no segment of a log")?;
    match u32_at(head, 12) {
        VERSION => Ok(u32_at(head, 16)),
        version => {
            Err(format!("log format {version} is not known to this release, which reads format {VERSION}"))
        }
    }
}

/// Bytes that a frame with so many bytes of records takes.
pub(super) fn frame_bytes(records: usize) -> usize {
    (FRAME_BYTES + records).next_multiple_of(ALIGN)
}

/// Fills in the frame around records: `bytes` begins with room for it.
pub(super) fn seal(bytes: &mut Vec<u8>, segment: u32, before: u32, sync: u64) -> u32 {
    let length = (bytes.len() - FRAME_BYTES) as u32;
    bytes[4..8].copy_from_slice(&length.to_le_bytes());
    bytes[8..12].copy_from_slice(&name_in_frames(segment).to_le_bytes());
    bytes[12..16].copy_from_slice(&before.to_le_bytes());
    bytes[16..24].copy_from_slice(&sync.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
    crc
}

/// The last frame of a segment: the next one is there and goes on.
pub(super) fn note(segment: u32, before: u32, sync: u64) -> Vec<u8> {
    let mut bytes = vec![0; FRAME_BYTES];
    push(&mut bytes, ShardId(0), &Item::Continued);
    seal(&mut bytes, segment, before, sync);
    bytes
}

/// No log is synced so often: such a number is damage, and the next one would not be a number.
const SYNCS_MAX: u64 = u64::MAX / 2;

/// The frame that begins here, if one does of the segment with this name in frames, with its records.
pub(super) fn read_frame(bytes: &[u8], segment: u32) -> Option<(Frame, &[u8])> {
    let head = bytes.first_chunk::<FRAME_BYTES>().filter(|head| u32_at(*head, 8) == segment)?;
    let frame = Frame {
        crc: u32_at(head, 0),
        length: u32_at(head, 4) as usize,
        before: u32_at(head, 12),
        sync: u64_at(head, 16),
    };
    let whole = bytes.get(4..FRAME_BYTES + frame.length).filter(|_| frame.sync <= SYNCS_MAX)?;
    (crc32c::crc32c(whole) == frame.crc).then(|| (frame, &whole[FRAME_BYTES - 4..]))
}

/// Appends a record; the bytes it took.
pub(super) fn push(bytes: &mut Vec<u8>, shard: ShardId, item: &Item) -> usize {
    let begin = bytes.len();
    bytes.resize(begin + 8, 0);
    bytes.push(item.kind());
    bytes.extend_from_slice(&shard.0.to_le_bytes());
    match item {
        Item::Entry(record) | Item::Copy(record) => {
            bytes.extend_from_slice(&record.index.to_le_bytes());
            bytes.extend_from_slice(&(record.id.len() as u16).to_le_bytes());
            bytes.extend_from_slice(&record.id);
            bytes.extend_from_slice(&record.body);
        }
        Item::Truncate(index) => bytes.extend_from_slice(&index.to_le_bytes()),
        Item::Range(first, end) => {
            bytes.extend_from_slice(&first.to_le_bytes());
            bytes.extend_from_slice(&end.to_le_bytes());
        }
        Item::Purge(mark) | Item::Committed(mark) => {
            bytes.extend_from_slice(&mark.index.to_le_bytes());
            bytes.extend_from_slice(&mark.id);
        }
        Item::Vote(vote) => bytes.extend_from_slice(vote),
        Item::Continued => {}
    }
    let length = bytes.len() - begin;
    bytes[begin + 4..begin + 8].copy_from_slice(&(length as u32).to_le_bytes());
    let crc = crc32c::crc32c(&bytes[begin + 4..]);
    bytes[begin..begin + 4].copy_from_slice(&crc.to_le_bytes());
    length
}

/// The record that begins here, with the bytes it takes. `None`: there is none, or not this one any more.
pub(super) fn read(bytes: &[u8]) -> Option<(ShardId, Item, usize)> {
    let length = u32_at(bytes.first_chunk::<RECORD_BYTES>()?, 4) as usize;
    let record = bytes.get(..length).filter(|record| record.len() >= RECORD_BYTES)?;
    if crc32c::crc32c(&record[4..]) != u32_at(record, 0) {
        return None;
    }
    let (shard, rest) = (ShardId(u32_at(record, 9)), &record[RECORD_BYTES..]);
    let item = match record[8] {
        1 => Item::Entry(entry(rest)?),
        2 => Item::Copy(entry(rest)?),
        3 => Item::Truncate(whole_index(rest)?),
        4 => Item::Purge(mark(rest)?),
        5 => Item::Vote(Bytes::copy_from_slice(rest)),
        6 => Item::Committed(mark(rest)?),
        7 => {
            let (first, rest) = index(rest)?;
            Item::Range(first, whole_index(rest)?)
        }
        8 if rest.is_empty() => Item::Continued,
        _ => return None,
    };
    Some((shard, item, length))
}

impl Item {
    fn kind(&self) -> u8 {
        match self {
            Item::Entry(_) => 1,
            Item::Copy(_) => 2,
            Item::Truncate(_) => 3,
            Item::Purge(_) => 4,
            Item::Vote(_) => 5,
            Item::Committed(_) => 6,
            Item::Range(..) => 7,
            Item::Continued => 8,
        }
    }

    /// Bytes that it takes as a record.
    pub(super) fn bytes(&self) -> usize {
        RECORD_BYTES
            + match self {
                Item::Entry(record) | Item::Copy(record) => 10 + record.id.len() + record.body.len(),
                Item::Truncate(_) => 8,
                Item::Range(..) => 16,
                Item::Purge(mark) | Item::Committed(mark) => 8 + mark.id.len(),
                Item::Vote(vote) => vote.len(),
                Item::Continued => 0,
            }
    }
}

fn entry(bytes: &[u8]) -> Option<Record> {
    let (index, rest) = index(bytes)?;
    let (id_bytes, rest) = rest.split_first_chunk()?;
    let (id, body) = rest.split_at_checked(u16::from_le_bytes(*id_bytes).into())?;
    Some(Record { index, id: Bytes::copy_from_slice(id), body: Bytes::copy_from_slice(body) })
}

fn mark(bytes: &[u8]) -> Option<Mark> {
    let (index, id) = index(bytes)?;
    Some(Mark { index, id: Bytes::copy_from_slice(id) })
}

fn index(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (index, rest) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*index), rest))
}

fn whole_index(bytes: &[u8]) -> Option<u64> {
    index(bytes).filter(|(_, rest)| rest.is_empty()).map(|(index, _)| index)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn items() -> impl Strategy<Value = Item> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
        let mark = (any::<u64>(), bytes()).prop_map(|(index, id)| Mark { index, id });
        let record =
            (any::<u64>(), bytes(), bytes()).prop_map(|(index, id, body)| Record { index, id, body });
        prop_oneof![
            record.clone().prop_map(Item::Entry),
            record.prop_map(Item::Copy),
            any::<u64>().prop_map(Item::Truncate),
            mark.clone().prop_map(Item::Purge),
            bytes().prop_map(Item::Vote),
            mark.prop_map(Item::Committed),
            any::<(u64, u64)>().prop_map(|(first, end)| Item::Range(first, end)),
            Just(Item::Continued),
        ]
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_and_any_flipped_bit_is_noticed(item in items(), bit in any::<prop::sample::Index>()) {
            let mut bytes = vec![0; FRAME_BYTES];
            let length = push(&mut bytes, ShardId(7), &item);
            prop_assert_eq!(length, item.bytes());
            let crc = seal(&mut bytes, 3, 4, 5);
            prop_assert_eq!(bytes.len(), frame_bytes(length));
            let (frame, records) = read_frame(&bytes, name_in_frames(3)).unwrap();
            prop_assert_eq!(frame, Frame { crc, length, before: 4, sync: 5 });
            prop_assert_eq!(read(records), Some((ShardId(7), item.clone(), length)));
            prop_assert!(read_frame(&bytes, name_in_frames(4)).is_none(), "of another segment");
            let bit = bit.index((FRAME_BYTES + length) * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(read_frame(&bytes, name_in_frames(3)).is_none());
            if bit / 8 >= FRAME_BYTES {
                prop_assert_eq!(read(&bytes[FRAME_BYTES..]), None);
            }
        }

        #[test]
        fn whatever_bytes_are_there_reading_them_ends(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (read_head(&bytes), read_frame(&bytes, 0), read(&bytes));
        }
    }
}
