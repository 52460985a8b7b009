//! What a node is asked to do: bodies of requests and answers. Every verb but `node-ids` is idempotent.

use schedia_apps::{ClusterId, NodeId, ShardId, StoreId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Query of `GET /admin/v1/status`: with `after`, the call waits until the revision differs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusQuery {
    /// The revision the caller has seen. One of another process answers at once.
    pub after: Option<String>,
    /// How long to wait: a number and `s` or `ms`. At most a minute.
    pub wait: Option<String>,
}

/// `POST /admin/v1/initialize`: only on a blank disk; the same call again is 200.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Initialize {
    /// The new cluster.
    pub cluster_id: ClusterId,
    /// The name of this node in it.
    pub name: String,
    /// Where its peers reach it: host:port.
    pub address: String,
    /// Number of shards, 1..=16.
    #[serde(default = "one")]
    pub shards: u32,
    /// Who changes the membership from now on.
    #[serde(default)]
    pub managed_by: Option<String>,
}

fn one() -> u32 {
    1
}

/// Answer of `POST /admin/v1/node-ids`: a fresh id. An unused one is harmless.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewNodeId {
    /// Never given out before.
    pub node_id: NodeId,
}

/// `POST /admin/v1/assign`: on an Unassigned node, remember who you are. Another id than before is 409.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assign {
    /// The cluster to join.
    pub cluster_id: ClusterId,
    /// The id in it.
    pub node_id: NodeId,
}

/// `POST /admin/v1/learners`: leader only; adds a member without a vote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddLearner {
    /// From `node-ids`.
    pub node_id: NodeId,
    /// The member's name.
    pub name: String,
    /// Where its peers reach it: host:port.
    pub address: String,
    /// Where its clients reach it: a URL.
    #[serde(default)]
    pub http_url: Option<String>,
    /// The disk it lives on, if known.
    #[serde(default)]
    pub store_id: Option<StoreId>,
    /// The generation of the cluster record this was planned from.
    pub expected: u64,
}

/// `POST /admin/v1/membership`: leader only; one joint change to exactly this voter set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetVoters {
    /// The voters to be.
    pub voters: BTreeSet<NodeId>,
    /// The generation of the cluster record this was planned from.
    pub expected: u64,
}

/// `POST /admin/v1/learners/remove`: leader only; drops a member that does not vote. Its id is never used again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveLearner {
    /// The member: demoted, or never promoted.
    pub node_id: NodeId,
    /// The generation of the cluster record this was planned from.
    pub expected: u64,
}

/// Answer of a membership verb: 200 when settled, 202 when the change is under way (the same call resumes it).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// The generation of the cluster record now.
    pub generation: u64,
    /// Whether every shard's committed membership follows it.
    pub settled: bool,
}

/// `POST /admin/v1/transfer-leader`: only to a caught-up voter, else 409 `not_caught_up`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferLeader {
    /// The leader to be.
    pub to: NodeId,
}

/// `POST /v1/cluster/join`, on the client port of any member; repeatable by store id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// The name of the node that wants to join.
    pub name: String,
    /// Where its peers reach it: host:port.
    pub address: String,
    /// Where its clients reach it: a URL.
    #[serde(default)]
    pub http_url: Option<String>,
    /// Its disk.
    pub store_id: StoreId,
}

/// Answer of [`Join`], [`Initialize`] and [`Assign`]: who the node is from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// The cluster joined.
    pub cluster_id: ClusterId,
    /// The id in it.
    pub node_id: NodeId,
}

/// `POST /admin/v1/reset`: only on a node that was removed, as its cluster's leader confirms. Its data are moved aside and
/// it waits on a blank disk of another id; the same call again is 200.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    /// The cluster the node belonged to.
    pub cluster_id: ClusterId,
    /// The id it had in it.
    pub node_id: NodeId,
    /// The disk it had.
    pub store_id: StoreId,
}

/// Answer of [`Reset`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResetDone {
    /// The disk the node has from now on.
    pub store_id: StoreId,
}

/// Answer of `POST /admin/v1/defragment`: what each shard's state file was, and is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Defragmented {
    /// In the order of their numbers.
    pub shards: Vec<DefragmentedShard>,
}

/// One shard's state file, copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefragmentedShard {
    /// Which.
    pub shard: ShardId,
    /// Size of the file before.
    pub before_bytes: u64,
    /// Size of its copy.
    pub after_bytes: u64,
}

/// The body of a verb without parameters, and the answer of one with nothing to tell: `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {}

/// The body of every error: `{"error":{"code","message","leader"}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorInfo,
}

/// One error: a code for programs, a message for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorInfo {
    /// `not_leader`, `stale`, `key_not_found`, …: docs/api.md lists all.
    pub code: String,
    /// In words: what is wrong and what to do.
    pub message: String,
    /// The leader's client URL, where that helps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// The number that settles the matter: the current revision or generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<u64>,
}
