//! What a node says of itself.

use schedia_apps::cluster::Record;
use schedia_apps::{ClusterId, Epoch, Level, NodeId, ShardId, StoreId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A node's place in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// A blank disk: knows no cluster, waits to be told.
    Unassigned,
    /// Knows its cluster and id, but is in no membership it has seen.
    Assigned,
    /// Receives the log, does not vote.
    Learner,
    /// Votes.
    Voter,
    /// Its id was removed from the cluster; it will never be used again.
    Retired,
}

/// `GET /admin/v1/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// `<process uuid>.<n>`: n rises when role, leader, term, membership, version or alarms change.
    pub revision: String,
    /// The node's name (`--name`).
    pub name: String,
    /// Where its peers reach it: host:port.
    pub address: String,
    /// Where its clients reach it: a URL.
    pub http_url: String,
    /// The release of the running binary.
    pub version: String,
    /// The node's place in its cluster.
    pub role: Role,
    /// The disk.
    pub store_id: StoreId,
    /// The cluster, once known.
    pub cluster_id: Option<ClusterId>,
    /// The node's id in it, once known.
    pub node_id: Option<NodeId>,
    /// The oldest level this release applies.
    pub level_min: Level,
    /// The newest level this release can propose.
    pub level_max: Level,
    /// Restores and recoveries so far.
    pub epoch: Epoch,
    /// Whether `/readyz` answers 200.
    pub ready: bool,
    /// Why not, in words, if not.
    pub ready_reason: Option<String>,
    /// The cluster record as this node last applied it (not a linearizable read).
    pub record: Option<Record>,
    /// One per shard, by id.
    pub shards: Vec<ShardStatus>,
    /// The disk that holds the data directory.
    pub disk: DiskStatus,
    /// What a person should know of.
    pub alarms: Vec<Alarm>,
}

/// A position in a shard's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogId {
    /// The term of the leader that proposed the entry.
    pub term: u64,
    /// The entry's index.
    pub index: u64,
}

/// One shard as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardStatus {
    /// Which one.
    pub shard: ShardId,
    /// The leader, if this node knows one.
    pub leader: Option<NodeId>,
    /// The current term.
    pub term: u64,
    /// The last entry in this node's log.
    pub last: Option<LogId>,
    /// The last entry known to be committed.
    pub committed: Option<LogId>,
    /// The last entry applied here.
    pub applied: Option<LogId>,
    /// The newest membership in this node's log.
    pub membership: Membership,
    /// On the leader: how many entries each other member is behind.
    pub lag: BTreeMap<NodeId, u64>,
    /// Why the shard stopped on this node, if it did.
    pub stopped: Option<String>,
}

/// A raft membership.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The entry it stands in.
    pub log_id: Option<LogId>,
    /// Whether that entry is committed.
    pub committed: bool,
    /// The voters: the newer set while a joint configuration is open.
    pub voters: BTreeSet<NodeId>,
    /// Members without a vote.
    pub learners: BTreeSet<NodeId>,
    /// Both voter sets while a joint configuration is open.
    pub joint: Option<Joint>,
}

/// An open joint configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joint {
    /// The set being left.
    pub old: BTreeSet<NodeId>,
    /// The set being entered.
    pub new: BTreeSet<NodeId>,
}

/// Space on the disk of the data directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskStatus {
    /// Size of the file system in bytes.
    pub total_bytes: u64,
    /// Bytes left for us.
    pub free_bytes: u64,
}

/// Something a person should know of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// What kind: `disk_failed`, `disk_low`, `removed`, ….
    pub code: String,
    /// In words, with what to do.
    pub message: String,
}

/// `GET /v1/status`, on the client port: the cluster as one of its nodes sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overview {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The node that answers.
    pub node_id: NodeId,
    /// Its name.
    pub name: String,
    /// Its place.
    pub role: Role,
    /// The release it runs.
    pub version: String,
    /// The leader of shard 0, if the node knows one.
    pub leader: Option<NodeId>,
    /// The term of shard 0.
    pub term: u64,
    /// The kv store's revision.
    pub revision: u64,
    /// The generation of the cluster record.
    pub generation: u64,
    /// The members, by id.
    pub members: Vec<OverviewMember>,
    /// How many voters may fail before the cluster stops.
    pub can_lose: usize,
}

/// A member in an [`Overview`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverviewMember {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Where its peers reach it.
    pub address: String,
    /// Where its clients reach it.
    pub http_url: Option<String>,
    /// Whether it votes.
    pub voter: bool,
    /// On the leader: how many entries it is behind.
    pub lag: Option<u64>,
    /// The shards that it leads.
    #[serde(default)]
    pub leads: Vec<ShardId>,
}
