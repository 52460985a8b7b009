//! The Helm chart on a cluster: it installs, upgrades, goes and comes back, and no cluster notices.
//!
//! What it renders is `e2e/tests/chart.rs`'s. These tests take the place of the operator that all others share, and hand it back.

use futures::FutureExt;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::{DeleteParams, ListParams, LogParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use schedia_e2e::chart::{self, RELEASE, helm, output};
use schedia_e2e::load::{Answer, Wire};
use schedia_e2e::namespace::{
    Namespace, OPERATOR, OPERATOR_NAMESPACE, PATIENCE, alone_with_temp_namespace, condition, image, kubectl,
    pod_names, scale_operator, stop_operator, with_temp_namespace,
};
use schedia_e2e::wait::eventually;
use serde_json::json;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::{Path, PathBuf};

/// The field that the older CustomResourceDefinition does not have.
const FIELD: &str = "podLabels";
/// From the manifests to the chart, as docs/install.md says.
const TAKE_OVER: [&str; 2] = ["--take-ownership", "--force-conflicts"];

#[tokio::test(flavor = "multi_thread")]
async fn every_set_of_values_is_accepted_by_the_api_server() {
    with_temp_namespace("values", |here| async move {
        let ci = chart::dir().join("ci");
        let everything = ci.join("everything-values.yaml").display().to_string();
        let account = ci.join("account-values.yaml").display().to_string();
        let only_here = format!("watch.namespaces={{{}}}", here.name);
        let sets: [&[&str]; 4] = [
            &[],
            // There is no Prometheus here to say what a ServiceMonitor is.
            &["--values", &everything, "--set", "metrics.serviceMonitor.enabled=false"],
            &["--values", &account],
            &["--set", "crds.install=false,watch.scope=namespaces", "--set", &only_here],
        ];
        for set in sets {
            let mut helm = helm();
            helm.args(["template", "other"]).arg(chart::dir()).args(["--namespace", &here.name]).args(set);
            let yaml = output(&mut helm).await.unwrap();
            // Forced: the definition that is there belongs to whoever installed the product.
            let arguments = ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-"];
            let applied = kubectl(&arguments, &yaml).await;
            let (words, errors) =
                (String::from_utf8_lossy(&applied.stdout), String::from_utf8_lossy(&applied.stderr));
            assert!(applied.status.success(), "{set:?}: {errors}");
            assert!(words.contains("deployment.apps/"), "{set:?}: {words}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_comes_upgrades_its_definition_goes_and_comes_back_while_a_cluster_lives_on() {
    alone_with_chart("chart", |here| async move {
        let older = chart_before(FIELD);
        let refused = install(older.path(), &[])
            .await
            .expect_err("what the manifests installed is not taken over unasked");
        assert!(
            refused.contains("--take-ownership") || refused.contains("invalid ownership metadata"),
            "{refused}"
        );
        let notes = install(older.path(), &TAKE_OVER).await.unwrap();
        the_notes_are_right(&here, &notes).await;
        assert!(!field_is_there(FIELD).await, "the definition is the older one");
        here.apply_raft("demo", json!({})).await;
        here.ready("demo").await;
        let wire = Wire::new();
        let forward = here.http("demo-0").await;
        let Answer::Done { revision, .. } = wire.put(&forward.url, "kept", "value".into()).await else {
            panic!("no write")
        };
        let kept = Answer::Done { revision, value: "value".into() };
        let before = pods(&here).await;

        install(&chart::dir(), &[]).await.unwrap();
        assert!(field_is_there(FIELD).await, "the upgrade brought the field");
        here.ready("demo").await;
        assert_eq!(pods(&here).await, before, "an upgrade restarts no pod of a cluster");

        chart::uninstall(helm()).await.unwrap();
        let deployments: Api<Deployment> = Api::namespaced(here.client.clone(), OPERATOR_NAMESPACE);
        assert!(deployments.get_opt(OPERATOR).await.unwrap().is_none(), "the operator is gone");
        assert!(field_is_there(FIELD).await, "the definition stays");
        assert_eq!(pods(&here).await, before, "and so do the pods");
        assert_eq!(wire.get(&forward.url, "kept", false).await, kept);
        let Answer::Done { .. } = wire.put(&forward.url, "later", "value".into()).await else {
            panic!("a cluster takes writes without an operator")
        };
        // Something for the next one to find.
        here.api::<Pod>().delete("demo-2", &DeleteParams::default()).await.unwrap();

        install(&chart::dir(), &[]).await.unwrap();
        let raft = here.ready("demo").await;
        assert_eq!(raft.status.unwrap().ready.as_deref(), Some("3/3"));
        let after = pods(&here).await;
        assert_eq!(after[..2], before[..2], "adopted without a restart");
        for pod in pod_names("demo", 3) {
            let forward = here.http(&pod).await;
            assert_eq!(wire.get(&forward.url, "kept", false).await, kept, "{pod}");
        }
        let claims = here.api::<PersistentVolumeClaim>().list(&ListParams::default()).await.unwrap();
        assert_eq!(claims.items.len(), 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_of_one_namespace_works_there_and_nowhere_else() {
    alone_with_chart("scope", |here| async move {
        let only_here = format!("watch.namespaces={{{}}}", here.name);
        let values = ["--set", "crds.install=false,watch.scope=namespaces", "--set", &only_here];
        // What the manifests allow in all namespaces must not help.
        let arguments = ["delete", "clusterrolebinding", OPERATOR];
        assert!(kubectl(&arguments, "").await.status.success());
        install(&chart::dir(), &[&TAKE_OVER[..], &values].concat()).await.unwrap();
        // In another namespace, of whose resources it must not even know.
        let elsewhere = Namespace { name: "default".to_owned(), client: here.client.clone() };
        let stranger = format!("stranger-{:06x}", fastrand::u32(..1 << 24));
        elsewhere.apply_raft(&stranger, json!({ "replicas": 1, "paused": true })).await;
        here.apply_raft("demo", json!({ "replicas": 1 })).await;
        here.ready("demo").await;
        let left_alone = elsewhere.raft(&stranger).await;
        elsewhere
            .api::<schedia_crds::RaftCluster>()
            .delete(&stranger, &DeleteParams::default())
            .await
            .unwrap();
        assert!(left_alone.unwrap().status.is_none(), "a resource of another namespace is not touched");
        let log = operator_log(&here.client).await;
        assert!(!log.contains("not allowed") && !log.contains("forbidden"), "its roles suffice:\n{log}");
    })
    .await;
}

/// [35] What is missing is named with its verb and resource: in the status, or in the log where there is no status to write.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_permission_is_named_by_verb_and_resource_and_its_return_is_noticed() {
    alone_with_temp_namespace("rbac", |here| async move {
        without(&here.client, "statefulsets", &["create", "patch"]).await;
        here.apply_raft("demo", json!({ "replicas": 1 })).await;
        let raft = here
            .await_raft("demo", "said to be forbidden", PATIENCE, |raft| {
                condition(raft, "Progressing").is_some_and(|progressing| progressing.reason == "Forbidden")
            })
            .await;
        for type_ in ["Ready", "Progressing"] {
            let message = &condition(&raft, type_).unwrap().message;
            assert!(message.contains("cannot patch resource \"statefulsets\""), "{type_}: {message}");
        }
        restore_role().await;
        here.ready("demo").await;

        for (verb, resource) in [("list", "raftclusters"), ("watch", "statefulsets")] {
            without(&here.client, resource, &[verb]).await;
            restart_operator(&here.client).await;
            let wanted = format!("cannot {verb} resource \"{resource}\"");
            let log = eventually(&format!("the log says {wanted}"), PATIENCE, || async {
                let log = operator_log(&here.client).await;
                if log.contains(&wanted.replace('"', "\\\"")) || log.contains(&wanted) {
                    Ok(log)
                } else {
                    Err(log)
                }
            })
            .await;
            assert!(
                !log.contains("invalid type") && !log.contains("missing field"),
                "no noise of a parser:\n{log}"
            );
            restore_role().await;
        }
        here.apply_raft("demo", json!({ "replicas": 1, "podLabels": { "a": "b" }, "paused": true })).await;
        here.await_raft("demo", "seen to be paused", PATIENCE, |raft| {
            condition(raft, "Paused").is_some_and(|paused| paused.status == "True")
        })
        .await;
    })
    .await;
}

/// Alone, with nobody acting, and a chart that the test may install; afterwards the release is gone.
async fn alone_with_chart<F>(name: &str, test: impl FnOnce(Namespace) -> F)
where
    F: Future<Output = ()>,
{
    alone_with_temp_namespace(name, |here| async move {
        // As docs/install.md says.
        let arguments = ["delete", "deployment", OPERATOR, "-n", OPERATOR_NAMESPACE, "--cascade=foreground"];
        assert!(kubectl(&arguments, "").await.status.success());
        let outcome = AssertUnwindSafe(test(here)).catch_unwind().await;
        if let Err(reason) = chart::uninstall(helm()).await {
            eprintln!("the release could not be uninstalled: {reason}");
        }
        outcome.unwrap_or_else(|panic| resume_unwind(panic));
    })
    .await;
}

async fn install(chart: &Path, more: &[&str]) -> Result<String, String> {
    let image = chart::image_values(&image());
    let more: Vec<_> = image.iter().map(String::as_str).chain(more.iter().copied()).collect();
    chart::install(helm(), chart.to_owned(), &more).await
}

/// The chart as it was before its definition had that field.
fn chart_before(field: &str) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
            if from.is_dir() { copy(&from, &to) } else { assert!(std::fs::copy(&from, &to).is_ok()) }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    copy(&chart::dir(), dir.path());
    let file: PathBuf = dir.path().join("templates/crd.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    // Its lines: the name, and all that is indented deeper.
    let start = text.find(&format!("\n              {field}:\n")).expect("the definition has the field") + 1;
    let rest = &text[start..];
    let length = rest
        .split_inclusive('\n')
        .enumerate()
        .take_while(|(i, line)| *i == 0 || line.starts_with("               "))
        .map(|(_, line)| line.len())
        .sum::<usize>();
    std::fs::write(&file, format!("{}{}", &text[..start], &rest[length..])).unwrap();
    dir
}

async fn field_is_there(field: &str) -> bool {
    let path = format!(
        "jsonpath={{.spec.versions[0].schema.openAPIV3Schema.properties.spec.properties.{field}.type}}"
    );
    let output = kubectl(&["get", "crd", "raftclusters.schedia.dev", "-o", &path], "").await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    !output.stdout.is_empty()
}

/// The resource in the notes is one that the API server takes, and the release is the one they name.
async fn the_notes_are_right(here: &Namespace, notes: &str) {
    assert!(notes.contains(&format!("helm uninstall {RELEASE}")), "{notes}");
    let (_, rest) = notes.split_once("<<'END'\n").expect("the notes have a resource to apply");
    let (yaml, _) = rest.split_once("  END\n").expect("which ends");
    let arguments = ["apply", "-n", &here.name, "--dry-run=server", "-f", "-"];
    let applied = kubectl(&arguments, yaml).await;
    assert!(applied.status.success(), "{}\n{notes}", String::from_utf8_lossy(&applied.stderr));
}

/// Each pod of the cluster, with what changes when it is replaced or restarted; and the template they are made from.
async fn pods(here: &Namespace) -> Vec<(String, Option<String>, i32, Option<String>)> {
    let set = here.api::<StatefulSet>().get("demo").await.unwrap();
    let revision = set.status.and_then(|status| status.update_revision);
    let mut all = Vec::new();
    for name in pod_names("demo", 3) {
        let pod = here.api::<Pod>().get(&name).await.unwrap();
        let uid = pod.uid();
        let restarts = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
        all.push((
            name,
            uid,
            restarts.iter().map(|container| container.restart_count).sum(),
            revision.clone(),
        ));
    }
    all
}

/// Takes verbs on a resource out of the operator's ClusterRole.
async fn without(client: &Client, resource: &str, verbs: &[&str]) {
    let roles: Api<ClusterRole> = Api::all(client.clone());
    let mut rules = serde_json::to_value(roles.get(OPERATOR).await.unwrap().rules).unwrap();
    let rule = rules.as_array_mut().unwrap().iter_mut().find(|rule| rule["resources"] == json!([resource]));
    let kept = rule.expect("the role has a rule for it")["verbs"].as_array_mut().unwrap();
    let before = kept.len();
    kept.retain(|verb| !verbs.iter().any(|gone| verb == gone));
    assert_eq!(kept.len(), before - verbs.len(), "the role had {verbs:?} on {resource}");
    let patch = Patch::Merge(json!({ "rules": rules }));
    roles.patch(OPERATOR, &PatchParams::default(), &patch).await.unwrap();
}

async fn restore_role() {
    let file = schedia_e2e::paths::workspace().join("deploy/manifests/rbac.yaml");
    let arguments = ["apply", "--server-side", "--force-conflicts", "-f", file.to_str().unwrap()];
    let applied = kubectl(&arguments, "").await;
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
}

/// One that has no watches open from before.
async fn restart_operator(client: &Client) {
    stop_operator(client).await;
    scale_operator(client, 1).await;
}

async fn operator_log(client: &Client) -> String {
    let pods: Api<Pod> = Api::namespaced(client.clone(), OPERATOR_NAMESPACE);
    let mut text = String::new();
    for pod in pods.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default() {
        text += &pods.logs(&pod.name_any(), &LogParams::default()).await.unwrap_or_else(|e| e.to_string());
    }
    text
}
