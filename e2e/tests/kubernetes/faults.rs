//! Pods are lost and return: members stay who they are, and nothing acknowledged is lost.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DeleteParams;
use schedia_api::{Membership, Status};
use schedia_e2e::load::{Answer, Load, Wire};
use schedia_e2e::namespace::{Forward, Namespace, PATIENCE, pod_names, with_temp_namespace};
use schedia_e2e::wait::eventually;
use serde_json::json;
use std::time::Duration;

/// Few: each connection is forwarded by the API server, on two cores.
const WRITERS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_leader_is_succeeded_and_no_acknowledged_write_is_lost() {
    with_temp_namespace("leader", |here| async move {
        let (forwards, urls) = quorum(&here).await;
        let load = Load::start(&urls, WRITERS, fastrand::u64(..1 << 32));
        load.progress(200, PATIENCE).await;
        let leader = here.leader("demo").await;
        here.api::<Pod>().delete(&leader, &DeleteParams::default()).await.unwrap();
        here.await_raft("demo", "another leader", Duration::from_secs(30), |raft| {
            let now = raft.status.as_ref().and_then(|status| status.leader.clone());
            now.is_some_and(|now| now != leader)
        })
        .await;
        load.progress(200, PATIENCE).await;
        here.ready("demo").await;
        load.progress(200, PATIENCE).await;
        let history = load.stop().await;
        assert!(history.acknowledged() >= 600);
        history.verify(&urls).await;
        drop(forwards);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_return_on_their_disks_are_the_members_they_were() {
    with_temp_namespace("return", |here| async move {
        let (_forwards, urls) = quorum(&here).await;
        let wire = Wire::new();
        let Answer::Done { revision, .. } = wire.put(&urls[0], "kept", "value".into()).await else {
            panic!("no write")
        };
        let before = identities(&here).await;

        // [11] One follower.
        let leader = here.leader("demo").await;
        let follower = pod_names("demo", 3).into_iter().find(|pod| *pod != leader).unwrap();
        replaced(&here, &[follower]).await;
        assert_eq!(identities(&here).await, before, "after a follower was deleted");

        // [15] All pods at once; their claims stay.
        replaced(&here, &pod_names("demo", 3)).await;
        assert_eq!(identities(&here).await, before, "after all pods were deleted");
        for url in &urls {
            let seen = wire.get(url, "kept", false).await;
            assert_eq!(seen, Answer::Done { revision, value: "value".into() }, "at {url}");
        }
    })
    .await;
}

/// Three nodes, Ready, and a local URL for each.
async fn quorum(here: &Namespace) -> (Vec<Forward>, Vec<String>) {
    here.apply_raft("demo", json!({})).await;
    here.ready("demo").await;
    here.forwards("demo", 3).await
}

/// Deletes pods, and waits until others of the same names make the cluster Ready again.
async fn replaced(here: &Namespace, names: &[String]) {
    let pods = here.api::<Pod>();
    let mut old = Vec::new();
    for name in names {
        old.push(pods.get(name).await.unwrap().uid());
        pods.delete(name, &DeleteParams::default()).await.unwrap();
    }
    for (name, old) in names.iter().zip(old) {
        eventually(&format!("another pod {name}, ready"), PATIENCE, || async {
            let pod = pods.get(name).await.map_err(|e| e.to_string())?;
            let conditions =
                pod.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
            let ready = conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
            if pod.uid() != old && ready { Ok(()) } else { Err(format!("{conditions:?}")) }
        })
        .await;
    }
    here.ready("demo").await;
}

/// Who each node is, and the membership it knows: none of it may change when a pod is only away for a while.
async fn identities(here: &Namespace) -> Vec<(String, Option<String>, Option<u64>, String, Membership)> {
    let mut all = Vec::new();
    for pod in pod_names("demo", 3) {
        let node = eventually(&format!("{pod} answers"), PATIENCE, || here.node_status(&pod)).await;
        let Status { cluster_id, node_id, store_id, mut shards, .. } = node;
        let membership = shards.swap_remove(0).membership;
        all.push((
            pod,
            cluster_id.map(String::from),
            node_id.map(|id| id.0),
            store_id.to_string(),
            membership,
        ));
    }
    all
}
