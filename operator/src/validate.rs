//! Turns a RaftCluster as read into a [`Cluster`] that needs no further checking. Pure; holds no client.
//!
//! The API server enforces the same rules. They are repeated here for resources written while an older CustomResourceDefinition
//! was installed, and for what stands in the status, which anybody may have edited.

use crate::names::Names;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use schedia_apps::ClusterId;
use schedia_crds::{RaftCluster, RaftClusterSpec, RaftClusterStatus};

/// A RaftCluster that has been checked.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// What it and its objects are called.
    pub names: Names,
    /// Tells it from an earlier resource of the same name.
    pub uid: String,
    /// The generation of its spec.
    pub generation: i64,
    /// When it was created: nothing of it can be older.
    pub created: Timestamp,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// The number of voters asked for: odd, 1 to 9.
    pub replicas: u32,
    /// The number of raft groups asked for: 1 to 16.
    pub shards: u32,
    /// The cluster id latched in the status.
    pub latched_id: Option<ClusterId>,
    /// The rest of the spec.
    pub spec: RaftClusterSpec,
    /// The status of the last pass.
    pub status: RaftClusterStatus,
}

/// What is wrong with a RaftCluster, in words for its author.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

/// Checks everything that later steps rely on.
pub fn validate(resource: &RaftCluster) -> Result<Cluster, Invalid> {
    resource.validate_cel().map_err(|errors| Invalid(errors.to_string()))?;
    let RaftCluster { metadata, spec, status } = resource;
    let status = status.clone().unwrap_or_default();
    let latched_id = status.cluster_id.clone().map(ClusterId::try_from).transpose();
    let latched_id = latched_id.map_err(|e| Invalid(format!("status.clusterId is {e}")))?;
    let created = metadata.creation_timestamp.as_ref().ok_or_else(|| unread("creationTimestamp"))?.0;
    Ok(Cluster {
        names: Names::of(resource),
        uid: metadata.uid.clone().ok_or_else(|| unread("uid"))?,
        generation: metadata.generation.unwrap_or_default(),
        created,
        deleting: metadata.deletion_timestamp.is_some(),
        replicas: count("replicas", spec.replicas)?,
        shards: count("shards", spec.shards)?,
        latched_id,
        spec: spec.clone(),
        status,
    })
}

fn count(field: &str, count: i32) -> Result<u32, Invalid> {
    u32::try_from(count).map_err(|_| Invalid(format!("{field} is negative")))
}

fn unread(field: &str) -> Invalid {
    Invalid(format!("metadata.{field} is missing: the resource does not come from an API server"))
}

impl Cluster {
    /// The reference by which every object of the cluster names its owner.
    pub fn owner(&self) -> OwnerReference {
        OwnerReference {
            api_version: RaftCluster::api_version(&()).into_owned(),
            kind: RaftCluster::kind(&()).into_owned(),
            name: self.names.cluster.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn resource(spec: serde_json::Value, status: serde_json::Value) -> RaftCluster {
        serde_json::from_value(json!({
            "apiVersion": "schedia.dev/v1alpha1",
            "kind": "RaftCluster",
            "metadata": {
                "name": "demo", "namespace": "default", "uid": "u", "generation": 1,
                "creationTimestamp": "2026-01-02T03:04:05Z",
            },
            "spec": spec,
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn a_minimal_cluster_is_valid() {
        let cluster = validate(&resource(json!({"image": "schedia:1"}), json!({}))).unwrap();
        assert_eq!((cluster.replicas, cluster.latched_id), (3, None));
    }

    #[test]
    fn an_even_count_is_refused_even_if_an_older_api_server_accepted_it() {
        let error = validate(&resource(json!({"image": "schedia:1", "replicas": 4}), json!({}))).unwrap_err();
        assert!(error.to_string().contains("replicas must be 1, 3, 5, 7 or 9"), "{error}");
    }

    #[test]
    fn a_latch_that_is_no_id_is_refused_rather_than_overwritten() {
        let status = json!({"clusterId": "Not An Id", "conditions": []});
        let error = validate(&resource(json!({"image": "schedia:1"}), status)).unwrap_err();
        assert!(error.to_string().starts_with("status.clusterId is not an id"), "{error}");
    }
}
