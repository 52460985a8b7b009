//! The cluster record itself.

use crate::{Epoch, Level, NodeId, StoreId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A member as its cluster knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The member's number.
    pub id: NodeId,
    /// Its name: the pod's name on Kubernetes.
    pub name: String,
    /// Where its peers reach it: host:port, the host resolved again at every connect.
    pub address: String,
    /// Where its clients reach it, if it said so: a URL.
    pub http_url: Option<String>,
    /// The disk it lives on.
    pub store_id: Option<StoreId>,
}

/// What the cluster agreed about itself.
///
/// Stands in logs and tables: its fields are never reordered, removed or changed within a row format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Counts changes of this record; the precondition of every membership verb.
    pub generation: u64,
    /// Members by id: voters and learners.
    pub members: BTreeMap<NodeId, Member>,
    /// The members that vote, or will as soon as the record is settled.
    pub voters: BTreeSet<NodeId>,
    /// The members that get a vote as soon as they have caught up: those that joined by themselves.
    #[serde(default)]
    pub joining: BTreeSet<NodeId>,
    /// Whether every shard's committed membership is what this record says.
    pub settled: bool,
    /// Number of shards, fixed at creation.
    pub shards: u32,
    /// The level of commands in use.
    pub level: Level,
    /// Restores and recoveries so far.
    pub epoch: Epoch,
    /// Who changes the membership: `operator`, or nobody but people.
    pub managed_by: Option<String>,
}
