//! A removed node begins anew on a blank disk.
//!
//! Invariants:
//! * Nothing is touched unless the leader has just confirmed, with a majority, that the id is in no shard any more.
//! * The verb names the very disk: asked again of the node it has made blank, or of its next life, it changes nothing.
//!
//! Not here: how the data are moved aside (`storage/reset.rs`), how the node's parts end and begin again (`node.rs`).

use super::{Admission, JoinError};
use crate::storage::{Assigned, Former, Identity};
use schedia_api::{Reset, ResetDone};
use std::io;
use tokio::time::Instant;

impl Admission {
    /// `POST /admin/v1/reset`. On return the directory is the new disk's; the node is it a moment later.
    pub async fn reset(&self, verb: Reset, deadline: Instant) -> Result<ResetDone, JoinError> {
        let _entering = self.entering.lock().await;
        let identity = self.storage.identity();
        if identity.former.as_ref().is_some_and(|former| is_former(&verb, former)) {
            return Ok(ResetDone { store_id: identity.store_id });
        }
        if !is_own(&verb, &identity) {
            return Err(JoinError::NotThatMember { is: words(&identity) });
        }
        let confirmed = self.shards.confirm_removed(verb.node_id, deadline).await;
        let index = confirmed.map_err(|reason| JoinError::NotConfirmed { reason })?;
        tracing::warn!(node = %verb.node_id, index, "reset: this node was removed and begins anew on a blank disk");
        let storage = self.storage.clone();
        let reset = tokio::task::spawn_blocking(move || storage.reset()).await;
        let store_id = reset.map_err(io::Error::other)??;
        self.anew.cancel();
        Ok(ResetDone { store_id })
    }
}

fn is_former(verb: &Reset, former: &Former) -> bool {
    let Former { store_id, cluster_id, node_id, moved: _ } = former;
    (&verb.store_id, &verb.cluster_id, &verb.node_id) == (store_id, cluster_id, node_id)
}

fn is_own(verb: &Reset, identity: &Identity) -> bool {
    let member = |Assigned { cluster_id, node_id, seed: _ }: &Assigned| {
        *cluster_id == verb.cluster_id && *node_id == verb.node_id
    };
    identity.store_id == verb.store_id && identity.assigned.as_ref().is_some_and(member)
}

fn words(identity: &Identity) -> String {
    let Identity { store_id, assigned, former: _ } = identity;
    match assigned {
        Some(Assigned { cluster_id, node_id, seed: _ }) => {
            format!("node {node_id} of cluster {cluster_id}, on disk {store_id}")
        }
        None => format!("blank, on disk {store_id}"),
    }
}
