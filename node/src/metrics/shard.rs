//! What one shard counts.

use super::{ShardLabel, Under, seconds, sizes};
use crate::shards::ShardError;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use schedia_apps::ShardId;

type Histograms = Family<ShardLabel, Histogram, fn() -> Histogram>;

/// What one shard counts. Cheap to clone: clones count together.
#[derive(Clone, Debug)]
pub struct ShardMetrics {
    /// How commands proposed through this node ended.
    pub outcomes: Outcomes,
    /// Commands proposed through this node that wait for their reply.
    pub proposals_in_flight: Gauge,
    /// Queries answered by this node.
    pub reads: Counter,
    /// Rounds for the index of linearizable reads, each shared by all that waited for it.
    pub read_rounds: Counter,
    /// Reads on the leader, and rounds of followers, that asked nobody: it had a lease.
    pub lease_reads: Counter,
    /// Entries applied here.
    pub applied: Counter,
    /// Elections that this node stood for.
    pub elections: Counter,
    /// Times that this node saw another leader than before, or none.
    pub leader_changes: Counter,
    /// From taking a command to having its reply.
    pub propose_seconds: Histogram,
    /// Commands in one entry that this node proposed.
    pub entry_commands: Histogram,
    /// From taking a query to having its reply.
    pub read_seconds: Histogram,
    /// One round for the index of linearizable reads.
    pub read_index_seconds: Histogram,
    /// Applying one batch of entries.
    pub apply_seconds: Histogram,
    /// Making a snapshot: a checkpoint, held open.
    pub snapshot_build_seconds: Histogram,
    /// Sending a snapshot, until its receiver has it in force.
    pub snapshot_send_seconds: Histogram,
    /// Receiving a snapshot into a file.
    pub snapshot_receive_seconds: Histogram,
    /// Putting a received snapshot in force.
    pub snapshot_install_seconds: Histogram,
    /// Bytes of snapshots sent, compressed.
    pub snapshot_sent_bytes: Counter,
    /// Bytes of snapshots received, compressed.
    pub snapshot_received_bytes: Counter,
    /// Streams of snapshots that went on where a former one to the same receiver had broken off.
    pub snapshot_resumed: Counter,
    /// What broken streams have left: a checkpoint held open for its receiver, a draft.
    pub snapshot_kept: Gauge,
}

/// How proposals ended: every one is counted once.
#[derive(Clone, Debug)]
pub struct Outcomes {
    /// Applied.
    pub done: Counter,
    /// Applied, and the application said no.
    pub refused: Counter,
    /// Certainly not applied.
    pub unavailable: Counter,
    /// Certainly not applied: too much in flight, or the disk full or nearly so.
    pub busy: Counter,
    /// Nobody knows.
    pub unknown: Counter,
}

/// The same for all shards, by the shard's number.
pub(super) struct Families {
    outcomes: Family<OutcomeLabels, Counter>,
    proposals_in_flight: Family<ShardLabel, Gauge>,
    reads: Family<ShardLabel, Counter>,
    read_rounds: Family<ShardLabel, Counter>,
    lease_reads: Family<ShardLabel, Counter>,
    applied: Family<ShardLabel, Counter>,
    elections: Family<ShardLabel, Counter>,
    leader_changes: Family<ShardLabel, Counter>,
    propose_seconds: Histograms,
    entry_commands: Histograms,
    read_seconds: Histograms,
    read_index_seconds: Histograms,
    apply_seconds: Histograms,
    snapshot_build_seconds: Histograms,
    snapshot_send_seconds: Histograms,
    snapshot_receive_seconds: Histograms,
    snapshot_install_seconds: Histograms,
    snapshot_sent_bytes: Family<ShardLabel, Counter>,
    snapshot_received_bytes: Family<ShardLabel, Counter>,
    snapshot_resumed: Family<ShardLabel, Counter>,
    snapshot_kept: Family<ShardLabel, Gauge>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    shard: u32,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
#[allow(non_camel_case_types)] // the variants are the labels' values
enum Outcome {
    done,
    refused,
    unavailable,
    busy,
    unknown,
}

impl Families {
    pub(super) fn new() -> Families {
        Families {
            outcomes: Family::default(),
            proposals_in_flight: Family::default(),
            reads: Family::default(),
            read_rounds: Family::default(),
            lease_reads: Family::default(),
            applied: Family::default(),
            elections: Family::default(),
            leader_changes: Family::default(),
            propose_seconds: Family::new_with_constructor(seconds),
            entry_commands: Family::new_with_constructor(sizes),
            read_seconds: Family::new_with_constructor(seconds),
            read_index_seconds: Family::new_with_constructor(seconds),
            apply_seconds: Family::new_with_constructor(seconds),
            snapshot_build_seconds: Family::new_with_constructor(seconds),
            snapshot_send_seconds: Family::new_with_constructor(seconds),
            snapshot_receive_seconds: Family::new_with_constructor(seconds),
            snapshot_install_seconds: Family::new_with_constructor(seconds),
            snapshot_sent_bytes: Family::default(),
            snapshot_received_bytes: Family::default(),
            snapshot_resumed: Family::default(),
            snapshot_kept: Family::default(),
        }
    }

    #[rustfmt::skip] // a table: one metric a line
    pub(super) fn register(&self, r: &mut Registry) {
        r.register("proposals", "Commands proposed through this node, by how they ended", self.outcomes.clone());
        r.register("proposals_in_flight", "Commands proposed through this node that wait for their reply", self.proposals_in_flight.clone());
        r.register("reads", "Queries answered by this node", self.reads.clone());
        r.register("read_rounds", "Rounds for the index of linearizable reads, each shared by all that waited", self.read_rounds.clone());
        r.register("lease_reads", "Reads on the leader, of its own and of followers' rounds, that asked nobody: it had a lease", self.lease_reads.clone());
        r.register("entries_applied", "Entries applied by this node", self.applied.clone());
        r.register("elections", "Elections that this node stood for", self.elections.clone());
        r.register("leader_changes", "Times that this node saw another leader than before, or none", self.leader_changes.clone());
        r.register("propose_seconds", "From taking a command to having its reply", self.propose_seconds.clone());
        r.register("entry_commands", "Commands in one entry that this node proposed", self.entry_commands.clone());
        r.register("read_seconds", "From taking a query to having its reply", self.read_seconds.clone());
        r.register("read_index_seconds", "One round for the index of linearizable reads", self.read_index_seconds.clone());
        r.register("apply_seconds", "Applying one batch of entries", self.apply_seconds.clone());
        r.register("snapshot_build_seconds", "Making a snapshot: a checkpoint, held open", self.snapshot_build_seconds.clone());
        r.register("snapshot_send_seconds", "Sending a snapshot, until its receiver has it in force", self.snapshot_send_seconds.clone());
        r.register("snapshot_receive_seconds", "Receiving a snapshot into a file", self.snapshot_receive_seconds.clone());
        r.register("snapshot_install_seconds", "Putting a received snapshot in force", self.snapshot_install_seconds.clone());
        r.register("snapshot_sent_bytes", "Bytes of snapshots sent, compressed", self.snapshot_sent_bytes.clone());
        r.register("snapshot_received_bytes", "Bytes of snapshots received, compressed", self.snapshot_received_bytes.clone());
        r.register("snapshot_resumed", "Snapshots sent on from where a stream of them broke off", self.snapshot_resumed.clone());
        r.register("snapshot_kept", "Checkpoints and drafts kept for the rest of a snapshot whose stream broke off", self.snapshot_kept.clone());
    }

    /// The counters of one shard.
    pub(super) fn shard(&self, id: ShardId) -> ShardMetrics {
        let shard = id.0;
        let label = ShardLabel { shard };
        let outcome = |outcome| self.outcomes.get_or_create_owned(&OutcomeLabels { shard, outcome });
        ShardMetrics {
            outcomes: Outcomes {
                done: outcome(Outcome::done),
                refused: outcome(Outcome::refused),
                unavailable: outcome(Outcome::unavailable),
                busy: outcome(Outcome::busy),
                unknown: outcome(Outcome::unknown),
            },
            proposals_in_flight: self.proposals_in_flight.get_or_create_owned(&label),
            reads: self.reads.get_or_create_owned(&label),
            read_rounds: self.read_rounds.get_or_create_owned(&label),
            lease_reads: self.lease_reads.get_or_create_owned(&label),
            applied: self.applied.get_or_create_owned(&label),
            elections: self.elections.get_or_create_owned(&label),
            leader_changes: self.leader_changes.get_or_create_owned(&label),
            propose_seconds: self.propose_seconds.get_or_create_owned(&label),
            entry_commands: self.entry_commands.get_or_create_owned(&label),
            read_seconds: self.read_seconds.get_or_create_owned(&label),
            read_index_seconds: self.read_index_seconds.get_or_create_owned(&label),
            apply_seconds: self.apply_seconds.get_or_create_owned(&label),
            snapshot_build_seconds: self.snapshot_build_seconds.get_or_create_owned(&label),
            snapshot_send_seconds: self.snapshot_send_seconds.get_or_create_owned(&label),
            snapshot_receive_seconds: self.snapshot_receive_seconds.get_or_create_owned(&label),
            snapshot_install_seconds: self.snapshot_install_seconds.get_or_create_owned(&label),
            snapshot_sent_bytes: self.snapshot_sent_bytes.get_or_create_owned(&label),
            snapshot_received_bytes: self.snapshot_received_bytes.get_or_create_owned(&label),
            snapshot_resumed: self.snapshot_resumed.get_or_create_owned(&label),
            snapshot_kept: self.snapshot_kept.get_or_create_owned(&label),
        }
    }
}

impl ShardMetrics {
    /// Counts a proposal as in flight until the guard is dropped.
    pub(crate) fn proposal(&self) -> Under<'_> {
        Under::begin(&self.proposals_in_flight)
    }
}

impl Outcomes {
    /// Counts how one proposal ended.
    pub fn count<T>(&self, result: &Result<T, ShardError>) {
        let ended = match result {
            Ok(_) => &self.done,
            Err(ShardError::Refused(_) | ShardError::TooLarge { .. }) => &self.refused,
            Err(ShardError::OutcomeUnknown { .. }) => &self.unknown,
            Err(ShardError::Busy | ShardError::DiskLow | ShardError::DiskFull) => &self.busy,
            Err(_) => &self.unavailable,
        };
        ended.inc();
    }
}
