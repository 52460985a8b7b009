//! The operator's metrics: what it does, and the numbers of its clusters that move too often for a status.

use crate::census::Census;
use crate::observed::{Observed, Pod};
use crate::plan::Quorum;
use crate::validate::Cluster;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Result_ {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    step: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
struct ClusterLabels {
    namespace: String,
    cluster: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
struct MemberLabels {
    namespace: String,
    cluster: String,
    member: String,
}

/// All metrics, and the registry that writes them out.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    passes: Family<Result_, Counter>,
    pass_seconds: Histogram,
    steps: Family<StepLabels, Counter>,
    writes: Counter,
    holds_lease: Gauge,
    voters: Family<ClusterLabels, Gauge>,
    answering: Family<ClusterLabels, Gauge>,
    quorum: Family<ClusterLabels, Gauge>,
    lag: Family<MemberLabels, Gauge>,
    /// Members shown so far, so that those gone can be taken out. std Mutex: never held across an await.
    shown: Mutex<BTreeMap<ClusterLabels, BTreeSet<MemberLabels>>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("schedia_operator");
        let metrics = Metrics {
            passes: Family::default(),
            pass_seconds: Histogram::new([0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0]),
            steps: Family::default(),
            writes: Counter::default(),
            holds_lease: Gauge::default(),
            voters: Family::default(),
            answering: Family::default(),
            quorum: Family::default(),
            lag: Family::default(),
            shown: Mutex::default(),
            registry: Registry::default(),
        };
        registry.register("passes", "Passes over a cluster, by result", metrics.passes.clone());
        registry.register("pass_seconds", "How long a pass takes", metrics.pass_seconds.clone());
        registry.register("steps", "Steps carried out, by kind and result", metrics.steps.clone());
        registry.register("status_writes", "Statuses written", metrics.writes.clone());
        registry.register("holds_lease", "1 while this operator acts", metrics.holds_lease.clone());
        registry.register("cluster_voters", "Voters in the newest membership", metrics.voters.clone());
        registry.register("cluster_voters_answering", "Voters whose node answers", metrics.answering.clone());
        registry.register(
            "cluster_quorum",
            "1 while a leader answers linearizable reads",
            metrics.quorum.clone(),
        );
        registry.register("member_lag_entries", "Entries a member is behind its leader", metrics.lag.clone());
        Metrics { registry, ..metrics }
    }
}

impl Metrics {
    /// In the text format of OpenMetrics.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut text, &self.registry);
        text
    }

    /// A pass ended.
    pub fn pass(&self, ok: bool, seconds: f64) {
        self.passes.get_or_create(&Result_ { result: result(ok) }).inc();
        self.pass_seconds.observe(seconds);
    }

    /// A step was tried.
    pub fn step(&self, step: &'static str, ok: bool) {
        self.steps.get_or_create(&StepLabels { step, result: result(ok) }).inc();
    }

    /// A status was written.
    pub fn status_written(&self) {
        self.writes.inc();
    }

    /// Whether this operator acts.
    pub fn holds_lease(&self, holds: bool) {
        self.holds_lease.set(i64::from(holds));
    }

    /// What was seen of a cluster.
    pub fn cluster(&self, cluster: &Cluster, observed: &Observed, census: &Census, quorum: &Quorum) {
        let labels = ClusterLabels {
            namespace: cluster.names.namespace.clone(),
            cluster: cluster.names.cluster.clone(),
        };
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let roll = census.roll(cluster, observed);
        self.voters.get_or_create(&labels).set(count(roll.voters));
        self.answering.get_or_create(&labels).set(count(roll.answering.len()));
        self.quorum.get_or_create(&labels).set(i64::from(*quorum == Quorum::Confirmed));
        let mut members = BTreeSet::new();
        for (pod, lag) in lags(observed) {
            let ClusterLabels { namespace, cluster } = labels.clone();
            let member = MemberLabels { namespace, cluster, member: pod.name.clone() };
            self.lag.get_or_create(&member).set(i64::try_from(lag).unwrap_or(i64::MAX));
            members.insert(member);
        }
        self.show(labels, members);
    }

    /// A cluster is gone.
    pub fn forget(&self, namespace: &str, cluster: &str) {
        let labels = ClusterLabels { namespace: namespace.to_owned(), cluster: cluster.to_owned() };
        self.voters.remove(&labels);
        self.answering.remove(&labels);
        self.quorum.remove(&labels);
        self.show(labels, BTreeSet::new());
    }

    fn show(&self, cluster: ClusterLabels, members: BTreeSet<MemberLabels>) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in shown.remove(&cluster).unwrap_or_default().difference(&members) {
            self.lag.remove(gone);
        }
        if !members.is_empty() {
            shown.insert(cluster, members);
        }
    }
}

fn result(ok: bool) -> &'static str {
    if ok { "ok" } else { "error" }
}

/// The lag of each member on shard 0, as its leader tells it.
fn lags(observed: &Observed) -> impl Iterator<Item = (&Pod, u64)> {
    let answers = || observed.pods.values().filter_map(|pod| Some((pod, pod.answer()?)));
    let leader = answers().filter_map(|(_, node)| Some((node.node_id, node.shards.first()?)));
    let leader = leader.filter(|(id, shard)| shard.leader.is_some() && shard.leader == *id);
    let lag = leader.max_by_key(|(_, shard)| shard.term).map(|(_, shard)| &shard.lag);
    answers().filter_map(move |(pod, node)| Some((pod, *lag?.get(&node.node_id?)?)))
}
