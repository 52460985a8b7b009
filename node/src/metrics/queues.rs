//! What is told of queues at a scrape.

use super::now::number;
use crate::queues::{Calls, Figures};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use schedia_apps::queue::{Counts, Queue, Totals};
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct QueueLabels {
    tenant: String,
    command: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PlaceLabels {
    tenant: String,
    command: String,
    place: Place,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
#[allow(non_camel_case_types)] // the variants are the labels' values
enum Place {
    ready,
    delayed,
    in_progress,
    dead,
    completed,
    failed,
    cancelled,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallLabel {
    outcome: &'static str,
}

type Counters = Family<QueueLabels, Counter>;

/// The metrics of queues.
#[derive(Default)]
pub(super) struct QueueMetrics {
    tasks: Family<PlaceLabels, Gauge>,
    oldest_ready: Family<QueueLabels, Gauge<f64, AtomicU64>>,
    paused: Family<QueueLabels, Gauge>,
    created: Counters,
    claimed: Counters,
    completed: Counters,
    failed: Counters,
    expired: Counters,
    dead: Counters,
    cancelled: Counters,
    unlisted: Gauge,
    waits: Gauge,
    calls_in_flight: Gauge,
    calls: Family<CallLabel, Counter>,
}

impl QueueMetrics {
    #[rustfmt::skip] // a table: one metric a line
    pub(super) fn register(&self, r: &mut Registry) {
        r.register("queue_tasks", "Tasks of a queue, by where they are", self.tasks.clone());
        r.register("queue_oldest_ready_seconds", "How long the first ready task of a queue has been ready", self.oldest_ready.clone());
        r.register("queue_paused", "1 while claims pass a queue over", self.paused.clone());
        r.register("queue_created", "Tasks created", self.created.clone());
        r.register("queue_claimed", "Leases given", self.claimed.clone());
        r.register("queue_completed", "Tasks that workers did", self.completed.clone());
        r.register("queue_failed", "Tasks that workers found impossible", self.failed.clone());
        r.register("queue_expired", "Leases that ended by time", self.expired.clone());
        r.register("queue_dead", "Tasks that failed too often", self.dead.clone());
        r.register("queue_cancelled", "Tasks that were cancelled", self.cancelled.clone());
        r.register("queue_unlisted", "1 if this node leads more queues than it tells of", self.unlisted.clone());
        r.register("queue_waits", "Claims and requests for results that wait on this node", self.waits.clone());
        r.register("queue_calls_in_flight", "Webhooks and notices under way", self.calls_in_flight.clone());
        r.register("queue_calls", "Webhooks and notices that were sent", self.calls.clone());
    }

    pub(super) fn set(&self, figures: &Figures) {
        let Figures { listed, are_more, waits, calls } = figures;
        // A queue that another node leads now, or that is forgotten, must not leave its last figures behind.
        self.tasks.clear();
        self.oldest_ready.clear();
        self.paused.clear();
        self.counters().into_iter().for_each(Family::clear);
        listed.iter().for_each(|(queue, age_ms)| self.set_queue(queue, *age_ms));
        self.unlisted.set((*are_more).into());
        self.waits.set(number(*waits as u64));
        let Calls { under_way, done, failed } = *calls;
        self.calls_in_flight.set(number(under_way as u64));
        for (outcome, count) in [("done", done), ("failed", failed)] {
            self.calls.get_or_create(&CallLabel { outcome }).inner().store(count, Ordering::Relaxed);
        }
    }

    fn counters(&self) -> [&Counters; 7] {
        let QueueMetrics { created, claimed, completed, failed, expired, dead, cancelled, .. } = self;
        [created, claimed, completed, failed, expired, dead, cancelled]
    }

    fn set_queue(&self, queue: &Queue, age_ms: u64) {
        let Queue { name, paused, counts, totals, .. } = queue;
        let label = QueueLabels { tenant: name.tenant.clone(), command: name.command.clone() };
        let Counts { ready, delayed, in_progress, dead, completed, failed, cancelled } = counts;
        let places = [
            (Place::ready, ready.iter().sum()),
            (Place::delayed, *delayed),
            (Place::in_progress, *in_progress),
            (Place::dead, *dead),
            (Place::completed, *completed),
            (Place::failed, *failed),
            (Place::cancelled, *cancelled),
        ];
        for (place, count) in places {
            let QueueLabels { tenant, command } = label.clone();
            self.tasks.get_or_create(&PlaceLabels { tenant, command, place }).set(number(count));
        }
        self.oldest_ready.get_or_create(&label).set(age_ms as f64 / 1_000.0);
        self.paused.get_or_create(&label).set((*paused).into());
        let Totals { created, claimed, completed, failed, expired, dead, cancelled } = totals;
        let counts = [created, claimed, completed, failed, expired, dead, cancelled];
        for (counter, count) in self.counters().into_iter().zip(counts) {
            counter.get_or_create(&label).inner().store(*count, Ordering::Relaxed);
        }
    }
}
