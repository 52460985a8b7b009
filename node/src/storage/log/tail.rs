//! The newest entries of one shard's log, in memory: bounded in bytes, and never missing what is not yet flushed.
//! Of the older ones, only how large they are.

use super::Record;
use std::collections::VecDeque;
use std::ops::Range;

/// Room an entry takes besides its bytes: the record, two allocations, their reference counts.
const RECORD_BYTES: usize = 160;

impl Record {
    /// What the entry costs in memory.
    pub fn bytes(&self) -> usize {
        RECORD_BYTES + self.id.len() + self.body.len()
    }
}

/// A run of entries without a hole, the older part on disk only. Its end is the end of the log.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// Sizes of the entries that left memory, oldest first: four bytes each, so that purging can count them.
    older: VecDeque<u32>,
    records: VecDeque<Record>,
    /// Of `records`.
    bytes: usize,
    bytes_max: usize,
    /// Index after the last entry.
    end: u64,
}

impl Tail {
    pub(super) fn new(bytes_max: usize) -> Tail {
        Tail { bytes_max, ..Tail::default() }
    }

    /// Index of the oldest entry in memory.
    pub(super) fn first(&self) -> Option<u64> {
        self.records.front().map(|record| record.index)
    }

    pub(super) fn push(&mut self, record: Record) {
        self.bytes += record.bytes();
        self.end = record.index + 1;
        self.records.push_back(record);
    }

    /// Forgets the oldest entries above the bound, as far as they lie below `flushed_end`: the disk has those.
    pub(super) fn shrink(&mut self, flushed_end: u64) {
        while self.bytes > self.bytes_max && self.first().is_some_and(|first| first < flushed_end) {
            if let Some(record) = self.records.pop_front() {
                self.bytes -= record.bytes();
                self.older.push_back(u32::try_from(record.bytes()).unwrap_or(u32::MAX));
            }
        }
    }

    /// Removes the entries from `from` on.
    pub(super) fn truncate_from(&mut self, from: u64) {
        while self.end > from {
            match self.records.pop_back() {
                Some(record) => self.bytes -= record.bytes(),
                None if self.older.pop_back().is_some() => {}
                None => return,
            }
            self.end -= 1;
        }
    }

    /// Removes the entries up to `upto`.
    pub(super) fn purge(&mut self, upto: u64) {
        let held = |tail: &Tail| (tail.older.len() + tail.records.len()) as u64;
        while held(self) > 0 && self.end - held(self) <= upto {
            if self.older.pop_front().is_none()
                && let Some(record) = self.records.pop_front()
            {
                self.bytes -= record.bytes();
            }
        }
    }

    /// The entries of a range whose start is in memory, until `bytes` passes `bytes_max`; one at least if `found` is
    /// empty.
    pub(super) fn read(
        &self,
        range: Range<u64>,
        found: &mut Vec<Record>,
        bytes: &mut usize,
        bytes_max: usize,
    ) {
        let Some(first) = self.first() else { return };
        let skipped = usize::try_from(range.start.saturating_sub(first)).unwrap_or(usize::MAX);
        for record in self.records.iter().skip(skipped).take_while(|record| record.index < range.end) {
            *bytes += record.bytes();
            if *bytes > bytes_max && !found.is_empty() {
                return;
            }
            found.push(record.clone());
        }
    }

    /// The oldest of the newest entries that are at most so many and so large together; at least the last.
    pub(super) fn recent(&self, entries_max: u64, bytes_max: usize) -> Option<u64> {
        let in_memory = self.records.iter().rev().map(Record::bytes);
        let sizes = in_memory.chain(self.older.iter().rev().map(|bytes| *bytes as usize));
        let mut bytes = 0;
        let within = |size: &usize| {
            bytes += size;
            bytes <= bytes_max
        };
        let held = self.older.len() + self.records.len();
        let entries_max = usize::try_from(entries_max).unwrap_or(usize::MAX);
        let count = sizes.take(entries_max).take_while(within).count().max(1);
        (held > 0).then(|| self.end - count as u64)
    }
}
