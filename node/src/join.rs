//! How a node comes to know its cluster, and how a member lets others in.
//!
//! Contract first: the bodies follow.

use crate::config::Start;
use crate::peer::Peers;
use crate::shards::{MembershipError, ShardError, Shards};
use crate::storage::Storage;
use schedia_api::{Assign, Initialize, Join, Joined};
use schedia_apps::{ClusterId, NodeId};
use std::sync::Arc;
use tokio::time::Instant;

/// What this node tells others of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// Its name.
    pub name: String,
    /// Where its peers reach it: host:port.
    pub address: String,
    /// Where its clients reach it: a URL.
    pub http_url: String,
}

/// Why a node did not become a member.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The disk belongs to a member already.
    #[error("this node is already node {node_id} of cluster {cluster_id}")]
    AlreadyAssigned {
        /// The cluster.
        cluster_id: ClusterId,
        /// The id in it.
        node_id: NodeId,
    },
    /// A node that belongs to no cluster can let nobody in.
    #[error("this node belongs to no cluster yet")]
    Unassigned,
    /// Only the operator changes this cluster's membership.
    #[error("membership is managed by the operator")]
    ManagedByOperator,
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The identity could not be written.
    #[error("failed to write the identity: {0}")]
    Storage(#[from] std::io::Error),
    /// As for any change of the membership.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// As for any proposal.
    #[error(transparent)]
    Shard(#[from] ShardError),
}

/// This node's way into a cluster. Owned by the composition root; the admin API and the doors call it.
pub struct Admission {
    storage: Arc<Storage>,
    shards: Arc<Shards>,
    peers: Peers,
    me: Advertised,
}

impl Admission {
    /// Nothing is started yet: see [`Admission::resume`].
    pub fn new(storage: Arc<Storage>, shards: Arc<Shards>, peers: Peers, me: Advertised) -> Admission {
        Admission { storage, shards, peers, me }
    }

    /// A disk with an identity: starts its shards, and finishes what initializing left undone. A blank disk: nothing.
    pub async fn resume(&self) -> Result<(), JoinError> {
        let _ = (&self.storage, &self.shards, &self.peers, &self.me);
        unimplemented!()
    }

    /// A blank disk: does what the settings say, again and again until the node is a member. Cancel by dropping.
    /// A disk with an identity, or [`Start::Wait`]: nothing.
    pub async fn enter(&self, start: &Start) {
        let _ = start;
        unimplemented!()
    }

    /// `POST /admin/v1/initialize`.
    pub async fn initialize(&self, verb: Initialize, deadline: Instant) -> Result<Joined, JoinError> {
        let _ = (verb, deadline);
        unimplemented!()
    }

    /// `POST /admin/v1/assign`.
    pub async fn assign(&self, verb: Assign) -> Result<Joined, JoinError> {
        let _ = verb;
        unimplemented!()
    }

    /// `POST /v1/cluster/join`, on any member; repeatable by store id.
    pub async fn admit(&self, verb: Join, deadline: Instant) -> Result<Joined, JoinError> {
        let _ = (verb, deadline);
        unimplemented!()
    }
}
