//! A snapshot that leaves a shard, and is kept for a while when its stream breaks off.
//!
//! Invariants:
//! * A snapshot is kept only while receivers come nearer to its end: each break must find one further than the break before.

use super::holds::Hold;
use super::snapshot::KEEP;
use crate::storage;
use schedia_apps::NodeId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// A checkpoint of this node, held open for whoever needs it, and the log behind it.
pub(crate) struct Outgoing {
    pub(super) snapshot: storage::Snapshot,
    pub(super) hold: Hold,
    /// The receivers that have not got to its end, and how many blocks each has said it has.
    receivers: Mutex<BTreeMap<NodeId, u64>>,
}

/// The snapshot of a shard whose stream broke off, and until when it is kept. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<Option<Until>>>);

/// What is kept, and until when.
type Until = (Arc<Outgoing>, Instant);

/// A stream to one receiver. Dropped before it [has arrived](Sending::arrived), the snapshot is kept.
pub(super) struct Sending {
    kept: Kept,
    outgoing: Arc<Outgoing>,
    to: NodeId,
    /// Blocks that the receiver had when it began; none before it has said so.
    begun: Option<u64>,
}

impl Outgoing {
    pub(super) fn new(snapshot: storage::Snapshot, hold: Hold) -> Outgoing {
        Outgoing { snapshot, hold, receivers: Mutex::default() }
    }

    /// Whether this receiver has more now than it had the last time, or was never sent anything.
    fn has_progressed(&self, to: NodeId, blocks: u64) -> bool {
        self.receivers().insert(to, blocks).is_none_or(|before| before < blocks)
    }

    /// Whether nobody waits for the rest of it.
    fn arrived_at(&self, to: NodeId) -> bool {
        let mut receivers = self.receivers();
        receivers.remove(&to);
        receivers.is_empty()
    }

    /// std Mutex: never held across an await.
    fn receivers(&self) -> MutexGuard<'_, BTreeMap<NodeId, u64>> {
        self.receivers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// The snapshot to send, whoever asks: one after the other, all get the same.
    pub(super) fn get(&self) -> Option<Arc<Outgoing>> {
        self.lock().as_ref().map(|(outgoing, _)| outgoing.clone())
    }

    pub(super) fn is_some(&self) -> bool {
        self.lock().is_some()
    }

    /// Lets go of what was kept long enough at `now`, or of anything.
    pub(super) fn let_go(&self, now: Option<Instant>) {
        let gone = self.lock().take_if(|(_, until)| now.is_none_or(|now| *until <= now));
        // A file that was replaced meanwhile is closed here: not under the lock.
        drop(gone);
    }

    /// A stream begins.
    pub(super) fn sending(&self, outgoing: Arc<Outgoing>, to: NodeId) -> Sending {
        Sending { kept: self.clone(), outgoing, to, begun: None }
    }

    fn broke_off(&self, outgoing: &Arc<Outgoing>, to: NodeId, blocks: u64, now: Instant) {
        if outgoing.has_progressed(to, blocks) {
            let former = self.lock().replace((outgoing.clone(), now + KEEP));
            drop(former);
        }
    }

    fn arrived(&self, outgoing: &Arc<Outgoing>, to: NodeId) {
        outgoing.hold.sent();
        if outgoing.arrived_at(to) {
            let gone = self.lock().take_if(|(kept, _)| Arc::ptr_eq(kept, outgoing));
            drop(gone);
        }
    }

    /// std Mutex: never held across an await.
    fn lock(&self) -> MutexGuard<'_, Option<Until>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sending {
    /// The receiver has said how many blocks it has: the rest follows.
    pub(super) fn begins(&mut self, blocks: u64) {
        self.begun = Some(blocks);
    }

    /// The receiver has all of it.
    pub(super) fn arrived(mut self) {
        self.begun = None;
        self.kept.arrived(&self.outgoing, self.to);
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if let Some(blocks) = self.begun {
            self.kept.broke_off(&self.outgoing, self.to, blocks, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::holds::Holds;
    use super::*;
    use crate::storage::{Flushed, Options, Storage};
    use schedia_apps::ShardId;

    #[test]
    fn what_broke_off_is_kept_while_receivers_progress() {
        let (holds, kept, now) = (Holds::default(), Kept::default(), Instant::now());
        let dir = tempfile::tempdir().unwrap();
        let storage = Storage::open(dir.path(), Options::default()).unwrap();
        let state = storage.state(ShardId(0), Flushed::all(), None).unwrap();
        let outgoing = Arc::new(Outgoing::new(state.snapshot(), holds.hold(7)));
        let broke_off = |to: u64, blocks| kept.broke_off(&outgoing, NodeId(to), blocks, now);
        drop(kept.sending(outgoing.clone(), NodeId(1)));
        assert!(!kept.is_some(), "a receiver that was not reached has nothing");
        broke_off(1, 0);
        assert!(kept.get().is_some_and(|kept| Arc::ptr_eq(&kept, &outgoing)));
        kept.let_go(Some(now + KEEP));
        assert!(!kept.is_some());
        broke_off(1, 0);
        assert!(!kept.is_some(), "it lost what it had, or got no further");
        broke_off(1, 3);
        broke_off(2, 0);
        kept.let_go(Some(now + KEEP / 2));
        kept.arrived(&outgoing, NodeId(1));
        assert!(kept.is_some(), "the other one has a part of it");
        kept.arrived(&outgoing, NodeId(2));
        assert!(!kept.is_some());
        broke_off(2, 1);
        kept.let_go(None);
        assert!(!kept.is_some(), "the disk is nearly full");
        assert_eq!(holds.purgeable(now), 7);
    }
}
