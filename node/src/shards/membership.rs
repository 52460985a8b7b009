//! The membership driver: the cluster record is the intent, the leader of shard 0 makes every shard follow it.
//!
//! Contract first: the bodies follow.

use super::{Consistency, MembershipError, ShardError, Shards};
use schedia_api::{AddLearner, Changed, SetVoters};
use schedia_apps::NodeId;
use schedia_apps::cluster::Record;
use std::sync::Arc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

impl Shards {
    /// The cluster record. `None` before the cluster was initialized.
    pub async fn record(
        &self,
        consistency: Consistency,
        deadline: Instant,
    ) -> Result<Option<Record>, ShardError> {
        let _ = (consistency, deadline);
        unimplemented!()
    }

    /// `POST /admin/v1/node-ids`. Leader only.
    pub async fn new_node_id(&self, deadline: Instant) -> Result<NodeId, MembershipError> {
        let _ = deadline;
        unimplemented!()
    }

    /// `POST /admin/v1/learners`. Leader only.
    pub async fn add_learner(&self, verb: AddLearner, deadline: Instant) -> Result<Changed, MembershipError> {
        let _ = (verb, deadline);
        unimplemented!()
    }

    /// `POST /admin/v1/membership`. Leader only; not `settled` when the change is still under way at the deadline.
    pub async fn set_voters(&self, verb: SetVoters, deadline: Instant) -> Result<Changed, MembershipError> {
        let _ = (verb, deadline);
        unimplemented!()
    }

    /// `POST /admin/v1/transfer-leader`, for every shard this node leads; returns when another node leads.
    pub async fn transfer_leader(&self, to: NodeId, deadline: Instant) -> Result<(), MembershipError> {
        let _ = (to, deadline);
        unimplemented!()
    }

    /// Makes memberships follow the record while this node leads shard 0; runs on every member until `stop`.
    pub async fn drive_membership(self: Arc<Self>, stop: CancellationToken) {
        let _ = stop;
        unimplemented!()
    }
}
