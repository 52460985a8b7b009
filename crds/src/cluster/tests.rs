//! Every rule, with a case it accepts and a case it refuses; the very rules that the API server evaluates.

use super::*;
use serde_json::json;

fn cluster(spec: serde_json::Value) -> RaftCluster {
    named("demo", spec)
}

fn named(name: &str, mut spec: serde_json::Value) -> RaftCluster {
    spec.as_object_mut().unwrap().entry("image").or_insert(json!("schedia:1"));
    RaftCluster::new(name, serde_json::from_value(spec).unwrap())
}

fn accepted(cluster: &RaftCluster) {
    cluster.validate_cel().unwrap();
}

fn refused(cluster: &RaftCluster, words: &str) {
    let error = cluster.validate_cel().unwrap_err().to_string();
    assert!(error.contains(words), "{error}");
}

fn change_accepted(old: serde_json::Value, new: serde_json::Value) {
    cluster(new).validate_cel_update(&cluster(old)).unwrap();
}

fn change_refused(old: serde_json::Value, new: serde_json::Value, words: &str) {
    let error = cluster(new).validate_cel_update(&cluster(old)).unwrap_err().to_string();
    assert!(error.contains(words), "{error}");
}

#[test]
fn an_image_is_all_that_must_be_said() {
    let minimal = cluster(json!({}));
    accepted(&minimal);
    assert_eq!((minimal.spec.replicas, minimal.spec.shards), (3, 1));
    assert_eq!(minimal.spec.storage.size, Quantity("10Gi".to_owned()));
    assert_eq!(minimal.spec.raft, RaftSettings::default());
    refused(&cluster(json!({"image": ""})), "image must name a container image");
}

#[test]
fn replicas_are_odd_and_at_most_nine() {
    for replicas in [1, 3, 5, 7, 9] {
        accepted(&cluster(json!({"replicas": replicas})));
    }
    for replicas in [-1, 0, 2, 4, 8, 10, 11, i32::MAX] {
        refused(&cluster(json!({"replicas": replicas})), "replicas must be 1, 3, 5, 7 or 9");
    }
}

#[test]
fn shards_are_at_most_sixteen_and_for_ever() {
    for shards in [1, 2, 16] {
        accepted(&cluster(json!({"shards": shards})));
    }
    for shards in [-1, 0, 17] {
        refused(&cluster(json!({"shards": shards})), "shards must be between 1 and 16");
    }
    change_accepted(json!({"shards": 4}), json!({"shards": 4, "replicas": 5}));
    change_refused(json!({}), json!({"shards": 4}), "shards cannot change");
}

#[test]
fn replicas_may_change_later() {
    change_accepted(json!({"replicas": 3}), json!({"replicas": 5}));
    change_refused(json!({"replicas": 3}), json!({"replicas": 4}), "survives no more failures");
}

#[test]
fn a_name_leaves_room_for_what_is_appended() {
    accepted(&named(&"a".repeat(52), json!({})));
    refused(&named(&"a".repeat(53), json!({})), "at most 52 characters");
}

#[test]
fn a_name_can_name_a_service() {
    accepted(&named("a-1", json!({})));
    refused(&named("1-a", json!({})), "begin with a letter");
    refused(&named("a.b", json!({})), "contain no dot");
}

#[test]
fn a_volume_has_a_size() {
    for size in [json!("10Gi"), json!("1.5G"), json!(1_000_000)] {
        accepted(&cluster(json!({"storage": {"size": size}})));
    }
    for size in [json!("large"), json!("0"), json!("-1Gi"), json!(0), json!("")] {
        refused(&cluster(json!({"storage": {"size": size}})), "storage.size must be a quantity above zero");
    }
}

#[test]
fn a_volume_never_shrinks() {
    let size = |size: &str| json!({"storage": {"size": size}});
    change_accepted(size("10Gi"), size("10Gi"));
    change_accepted(size("10Gi"), size("20Gi"));
    change_accepted(size("1Gi"), size("1024Mi"));
    change_refused(size("10Gi"), size("9Gi"), "storage.size cannot shrink");
    change_refused(size("1Gi"), size("1G"), "storage.size cannot shrink");
    change_refused(size("20Gi"), json!({}), "storage.size cannot shrink");
}

#[test]
fn a_storage_class_is_for_ever() {
    let class = |class: &str| json!({"storage": {"storageClassName": class}});
    change_accepted(class("fast"), class("fast"));
    change_accepted(json!({}), json!({}));
    change_refused(
        class("fast"),
        class("slow"),
        "storage.storageClassName cannot be set, changed or removed",
    );
    change_refused(json!({}), class("fast"), "storage.storageClassName cannot be set, changed or removed");
    change_refused(class("fast"), json!({}), "storage.storageClassName cannot be set, changed or removed");
}

#[test]
fn an_election_outlasts_three_heartbeats() {
    let timings = |heartbeat: i32, min: i32, max: i32| {
        cluster(json!({"raft": {
            "heartbeatMilliseconds": heartbeat,
            "electionTimeoutMinMilliseconds": min,
            "electionTimeoutMaxMilliseconds": max,
        }}))
    };
    accepted(&timings(50, 150, 250));
    refused(&timings(101, 300, 500), "at least three times raft.heartbeatMilliseconds");
    refused(&timings(100, 300, 300), "must be above raft.electionTimeoutMinMilliseconds");
    accepted(&timings(100, 300, 301));
}

#[test]
fn a_node_gets_time_to_stop() {
    accepted(&cluster(json!({"terminationGracePeriodSeconds": 5})));
    refused(&cluster(json!({"terminationGracePeriodSeconds": 4})), "between 5 and 3600");
    refused(&cluster(json!({"terminationGracePeriodSeconds": 3601})), "between 5 and 3600");
}

#[test]
fn the_labels_of_the_operator_stay_its_own() {
    accepted(&cluster(json!({"podLabels": {"team": "a"}})));
    refused(&cluster(json!({"podLabels": {"schedia.dev/role": "voter"}})), "podLabels must not begin with");
    refused(&cluster(json!({"podLabels": {"app.kubernetes.io/name": "x"}})), "podLabels must not begin with");
}

#[test]
fn volumes_of_removed_members_go_unless_they_are_kept_on_purpose() {
    assert_eq!(cluster(json!({})).spec.storage.retention_policy.when_scaled, Reclaim::Delete);
    let one_set = cluster(json!({"storage": {"retentionPolicy": {"whenDeleted": "Delete"}}}));
    assert_eq!(one_set.spec.storage.retention_policy.when_scaled, Reclaim::Delete);
    let kept = cluster(json!({"storage": {"retentionPolicy": {"whenScaled": "Retain"}}}));
    assert_eq!(kept.spec.storage.retention_policy.when_scaled, Reclaim::Retain);
    assert_eq!(kept.spec.storage.retention_policy.when_deleted, Reclaim::Retain);
}

#[test]
fn a_step_gets_a_minute_at_least() {
    assert_eq!(cluster(json!({})).spec.progress_deadline_seconds, 600);
    accepted(&cluster(json!({"progressDeadlineSeconds": 60})));
    refused(&cluster(json!({"progressDeadlineSeconds": 59})), "between 60 and 86400");
    refused(&cluster(json!({"progressDeadlineSeconds": 86_401})), "between 60 and 86400");
}
