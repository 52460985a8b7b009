//! What is counted of frames: bytes both ways, refusals by their reason, what waits for a peer.

use super::Refused;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames for another cluster.
    pub refused_cluster: u64,
    /// Frames for another node.
    pub refused_node: u64,
    /// Frames from a node that was removed.
    pub refused_removed: u64,
    /// Frames that came while this node belonged to no cluster.
    pub refused_blank: u64,
    /// Frames for a shard that does not run here, or has stopped.
    pub refused_shard: u64,
    /// Frames whose body makes no sense, or that came when they could not be handled.
    pub refused_invalid: u64,
    /// Connections ended because of bytes that are no frame.
    pub malformed: u64,
    /// Bytes of frames sent.
    pub sent_bytes: u64,
    /// Bytes of frames received.
    pub received_bytes: u64,
}

/// What waits for one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// Frames that are not written yet.
    pub frames: usize,
    /// Bytes of frames that the connection has not taken yet.
    pub bytes: usize,
    /// Requests without an answer.
    pub unanswered: usize,
}

#[derive(Default)]
pub(super) struct Counters {
    cluster: AtomicU64,
    node: AtomicU64,
    removed: AtomicU64,
    blank: AtomicU64,
    shard: AtomicU64,
    invalid: AtomicU64,
    malformed: AtomicU64,
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
}

impl Counters {
    pub(super) fn refused(&self, refused: &Refused) {
        let counter = match refused {
            Refused::WrongCluster => &self.cluster,
            Refused::WrongNode { .. } => &self.node,
            Refused::Removed { .. } => &self.removed,
            Refused::Blank => &self.blank,
            Refused::NoShard { .. } => &self.shard,
            Refused::Invalid { .. } => &self.invalid,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn malformed(&self) {
        self.malformed.fetch_add(1, Relaxed);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.sent_bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn received(&self, bytes: usize) {
        self.received_bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn read(&self) -> Counts {
        let Counters { cluster, node, removed, blank, shard, invalid, malformed, sent_bytes, received_bytes } =
            self;
        Counts {
            refused_cluster: cluster.load(Relaxed),
            refused_node: node.load(Relaxed),
            refused_removed: removed.load(Relaxed),
            refused_blank: blank.load(Relaxed),
            refused_shard: shard.load(Relaxed),
            refused_invalid: invalid.load(Relaxed),
            malformed: malformed.load(Relaxed),
            sent_bytes: sent_bytes.load(Relaxed),
            received_bytes: received_bytes.load(Relaxed),
        }
    }
}
