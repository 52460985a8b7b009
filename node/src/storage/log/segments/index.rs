//! Where the entries of each shard are, and what else each shard has saved: what the segments say, applied in their order.
//!
//! Used while segments are read at start and while they are written, so that both come to the same.

use super::format::Item;
use crate::storage::log::engine::Saved;
use schedia_apps::ShardId;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u32,
    pub(super) at: u32,
    pub(super) bytes: u32,
}

/// What lies between two records that are read at once: frames' heads, and a few records of other shards.
const GAP_BYTES: u32 = 4 << 10;

impl Place {
    /// Whether both are read sooner at once than each alone.
    pub(super) fn is_shortly_before(self, other: Place) -> bool {
        let end = self.at + self.bytes;
        self.segment == other.segment && other.at >= end && other.at - end <= GAP_BYTES
    }
}

/// One shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shard {
    pub(super) saved: Saved,
    /// Index of the first of `places`; the next one there will be, if there are none.
    first: Option<u64>,
    /// `None`: in a segment that was gone before the oldest one that is left.
    places: VecDeque<Option<Place>>,
}

impl Shard {
    /// The index after the last entry, or after the purged one. `None`: there never was any.
    pub(super) fn end(&self) -> Option<u64> {
        self.first.map(|first| first + self.places.len() as u64)
    }

    /// Entries there are of these, with their places.
    pub(super) fn places(&self, range: Range<u64>) -> impl Iterator<Item = (u64, Place)> {
        let first = self.first.unwrap_or(0);
        let from = range.start.saturating_sub(first).min(self.places.len() as u64);
        let end = range.end.saturating_sub(first).clamp(from, self.places.len() as u64);
        let places = self.places.range(from as usize..end as usize).zip(first + from..);
        places.filter_map(|(place, index)| Some((index, (*place)?)))
    }

    /// Whether an entry may follow: behind the last or purged one; any, if there is neither.
    fn takes(&self, index: u64) -> bool {
        let any = self.places.is_empty() && self.saved.purged.is_none();
        any || self.end() == Some(index)
    }

    /// The first entry whose place nobody knows.
    fn lost(&self) -> Option<u64> {
        let lost = self.places.iter().position(Option::is_none)?;
        Some(self.first? + lost as u64)
    }
}

/// All shards, and what of each segment is still needed.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    pub(super) shards: BTreeMap<ShardId, Shard>,
    /// Bytes of the entries in each segment that are in no other and not purged.
    live: BTreeMap<u32, u64>,
}

impl Index {
    /// Applies a record. `Err`: it does not fit what came before it.
    pub(super) fn apply(&mut self, shard: ShardId, item: &Item, place: Place) -> io::Result<()> {
        let known = self.shards.entry(shard).or_default();
        match item {
            Item::Entry(record) => {
                // The last number of all has no successor: nothing could ever follow.
                if !known.takes(record.index) || record.index == u64::MAX {
                    return Err(wrong(format!("entry {} of shard {shard} is no successor", record.index)));
                }
                if known.places.is_empty() {
                    known.first = Some(record.index);
                }
                known.places.push_back(Some(place));
                *self.live.entry(place.segment).or_default() += u64::from(place.bytes);
            }
            Item::Copy(record) => {
                let first = known.first.unwrap_or(u64::MAX);
                let old = record.index.checked_sub(first).and_then(|n| known.places.get_mut(n as usize));
                let old =
                    old.ok_or_else(|| wrong(format!("copy of no entry {}", record.index)))?.replace(place);
                *self.live.entry(place.segment).or_default() += u64::from(place.bytes);
                old.into_iter().for_each(|old| self.died(old));
            }
            Item::Truncate(from) => {
                let keep = known.first.map_or(0, |first| from.saturating_sub(first));
                let keep = usize::try_from(keep).unwrap_or(usize::MAX).min(known.places.len());
                let cut = known.places.split_off(keep);
                cut.into_iter().flatten().for_each(|place| self.died(place));
            }
            Item::Purge(mark) => {
                let next = mark
                    .index
                    .checked_add(1)
                    .ok_or_else(|| wrong(format!("nothing follows {}", mark.index)))?;
                let gone = known.first.map_or(0, |first| next.saturating_sub(first));
                let gone = usize::try_from(gone).unwrap_or(usize::MAX).min(known.places.len());
                let purged: Vec<_> = known.places.drain(..gone).flatten().collect();
                known.first = Some(known.first.unwrap_or(0).max(next));
                known.saved.purged = Some(mark.clone());
                purged.into_iter().for_each(|place| self.died(place));
            }
            Item::Vote(vote) => known.saved.vote = Some(vote.clone()),
            Item::Committed(mark) => known.saved.committed = Some(mark.clone()),
            Item::Range(first, end) => {
                known.first = Some(*first);
                known.places = vec![None; end.saturating_sub(*first) as usize].into();
            }
            Item::Continued => {}
        }
        Ok(())
    }

    /// What the first frame of a segment says: every shard as it is now.
    pub(super) fn state(&self) -> Vec<(ShardId, Item)> {
        let mut items = Vec::new();
        for (id, shard) in &self.shards {
            let Saved { vote, committed, purged } = shard.saved.clone();
            let purged = purged.map(Item::Purge);
            let range = shard.first.zip(shard.end()).map(|(first, end)| Item::Range(first, end));
            let said = [purged, range, vote.map(Item::Vote), committed.map(Item::Committed)];
            items.extend(said.into_iter().flatten().map(|item| (*id, item)));
        }
        items
    }

    /// Bytes of a segment that are still needed.
    pub(super) fn live(&self, segment: u32) -> u64 {
        self.live.get(&segment).copied().unwrap_or(0)
    }

    /// Bytes of all entries.
    pub(super) fn live_total(&self) -> u64 {
        self.live.values().sum()
    }

    /// The entries in a segment, in no order that matters.
    pub(super) fn entries_in(&self, segment: u32) -> Vec<(ShardId, u64)> {
        let entries = self
            .shards
            .iter()
            .flat_map(|(id, shard)| shard.places(0..u64::MAX).map(move |(index, place)| (*id, index, place)));
        entries.filter(|(_, _, place)| place.segment == segment).map(|(id, index, _)| (id, index)).collect()
    }

    /// An entry that should be there and is not.
    pub(super) fn lost(&self) -> Option<(ShardId, u64)> {
        self.shards.iter().find_map(|(id, shard)| Some((*id, shard.lost()?)))
    }

    /// A segment is gone.
    pub(super) fn forget(&mut self, segment: u32) {
        self.live.remove(&segment);
    }

    fn died(&mut self, place: Place) {
        if let Some(live) = self.live.get_mut(&place.segment) {
            *live = live.saturating_sub(u64::from(place.bytes));
        }
    }
}

fn wrong(words: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, words)
}
