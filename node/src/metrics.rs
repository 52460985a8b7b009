//! What a node counts: every name begins with `schedia_`, and what belongs to a shard carries its number.
//!
//! Each layer is handed its own small set of counters ([`ShardMetrics`], [`LogMetrics`], [`HttpMetrics`]) and only ever adds to
//! them; positions, lag, leadership and room are read when somebody scrapes ([`Now`]).
//!
//! Invariant: a label never holds anything a client sends.

use crate::peer::Counts;
use crate::shards::ShardError;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use schedia_api::{DiskStatus, ShardStatus};
use schedia_apps::{NodeId, ShardId};
use std::sync::atomic::{AtomicU64, Ordering};

/// The content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything one node counts.
pub struct Metrics {
    registry: Registry,
    /// The log's writer thread.
    pub log: LogMetrics,
    /// The client port.
    pub http: HttpMetrics,
    outcomes: Family<OutcomeLabels, Counter>,
    reads: Family<ShardLabel, Counter>,
    read_rounds: Family<ShardLabel, Counter>,
    applied: Family<ShardLabel, Counter>,
    propose_seconds: Family<ShardLabel, Histogram, fn() -> Histogram>,
    read_seconds: Family<ShardLabel, Histogram, fn() -> Histogram>,
    apply_seconds: Family<ShardLabel, Histogram, fn() -> Histogram>,
    scraped: Scraped,
}

/// What one shard counts. Cheap to clone: clones count together.
#[derive(Clone, Debug)]
pub struct ShardMetrics {
    /// How commands proposed through this node ended.
    pub outcomes: Outcomes,
    /// Queries answered by this node.
    pub reads: Counter,
    /// Rounds for the index of linearizable reads, each shared by all that waited for it.
    pub read_rounds: Counter,
    /// Entries applied here.
    pub applied: Counter,
    /// From taking a command to having its reply.
    pub propose_seconds: Histogram,
    /// From taking a query to having its reply.
    pub read_seconds: Histogram,
    /// Applying one batch of entries.
    pub apply_seconds: Histogram,
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

/// What the log's writer counts.
#[derive(Clone, Debug)]
pub struct LogMetrics {
    /// Making one group of changes durable.
    pub sync_seconds: Histogram,
    /// Entries made durable by one sync.
    pub sync_entries: Histogram,
    /// Bytes of entries appended.
    pub appended_bytes: Counter,
}

/// What the client port counts.
#[derive(Clone, Debug, Default)]
pub struct HttpMetrics {
    /// Requests answered, by the first digit of the status: index 1 counts 2xx.
    classes: Family<ClassLabel, Counter>,
    /// Requests under way.
    pub in_flight: Gauge,
}

/// What is read at a scrape.
#[derive(Default)]
struct Scraped {
    leading: Family<ShardLabel, Gauge>,
    term: Family<ShardLabel, Gauge>,
    last_index: Family<ShardLabel, Gauge>,
    committed_index: Family<ShardLabel, Gauge>,
    applied_index: Family<ShardLabel, Gauge>,
    lag: Family<FollowerLabels, Gauge>,
    clock_offset: Family<ShardLabel, Gauge<f64, AtomicU64>>,
    peer_refused: Family<ReasonLabel, Counter>,
    in_flight_bytes: Gauge,
    disk_free_bytes: Gauge,
    disk_total_bytes: Gauge,
    disk_full: Gauge,
    unsafe_no_fsync: Gauge,
    ready: Gauge,
}

/// A node at the moment of a scrape.
pub struct Now<'a> {
    /// Its id, once known.
    pub node: Option<NodeId>,
    /// Its shards.
    pub shards: &'a [ShardStatus],
    /// How far its clock is ahead of the middle of the voters', for each shard that it leads.
    pub clock_offsets_ms: &'a [(ShardId, i64)],
    /// Its disk.
    pub disk: &'a DiskStatus,
    /// What its peer listener refused since the start.
    pub refused: Counts,
    /// Bytes of commands that wait for their reply.
    pub in_flight_bytes: usize,
    /// Whether `/readyz` answers 200.
    pub ready: bool,
    /// Whether writes wait for room on the disk.
    pub disk_full: bool,
    /// Whether writes are synced to the disk.
    pub synced: bool,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ShardLabel {
    shard: u32,
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

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct FollowerLabels {
    shard: u32,
    node: u64,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ClassLabel {
    class: &'static str,
}

/// 100 µs to 26 s: from a read in memory to a request that times out.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 2.0, 19))
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new() -> Metrics {
        let log = LogMetrics {
            sync_seconds: seconds(),
            sync_entries: Histogram::new(exponential_buckets(1.0, 2.0, 12)),
            appended_bytes: Counter::default(),
        };
        let metrics = Metrics {
            registry: Registry::with_prefix("schedia"),
            log,
            http: HttpMetrics::default(),
            outcomes: Family::default(),
            reads: Family::default(),
            read_rounds: Family::default(),
            applied: Family::default(),
            propose_seconds: Family::new_with_constructor(seconds),
            read_seconds: Family::new_with_constructor(seconds),
            apply_seconds: Family::new_with_constructor(seconds),
            scraped: Scraped::default(),
        };
        metrics.registered()
    }

    #[rustfmt::skip] // a table: one metric a line
    fn registered(mut self) -> Metrics {
        let r = &mut self.registry;
        r.register("proposals", "Commands proposed through this node, by how they ended", self.outcomes.clone());
        r.register("reads", "Queries answered by this node", self.reads.clone());
        r.register("read_rounds", "Rounds for the index of linearizable reads, each shared by all that waited", self.read_rounds.clone());
        r.register("entries_applied", "Entries applied by this node", self.applied.clone());
        r.register("propose_seconds", "From taking a command to having its reply", self.propose_seconds.clone());
        r.register("read_seconds", "From taking a query to having its reply", self.read_seconds.clone());
        r.register("apply_seconds", "Applying one batch of entries", self.apply_seconds.clone());
        r.register("log_sync_seconds", "Making one group of changes of the log durable", self.log.sync_seconds.clone());
        r.register("log_sync_entries", "Entries made durable by one sync", self.log.sync_entries.clone());
        r.register("log_appended_bytes", "Bytes of entries appended to the log", self.log.appended_bytes.clone());
        r.register("http_requests", "Requests answered on the client port", self.http.classes.clone());
        r.register("http_in_flight", "Requests under way on the client port", self.http.in_flight.clone());
        let s = &self.scraped;
        r.register("leading", "1 where this node leads the shard", s.leading.clone());
        r.register("term", "The shard's term", s.term.clone());
        r.register("last_index", "Index of the last entry in this node's log", s.last_index.clone());
        r.register("committed_index", "Index of the last entry known to be committed", s.committed_index.clone());
        r.register("applied_index", "Index of the last entry applied here", s.applied_index.clone());
        r.register("lag_entries", "On the leader: entries a member is behind", s.lag.clone());
        r.register("clock_offset_seconds", "On the leader: its clock ahead of the middle of the voters' clocks", s.clock_offset.clone());
        r.register("peer_refused", "Frames that the peer listener refused", s.peer_refused.clone());
        r.register("in_flight_bytes", "Bytes of commands that wait for their reply", s.in_flight_bytes.clone());
        r.register("disk_free_bytes", "Bytes left on the disk of the data directory", s.disk_free_bytes.clone());
        r.register("disk_total_bytes", "Size of the disk of the data directory", s.disk_total_bytes.clone());
        r.register("disk_full", "1 while writes wait for room on the disk", s.disk_full.clone());
        r.register("unsafe_no_fsync", "1 if nothing is synced to disk: a power loss loses acknowledged writes", s.unsafe_no_fsync.clone());
        r.register("ready", "1 when /readyz answers 200", s.ready.clone());
        self
    }

    /// The counters of one shard.
    pub fn shard(&self, id: ShardId) -> ShardMetrics {
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
            reads: self.reads.get_or_create_owned(&label),
            read_rounds: self.read_rounds.get_or_create_owned(&label),
            applied: self.applied.get_or_create_owned(&label),
            propose_seconds: self.propose_seconds.get_or_create_owned(&label),
            read_seconds: self.read_seconds.get_or_create_owned(&label),
            apply_seconds: self.apply_seconds.get_or_create_owned(&label),
        }
    }

    /// Everything as OpenMetrics text.
    pub fn encode(&self, now: &Now<'_>) -> String {
        self.scraped.set(now);
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string does not fail");
        text
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

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl HttpMetrics {
    /// Counts an answer by the class of its status.
    pub fn answered(&self, status: u16) {
        let class = ["1xx", "2xx", "3xx", "4xx", "5xx"][usize::from(status / 100).clamp(1, 5) - 1];
        self.classes.get_or_create(&ClassLabel { class }).inc();
    }
}

impl Scraped {
    fn set(&self, now: &Now<'_>) {
        let Now { node, shards, clock_offsets_ms, disk, refused, in_flight_bytes, ready, disk_full, synced } =
            now;
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        // A member that left, or a leader that was deposed, must not leave its last figures behind.
        self.lag.clear();
        self.clock_offset.clear();
        for (shard, offset_ms) in *clock_offsets_ms {
            self.clock_offset.get_or_create(&ShardLabel { shard: shard.0 }).set(*offset_ms as f64 / 1_000.0);
        }
        for status in *shards {
            let label = ShardLabel { shard: status.shard.0 };
            let index = |at: Option<schedia_api::LogId>| number(at.map_or(0, |at| at.index));
            let leading = node.is_some() && status.leader == *node;
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
        let Counts { refused_cluster, refused_node, refused_removed, malformed } = *refused;
        let reasons = [
            ("cluster", refused_cluster),
            ("node", refused_node),
            ("removed", refused_removed),
            ("malformed", malformed),
        ];
        for (reason, count) in reasons {
            self.peer_refused.get_or_create(&ReasonLabel { reason }).inner().store(count, Ordering::Relaxed);
        }
        self.in_flight_bytes.set(number(*in_flight_bytes as u64));
        self.disk_free_bytes.set(number(disk.free_bytes));
        self.disk_total_bytes.set(number(disk.total_bytes));
        self.ready.set((*ready).into());
        self.disk_full.set((*disk_full).into());
        self.unsafe_no_fsync.set((!*synced).into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_names_shard_and_outcome() {
        let metrics = Metrics::new();
        let shard = metrics.shard(ShardId(0));
        shard.outcomes.done.inc();
        metrics.shard(ShardId(0)).outcomes.done.inc();
        shard.apply_seconds.observe(0.001);
        metrics.http.answered(404);
        let text = metrics.encode(&Now {
            node: None,
            shards: &[],
            clock_offsets_ms: &[(ShardId(0), -1_500)],
            disk: &DiskStatus { total_bytes: 10, free_bytes: 4 },
            refused: Counts { refused_node: 3, ..Counts::default() },
            in_flight_bytes: 7,
            ready: true,
            disk_full: true,
            synced: false,
        });
        for line in [
            "schedia_proposals_total{shard=\"0\",outcome=\"done\"} 2",
            "schedia_proposals_total{shard=\"0\",outcome=\"unknown\"} 0",
            "schedia_apply_seconds_count{shard=\"0\"} 1",
            "schedia_http_requests_total{class=\"4xx\"} 1",
            "schedia_disk_free_bytes 4",
            "schedia_in_flight_bytes 7",
            "schedia_peer_refused_total{reason=\"node\"} 3",
            "schedia_ready 1",
            "schedia_clock_offset_seconds{shard=\"0\"} -1.5",
            "schedia_disk_full 1",
            "schedia_unsafe_no_fsync 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in:\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
