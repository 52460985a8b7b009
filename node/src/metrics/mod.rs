//! What a node counts: every name begins with `schedia_`, and what belongs to a shard carries its number.
//!
//! Each layer is handed its own small set of counters ([`ShardMetrics`], [`StorageMetrics`], [`HttpMetrics`]) and only ever adds
//! to them; positions, lag, leadership, queues and room are read when somebody scrapes ([`Now`]).
//!
//! Invariants:
//! * A label never holds anything a client sends, but for tenant and command of a queue; of these there are not more than a thousand.
//! * Every metric stands in the table of `docs/metrics.md`, and nothing else does: a test compares it with real nodes.

mod now;
mod parts;
mod queues;
mod shard;

pub use now::Now;
pub use parts::{HttpMetrics, StorageMetrics};
pub use shard::{Outcomes, ShardMetrics};

use now::Scraped;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use queues::QueueMetrics;
use schedia_apps::ShardId;
use shard::Families;

/// The content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything one node counts.
pub struct Metrics {
    registry: Registry,
    /// The log's writer and the flushers.
    pub storage: StorageMetrics,
    /// The client port.
    pub http: HttpMetrics,
    shards: Families,
    scraped: Scraped,
    queues: QueueMetrics,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ShardLabel {
    shard: u32,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct NodeLabel {
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

/// 1 to 2,048 things at once.
fn sizes() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 12))
}

/// Something is under way and counted in a gauge, until this is dropped: also where a future is given up half way.
pub(crate) struct Under<'a>(&'a Gauge);

impl<'a> Under<'a> {
    fn begin(gauge: &'a Gauge) -> Under<'a> {
        gauge.inc();
        Under(gauge)
    }
}

impl Drop for Under<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new() -> Metrics {
        let mut registry = Registry::with_prefix("schedia");
        let (storage, http) = (StorageMetrics::new(), HttpMetrics::new());
        let (shards, scraped, queues) = (Families::new(), Scraped::default(), QueueMetrics::default());
        shards.register(&mut registry);
        storage.register(&mut registry);
        http.register(&mut registry);
        scraped.register(&mut registry);
        queues.register(&mut registry);
        Metrics { registry, storage, http, shards, scraped, queues }
    }

    /// The counters of one shard.
    pub fn shard(&self, id: ShardId) -> ShardMetrics {
        self.shards.shard(id)
    }

    /// Everything as OpenMetrics text.
    pub fn encode(&self, now: &Now<'_>) -> String {
        self.scraped.set(now);
        self.queues.set(now.tasks);
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string does not fail");
        text
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::{self, Outgoing};
    use crate::queues::{Calls, Figures};
    use crate::shards::Queues;
    use schedia_api::DiskStatus;
    use schedia_apps::NodeId;
    use schedia_apps::queue::{Counts, Queue, QueueName, Totals};
    use std::time::Duration;

    #[test]
    fn a_scrape_names_shard_and_outcome() {
        let metrics = Metrics::new();
        let shard = metrics.shard(ShardId(0));
        shard.outcomes.done.inc();
        metrics.shard(ShardId(0)).outcomes.done.inc();
        shard.apply_seconds.observe(0.001);
        metrics.http.answered(404, Duration::from_millis(1));
        let proposal = shard.proposal();
        let name = QueueName::of("acme", "a\"b");
        let counts = Counts { ready: [1, 0, 0, 0, 0, 0, 0, 0, 0, 2], dead: 4, ..Counts::default() };
        let totals = Totals { claimed: 9, ..Totals::default() };
        let queue = Queue { name, paused: true, counts, totals, oldest_ready_ms: Some(1) };
        let calls = Calls { under_way: 1, done: 7, failed: 2 };
        let figures = Figures { listed: vec![(queue, 1_500)], are_more: false, waits: 3, calls };
        drop(metrics.http.begin());
        let text = metrics.encode(&Now {
            node: None,
            shards: &[],
            tasks: &figures,
            queues: &[(ShardId(0), Queues { commands: 3, ..Queues::default() })],
            clock_offsets_ms: &[(ShardId(0), -1_500)],
            disk: &DiskStatus { total_bytes: 10, free_bytes: 4 },
            peers: peer::Counts { refused_node: 3, sent_bytes: 12, ..peer::Counts::default() },
            outgoing: &[(NodeId(2), Outgoing { frames: 1, bytes: 9, unanswered: 5 })],
            in_flight_bytes: 7,
            log_queue_bytes: 8,
            ready: true,
            disk_full: true,
            synced: false,
        });
        drop(proposal);
        for line in [
            "schedia_proposals_total{shard=\"0\",outcome=\"done\"} 2",
            "schedia_proposals_total{shard=\"0\",outcome=\"unknown\"} 0",
            "schedia_proposals_in_flight{shard=\"0\"} 1",
            "schedia_apply_seconds_count{shard=\"0\"} 1",
            "schedia_http_requests_total{class=\"4xx\"} 1",
            "schedia_http_in_flight 0",
            "schedia_http_request_seconds_count 1",
            "schedia_disk_free_bytes 4",
            "schedia_in_flight_bytes 7",
            "schedia_log_queue_bytes 8",
            "schedia_proposer_queue{shard=\"0\"} 3",
            "schedia_peer_refused_total{reason=\"node\"} 3",
            "schedia_peer_sent_bytes_total 12",
            "schedia_peer_queue_bytes{node=\"2\"} 9",
            "schedia_peer_unanswered{node=\"2\"} 5",
            "schedia_ready 1",
            "schedia_clock_offset_seconds{shard=\"0\"} -1.5",
            "schedia_queue_tasks{tenant=\"acme\",command=\"a\\\"b\",place=\"ready\"} 3",
            "schedia_queue_tasks{tenant=\"acme\",command=\"a\\\"b\",place=\"dead\"} 4",
            "schedia_queue_oldest_ready_seconds{tenant=\"acme\",command=\"a\\\"b\"} 1.5",
            "schedia_queue_paused{tenant=\"acme\",command=\"a\\\"b\"} 1",
            "schedia_queue_claimed_total{tenant=\"acme\",command=\"a\\\"b\"} 9",
            "schedia_queue_waits 3",
            "schedia_queue_calls_total{outcome=\"failed\"} 2",
            "schedia_disk_full 1",
            "schedia_unsafe_no_fsync 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in:\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
