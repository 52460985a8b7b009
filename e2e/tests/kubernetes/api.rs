//! What a person types, and what the API server and the operator answer.

use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::api::{Patch, PatchParams, PostParams};
use schedia_crds::RaftCluster;
use schedia_e2e::namespace::{IMAGE, Namespace, PATIENCE, condition, image, kubectl, with_temp_namespace};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_shows_the_cluster_at_a_glance_and_scale_reads_it() {
    with_temp_namespace("glance", |here| async move {
        here.apply_raft("demo", json!({ "replicas": 1 })).await;
        here.ready("demo").await;
        let short = shown(&here, &["get", "raft", "demo"]).await;
        let [header, row] = short.lines().collect::<Vec<_>>()[..] else {
            panic!("a header and a row: {short}")
        };
        let columns: Vec<_> = header.split_whitespace().collect();
        assert_eq!(columns, ["NAME", "DESIRED", "VOTERS", "READY", "LEADER", "STATUS", "AGE"]);
        let values: Vec<_> = row.split_whitespace().take(6).collect();
        assert_eq!(values, ["demo", "1", "1", "1/1", "demo-0", "Ready"]);
        let wide = shown(&here, &["get", "raft", "-o", "wide"]).await;
        for column in ["VERSION", "TERM", "CLUSTER-ID", "MESSAGE"] {
            assert!(wide.contains(column), "{wide}");
        }
        let all = shown(&here, &["get", "all"]).await;
        assert!(all.contains("raftcluster.schedia.dev/demo"), "{all}");
        let scale = shown(
            &here,
            &[
                "get",
                "--raw",
                &format!("/apis/schedia.dev/v1alpha1/namespaces/{}/raftclusters/demo/scale", here.name),
            ],
        )
        .await;
        let scale: Value = serde_json::from_str(&scale).expect("the scale subresource is JSON");
        assert_eq!(
            (&scale["spec"]["replicas"], &scale["status"]["replicas"]),
            (&json!(1), &json!(1)),
            "{scale}"
        );
        assert!(
            scale["status"]["selector"]
                .as_str()
                .is_some_and(|text| text.contains("schedia.dev/cluster=demo")),
            "{scale}"
        );
    })
    .await;
}

/// What kubectl prints in the namespace; it must succeed and have nothing to warn of.
async fn shown(here: &Namespace, arguments: &[&str]) -> String {
    let arguments: Vec<_> = ["-n", &here.name].into_iter().chain(arguments.iter().copied()).collect();
    let output = kubectl(&arguments, "").await;
    let warnings = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && warnings.trim().is_empty(), "kubectl {arguments:?}: {warnings}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn impossible_edits_are_refused_in_words_and_change_nothing() {
    with_temp_namespace("refused", |here| async move {
        let storage = json!({ "storage": { "size": "64Mi" } });
        let before = here
            .apply_raft("demo", json!({ "replicas": 1, "paused": true, "storage": { "size": "64Mi" } }))
            .await;
        let edits = [
            (json!({ "replicas": 4 }), "replicas must be 1, 3, 5, 7 or 9"),
            (json!({ "replicas": 0 }), "replicas must be 1, 3, 5, 7 or 9"),
            (json!({ "replicas": 11 }), "replicas must be 1, 3, 5, 7 or 9"),
            (json!({ "image": "" }), "image must name a container image"),
            (json!({ "storage": { "size": "32Mi" } }), "storage.size cannot shrink"),
            (
                json!({ "storage": { "size": "64Mi", "storageClassName": "other" } }),
                "storage.storageClassName cannot be",
            ),
            (
                json!({ "raft": { "heartbeatMilliseconds": 200 } }),
                "at least three times raft.heartbeatMilliseconds",
            ),
            (json!({ "podLabels": { "schedia.dev/role": "voter" } }), "podLabels must not begin with"),
        ];
        for (edit, words) in edits {
            let patch = Patch::Merge(json!({ "spec": edit }));
            let answer = here.api::<RaftCluster>().patch("demo", &PatchParams::default(), &patch).await;
            refused(answer.map(drop), words, &edit);
        }
        for replicas in [4, 0, 11] {
            let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
            let answer = here.api::<RaftCluster>().patch_scale("demo", &PatchParams::default(), &patch).await;
            refused(answer.map(drop), "replicas must be 1, 3, 5, 7 or 9", &json!(replicas));
        }
        let scaled = kubectl(&["-n", &here.name, "scale", "raft", "demo", "--replicas=4"], "").await;
        let words = String::from_utf8_lossy(&scaled.stderr);
        assert!(
            !scaled.status.success() && words.contains("an even number survives no more failures"),
            "{words}"
        );
        let long = here.try_apply_raft(&"x".repeat(53), storage).await;
        refused(long.map(drop), "at most 52 characters", &json!("a long name"));
        let after = here.raft("demo").await.unwrap();
        assert_eq!((after.spec, after.metadata.generation), (before.spec, before.metadata.generation));
    })
    .await;
}

fn refused(answer: Result<(), kube::Error>, words: &str, edit: &Value) {
    match answer {
        Err(kube::Error::Api(status)) if status.message.contains(words) => {}
        other => panic!("{edit} should be refused with {words:?}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_object_of_the_same_name_is_left_alone_and_named() {
    with_temp_namespace("foreign", |here| async move {
        let foreign = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "demo" },
            "spec": { "selector": { "app": "somebody-else" }, "ports": [{ "port": 80 }] },
        });
        let owner = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "owner" },
        });
        let owner: ConfigMap = serde_json::from_value(owner).unwrap();
        let owner = here.api::<ConfigMap>().create(&PostParams::default(), &owner).await.unwrap();
        let mut foreign: Service = serde_json::from_value(foreign).unwrap();
        foreign.metadata.owner_references =
            Some(vec![k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference {
                api_version: "v1".into(),
                kind: "ConfigMap".into(),
                name: "owner".into(),
                uid: owner.metadata.uid.clone().unwrap(),
                controller: Some(true),
                block_owner_deletion: None,
            }]);
        let services = here.api::<Service>();
        let before = services.create(&PostParams::default(), &foreign).await.unwrap();
        here.apply_raft("demo", json!({ "replicas": 1 })).await;
        let raft = here
            .await_raft("demo", "Blocked by the foreign Service", PATIENCE, |raft| {
                condition(raft, "Ready").is_some_and(|ready| ready.reason == "Blocked")
            })
            .await;
        let words = serde_json::to_string(&raft.status).unwrap();
        assert!(words.contains("NameCollision") && words.contains("demo"), "{words}");
        let after = services.get("demo").await.unwrap();
        assert_eq!(
            after.metadata.resource_version, before.metadata.resource_version,
            "the Service was not touched"
        );
        // With the obstacle gone it goes on by itself.
        services.delete("demo", &Default::default()).await.unwrap();
        here.ready("demo").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_is_accepted_and_becomes_ready() {
    with_temp_namespace("examples", |here| async move {
        let dir = schedia_e2e::paths::workspace().join("deploy/examples");
        let mut files: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "no examples in {}", dir.display());
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap().replace(IMAGE, &image());
            let output = kubectl(&["-n", &here.name, "apply", "-f", "-"], &text).await;
            assert!(
                output.status.success(),
                "{}: {}",
                file.display(),
                String::from_utf8_lossy(&output.stderr)
            );
            let example: RaftCluster = serde_yaml::from_str(&text).unwrap();
            let name = example.metadata.name.expect("an example has a name");
            here.ready(&name).await;
            here.api::<RaftCluster>().delete(&name, &Default::default()).await.unwrap();
        }
    })
    .await;
}
