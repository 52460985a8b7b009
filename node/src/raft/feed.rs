//! The newest changes of keys of one shard, in order: what all watches of a node share.
//!
//! Apply pushes them here, once per batch of entries. Who needs older ones reads the history.
//!
//! Invariants:
//! * From the revision `from` on it has every change; whole revisions leave, the oldest first.
//! * Pushing costs the same however many watch; without anybody watching it keeps nothing.
//! * It holds no more than [`CHANGES_MAX`] changes and about [`BYTES_MAX`] bytes.
//!
//! Not here: who is woken by what (`crate::shards::watch`).

use schedia_apps::kv::{Change, Event, KeyRange};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::watch;

/// A reader that is further behind reads pages of the history, which cost a query each.
const CHANGES_MAX: usize = 8_192;
/// The same in bytes of keys and values.
const BYTES_MAX: usize = 8 << 20;

/// One taking looks at this many changes, then goes on with another: apply waits meanwhile.
const TAKE_CHANGES: usize = 1_000;
/// And takes about this many bytes.
const TAKE_BYTES: usize = 64 << 10;

/// The newest changes of keys. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Feed(Arc<Shared>);

/// A feed that ends when its shard does.
pub(crate) struct WeakFeed(Weak<Shared>);

impl WeakFeed {
    pub(crate) fn upgrade(&self) -> Option<Feed> {
        self.0.upgrade().map(Feed)
    }
}

struct Shared {
    /// std lock: never held across an await.
    ring: Mutex<Ring>,
    upto: watch::Sender<u64>,
    readers: AtomicUsize,
}

struct Ring {
    changes: VecDeque<Event>,
    bytes: usize,
    /// The oldest revision that is here whole, or would be.
    from: u64,
    /// The newest revision.
    upto: u64,
}

/// Some changes, and the revision to go on from.
pub(crate) struct Taken {
    pub(crate) changes: Vec<Event>,
    pub(crate) next: u64,
    /// Whether that was all there is.
    pub(crate) all: bool,
}

/// Somebody for whom changes are kept, until dropped.
pub(crate) struct Reader(Feed);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.0.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Feed {
    /// Of a store at this revision.
    pub(crate) fn new(revision: u64) -> Feed {
        let ring = Ring { changes: VecDeque::new(), bytes: 0, from: revision + 1, upto: revision };
        Feed(Arc::new(Shared {
            ring: Mutex::new(ring),
            upto: watch::Sender::new(revision),
            readers: AtomicUsize::new(0),
        }))
    }

    /// Keeps changes from now on.
    pub(crate) fn reader(&self) -> Reader {
        self.0.readers.fetch_add(1, Ordering::Relaxed);
        Reader(self.clone())
    }

    /// The newest revision, as it changes.
    pub(crate) fn upto(&self) -> watch::Receiver<u64> {
        self.0.upto.subscribe()
    }

    /// Who reads, what is kept for them, and its bytes.
    pub(crate) fn sizes(&self) -> (usize, usize, usize) {
        let ring = self.ring();
        (self.0.readers.load(Ordering::Relaxed), ring.changes.len(), ring.bytes)
    }

    /// Adds what one batch of entries changed, in order.
    pub(crate) fn push(&self, changes: Vec<Event>) {
        let Some(upto) = changes.last().map(|event| event.revision.main) else { return };
        let mut ring = self.ring();
        ring.upto = upto;
        if self.0.readers.load(Ordering::Relaxed) == 0 {
            ring.clear();
        } else {
            ring.bytes += changes.iter().map(bytes).sum::<usize>();
            ring.changes.extend(changes);
            ring.shrink();
        }
        drop(ring);
        self.0.upto.send_replace(upto);
    }

    /// Goes on at another revision: what happened up to it did not come through here.
    pub(crate) fn reset(&self, revision: u64) {
        let mut ring = self.ring();
        ring.upto = revision;
        ring.clear();
        drop(ring);
        self.0.upto.send_replace(revision);
    }

    /// Changes of a range from a revision on, whole revisions of them. `None`: the oldest are not here any more.
    pub(crate) fn take(&self, from: u64, range: &KeyRange) -> Option<Taken> {
        let ring = self.ring();
        if from < ring.from {
            return None;
        }
        let (mut changes, mut taken) = (Vec::new(), 0);
        let begin = ring.changes.partition_point(|event| event.revision.main < from);
        let mut before = None;
        for (looked_at, event) in ring.changes.range(begin..).enumerate() {
            let main = event.revision.main;
            if before.replace(main) != Some(main) && (looked_at >= TAKE_CHANGES || taken >= TAKE_BYTES) {
                return Some(Taken { changes, next: main, all: false });
            }
            if range.contains(key(event)) {
                taken += bytes(event);
                changes.push(event.clone());
            }
        }
        Some(Taken { changes, next: from.max(ring.upto + 1), all: true })
    }

    /// A handle that does not keep the feed.
    pub(crate) fn downgrade(&self) -> WeakFeed {
        WeakFeed(Arc::downgrade(&self.0))
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.0.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn clear(&mut self) {
        self.changes = VecDeque::new();
        self.bytes = 0;
        self.from = self.upto + 1;
    }

    fn shrink(&mut self) {
        let mut leaving = None;
        while let Some(oldest) = self.changes.front() {
            let main = oldest.revision.main;
            let full = self.changes.len() > CHANGES_MAX || self.bytes > BYTES_MAX;
            if !full && leaving != Some(main) {
                break;
            }
            leaving = Some(main);
            self.bytes -= bytes(oldest);
            self.from = main + 1;
            self.changes.pop_front();
        }
    }
}

/// The key that changed.
pub(crate) fn key(event: &Event) -> &[u8] {
    match &event.change {
        Change::Put(row) => &row.key,
        Change::Delete { key } => key,
    }
}

fn bytes(event: &Event) -> usize {
    let value = match &event.change {
        Change::Put(row) => row.value.len(),
        Change::Delete { .. } => 0,
    };
    key(event).len() + value
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use schedia_apps::kv::{KeyValue, Revision};

    fn put(main: u64, sub: u32, key: &str, value_bytes: usize) -> Event {
        let row = KeyValue {
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: vec![0; value_bytes].into(),
            create_revision: main,
            mod_revision: main,
            version: 1,
            lease: 0,
        };
        Event { revision: Revision { main, sub }, change: Change::Put(row), previous: None }
    }

    /// The places taken, the next revision, and whether that was all.
    type Places = (Vec<(u64, u32)>, u64, bool);

    fn taken(feed: &Feed, from: u64, prefix: &'static str) -> Option<Places> {
        let Taken { changes, next, all } = feed.take(from, &KeyRange::prefix(Bytes::from(prefix)))?;
        let places = changes.iter().map(|event| (event.revision.main, event.revision.sub)).collect();
        Some((places, next, all))
    }

    #[test]
    fn a_reader_gets_what_is_in_its_range_from_where_it_is() {
        let feed = Feed::new(5);
        let _reader = feed.reader();
        assert_eq!(taken(&feed, 6, ""), Some((vec![], 6, true)));
        feed.push(vec![put(6, 0, "a", 1), put(6, 1, "b", 1), put(7, 0, "a", 1)]);
        assert_eq!(taken(&feed, 6, ""), Some((vec![(6, 0), (6, 1), (7, 0)], 8, true)));
        assert_eq!(taken(&feed, 6, "b"), Some((vec![(6, 1)], 8, true)));
        assert_eq!(taken(&feed, 7, "b"), Some((vec![], 8, true)));
        assert_eq!(taken(&feed, 5, ""), None, "5 happened before");
        assert_eq!(taken(&feed, 12, ""), Some((vec![], 12, true)), "a revision to come");
        assert_eq!(*feed.upto().borrow(), 7);
    }

    #[test]
    fn whole_revisions_leave_when_there_are_too_many_bytes() {
        let feed = Feed::new(1);
        let _reader = feed.reader();
        feed.push(vec![put(2, 0, "a", 1), put(2, 1, "a", BYTES_MAX / 2), put(3, 0, "a", BYTES_MAX / 4)]);
        feed.push(vec![put(4, 0, "a", BYTES_MAX / 2)]);
        assert_eq!(taken(&feed, 2, ""), None);
        assert_eq!(
            taken(&feed, 3, "").map(|taken| taken.0),
            Some(vec![(3, 0)]),
            "the next one is another taking"
        );
        assert_eq!(taken(&feed, 4, "").map(|taken| taken.0), Some(vec![(4, 0)]));
        feed.push(vec![put(5, 0, "a", 2 * BYTES_MAX)]);
        assert_eq!((taken(&feed, 5, ""), taken(&feed, 6, "")), (None, Some((vec![], 6, true))));
    }

    #[test]
    fn one_taking_is_bounded_and_ends_with_a_revision() {
        let feed = Feed::new(1);
        let _reader = feed.reader();
        feed.push((0..2_000).map(|sub| put(2, sub, "a", 0)).chain([put(3, 0, "b", 0)]).collect());
        let (places, next, all) = taken(&feed, 2, "b").unwrap();
        assert_eq!((places.len(), next, all), (0, 3, false));
        assert_eq!(taken(&feed, 3, "b"), Some((vec![(3, 0)], 4, true)));
    }

    #[test]
    fn nothing_is_kept_for_nobody_and_nothing_over_a_reset() {
        let feed = Feed::new(1);
        feed.push(vec![put(2, 0, "a", 1)]);
        let reader = feed.reader();
        assert_eq!(taken(&feed, 2, ""), None);
        feed.push(vec![put(3, 0, "a", 1)]);
        assert_eq!(taken(&feed, 3, ""), Some((vec![(3, 0)], 4, true)));
        feed.reset(9);
        assert_eq!((taken(&feed, 4, ""), taken(&feed, 10, "")), (None, Some((vec![], 10, true))));
        drop(reader);
        feed.push(vec![put(10, 0, "a", 1)]);
        assert_eq!(taken(&feed, 10, ""), None);
    }
}
