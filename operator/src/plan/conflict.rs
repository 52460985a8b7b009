//! Question 1: does anything contradict? Then a person must decide, and nothing is touched.

use super::Decision;
use crate::census::Census;
use crate::names::LABEL_CLUSTER;
use crate::observed::{Live, Observed};
use crate::validate::Cluster;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub(super) fn decide(cluster: &Cluster, observed: &Observed, census: &Census) -> Option<Decision> {
    if let Err(contradiction) = &census.latches {
        return Some(Decision::blocked("LatchConflict", contradiction));
    }
    if let Some(message) = foreign(cluster, &observed.live) {
        return Some(Decision::blocked("NameCollision", message));
    }
    if let Some(record) = census.record.as_ref().filter(|record| record.shards != cluster.shards) {
        let message = format!(
            "the cluster on these volumes began with shards: {} and keeps them, spec.shards is {}: make the resource anew with what it was, or with other volumes",
            record.shards, cluster.shards
        );
        return Some(Decision::blocked("ShardsDiffer", message));
    }
    let (pod, stranger) = census.strangers.first()?;
    let id = census.cluster_id.as_ref()?;
    Some(Decision::blocked(
        "SplitBrain",
        format!(
            "{pod} belongs to cluster {stranger}, this one is {id}: move its volume away, or delete the resource that is wrong"
        ),
    ))
}

/// Objects under our names that are not ours.
fn foreign(cluster: &Cluster, live: &Live) -> Option<String> {
    let Live { stateful_set, headless, client, budget } = live;
    let objects = [
        ("StatefulSet", stateful_set.as_ref().map(|object| &object.metadata)),
        ("Service", headless.as_ref().map(|object| &object.metadata)),
        ("Service", client.as_ref().map(|object| &object.metadata)),
        ("PodDisruptionBudget", budget.as_ref().map(|object| &object.metadata)),
    ];
    objects.into_iter().find_map(|(kind, metadata)| refusal(cluster, kind, metadata?))
}

/// Why an object may not be adopted; `None`: it is ours, or was and has lost its owner.
fn refusal(cluster: &Cluster, kind: &str, metadata: &ObjectMeta) -> Option<String> {
    let name = metadata.name.as_deref().unwrap_or_default();
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    match owners.iter().find(|owner| owner.controller == Some(true)) {
        Some(owner) if owner.uid == cluster.uid => None,
        Some(owner) if owner.kind == "RaftCluster" && owner.name == cluster.names.cluster => {
            Some(format!("{kind} {name} belongs to an earlier RaftCluster of this name and is being removed"))
        }
        Some(owner) => Some(format!(
            "{kind} {name} belongs to {} {}: rename this RaftCluster, or remove that",
            owner.kind, owner.name
        )),
        None => {
            let label = metadata.labels.as_ref().and_then(|labels| labels.get(LABEL_CLUSTER));
            let ours = label == Some(&cluster.names.cluster);
            (!ours).then(|| {
                format!(
                    "{kind} {name} exists and is not the operator's: rename this RaftCluster, or remove it"
                )
            })
        }
    }
}
