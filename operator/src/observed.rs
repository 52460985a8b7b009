//! What one pass has seen: live objects, pods, claims, and each node's own answer. Plain data.
//!
//! Invariant: nothing here was remembered from an earlier pass, and nothing comes out of a cache.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::jiff::Timestamp;
use schedia_api::Status;
use schedia_apps::NodeId;
use schedia_apps::cluster::Record;
use std::collections::BTreeMap;

/// Everything a pass knows.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The objects under the names the operator uses, whoever owns them.
    pub live: Live,
    /// The pods of the cluster, by ordinal.
    pub pods: BTreeMap<u32, Pod>,
    /// The volume claims under the names of the cluster's, by ordinal.
    pub claims: BTreeMap<u32, Claim>,
    /// The cluster record by a linearizable read, and who answered it: the proof that a majority is alive.
    pub record: Option<Probe>,
    /// When the pass began.
    pub now: Timestamp,
}

/// Live objects.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Runs the pods.
    pub stateful_set: Option<StatefulSet>,
    /// Names the pods.
    pub headless: Option<Service>,
    /// For clients.
    pub client: Option<Service>,
    /// Limits evictions.
    pub budget: Option<PodDisruptionBudget>,
}

/// A pod and what the node in it said.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Tells it from an earlier pod of that name.
    pub uid: String,
    /// Where it is reached.
    pub ip: Option<String>,
    /// Whether its container runs.
    pub running: bool,
    /// Whether Kubernetes holds it ready.
    pub ready: bool,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// The template it was made from.
    pub revision: Option<String>,
    /// The value of its role label.
    pub role_label: Option<String>,
    /// Why its container does not run, as Kubernetes says it.
    pub trouble: Option<String>,
    /// The node's answer, or why there is none.
    pub node: Result<Status, Silence>,
}

/// A volume claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Tells it from an earlier claim of that name.
    pub uid: String,
    /// When it was made.
    pub created: Timestamp,
    /// Whether it is being deleted: it stays until its pod is gone.
    pub terminating: bool,
    /// Whether it carries the label of this cluster: made for it, not laid in its way.
    pub labelled: bool,
}

/// Why a node did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence(pub String);

/// A linearizable answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Who answered: the leader of shard 0.
    pub leader: NodeId,
    /// The record.
    pub record: Record,
}

impl Pod {
    /// The node's answer, if there is one.
    pub fn answer(&self) -> Option<&Status> {
        self.node.as_ref().ok()
    }
}

/// The revision of the newest template; `None` while the StatefulSet controller has not seen it.
pub fn newest_revision(set: &StatefulSet) -> Option<&str> {
    let status = set.status.as_ref()?;
    let seen = status.observed_generation.is_some() && status.observed_generation == set.metadata.generation;
    status.update_revision.as_deref().filter(|_| seen)
}
