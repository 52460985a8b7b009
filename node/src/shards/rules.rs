//! The level and the epoch of the cluster: what a leader writes on every entry of every shard.
//!
//! They stand in the cluster record on shard 0. Before there is one, they are the first of each.

use schedia_apps::cluster::Record;
use schedia_apps::{Epoch, Level};
use tokio::sync::watch;

/// A reader of the cluster's rules. Cheap to clone.
#[derive(Clone)]
pub(super) struct Rules(watch::Receiver<Option<Record>>);

impl Rules {
    /// The rules in the record of shard 0.
    pub(super) fn of(record: watch::Receiver<Option<Record>>) -> Self {
        Rules(record)
    }

    /// The level and the epoch now.
    pub(super) fn get(&self) -> (Level, Epoch) {
        match &*self.0.borrow() {
            Some(record) => (record.level, record.epoch),
            None => (Level::MIN, Epoch::default()),
        }
    }
}
