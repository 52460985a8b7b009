//! What happens to tasks of one shard, as this node applies it: for those who wait on this node.
//!
//! Invariant: apply never waits for a reader. One that is too far behind is told so, and looks at the state instead.

use schedia_apps::queue::Event;
use std::sync::Arc;
use tokio::sync::broadcast;

/// Batches of entries that a reader may be behind.
const BATCHES_MAX: usize = 256;

/// News of tasks.
#[derive(Clone, Debug)]
pub(crate) enum News {
    /// In this order.
    Happened(Arc<[Event]>),
    /// Anything may have: a snapshot took the place of the state.
    Replaced,
}

/// The way of news to those who wait.
pub(super) struct Sender(broadcast::Sender<News>);

impl Sender {
    pub(super) fn new() -> Sender {
        Sender(broadcast::Sender::new(BATCHES_MAX))
    }

    /// What one batch of entries made happen.
    pub(super) fn happened(&self, events: Vec<Event>) {
        if !events.is_empty() && self.0.receiver_count() > 0 {
            let _ = self.0.send(News::Happened(events.into()));
        }
    }

    pub(super) fn replaced(&self) {
        let _ = self.0.send(News::Replaced);
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<News> {
        self.0.subscribe()
    }
}
