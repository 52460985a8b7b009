//! The newest entries of one shard's log, in memory: bounded in bytes, and never missing what is not yet flushed.

use super::Record;
use std::collections::VecDeque;
use std::ops::Range;

/// Room an entry takes besides its bytes.
const RECORD_BYTES: usize = 96;

impl Record {
    /// What the entry costs in memory.
    pub fn bytes(&self) -> usize {
        RECORD_BYTES + self.id.len() + self.body.len()
    }
}

/// A run of entries without a hole. Its end is the end of the log.
#[derive(Debug, Default)]
pub(super) struct Tail {
    records: VecDeque<Record>,
    bytes: usize,
    bytes_max: usize,
}

impl Tail {
    pub(super) fn new(bytes_max: usize) -> Tail {
        Tail { bytes_max, ..Tail::default() }
    }

    /// Index of the oldest entry held.
    pub(super) fn first(&self) -> Option<u64> {
        self.records.front().map(|record| record.index)
    }

    pub(super) fn last(&self) -> Option<&Record> {
        self.records.back()
    }

    pub(super) fn push(&mut self, record: Record) {
        self.bytes += record.bytes();
        self.records.push_back(record);
    }

    /// Forgets the oldest entries above the bound, as far as they lie below `flushed_end`: the disk has those.
    pub(super) fn shrink(&mut self, flushed_end: u64) {
        while self.bytes > self.bytes_max && self.first().is_some_and(|first| first < flushed_end) {
            self.pop_front();
        }
    }

    /// Removes the entries from `from` on.
    pub(super) fn truncate_from(&mut self, from: u64) {
        while self.records.back().is_some_and(|record| record.index >= from) {
            let record = self.records.pop_back();
            self.bytes -= record.map_or(0, |record| record.bytes());
        }
    }

    /// Removes the entries up to `upto`.
    pub(super) fn purge(&mut self, upto: u64) {
        while self.first().is_some_and(|first| first <= upto) {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        let record = self.records.pop_front();
        self.bytes -= record.map_or(0, |record| record.bytes());
    }

    /// The entries of a range whose start is held, until `bytes` passes `bytes_max`; one at least if `found` is empty.
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
        let mut bytes = 0;
        let within = |record: &&Record| {
            bytes += record.bytes();
            bytes <= bytes_max
        };
        let entries_max = usize::try_from(entries_max).unwrap_or(usize::MAX);
        let oldest = self.records.iter().rev().take(entries_max).take_while(within).last();
        oldest.or(self.last()).map(|record| record.index)
    }
}
