//! Watches: the changes of a range of keys from a revision on, in order, as this node applies them.
//!
//! A watch is a place in the history. It takes what follows from the [`Feed`] that apply fills; where the feed does not reach
//! back (a watch from an older revision, a slow reader, an installed snapshot), from pages of the history. So a watch costs
//! no more memory the slower its reader is.
//!
//! Invariants:
//! * Every change of the range comes once, in order, whatever the leader does: what is applied is committed, and the
//!   place only moves over what was taken or does not concern the range.
//! * Apply does the same work however many watch: one task of the shard, the [`Bell`], wakes those concerned.
//! * Nothing of a watch remains when it is dropped.

use super::{Shard, ShardError};
use crate::raft::{Feed, Reader, feed_key};
use schedia_apps::kv::{Changed, Changes, Event, KeyRange, Revision, Since};
use schedia_apps::{Query, Reply, kv};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// One watch as the bell knows it.
struct Slot {
    range: KeyRange,
    /// No change of the range is between the watch's place and the beginning of this revision.
    clear_until: AtomicU64,
    woken: Notify,
}

/// Wakes the watches whose range has changed.
#[derive(Clone, Default)]
pub(super) struct Bell(Arc<Mutex<Vec<Weak<Slot>>>>);

impl Bell {
    /// Rings until the feed is gone.
    pub(super) fn start(feed: Feed) -> Bell {
        let bell = Bell::default();
        let slots = Arc::downgrade(&bell.0);
        let mut upto = feed.upto();
        let mut next = *upto.borrow_and_update() + 1;
        // The watch channel ends with the feed.
        let feed = feed.downgrade();
        tokio::spawn(async move {
            while upto.changed().await.is_ok() {
                let (Some(feed), Some(slots)) = (feed.upgrade(), slots.upgrade()) else { return };
                next = Bell(slots).ring(&feed, next);
            }
        });
        bell
    }

    fn register(&self, slot: &Arc<Slot>) {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|slot| slot.strong_count() > 0);
        slots.push(Arc::downgrade(slot));
    }

    /// Wakes whom the changes from `next` on concern, and answers from where to go on.
    fn ring(&self, feed: &Feed, mut next: u64) -> u64 {
        let slots: Vec<_> = {
            let slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            slots.iter().filter_map(Weak::upgrade).collect()
        };
        loop {
            let Some(taken) = feed.take(next, &KeyRange::all()) else {
                // The feed has left us behind: whoever is concerned finds out by looking.
                slots.iter().for_each(|slot| slot.woken.notify_one());
                return *feed.upto().borrow() + 1;
            };
            slots.iter().for_each(|slot| slot.see(next, &taken.changes, taken.next));
            next = taken.next;
            if taken.all {
                return next;
            }
        }
    }
}

impl Slot {
    /// Looks at the changes of the revisions from `begin` to before `end`.
    fn see(&self, begin: u64, changes: &[Event], end: u64) {
        let clear_until = self.clear_until.load(Ordering::Acquire);
        let news =
            |event: &&Event| event.revision.main >= clear_until && self.range.contains(feed_key(event));
        if changes.iter().any(|event| news(&event)) {
            self.woken.notify_one();
        } else if begin <= clear_until {
            self.clear_until.fetch_max(end, Ordering::AcqRel);
        }
    }
}

/// A place in the history of a range of keys.
pub struct Watch {
    shard: Shard,
    slot: Arc<Slot>,
    /// Every change before it was taken, or is outside of the range.
    place: Revision,
    previous: bool,
    /// Whether the last taking left nothing.
    caught_up: bool,
    _reader: Reader,
}

impl Shard {
    /// Watches a range from a revision on; `previous` asks for what keys were before.
    pub fn watch(&self, range: KeyRange, from: u64, previous: bool) -> Watch {
        let (bell, feed) = self.bell();
        let slot = Arc::new(Slot { range, clear_until: AtomicU64::new(from), woken: Notify::new() });
        bell.register(&slot);
        let place = Revision { main: from, sub: 0 };
        Watch { shard: self.clone(), slot, place, previous, caught_up: false, _reader: feed.reader() }
    }
}

impl Watch {
    /// Where the next taking begins: all changes of revisions before it were taken. With a `sub`, a part of that revision was.
    pub fn place(&self) -> Revision {
        self.place
    }

    /// Waits until there may be something to take, or until `deadline`.
    pub async fn wait(&self, deadline: Instant) {
        if self.caught_up {
            let _ = timeout_at(deadline, self.slot.woken.notified()).await;
        }
    }

    /// The next changes, a page of them at most; none if nothing concerns the range. Revisions are whole, but for one whose
    /// changes are larger than a page: that is continued by the next taking, and [`Watch::place`] stands within it.
    ///
    /// Refused with `compacted` when the history from its place on is gone.
    pub fn take(&mut self) -> Result<Vec<Changed>, ShardError> {
        if self.place.sub == 0 {
            self.place.main = self.place.main.max(self.slot.clear_until.load(Ordering::Acquire));
        }
        let changes = match self.take_from_feed() {
            Some(changes) => changes,
            None => self.take_from_history()?,
        };
        self.slot.clear_until.fetch_max(self.place.main, Ordering::AcqRel);
        Ok(changes)
    }

    /// The feed knows whole revisions, and not what was before.
    fn take_from_feed(&mut self) -> Option<Vec<Changed>> {
        let place = self.place.main;
        let taken = self.shard.bell().1.take(place, &self.slot.range).filter(|_| self.place.sub == 0)?;
        if self.previous && !taken.changes.is_empty() {
            return None;
        }
        self.place.main = taken.next;
        self.caught_up = taken.all;
        let changed = |Event { revision, change, previous: _ }| Changed { revision, change, previous: None };
        Some(taken.changes.into_iter().map(changed).collect())
    }

    fn take_from_history(&mut self) -> Result<Vec<Changed>, ShardError> {
        let since = Since { range: self.slot.range.clone(), from: self.place, previous: self.previous };
        match self.shard.query_here(Query::Kv(kv::Query::Changes(since)))? {
            Reply::Kv(kv::Reply::Changes(Changes { revision, changes, next })) => {
                self.place = next;
                self.caught_up = next.main > revision;
                Ok(changes)
            }
            other => Err(ShardError::wrong_reply(&other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use futures::FutureExt;
    use schedia_apps::kv::Change;

    fn delete(main: u64, key: &'static str) -> Event {
        let change = Change::Delete { key: Bytes::from(key) };
        Event { revision: Revision { main, sub: 0 }, change, previous: None }
    }

    fn slot(bell: &Bell, prefix: &'static str, from: u64) -> Arc<Slot> {
        let range = KeyRange::prefix(Bytes::from(prefix));
        let slot = Arc::new(Slot { range, clear_until: AtomicU64::new(from), woken: Notify::new() });
        bell.register(&slot);
        slot
    }

    fn seen(slot: &Slot) -> (bool, u64) {
        (slot.woken.notified().now_or_never().is_some(), slot.clear_until.load(Ordering::Relaxed))
    }

    #[test]
    fn only_those_concerned_are_woken_and_the_others_need_not_look() {
        let (bell, feed) = (Bell::default(), Feed::new(1));
        let _reader = feed.reader();
        let [a, b, late, old] =
            [("a", 2), ("b", 2), ("a", 9), ("a", 1)].map(|(prefix, from)| slot(&bell, prefix, from));
        feed.push(vec![delete(2, "b"), delete(3, "b")]);
        assert_eq!(bell.ring(&feed, 2), 4);
        assert_eq!((seen(&a), seen(&b)), ((false, 4), (true, 2)));
        assert_eq!(
            (seen(&late), seen(&old)),
            ((false, 9), (false, 1)),
            "one to come, one still in the history"
        );
        feed.push(vec![delete(4, "a")]);
        assert_eq!(bell.ring(&feed, 4), 5);
        assert_eq!((seen(&a), seen(&b)), ((true, 4), (false, 2)), "b has not looked yet");
        drop(b);
        feed.reset(20);
        assert_eq!(bell.ring(&feed, 5), 21);
        assert_eq!((seen(&a), seen(&late)), ((true, 4), (true, 9)), "whoever is left behind looks");
    }
}
