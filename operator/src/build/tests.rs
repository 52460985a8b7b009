//! Rendered objects as golden YAML. `SCHEDIA_BLESS=1` rewrites the current ones, never those of a release.

use super::*;
use crate::latches::Latched;
use crate::observed::Observed;
use crate::testing::{cluster, id};
use crate::validate::Cluster;
use serde_json::json;
use std::path::PathBuf;

fn objects(cluster: &Cluster) -> Objects<Built> {
    let latched = Latched { cluster_id: Some(id("c1")), initialized: true };
    let census = Census::of(cluster, &Observed::default()).latching(&latched);
    let census = Census { voters: Some(cluster.replicas), ..census };
    build(cluster, &census, &Live::default())
}

fn golden(file: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/build/golden").join(file);
    if std::env::var_os("SCHEDIA_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert!(expected == text, "{} differs:\n{text}", path.display());
}

fn yaml(cluster: &Cluster) -> String {
    let Objects { stateful_set, headless, client, budget, state: _ } = objects(cluster);
    let documents = [
        serde_yaml::to_string(&headless).unwrap(),
        serde_yaml::to_string(&client).unwrap(),
        budget.map_or_else(
            || "# no disruption budget\n".to_owned(),
            |budget| serde_yaml::to_string(&budget).unwrap(),
        ),
        serde_yaml::to_string(&stateful_set).unwrap(),
    ];
    documents.join("---\n")
}

/// A cluster that sets whatever can be set.
fn furnished() -> Cluster {
    let mut furnished = cluster(5);
    furnished.spec = serde_json::from_value(json!({
        "replicas": 5,
        "image": "registry.example/schedia:1",
        "imagePullPolicy": "Always",
        "imagePullSecrets": [{"name": "registry"}],
        "storage": {"size": "20Gi", "storageClassName": "fast", "retentionPolicy": {"whenDeleted": "Delete"}},
        "raft": {
            "heartbeatMilliseconds": 50,
            "electionTimeoutMinMilliseconds": 150,
            "electionTimeoutMaxMilliseconds": 250,
        },
        "service": {"type": "LoadBalancer", "annotations": {"example/internal": "true"}},
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "affinity": {"nodeAffinity": {}},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "nodeSelector": {"disk": "ssd"},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"},
        ],
        "priorityClassName": "high",
        "serviceAccountName": "nodes",
        "terminationGracePeriodSeconds": 60,
        "podLabels": {"team": "a"},
        "podAnnotations": {"note": "b"},
    }))
    .unwrap();
    furnished
}

#[test]
fn a_minimal_cluster_renders_as_committed() {
    golden("minimal.yaml", &yaml(&cluster(3)));
}

#[test]
fn a_cluster_of_one_renders_as_committed() {
    golden("single.yaml", &yaml(&cluster(1)));
}

#[test]
fn a_furnished_cluster_renders_as_committed() {
    golden("furnished.yaml", &yaml(&furnished()));
}

/// An operator upgrade must not roll pods: the digest of the template is that of the first release.
#[test]
fn the_template_is_the_one_of_release_0_1_0() {
    let digest = |cluster: &Cluster| {
        let set = objects(cluster).stateful_set;
        set.metadata.annotations.unwrap()[crate::names::ANNOTATION_TEMPLATE].clone()
    };
    assert_eq!(
        (digest(&cluster(3)), digest(&furnished())),
        ("7be0c24058b2e344".to_owned(), "22c43941ce4898af".to_owned())
    );
}

#[test]
fn nodes_read_by_leases_where_the_cluster_asks_for_it() {
    let arguments = |cluster: &Cluster| {
        let template = objects(cluster).stateful_set.spec.unwrap().template;
        template.spec.unwrap().containers[0].args.clone().unwrap()
    };
    let mut asked = cluster(3);
    let before = arguments(&asked);
    asked.spec.raft.lease_reads = true;
    let extra: Vec<_> = arguments(&asked).into_iter().filter(|one| !before.contains(one)).collect();
    assert_eq!(extra, ["--lease-reads"]);
}

#[test]
fn the_number_of_replicas_is_no_part_of_the_template() {
    let template = |cluster: &Cluster| objects(cluster).stateful_set.spec.unwrap().template;
    assert_eq!(template(&cluster(3)), template(&cluster(5)));
}

#[test]
fn what_the_api_server_returns_is_no_difference() {
    let built = serde_json::to_value(objects(&furnished()).stateful_set).unwrap();
    let mut live = built.clone();
    live["metadata"]["resourceVersion"] = json!("7");
    live["spec"]["revisionHistoryLimit"] = json!(10);
    live["spec"]["template"]["spec"]["restartPolicy"] = json!("Always");
    live["spec"]["template"]["spec"]["containers"][0]["terminationMessagePath"] =
        json!("/dev/termination-log");
    live["spec"]["volumeClaimTemplates"][0]["status"] = json!({"phase": "Pending"});
    assert!(crate::diff::contains(&live, &built));
    live["spec"]["template"]["spec"]["containers"][0]["image"] = json!("other");
    assert!(!crate::diff::contains(&live, &built));
}

#[test]
fn a_service_annotation_that_is_no_longer_wanted_is_a_difference() {
    let with = furnished();
    let mut without = furnished();
    without.spec.service.annotations.clear();
    let value = |cluster: &Cluster| serde_json::to_value(objects(cluster).client).unwrap();
    assert!(crate::diff::contains(&value(&with), &value(&with)));
    assert!(!crate::diff::contains(&value(&with), &value(&without)));
}

#[test]
fn once_the_cluster_exists_the_live_template_stays() {
    let before = cluster(3);
    let live = Live { stateful_set: Some(objects(&before).stateful_set), ..Live::default() };
    let mut after = cluster(3);
    after.spec.image = "schedia:2".to_owned();
    let latched = Latched { cluster_id: Some(id("c1")), initialized: true };
    let observed = Observed { live: live.clone(), ..Observed::default() };
    let census = Census::of(&after, &observed).latching(&latched);
    let built = build(&after, &census, &live).stateful_set;
    assert_eq!(Some(&built), live.stateful_set.as_ref());
    // Before it exists the new one is rendered.
    let census = census.latching(&Latched { initialized: false, ..latched });
    let built = build(&after, &census, &live).stateful_set;
    let image = built.spec.unwrap().template.spec.unwrap().containers[0].image.clone();
    assert_eq!(image.as_deref(), Some("schedia:2"));
}
