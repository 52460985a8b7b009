//! What is read at a scrape: positions, lag, leadership, queues, room.

use super::{Family, NodeLabel, ReasonLabel, ShardLabel};
use crate::peer::{Counts, Outgoing};
use crate::queues::Figures;
use crate::shards::Queues;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use schedia_api::{DiskStatus, ShardStatus};
use schedia_apps::{NodeId, ShardId};
use std::sync::atomic::{AtomicU64, Ordering};

/// A node at the moment of a scrape.
pub struct Now<'a> {
    /// Its id, once known.
    pub node: Option<NodeId>,
    /// Its shards.
    pub shards: &'a [ShardStatus],
    /// The queues of the shards that it leads, and what waits for them.
    pub tasks: &'a Figures,
    /// What waits in each of its shards.
    pub queues: &'a [(ShardId, Queues)],
    /// How far its clock is ahead of the middle of the voters', for each shard that it leads.
    pub clock_offsets_ms: &'a [(ShardId, i64)],
    /// Its disk.
    pub disk: &'a DiskStatus,
    /// What its peer listener and its connections to peers counted since the start.
    pub peers: Counts,
    /// What waits to be sent to each peer, or for its answer.
    pub outgoing: &'a [(NodeId, Outgoing)],
    /// Bytes of commands that wait for their reply.
    pub in_flight_bytes: usize,
    /// Bytes of changes that wait for the log's writer, or are being written.
    pub log_queue_bytes: usize,
    /// Whether `/readyz` answers 200.
    pub ready: bool,
    /// Whether writes wait for room on the disk.
    pub disk_full: bool,
    /// Whether writes are synced to the disk.
    pub synced: bool,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct FollowerLabels {
    shard: u32,
    node: u64,
}

#[derive(Default)]
pub(super) struct Scraped {
    leading: Family<ShardLabel, Gauge>,
    term: Family<ShardLabel, Gauge>,
    last_index: Family<ShardLabel, Gauge>,
    committed_index: Family<ShardLabel, Gauge>,
    applied_index: Family<ShardLabel, Gauge>,
    lag: Family<FollowerLabels, Gauge>,
    clock_offset: Family<ShardLabel, Gauge<f64, AtomicU64>>,
    proposer_queue: Family<ShardLabel, Gauge>,
    read_queue: Family<ShardLabel, Gauge>,
    watches: Family<ShardLabel, Gauge>,
    watch_buffer_changes: Family<ShardLabel, Gauge>,
    watch_buffer_bytes: Family<ShardLabel, Gauge>,
    overlay_bytes: Family<ShardLabel, Gauge>,
    state_file_bytes: Family<ShardLabel, Gauge>,
    state_rows_bytes: Family<ShardLabel, Gauge>,
    peer_refused: Family<ReasonLabel, Counter>,
    peer_sent_bytes: Counter,
    peer_received_bytes: Counter,
    peer_queue_frames: Family<NodeLabel, Gauge>,
    peer_queue_bytes: Family<NodeLabel, Gauge>,
    peer_unanswered: Family<NodeLabel, Gauge>,
    in_flight_bytes: Gauge,
    log_queue_bytes: Gauge,
    disk_free_bytes: Gauge,
    disk_total_bytes: Gauge,
    disk_full: Gauge,
    unsafe_no_fsync: Gauge,
    ready: Gauge,
}

pub(super) fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl Scraped {
    #[rustfmt::skip] // a table: one metric a line
    pub(super) fn register(&self, r: &mut Registry) {
        r.register("leading", "1 where this node leads the shard", self.leading.clone());
        r.register("term", "The shard's term", self.term.clone());
        r.register("last_index", "Index of the last entry in this node's log", self.last_index.clone());
        r.register("committed_index", "Index of the last entry known to be committed", self.committed_index.clone());
        r.register("applied_index", "Index of the last entry applied here", self.applied_index.clone());
        r.register("lag_entries", "On the leader: entries a member is behind", self.lag.clone());
        r.register("clock_offset_seconds", "On the leader: its clock ahead of the middle of the voters' clocks", self.clock_offset.clone());
        r.register("proposer_queue", "Commands that wait to be put into an entry", self.proposer_queue.clone());
        r.register("read_queue", "Linearizable reads that wait for the next round", self.read_queue.clone());
        r.register("watches", "Watches that are open on this node", self.watches.clone());
        r.register("watch_buffer_changes", "Newest changes kept in memory for watches", self.watch_buffer_changes.clone());
        r.register("watch_buffer_bytes", "Bytes of their keys and values", self.watch_buffer_bytes.clone());
        r.register("overlay_bytes", "Memory of applied writes that are not in the state file yet", self.overlay_bytes.clone());
        r.register("state_file_bytes", "Size of the state file", self.state_file_bytes.clone());
        r.register("state_rows_bytes", "Bytes of the keys and values in the state file", self.state_rows_bytes.clone());
        r.register("peer_refused", "Frames that the peer listener refused, and connections it ended for what was no frame", self.peer_refused.clone());
        r.register("peer_sent_bytes", "Bytes of frames sent to peers", self.peer_sent_bytes.clone());
        r.register("peer_received_bytes", "Bytes of frames received from peers", self.peer_received_bytes.clone());
        r.register("peer_queue_frames", "Frames that wait for the connection to a peer", self.peer_queue_frames.clone());
        r.register("peer_queue_bytes", "Bytes of frames that wait for the connection to a peer", self.peer_queue_bytes.clone());
        r.register("peer_unanswered", "Requests to a peer that wait for its answer", self.peer_unanswered.clone());
        r.register("in_flight_bytes", "Bytes of commands that wait for their reply", self.in_flight_bytes.clone());
        r.register("log_queue_bytes", "Bytes of changes that wait for the log's writer, or are being written", self.log_queue_bytes.clone());
        r.register("disk_free_bytes", "Bytes left on the disk of the data directory", self.disk_free_bytes.clone());
        r.register("disk_total_bytes", "Size of the disk of the data directory", self.disk_total_bytes.clone());
        r.register("disk_full", "1 while writes wait for room on the disk", self.disk_full.clone());
        r.register("unsafe_no_fsync", "1 if nothing is synced to disk: a power loss loses acknowledged writes", self.unsafe_no_fsync.clone());
        r.register("ready", "1 when /readyz answers 200", self.ready.clone());
    }

    pub(super) fn set(&self, now: &Now<'_>) {
        let Now { node, shards, queues, clock_offsets_ms, disk, peers, outgoing, .. } = now;
        let Now { in_flight_bytes, log_queue_bytes, ready, disk_full, synced, .. } = now;
        // A member that left, or a leader that was deposed, must not leave its last figures behind.
        self.lag.clear();
        self.clock_offset.clear();
        for (shard, offset_ms) in *clock_offsets_ms {
            self.clock_offset.get_or_create(&ShardLabel { shard: shard.0 }).set(*offset_ms as f64 / 1_000.0);
        }
        shards.iter().for_each(|status| self.set_shard(*node, status));
        queues.iter().for_each(|(shard, queues)| self.set_queues(*shard, *queues));
        self.set_peers(*peers, outgoing);
        self.in_flight_bytes.set(number(*in_flight_bytes as u64));
        self.log_queue_bytes.set(number(*log_queue_bytes as u64));
        self.disk_free_bytes.set(number(disk.free_bytes));
        self.disk_total_bytes.set(number(disk.total_bytes));
        self.ready.set((*ready).into());
        self.disk_full.set((*disk_full).into());
        self.unsafe_no_fsync.set((!*synced).into());
    }

    fn set_shard(&self, node: Option<NodeId>, status: &ShardStatus) {
        let label = ShardLabel { shard: status.shard.0 };
        let index = |at: Option<schedia_api::LogId>| number(at.map_or(0, |at| at.index));
        let leading = node.is_some() && status.leader == node;
        self.leading.get_or_create(&label).set(leading.into());
        self.term.get_or_create(&label).set(number(status.term));
        self.last_index.get_or_create(&label).set(index(status.last));
        self.committed_index.get_or_create(&label).set(index(status.committed));
        self.applied_index.get_or_create(&label).set(index(status.applied));
        for (follower, lag) in &status.lag {
            let labels = FollowerLabels { shard: status.shard.0, node: follower.0 };
            self.lag.get_or_create(&labels).set(number(*lag));
        }
    }

    fn set_queues(&self, shard: ShardId, queues: Queues) {
        let label = ShardLabel { shard: shard.0 };
        let Queues { commands, reads, watches, watch_changes, watch_bytes, .. } = queues;
        let Queues { overlay_bytes, state_file_bytes, state_rows_bytes, .. } = queues;
        let gauges = [
            (&self.proposer_queue, commands),
            (&self.read_queue, reads),
            (&self.watches, watches),
            (&self.watch_buffer_changes, watch_changes),
            (&self.watch_buffer_bytes, watch_bytes),
            (&self.overlay_bytes, overlay_bytes),
            (&self.state_file_bytes, state_file_bytes),
            (&self.state_rows_bytes, state_rows_bytes),
        ];
        for (gauge, count) in gauges {
            gauge.get_or_create(&label).set(number(count as u64));
        }
    }

    fn set_peers(&self, counts: Counts, outgoing: &[(NodeId, Outgoing)]) {
        let Counts { refused_cluster, refused_node, refused_removed, refused_blank, .. } = counts;
        let Counts { refused_shard, refused_invalid, malformed, sent_bytes, received_bytes, .. } = counts;
        let reasons = [
            ("cluster", refused_cluster),
            ("node", refused_node),
            ("removed", refused_removed),
            ("blank", refused_blank),
            ("shard", refused_shard),
            ("invalid", refused_invalid),
            ("malformed", malformed),
        ];
        for (reason, count) in reasons {
            self.peer_refused.get_or_create(&ReasonLabel { reason }).inner().store(count, Ordering::Relaxed);
        }
        self.peer_sent_bytes.inner().store(sent_bytes, Ordering::Relaxed);
        self.peer_received_bytes.inner().store(received_bytes, Ordering::Relaxed);
        for gauge in [&self.peer_queue_frames, &self.peer_queue_bytes, &self.peer_unanswered] {
            gauge.clear();
        }
        for (node, Outgoing { frames, bytes, unanswered }) in outgoing {
            let label = NodeLabel { node: node.0 };
            self.peer_queue_frames.get_or_create(&label).set(number(*frames as u64));
            self.peer_queue_bytes.get_or_create(&label).set(number(*bytes as u64));
            self.peer_unanswered.get_or_create(&label).set(number(*unanswered as u64));
        }
    }
}
