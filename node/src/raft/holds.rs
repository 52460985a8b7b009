//! What purging must not overtake: the log behind each snapshot that leaves this node.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long purging waits for the receiver of a snapshot to ask for the entries behind it.
const GRACE: Duration = Duration::from_secs(10);

/// The snapshots that leave a shard.
#[derive(Clone, Default)]
pub(crate) struct Holds(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    next: u64,
    /// Index covered, and when it was released.
    indexes: BTreeMap<u64, (u64, Option<Instant>)>,
}

/// Keeps the log behind one snapshot from being purged, while it lives and, if that was sent, [`GRACE`] longer.
pub(crate) struct Hold {
    holds: Holds,
    number: u64,
    sent: AtomicBool,
}

impl Holds {
    pub(super) fn hold(&self, index: u64) -> Hold {
        let mut held = self.lock();
        let number = held.next;
        held.next += 1;
        held.indexes.insert(number, (index, None));
        Hold { holds: self.clone(), number, sent: AtomicBool::new(false) }
    }

    /// The last index that may be purged, as far as snapshots are concerned.
    pub(super) fn purgeable(&self, now: Instant) -> u64 {
        let mut held = self.lock();
        held.indexes.retain(|_, (_, released)| released.is_none_or(|at| now < at + GRACE));
        held.indexes.values().map(|(index, _)| *index).min().unwrap_or(u64::MAX)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold {
    /// Its receiver has the snapshot, and goes on with the log behind it: it is granted its time.
    pub(super) fn sent(&self) {
        self.sent.store(true, Ordering::Relaxed);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = self.holds.lock();
        match held.indexes.get_mut(&self.number) {
            Some((_, released)) if self.sent.load(Ordering::Relaxed) => *released = Some(Instant::now()),
            // Nobody needs what is behind it.
            _ => _ = held.indexes.remove(&self.number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purging_waits_for_snapshots_and_then_for_their_receivers() {
        let (holds, now) = (Holds::default(), Instant::now());
        assert_eq!(holds.purgeable(now), u64::MAX);
        let (old, new) = (holds.hold(5), holds.hold(9));
        assert_eq!(holds.purgeable(now), 5);
        drop(old);
        assert_eq!(holds.purgeable(now), 9, "a snapshot that was never sent holds nothing");
        new.sent();
        drop(new);
        assert_eq!(holds.purgeable(now), 9, "its receiver asks for what is behind it next");
        assert_eq!(holds.purgeable(now + GRACE * 2), u64::MAX);
    }
}
