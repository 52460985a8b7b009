//! Clusters grow and shrink: nothing acknowledged is lost, the voters are only ever those asked for, and nobody's disk goes too early.

use crate::demo::{WRITERS, Witness, claims_of, has, ids, put};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use schedia_crds::RaftCluster;
use schedia_e2e::load::Load;
use schedia_e2e::metrics::sum;
use schedia_e2e::namespace::{Namespace, PATIENCE, condition, is_ready, no_pods, with_temp_namespace};
use schedia_e2e::wait::eventually;
use serde_json::json;

/// [4, 5] Under writes, with a leader killed while it grows and while it shrinks, and with the leader among those who leave.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_grows_to_five_and_back_under_writes_and_keeps_every_one_of_them() {
    with_temp_namespace("scaling", |here| async move {
        here.apply_raft("demo", json!({ "raft": { "leaseReads": true } })).await;
        grows_and_shrinks(&here).await;
        let (leader, _) = here.admin(&here.leader("demo").await).await.unwrap();
        let metrics = leader.metrics().await.unwrap();
        assert!(sum(&metrics, "schedia_lease_reads_total") > 0.0, "reads asked nobody: {metrics}");
    })
    .await;
}

/// The same with four raft groups: each leads, gains and loses voters by itself.
#[tokio::test(flavor = "multi_thread")]
async fn so_does_a_cluster_of_four_shards() {
    with_temp_namespace("shards", |here| async move {
        here.apply_raft("demo", json!({ "shards": 4 })).await;
        grows_and_shrinks(&here).await;
        let (_forward, leader) = here.admin(&here.leader("demo").await).await.unwrap();
        let status = leader.status().await.unwrap();
        assert_eq!((status.shards.len(), status.record.unwrap().shards), (4, 4));
        for shard in status.shards {
            assert_eq!(shard.membership.voters.len(), 3, "{shard:?}");
        }
    })
    .await;
}

async fn grows_and_shrinks(here: &Namespace) {
    here.ready_with("demo", 3).await;
    let witness = Witness::of(here);
    // Through members that stay: a client of one that leaves is refused in the end, as it should be.
    let (_forwards, urls) = here.forwards("demo", 3).await;
    let load = Load::start(&urls, WRITERS, fastrand::u64(..1 << 32));
    load.progress(200, PATIENCE).await;
    here.edit("demo", json!({ "replicas": 5 })).await;
    here.await_raft("demo", "a learner", PATIENCE, |raft| {
        raft.status.as_ref().is_some_and(|status| status.learners > 0)
    })
    .await;
    kill_leader(here).await;
    here.ready_with("demo", 5).await;
    let grown = ids(here, 5).await;
    load.progress(200, PATIENCE).await;

    here.make_leader("demo-4").await;
    here.await_raft("demo", "said to be led by demo-4", PATIENCE, |raft| {
        raft.status.as_ref().and_then(|status| status.leader.as_deref()) == Some("demo-4")
    })
    .await;
    here.edit("demo", json!({ "replicas": 3 })).await;
    here.await_raft("demo", "a leader that stays", PATIENCE, |raft| {
        let leader = raft.status.as_ref().and_then(|status| status.leader.as_deref());
        leader.is_some_and(|leader| leader != "demo-4")
    })
    .await;
    kill_leader(here).await;
    here.ready_with("demo", 3).await;
    load.progress(200, PATIENCE).await;
    let history = load.stop().await;
    history.verify(&urls).await;
    let kept = ids(here, 3).await;
    assert!(kept.is_subset(&grown) && grown.len() == 5, "ids stay who they are: {grown:?} {kept:?}");
    assert_eq!(here.claims().await, claims_of(3), "the volumes of removed members are gone");
    assert_eq!(witness.end(), [3, 5, 3], "how many voters there were");
}

/// Whoever leads by the status, if anybody does.
async fn kill_leader(here: &Namespace) {
    let leader = here.leader("demo").await;
    here.api::<Pod>().delete(&leader, &DeleteParams::default().grace_period(0)).await.unwrap();
    println!("{leader}, which led, was killed");
}

/// A disk that was kept comes back, and never under its old id.
#[tokio::test(flavor = "multi_thread")]
async fn kept_volumes_of_removed_members_come_back_with_fresh_ids() {
    with_temp_namespace("kept", |here| async move {
        let storage = json!({ "retentionPolicy": { "whenScaled": "Retain" } });
        here.apply_raft("demo", json!({ "storage": storage })).await;
        here.ready_with("demo", 3).await;
        let before = ids(&here, 3).await;
        // Through the one that stays.
        let (_forward, url) = here.forwards("demo", 1).await;
        let load = Load::start(&url, 1, fastrand::u64(..1 << 32));
        load.progress(50, PATIENCE).await;

        here.make_leader("demo-2").await;
        here.edit("demo", json!({ "replicas": 1 })).await;
        here.ready_with("demo", 1).await;
        assert_eq!(here.claims().await, claims_of(3), "the volumes are kept");
        let budgets: Api<k8s_openapi::api::policy::v1::PodDisruptionBudget> = here.api();
        assert!(budgets.get_opt("demo").await.unwrap().is_none(), "one voter has no budget");

        here.edit("demo", json!({ "replicas": 3 })).await;
        here.ready_with("demo", 3).await;
        let after = ids(&here, 3).await;
        assert_eq!(before.intersection(&after).count(), 1, "{before:?} {after:?}");
        load.progress(50, PATIENCE).await;
        let (_forwards, urls) = here.forwards("demo", 3).await;
        load.stop().await.verify(&urls).await;
    })
    .await;
}

/// 3 -> 5 -> 3 -> 5, each before the one before is done; then 5 -> 1.
#[tokio::test(flavor = "multi_thread")]
async fn edits_in_mid_flight_end_in_what_was_asked_for_last() {
    with_temp_namespace("edits", |here| async move {
        here.apply_raft("demo", json!({})).await;
        here.ready_with("demo", 3).await;
        let witness = Witness::of(&here);
        let (_forward, url) = here.forwards("demo", 1).await;
        let load = Load::start(&url, 1, fastrand::u64(..1 << 32));
        load.progress(50, PATIENCE).await;
        here.edit("demo", json!({ "replicas": 5 })).await;
        here.await_raft("demo", "a learner", PATIENCE, |raft| {
            raft.status.as_ref().is_some_and(|status| status.learners > 0 || status.voters == 5)
        })
        .await;
        here.edit("demo", json!({ "replicas": 3 })).await;
        here.await_raft("demo", "a member being removed", PATIENCE, |raft| {
            let status = raft.status.as_ref();
            status
                .and_then(|status| status.operation.as_ref())
                .is_some_and(|now| now.step == "RemovingMember")
                || is_ready(raft)
        })
        .await;
        here.edit("demo", json!({ "replicas": 5 })).await;
        here.ready_with("demo", 5).await;
        assert_eq!(ids(&here, 5).await.len(), 5);
        load.progress(50, PATIENCE).await;
        let (forwards, urls) = here.forwards("demo", 5).await;
        load.stop().await.verify(&urls).await;
        drop(forwards);

        let load = Load::start(&url, 1, fastrand::u64(..1 << 32));
        load.progress(50, PATIENCE).await;
        here.edit("demo", json!({ "replicas": 1 })).await;
        here.ready_with("demo", 1).await;
        load.progress(50, PATIENCE).await;
        load.stop().await.verify(&url).await;
        assert_eq!(here.claims().await, claims_of(1));
        let seen = witness.end();
        assert!(
            seen.ends_with(&[5, 1]) && seen[..seen.len() - 1].iter().all(|voters| [3, 5].contains(voters)),
            "{seen:?}"
        );
    })
    .await;
}

/// [25] The image part as far as this release goes: it says that it cannot.
#[tokio::test(flavor = "multi_thread")]
async fn a_paused_cluster_says_what_it_would_do_and_does_it_when_resumed() {
    with_temp_namespace("resume", |here| async move {
        here.apply_raft("demo", json!({ "replicas": 1 })).await;
        here.ready_with("demo", 1).await;
        here.edit("demo", json!({ "paused": true })).await;
        let image = format!("{}-other", schedia_e2e::namespace::image());
        here.edit("demo", json!({ "replicas": 3, "image": image })).await;
        here.api::<Pod>().delete("demo-0", &DeleteParams::default()).await.unwrap();
        let paused = here
            .await_raft("demo", "what it would do", PATIENCE, |raft| {
                let status = raft.status.as_ref();
                let observed = status.and_then(|status| status.observed_generation);
                let next = status.and_then(|status| status.next_action.as_deref()).unwrap_or_default();
                observed == raft.metadata.generation && next.contains("1 -> 3 pods")
            })
            .await;
        assert_eq!(condition(&paused, "Progressing").unwrap().reason, "Paused");
        let set = here.api::<StatefulSet>().get("demo").await.unwrap().spec.unwrap();
        assert_eq!(set.replicas, Some(1), "nothing is mutated");
        here.edit("demo", json!({ "paused": false })).await;
        let resumed = here.ready_with("demo", 3).await;
        assert_eq!(condition(&resumed, "Progressing").unwrap().reason, "RollUnsupported");
    })
    .await;
}

/// [36, 26] A stray scale of the StatefulSet; then recreation with fewer replicas over kept disks.
#[tokio::test(flavor = "multi_thread")]
async fn a_stray_scale_heals_and_a_recreation_with_fewer_replicas_heals_and_then_shrinks() {
    with_temp_namespace("heal", |here| async move {
        here.apply_raft("demo", json!({})).await;
        let first = here.ready_with("demo", 3).await;
        let before = ids(&here, 3).await;
        put(&here, "demo-0", "mine").await;
        let sets = here.api::<StatefulSet>();
        let one = Patch::Merge(json!({ "spec": { "replicas": 1 } }));
        sets.patch_scale("demo", &PatchParams::default(), &one).await.unwrap();
        eventually("the StatefulSet is put right", PATIENCE, || async {
            let set = sets.get("demo").await.map_err(|e| e.to_string())?.spec.unwrap_or_default();
            if set.replicas == Some(3) { Ok(()) } else { Err(format!("{:?}", set.replicas)) }
        })
        .await;
        here.ready_with("demo", 3).await;
        assert_eq!(ids(&here, 3).await, before, "the same members on their own disks");

        here.api::<RaftCluster>().delete("demo", &DeleteParams::default()).await.unwrap();
        no_pods(&here.api()).await;
        assert_eq!(here.claims().await, claims_of(3), "whenDeleted is Retain");
        here.apply_raft("demo", json!({ "replicas": 1 })).await;
        let shrunk = here.ready_with("demo", 1).await;
        let cluster = |raft: &RaftCluster| raft.status.as_ref().and_then(|status| status.cluster_id.clone());
        assert_eq!(cluster(&shrunk), cluster(&first), "the old cluster, not a new one");
        assert!(has(&here, "demo-0", "mine").await);
        assert_eq!(here.claims().await, claims_of(1));
    })
    .await;
}
