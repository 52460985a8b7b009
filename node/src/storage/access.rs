//! Reading a state, and writing one batch to it: the tables that applications see.
//!
//! Both hold the layers' lock, so neither can be kept across an await, and neither sees half of the other.

use super::base::Base;
use super::stack::{Stack, Trouble};
use super::state::{Checkpoint, Layers, Shared, State};
use bytes::Bytes;
use schedia_apps::Stop;
use schedia_apps::tables::{Range, Rows, Table, Tables};
use std::sync::{RwLockReadGuard, RwLockWriteGuard};

/// The rows of a state at one moment, read only.
pub struct View<'a> {
    shared: &'a Shared,
    layers: RwLockReadGuard<'a, Layers>,
}

impl<'a> View<'a> {
    pub(super) fn new(shared: &'a Shared) -> View<'a> {
        View { shared, layers: shared.layers() }
    }

    /// What these rows are the state of.
    pub fn applied(&self) -> &Checkpoint {
        &self.layers.applied
    }
}

impl Tables for View<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Stop> {
        self.shared.stack(&self.layers).get(table, key)
    }

    fn scan(&self, table: Table, range: Range, reverse: bool) -> Rows<'_> {
        self.shared.stack(&self.layers).scan(table, &range, reverse)
    }

    /// Panics: queries are given `&dyn Tables`, which cannot call this.
    fn put(&mut self, _: Table, _: &[u8], _: Bytes) {
        unreachable!("a view is read only")
    }

    /// Panics, as `put`.
    fn delete(&mut self, _: Table, _: &[u8]) {
        unreachable!("a view is read only")
    }
}

/// The rows of a snapshot that was received and is not in force.
pub struct ReceivedView<'a> {
    base: &'a Base,
    trouble: Trouble<'a>,
}

impl<'a> ReceivedView<'a> {
    pub(super) fn new(base: &'a Base, trouble: Trouble<'a>) -> ReceivedView<'a> {
        ReceivedView { base, trouble }
    }

    fn stack(&self) -> Stack<'_> {
        Stack { overlays: [None, None], base: self.base, trouble: self.trouble }
    }
}

impl Tables for ReceivedView<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Stop> {
        self.stack().get(table, key)
    }

    fn scan(&self, table: Table, range: Range, reverse: bool) -> Rows<'_> {
        self.stack().scan(table, &range, reverse)
    }

    /// Panics, as that of [`View`].
    fn put(&mut self, _: Table, _: &[u8], _: Bytes) {
        unreachable!("a received snapshot is read only")
    }

    /// Panics, as that of [`View`].
    fn delete(&mut self, _: Table, _: &[u8]) {
        unreachable!("a received snapshot is read only")
    }
}

/// One batch being applied: writes go to the overlay, and count when it is committed.
/// Dropped without commit it leaves a torn state: nothing of it is ever flushed, and the shard has to halt.
pub struct Batch<'a> {
    state: &'a State,
    layers: RwLockWriteGuard<'a, Layers>,
    committed: bool,
}

impl<'a> Batch<'a> {
    pub(super) fn new(state: &'a State, layers: RwLockWriteGuard<'a, Layers>) -> Batch<'a> {
        Batch { state, layers, committed: false }
    }

    /// What was applied before this batch.
    pub fn applied(&self) -> &Checkpoint {
        &self.layers.applied
    }

    /// Ends the batch: from here on it may be flushed.
    pub fn commit(mut self, applied: Checkpoint) {
        self.layers.applied = applied;
        self.committed = true;
        self.state.batch_committed(&self.layers);
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.layers.torn |= !self.committed;
    }
}

impl Tables for Batch<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Stop> {
        self.state.stack(&self.layers).get(table, key)
    }

    fn scan(&self, table: Table, range: Range, reverse: bool) -> Rows<'_> {
        self.state.stack(&self.layers).scan(table, &range, reverse)
    }

    fn put(&mut self, table: Table, key: &[u8], value: Bytes) {
        self.layers.active.set(table, key, Some(value));
    }

    fn delete(&mut self, table: Table, key: &[u8]) {
        self.layers.active.set(table, key, None);
    }
}
