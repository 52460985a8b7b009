//! What a person asks for: the spec of a RaftCluster, with defaults and rules beside the fields.

use crate::status::RaftClusterStatus;
use k8s_openapi::api::core::v1::{
    Affinity, LocalObjectReference, ResourceRequirements, Toleration, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The spec of a [`RaftCluster`].
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "schedia.dev",
    version = "v1alpha1",
    kind = "RaftCluster",
    plural = "raftclusters",
    shortname = "raft",
    category = "all",
    category = "schedia",
    namespaced,
    status = "RaftClusterStatus",
    derive = "PartialEq",
    cel,
    doc = "A quorum of Schedia nodes: small, precious state on several disks at once.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Desired",
        type_ = "integer",
        json_path = ".spec.replicas",
        description = "voters asked for"
    ),
    printcolumn(
        name = "Voters",
        type_ = "integer",
        json_path = ".status.voters",
        description = "voters in the newest membership"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.ready",
        description = "ready members of those in force"
    ),
    printcolumn(name = "Leader", type_ = "string", json_path = ".status.leader", description = "pod of the leader"),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason",
        description = "reason of the condition Ready"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version", priority = 1),
    printcolumn(name = "Term", type_ = "integer", json_path = ".status.term", priority = 1),
    printcolumn(name = "Cluster-ID", type_ = "string", json_path = ".status.clusterId", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    ),
    validation = Rule::new("size(self.metadata.name) <= 52").message(
        "metadata.name must have at most 52 characters: pods and their labels append to it"
    ),
    validation = Rule::new("self.metadata.name.matches('^[a-z][a-z0-9-]*$')").message(
        "metadata.name must begin with a letter and contain no dot: Services are named after it"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct RaftClusterSpec {
    /// Number of voting members: 1, 3, 5, 7 or 9. A cluster of 3 survives the loss of one, a cluster of 5 of two.
    #[serde(default = "replicas")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 9 && self % 2 == 1").message(
        "replicas must be 1, 3, 5, 7 or 9: an even number survives no more failures than the odd number below it, and more than nine voters slow every write"
    ))]
    pub replicas: i32,

    /// Number of raft groups, 1 to 16, that the cluster begins with and keeps. Keys and the ledger live on the first; queues are placed
    /// over all of them, each led by a member of its own.
    #[serde(default = "shards")]
    #[x_kube(
        validation = Rule::new("self >= 1 && self <= 16").message("shards must be between 1 and 16"),
        validation = Rule::new("self == oldSelf").message(
            "shards cannot change: what a cluster holds is placed by their number. Make a new cluster, and move the queues"
        )
    )]
    pub shards: i32,

    /// The container image with the binary `schedia`.
    #[x_kube(validation = Rule::new("size(self) > 0").message("image must name a container image"))]
    pub image: String,

    /// When the image is pulled. Unset: Kubernetes decides by the tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<PullPolicy>,

    /// Secrets to pull the image with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<LocalObjectReference>,

    /// While true the operator changes nothing; it goes on observing, and `status.nextAction` says what it would do.
    #[serde(default)]
    pub paused: bool,

    /// The disk of each member.
    #[serde(default)]
    pub storage: Storage,

    /// How the consensus protocol runs.
    #[serde(default)]
    pub raft: RaftSettings,

    /// The client Service.
    #[serde(default)]
    pub service: ServiceSpec,

    /// CPU and memory of each node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,

    /// Unset: members prefer different machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,

    /// Taints the pods tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,

    /// Labels a machine must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,

    /// Unset: members spread over zones where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,

    /// The priority class of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,

    /// The service account of the pods. They hold no token of it: nodes do not talk to Kubernetes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,

    /// Seconds that one step of a change may last before the condition Progressing says DeadlineExceeded. Nothing is undone by it: what
    /// is waited for is still waited for.
    #[serde(default = "progress_deadline")]
    #[x_kube(validation = Rule::new("self >= 60 && self <= 86400").message(
        "progressDeadlineSeconds must be between 60 and 86400: a new member may need minutes to receive what the cluster knows"
    ))]
    pub progress_deadline_seconds: i32,

    /// Seconds a node gets to hand over leadership and stop.
    #[serde(default = "grace")]
    #[x_kube(validation = Rule::new("self >= 5 && self <= 3600").message(
        "terminationGracePeriodSeconds must be between 5 and 3600: a node hands over leadership before it stops"
    ))]
    pub termination_grace_period_seconds: i64,

    /// Further labels of the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    #[x_kube(validation = Rule::new("self.all(k, !k.startsWith('schedia.dev/') && !k.startsWith('app.kubernetes.io/'))").message(
        "podLabels must not begin with schedia.dev/ or app.kubernetes.io/: the operator finds its pods by these"
    ))]
    pub pod_labels: BTreeMap<String, String>,

    /// Further annotations of the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub pod_annotations: BTreeMap<String, String>,
}

fn replicas() -> i32 {
    3
}

fn shards() -> i32 {
    1
}

fn grace() -> i64 {
    30
}

fn progress_deadline() -> i32 {
    600
}

/// When an image is pulled.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

/// The disk of a member.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new(
        "!isQuantity(string(self.size)) || !isQuantity(string(oldSelf.size)) || quantity(string(self.size)).compareTo(quantity(string(oldSelf.size))) >= 0"
    ).message("storage.size cannot shrink: a volume only ever grows"),
    validation = Rule::new(
        "has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)"
    ).message("storage.storageClassName cannot be set, changed or removed later: existing volumes stay in their class")
)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// Size of each member's volume.
    #[serde(default = "size")]
    #[x_kube(validation = Rule::new("isQuantity(string(self)) && quantity(string(self)).isGreaterThan(quantity('0'))").message(
        "storage.size must be a quantity above zero, like 10Gi"
    ))]
    pub size: Quantity,

    /// Class of the volumes. Unset: the default class of the Kubernetes cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class_name: Option<String>,

    /// What becomes of the volumes.
    #[serde(default)]
    pub retention_policy: RetentionPolicy,
}

fn size() -> Quantity {
    Quantity("10Gi".to_owned())
}

impl Default for Storage {
    fn default() -> Self {
        Storage { size: size(), storage_class_name: None, retention_policy: RetentionPolicy::default() }
    }
}

/// What becomes of the volumes.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RetentionPolicy {
    /// When the RaftCluster is deleted. Retain: recreated under the same name, it finds its data again.
    #[serde(default)]
    pub when_deleted: Reclaim,

    /// When `replicas` is lowered: the volume claims of ordinals that the cluster no longer has. The operator deletes them itself, after a
    /// majority has confirmed that no member lives there and the pod is gone; so the StatefulSet's own field of this name always says
    /// Retain, and a stray `kubectl scale statefulset` costs nobody a disk. Delete also takes claims that an earlier Retain has kept.
    #[serde(default = "delete")]
    pub when_scaled: Reclaim,
}

fn delete() -> Reclaim {
    Reclaim::Delete
}

impl Default for RetentionPolicy {
    fn default() -> Self {
        RetentionPolicy { when_deleted: Reclaim::default(), when_scaled: delete() }
    }
}

/// Keep or delete.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Reclaim {
    #[default]
    Retain,
    Delete,
}

/// How the consensus protocol runs.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(
    validation = Rule::new("self.electionTimeoutMinMilliseconds >= 3 * self.heartbeatMilliseconds").message(
        "raft.electionTimeoutMinMilliseconds must be at least three times raft.heartbeatMilliseconds: else one late heartbeat deposes a leader"
    ),
    validation = Rule::new("self.electionTimeoutMaxMilliseconds > self.electionTimeoutMinMilliseconds").message(
        "raft.electionTimeoutMaxMilliseconds must be above raft.electionTimeoutMinMilliseconds: candidates draw between them so as not to collide"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct RaftSettings {
    /// How often a leader makes itself heard.
    #[serde(default = "heartbeat")]
    #[schemars(range(min = 10, max = 10_000))]
    pub heartbeat_milliseconds: i32,

    /// A member that hears no leader stands for election after at least this long.
    #[serde(default = "election_min")]
    #[schemars(range(min = 30, max = 60_000))]
    pub election_timeout_min_milliseconds: i32,

    /// And after at most this long.
    #[serde(default = "election_max")]
    #[schemars(range(min = 31, max = 120_000))]
    pub election_timeout_max_milliseconds: i32,

    /// The leader answers linearizable reads without asking a majority while a majority has promised to vote for nobody else. Safe only
    /// where the monotonic clocks of the machines run at rates that differ by less than a fifth over one election timeout.
    #[serde(default)]
    pub lease_reads: bool,
}

fn heartbeat() -> i32 {
    100
}

fn election_min() -> i32 {
    300
}

fn election_max() -> i32 {
    500
}

impl Default for RaftSettings {
    fn default() -> Self {
        RaftSettings {
            heartbeat_milliseconds: heartbeat(),
            election_timeout_min_milliseconds: election_min(),
            election_timeout_max_milliseconds: election_max(),
            lease_reads: false,
        }
    }
}

/// The client Service: ready nodes on port 8080.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceSpec {
    /// ClusterIP, NodePort or LoadBalancer.
    #[serde(default, rename = "type")]
    pub type_: ServiceType,

    /// Annotations, as load balancers want them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// How the client Service is published.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, clippy::enum_variant_names)]
pub enum ServiceType {
    #[default]
    ClusterIP,
    NodePort,
    LoadBalancer,
}

impl ServiceType {
    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            ServiceType::ClusterIP => "ClusterIP",
            ServiceType::NodePort => "NodePort",
            ServiceType::LoadBalancer => "LoadBalancer",
        }
    }
}

impl PullPolicy {
    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            PullPolicy::Always => "Always",
            PullPolicy::IfNotPresent => "IfNotPresent",
            PullPolicy::Never => "Never",
        }
    }
}

impl Reclaim {
    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reclaim::Retain => "Retain",
            Reclaim::Delete => "Delete",
        }
    }
}

#[cfg(test)]
mod tests;
