//! What the operator has seen: the status of a RaftCluster.
//!
//! Nothing in it changes with every write to the store: numbers that move all the time are metrics.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The status of a [`crate::RaftCluster`].
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RaftClusterStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Names the cluster for ever. Written before a node is initialized with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,

    /// Whether a node has confirmed that cluster. Once true, no node is ever initialized again.
    #[serde(default)]
    pub initialized: bool,

    /// What the cluster is being brought to, or is at: what Ready describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,

    /// Pods of the cluster.
    #[serde(default)]
    pub replicas: i32,

    /// Pods that are ready.
    #[serde(default)]
    pub ready_replicas: i32,

    /// Pods that run what the spec says.
    #[serde(default)]
    pub updated_replicas: i32,

    /// Voters in the newest membership.
    #[serde(default)]
    pub voters: i32,

    /// Members without a vote.
    #[serde(default)]
    pub learners: i32,

    /// Ready members of those in force: `3/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<String>,

    /// Selects the pods of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,

    /// The pod that leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,

    /// The leader's node id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader_id: Option<String>,

    /// The term it leads in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<i64>,

    /// The generation of the cluster record: counts membership changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,

    /// Both voter sets while a joint configuration is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joint: Option<JointVoters>,

    /// The release all answering members run; the oldest of them while they differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,

    /// One per pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub members: Vec<MemberStatus>,

    /// The change under way; unset at rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,

    /// What the operator will do next, in words; while paused, what it would do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_action: Option<String>,

    /// Ready, QuorumAvailable, Progressing, Degraded, Paused, SpecValid, StorageReady.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// What a cluster is brought to.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Voters.
    pub replicas: i32,
    /// Image.
    pub image: String,
    /// The newest generation of the spec that is wholly in force.
    pub generation: i64,
}

/// A change under way.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// Bootstrap, ScaleUp or ScaleDown.
    #[serde(rename = "type")]
    pub type_: String,
    /// How far it is: the reason of the condition Ready.
    pub step: String,
    /// The pod it is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// When this step began: `spec.progressDeadlineSeconds` counts from here.
    pub started_at: Time,
}

/// The voter sets of an open joint configuration, as node ids.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct JointVoters {
    /// The set being left.
    pub old: Vec<String>,
    /// The set being entered.
    pub new: Vec<String>,
}

/// One pod of the cluster and the member in it.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// The pod.
    pub name: String,
    /// The node id, once it has one. A string: ids are 64 bits wide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
    /// The disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_id: Option<String>,
    /// Unassigned, Assigned, Learner, Voter or Retired; unset while it does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Whether the pod is ready for clients.
    #[serde(default)]
    pub ready: bool,
    /// Whether the node answers and raises no alarm.
    #[serde(default)]
    pub healthy: bool,
    /// The release it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What is wrong, if something is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
