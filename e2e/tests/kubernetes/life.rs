//! A cluster from its first minute to a quiet one.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Event, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use schedia_api::Role;
use schedia_crds::RaftCluster;
use schedia_e2e::load::{Answer, Wire};
use schedia_e2e::namespace::{
    Namespace, OPERATOR_NAMESPACE, PATIENCE, alone_with_temp_namespace, condition, is_ready, no_pods,
    pod_names, scale_operator, with_temp_namespace,
};
use schedia_e2e::wait::eventually;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_minimal_resource_becomes_three_voters_of_one_cluster() {
    with_temp_namespace("minimal", |here| async move {
        let raft = here.apply_raft("demo", json!({})).await;
        assert_eq!(
            (raft.spec.replicas, raft.spec.storage.size.0.as_str()),
            (3, "10Gi"),
            "defaults are filled in"
        );
        let raft = here.ready("demo").await;
        let status = raft.status.clone().unwrap();
        assert_eq!((status.voters, status.ready.as_deref(), status.learners), (3, Some("3/3"), 0));
        assert!(status.initialized && is_ready(&raft));
        let mut clusters = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for pod in pod_names("demo", 3) {
            let node = here.node_status(&pod).await.unwrap();
            clusters.insert(node.cluster_id.unwrap().to_string());
            ids.insert(node.node_id.unwrap());
        }
        assert_eq!(clusters, BTreeSet::from([status.cluster_id.unwrap()]), "one cluster, the latched one");
        assert_eq!(ids.len(), 3);
        let budget = here.api::<PodDisruptionBudget>().get("demo").await.unwrap();
        assert_eq!(serde_json::to_value(budget.spec.unwrap().min_available).unwrap(), json!(2));
        every_node_serves(&here, 3).await;
        steady_state_writes_nothing(&here).await;
    })
    .await;
}

/// A value put through each node is read on every other.
async fn every_node_serves(here: &Namespace, replicas: usize) {
    let wire = Wire::new();
    let mut forwards = Vec::new();
    for pod in pod_names("demo", replicas) {
        forwards.push(here.http(&pod).await);
    }
    for writer in &forwards {
        let key = format!("by/{}", writer.url.rsplit(':').next().unwrap());
        let Answer::Done { revision, .. } = wire.put(&writer.url, &key, "value".into()).await else {
            panic!("{key} was not written");
        };
        for reader in &forwards {
            let seen = wire.get(&reader.url, &key, false).await;
            assert_eq!(seen, Answer::Done { revision, value: "value".into() }, "{} at {}", key, reader.url);
        }
    }
}

/// For so long nothing may be written. `E2E_FULL` takes ten minutes.
fn window() -> Duration {
    Duration::from_secs(if std::env::var_os("E2E_FULL").is_some() { 600 } else { 60 })
}

/// [31] A cluster at rest costs the API server no writes: no object here changes, and no event appears.
async fn steady_state_writes_nothing(here: &Namespace) {
    let before = versions(here).await;
    // Time passing is the subject here: there is no condition to wait for.
    tokio::time::sleep(window()).await;
    assert_eq!(versions(here).await, before);
}

async fn versions(here: &Namespace) -> BTreeMap<String, Option<String>> {
    let mut all = BTreeMap::new();
    async fn add<K>(all: &mut BTreeMap<String, Option<String>>, kind: &str, api: Api<K>)
    where
        K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
    {
        for object in api.list(&ListParams::default()).await.unwrap().items {
            all.insert(format!("{kind} {}", object.name_any()), object.resource_version());
        }
    }
    add::<RaftCluster>(&mut all, "RaftCluster", here.api()).await;
    add::<StatefulSet>(&mut all, "StatefulSet", here.api()).await;
    add::<Service>(&mut all, "Service", here.api()).await;
    add::<PodDisruptionBudget>(&mut all, "PodDisruptionBudget", here.api()).await;
    add::<Pod>(&mut all, "Pod", here.api()).await;
    add::<Event>(&mut all, "Event", here.api()).await;
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_is_a_cluster_without_a_disruption_budget() {
    with_temp_namespace("single", |here| async move {
        here.apply_raft("demo", json!({ "replicas": 1 })).await;
        let raft = here.ready("demo").await;
        assert_eq!(raft.status.unwrap().voters, 1);
        let budgets = here.api::<PodDisruptionBudget>().list(&ListParams::default()).await.unwrap();
        assert!(budgets.items.is_empty(), "{:?}", budgets.items);
        every_node_serves(&here, 1).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_cluster_is_observed_but_not_touched() {
    with_temp_namespace("paused", |here| async move {
        here.apply_raft("demo", json!({ "replicas": 1, "paused": true })).await;
        let raft = here
            .await_raft("demo", "said to be paused", PATIENCE, |raft| {
                condition(raft, "Paused").is_some_and(|paused| paused.status == "True")
            })
            .await;
        assert!(raft.status.unwrap().next_action.is_some(), "it says what it would do");
        let sets = here.api::<StatefulSet>().list(&ListParams::default()).await.unwrap();
        assert!(sets.items.is_empty(), "nothing is made while paused");
        here.apply_raft("demo", json!({ "replicas": 1, "paused": false })).await;
        here.ready("demo").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_killed_between_intent_and_bootstrap_finishes_the_same_cluster() {
    alone_with_temp_namespace("latches", |here| async move {
        here.apply_raft("demo", json!({})).await;
        let sets = here.api::<StatefulSet>();
        eventually("the StatefulSet", PATIENCE, || async {
            sets.get("demo").await.map_err(|e| e.to_string())
        })
        .await;
        // The pods are not there yet, so nothing is intended yet.
        kill_operator(&here).await;
        for pod in pod_names("demo", 3) {
            let node = eventually(&format!("{pod} answers"), PATIENCE, || here.node_status(&pod)).await;
            assert_eq!(node.role, Role::Unassigned, "{pod} has not been told anything");
        }
        // What an operator leaves that dies right after its first write.
        let intent = Patch::Merge(json!({ "status": { "clusterId": "intended-and-not-begun" } }));
        here.api::<RaftCluster>().patch_status("demo", &PatchParams::default(), &intent).await.unwrap();
        scale_operator(&here.client, 1).await;
        let latched = here
            .await_raft("demo", "confirmed by a node", PATIENCE, |raft| {
                raft.status.as_ref().is_some_and(|status| status.initialized)
            })
            .await;
        assert_eq!(latched.status.unwrap().cluster_id.as_deref(), Some("intended-and-not-begun"));
        let wiped = Patch::Merge(json!({ "status": null }));
        here.api::<RaftCluster>().patch_status("demo", &PatchParams::default(), &wiped).await.unwrap();
        let raft = here.ready("demo").await;
        assert_eq!(raft.status.unwrap().cluster_id.as_deref(), Some("intended-and-not-begun"));
        for pod in pod_names("demo", 3) {
            let node = here.node_status(&pod).await.unwrap();
            assert_eq!(node.cluster_id.unwrap().as_str(), "intended-and-not-begun", "never a second cluster");
        }
    })
    .await;
}

/// No operator runs afterwards, and it had no chance to say goodbye.
async fn kill_operator(here: &Namespace) {
    scale_operator(&here.client, 0).await;
    let pods: Api<Pod> = Api::namespaced(here.client.clone(), OPERATOR_NAMESPACE);
    let at_once = DeleteParams::default().grace_period(0);
    pods.delete_collection(&at_once, &ListParams::default()).await.unwrap();
    no_pods(&pods).await;
}
