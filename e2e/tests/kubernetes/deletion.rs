//! A cluster that is deleted with its volumes leaves nothing behind.

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Resource, ResourceExt};
use schedia_crds::RaftCluster;
use schedia_e2e::namespace::{Namespace, PATIENCE, condition, with_temp_namespace};
use schedia_e2e::wait::eventually;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::fmt::Debug;

/// [26] Nobody has to be asked: not even a member that cannot run. The name is free for a new cluster then.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_deleted_with_its_volumes_leaves_nothing_even_while_a_member_is_down() {
    with_temp_namespace("deleted", |here| async move {
        let storage = json!({ "retentionPolicy": { "whenDeleted": "Delete" } });
        here.apply_raft("demo", json!({ "storage": storage })).await;
        let raft = here.ready_with("demo", 3).await;
        assert!(raft.finalizers().is_empty(), "nothing holds it: {:?}", raft.finalizers());

        // No room for a third pod: one that is gone does not come back.
        let quota = json!({ "metadata": { "name": "two" }, "spec": { "hard": { "pods": "2" } } });
        let quotas: Api<ResourceQuota> = here.api();
        quotas.create(&PostParams::default(), &serde_json::from_value(quota).unwrap()).await.unwrap();
        eventually("the quota is in force", PATIENCE, || async {
            let quota = quotas.get("two").await.map_err(|e| e.to_string())?;
            quota.status.and_then(|status| status.used).map(drop).ok_or_else(|| "not counted yet".to_owned())
        })
        .await;
        here.api::<Pod>().delete("demo-2", &DeleteParams::default()).await.unwrap();
        here.await_raft("demo", "Degraded", PATIENCE, |raft| {
            let status = raft.status.as_ref().and_then(|status| status.ready.as_deref());
            status == Some("2/3")
                && condition(raft, "Degraded").is_some_and(|degraded| degraded.status == "True")
        })
        .await;

        here.api::<RaftCluster>().delete("demo", &DeleteParams::default()).await.unwrap();
        eventually("nothing is left", PATIENCE, || async {
            let left = left(&here).await?;
            if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
        })
        .await;

        quotas.delete("two", &DeleteParams::default()).await.unwrap();
        here.apply_raft("demo", json!({ "replicas": 1 })).await;
        let fresh = here.ready_with("demo", 1).await;
        let cluster = |raft: &RaftCluster| raft.status.as_ref().and_then(|status| status.cluster_id.clone());
        assert_ne!(cluster(&fresh), cluster(&raft), "a new cluster");
    })
    .await;
}

/// Whatever a cluster consists of.
async fn left(here: &Namespace) -> Result<Vec<String>, String> {
    let mut left = names::<RaftCluster>(here).await?;
    left.extend(names::<StatefulSet>(here).await?);
    left.extend(names::<Service>(here).await?);
    left.extend(names::<PodDisruptionBudget>(here).await?);
    left.extend(names::<Pod>(here).await?);
    left.extend(names::<PersistentVolumeClaim>(here).await?);
    Ok(left)
}

async fn names<K>(here: &Namespace) -> Result<Vec<String>, String>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let list = here.api::<K>().list(&ListParams::default()).await.map_err(|e| e.to_string())?;
    Ok(list.items.iter().map(|object| format!("{} {}", K::kind(&()), object.name_any())).collect())
}
