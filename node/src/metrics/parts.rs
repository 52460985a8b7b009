//! What the parts count that belong to no shard: storage's threads and the client port.

use super::{ClassLabel, Under, seconds, sizes};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;

/// What storage counts, all shards together. Cheap to clone: clones count together.
#[derive(Clone, Debug)]
pub struct StorageMetrics {
    /// From queueing entries to having them on disk.
    pub append_seconds: Histogram,
    /// Writing and syncing one group of changes of the log.
    pub sync_seconds: Histogram,
    /// Entries made durable by one sync.
    pub sync_entries: Histogram,
    /// Bytes of entries appended.
    pub appended_bytes: Counter,
    /// Bringing what was applied to a state file.
    pub checkpoint_seconds: Histogram,
    /// Bytes of rows that checkpoints wrote, with what they cost in memory.
    pub checkpoint_bytes: Counter,
}

/// What the client port counts. Cheap to clone: clones count together.
#[derive(Clone, Debug)]
pub struct HttpMetrics {
    /// Requests answered, by the first digit of the status: index 1 counts 2xx.
    classes: Family<ClassLabel, Counter>,
    /// Requests under way.
    in_flight: Gauge,
    /// From having a request's header to having its answer's.
    seconds: Histogram,
}

impl StorageMetrics {
    pub(super) fn new() -> StorageMetrics {
        StorageMetrics {
            append_seconds: seconds(),
            sync_seconds: seconds(),
            sync_entries: sizes(),
            appended_bytes: Counter::default(),
            checkpoint_seconds: seconds(),
            checkpoint_bytes: Counter::default(),
        }
    }

    #[rustfmt::skip] // a table: one metric a line
    pub(super) fn register(&self, r: &mut Registry) {
        r.register("log_append_seconds", "From queueing entries for the log to having them on disk", self.append_seconds.clone());
        r.register("log_sync_seconds", "Writing and syncing one group of changes of the log", self.sync_seconds.clone());
        r.register("log_sync_entries", "Entries made durable by one sync", self.sync_entries.clone());
        r.register("log_appended_bytes", "Bytes of entries appended to the log", self.appended_bytes.clone());
        r.register("checkpoint_seconds", "Bringing what was applied to a state file", self.checkpoint_seconds.clone());
        r.register("checkpoint_bytes", "Bytes of rows that checkpoints wrote, with what they cost in memory", self.checkpoint_bytes.clone());
    }
}

impl HttpMetrics {
    pub(super) fn new() -> HttpMetrics {
        HttpMetrics { classes: Family::default(), in_flight: Gauge::default(), seconds: seconds() }
    }

    #[rustfmt::skip] // a table: one metric a line
    pub(super) fn register(&self, r: &mut Registry) {
        r.register("http_requests", "Requests answered on the client port", self.classes.clone());
        r.register("http_request_seconds", "From having a request's header to having its answer's", self.seconds.clone());
        r.register("http_in_flight", "Requests under way on the client port", self.in_flight.clone());
    }

    /// Counts a request as under way until the guard is dropped, answered or not.
    pub(crate) fn begin(&self) -> Under<'_> {
        Under::begin(&self.in_flight)
    }

    /// Counts an answer by the class of its status, and how long it took.
    pub fn answered(&self, status: u16, took: Duration) {
        let class = ["1xx", "2xx", "3xx", "4xx", "5xx"][usize::from(status / 100).clamp(1, 5) - 1];
        self.classes.get_or_create(&ClassLabel { class }).inc();
        self.seconds.observe(took.as_secs_f64());
    }
}
