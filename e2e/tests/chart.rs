//! The Helm chart without a cluster: what it renders, what it refuses, and that it installs what `deploy/manifests` does.
//!
//! Needs helm and kubectl: of the local cluster's cache (`cargo cluster build`), else of the search path. Run by `cargo verify`.

// Helpers of tests are tests: their panic is the message.
#![allow(clippy::unwrap_used)]

use schedia_e2e::chart::{self, RELEASE, helm, output};
use schedia_e2e::namespace::{IMAGE, OPERATOR, OPERATOR_NAMESPACE, kubectl};
use schedia_e2e::paths::workspace;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Labels that tell who installed an object. Without them both ways must be equal.
const OF_THE_RELEASE: [&str; 4] = [
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/version",
    "helm.sh/chart",
];

/// The defaults, and each set of values in `ci/`.
fn sets() -> Vec<Vec<String>> {
    let mut files: Vec<_> =
        std::fs::read_dir(chart::dir().join("ci")).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 3, "{files:?}");
    let with = |file: &PathBuf| vec!["--values".to_owned(), file.display().to_string()];
    std::iter::once(Vec::new()).chain(files.iter().map(with)).collect()
}

async fn template(more: &[String]) -> Result<String, String> {
    let mut helm = helm();
    helm.args(["template", RELEASE]).arg(chart::dir()).args(["--namespace", OPERATOR_NAMESPACE]).args(more);
    output(&mut helm).await
}

fn values(text: &[&str]) -> Vec<String> {
    text.iter().flat_map(|value| ["--set-json".to_owned(), (*value).to_owned()]).collect()
}

/// Objects by kind and name.
fn objects(yaml: &str) -> BTreeMap<String, Value> {
    let documents =
        serde_yaml::Deserializer::from_str(yaml).map(|document| Value::deserialize(document).unwrap());
    let named = |object: Value| {
        let (kind, name) = (object["kind"].as_str()?, object["metadata"]["name"].as_str()?);
        let space =
            object["metadata"]["namespace"].as_str().map(|space| format!("{space}/")).unwrap_or_default();
        Some((format!("{kind} {space}{name}"), object))
    };
    documents
        .filter(|document| !document.is_null())
        .map(|object| named(object).expect("kind and name"))
        .collect()
}

#[tokio::test]
async fn the_chart_is_linted_without_a_warning_for_every_set_of_values() {
    for set in sets() {
        let mut helm = helm();
        helm.args(["lint", "--strict", "--quiet"]).arg(chart::dir()).args(&set);
        output(&mut helm).await.unwrap_or_else(|e| panic!("{set:?}: {e}"));
    }
}

#[tokio::test]
async fn the_chart_installs_what_the_manifests_install() {
    let of_chart = objects(&template(&[]).await.unwrap());
    let dir = workspace().join("deploy/manifests");
    let rendered = kubectl(&["kustomize", dir.to_str().unwrap()], "").await;
    assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));
    let mut of_manifests = objects(&String::from_utf8(rendered.stdout).unwrap());
    // Helm makes it when it is told to.
    of_manifests
        .remove(&format!("Namespace {OPERATOR_NAMESPACE}"))
        .expect("the manifests make their namespace");
    let names = |objects: &BTreeMap<String, Value>| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&of_chart), names(&of_manifests));
    for (name, object) in of_chart {
        let manifest = of_manifests.remove(&name).unwrap();
        let [a, b] = [object, manifest].map(|object| serde_json::to_string_pretty(&plain(object)).unwrap());
        let difference = a.lines().zip(b.lines()).find(|(a, b)| a != b);
        assert!(a == b, "{name}: the chart and the manifests differ, first at {difference:?}");
    }
}

/// An object without what tells who installed it.
fn plain(mut object: Value) -> Value {
    fn forget(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                OF_THE_RELEASE.iter().for_each(|label| drop(fields.remove(*label)));
                fields.values_mut().for_each(forget);
            }
            Value::Array(items) => items.iter_mut().for_each(forget),
            // kustomize writes 1.0 as 1.
            Value::Number(number) => {
                if let Some(whole) = number.as_f64().filter(|number| number.fract() == 0.0) {
                    *value = json!(whole as i64);
                }
            }
            _ => {}
        }
    }
    forget(&mut object);
    if object["kind"] == "CustomResourceDefinition" {
        // Says only that helm keeps it.
        object["metadata"].as_object_mut().unwrap().remove("annotations");
    }
    // Both say whose object it is; the manifests do not say of which part, except where pods are selected.
    for metadata in ["/metadata/labels", "/spec/template/metadata/labels"] {
        if let Some(labels) = object.pointer_mut(metadata).and_then(Value::as_object_mut) {
            labels.remove("app.kubernetes.io/component");
            labels.remove("app.kubernetes.io/name");
        }
    }
    if let Some(metadata) = object["metadata"].as_object_mut()
        && metadata.get("labels").is_some_and(|labels| labels == &json!({}))
    {
        metadata.remove("labels");
    }
    object
}

#[tokio::test]
async fn a_value_that_is_unknown_or_wrong_is_refused_by_name() {
    // What is given, and what the refusal names.
    let table: [(&[&str], &[&str]); 22] = [
        (&["colour=\"red\""], &["colour"]),
        (&["image.name=\"x\""], &["image", "name"]),
        (&["metrics.serviceMonitor.scrape=true"], &["serviceMonitor", "scrape"]),
        (&["resources.limit={}"], &["resources", "limit"]),
        (&["affinity.nodeAfinity={}"], &["affinity", "nodeAfinity"]),
        (&["tolerations=[{\"keys\": \"x\"}]"], &["tolerations", "keys"]),
        (&["replicas=\"two\""], &["replicas"]),
        (&["replicas=4"], &["replicas"]),
        (&["replicas=-1"], &["replicas"]),
        (&["crds.install=\"yes\""], &["crds", "install"]),
        (&["image.pullPolicy=\"Sometimes\""], &["pullPolicy"]),
        (&["image.tag=\"\""], &["image"]),
        (&["image.digest=\"abc\""], &["digest"]),
        (&["image=null"], &["image"]),
        (&["watch.scope=\"everything\""], &["scope"]),
        (&["watch.scope=\"namespaces\""], &["namespaces"]),
        (&["watch.namespaces=[\"a\"]"], &["namespaces"]),
        (&["watch.scope=\"namespaces\"", "watch.namespaces=[\"A_b\"]"], &["namespaces"]),
        (&["serviceAccount.create=false"], &["serviceAccount", "name"]),
        (&["podLabels.a=1"], &["podLabels"]),
        (&["resources.limits.memory=\"much\""], &["memory"]),
        (&["imagePullSecrets=[\"registry\"]"], &["imagePullSecrets"]),
    ];
    for (given, named) in table {
        let refused = template(&values(given)).await.expect_err(&format!("{given:?} is refused"));
        for name in named {
            assert!(refused.contains(name), "{given:?}: {refused}");
        }
        assert!(refused.contains("schema"), "{given:?} is refused by the schema, not later: {refused}");
    }
}

#[tokio::test]
async fn every_object_of_the_schema_refuses_what_it_does_not_know() {
    fn open(path: &str, schema: &Value, found: &mut Vec<String>) {
        if schema["type"] == "object" && schema.get("additionalProperties").is_none() {
            found.push(path.to_owned());
        }
        let children =
            ["properties", "$defs"].into_iter().filter_map(|key| schema.get(key)?.as_object()).flatten();
        for (name, child) in children {
            open(&format!("{path}.{name}"), child, found);
        }
        if let Some(items) = schema.get("items") {
            open(&format!("{path}[]"), items, found);
        }
    }
    let text = std::fs::read_to_string(chart::dir().join("values.schema.json")).unwrap();
    let mut found = Vec::new();
    open("", &serde_json::from_str(&text).unwrap(), &mut found);
    // Helm gives it to every subchart, whatever is in it.
    assert_eq!(found, [".global"]);
}

#[tokio::test]
async fn namespace_scope_makes_a_role_in_each_namespace_and_nothing_of_the_whole_cluster() {
    let file = chart::dir().join("ci/namespaces-values.yaml");
    let made = objects(&template(&["--values".to_owned(), file.display().to_string()]).await.unwrap());
    let names: Vec<_> = made.keys().map(String::as_str).collect();
    let home = OPERATOR_NAMESPACE;
    let mut wanted = vec![
        format!("Deployment {home}/{OPERATOR}"),
        format!("ServiceAccount {home}/{OPERATOR}"),
        format!("Role {home}/{OPERATOR}-lease"),
        format!("RoleBinding {home}/{OPERATOR}-lease"),
    ];
    for space in ["team-a", "team-b"] {
        wanted.extend([format!("Role {space}/{OPERATOR}"), format!("RoleBinding {space}/{OPERATOR}")]);
    }
    wanted.sort();
    assert_eq!(names, wanted);
    let container =
        &made[&format!("Deployment {home}/{OPERATOR}")]["spec"]["template"]["spec"]["containers"][0];
    let watched = json!({"name": "SCHEDIA_OPERATOR_WATCH_NAMESPACE", "value": "team-a,team-b"});
    assert!(container["env"].as_array().unwrap().contains(&watched), "{container}");
    let whole = objects(&template(&[]).await.unwrap());
    let rules = &whole[&format!("ClusterRole {OPERATOR}")]["rules"];
    assert_eq!(
        &made[&format!("Role team-a/{OPERATOR}")]["rules"],
        rules,
        "the same rules as of the whole cluster"
    );
}

#[tokio::test]
async fn the_crd_is_kept_on_uninstall_unless_that_is_switched_off() {
    let crd = "CustomResourceDefinition raftclusters.schedia.dev";
    let policy = |made: &BTreeMap<String, Value>| {
        made[crd]["metadata"]["annotations"]["helm.sh/resource-policy"].clone()
    };
    assert_eq!(policy(&objects(&template(&[]).await.unwrap())), "keep");
    assert_eq!(policy(&objects(&template(&values(&["crds.keep=false"])).await.unwrap())), Value::Null);
    assert!(!objects(&template(&values(&["crds.install=false"])).await.unwrap()).contains_key(crd));
}

#[tokio::test]
async fn every_value_reaches_what_it_is_for() {
    let file = chart::dir().join("ci/everything-values.yaml");
    let given: Value = serde_yaml::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let made = objects(&template(&["--values".to_owned(), file.display().to_string()]).await.unwrap());
    let home = format!("{OPERATOR_NAMESPACE}/raft-keeper");
    let deployment = &made[&format!("Deployment {home}")];
    let pod = &deployment["spec"]["template"];
    for field in [
        "imagePullSecrets",
        "nodeSelector",
        "tolerations",
        "affinity",
        "topologySpreadConstraints",
        "priorityClassName",
    ] {
        assert_eq!(pod["spec"][field], given[field], "{field}");
    }
    let container = &pod["spec"]["containers"][0];
    let image = format!(
        "{}@{}",
        given["image"]["repository"].as_str().unwrap(),
        given["image"]["digest"].as_str().unwrap()
    );
    assert_eq!(container["image"], json!(image));
    assert_eq!(container["imagePullPolicy"], given["image"]["pullPolicy"]);
    assert_eq!(container["resources"], given["resources"]);
    for variable in [
        json!({"name": "SCHEDIA_OPERATOR_LEASE", "value": "raft-keeper"}),
        json!({"name": "SCHEDIA_LOG_LEVEL", "value": "debug"}),
        json!({"name": "SCHEDIA_OPERATOR_LOG_JSON", "value": "true"}),
    ] {
        assert!(container["env"].as_array().unwrap().contains(&variable), "{variable}");
    }
    assert_eq!(deployment["spec"]["replicas"], 2);
    assert_eq!(made[&format!("PodDisruptionBudget {home}")]["spec"]["maxUnavailable"], 1);
    assert_eq!(pod["metadata"]["annotations"], given["podAnnotations"]);
    assert_eq!(pod["spec"]["serviceAccountName"], "keeper");
    let account = &made[&format!("ServiceAccount {OPERATOR_NAMESPACE}/keeper")]["metadata"]["annotations"];
    assert_eq!(account["example.org/role"], "keeper");
    for (name, object) in &made {
        assert_eq!(object["metadata"]["labels"]["team"], "platform", "{name}");
        assert_eq!(object["metadata"]["labels"]["app.kubernetes.io/name"], "schedia", "{name}: ours win");
        if !name.starts_with("CustomResourceDefinition") {
            assert_eq!(object["metadata"]["annotations"]["example.org/contact"], "platform", "{name}");
        }
    }
    // Whoever selects something selects the pods, or the Service with the port that is asked for.
    let selected = &pod["metadata"]["labels"];
    let monitor = &made[&format!("ServiceMonitor {home}")];
    let service = &made[&format!("Service {home}")];
    contains(selected, &deployment["spec"]["selector"]["matchLabels"]);
    contains(selected, &made[&format!("PodDisruptionBudget {home}")]["spec"]["selector"]["matchLabels"]);
    contains(selected, &service["spec"]["selector"]);
    contains(&service["metadata"]["labels"], &monitor["spec"]["selector"]["matchLabels"]);
    assert_eq!(monitor["spec"]["endpoints"][0]["port"], service["spec"]["ports"][0]["name"]);
    assert_eq!(service["spec"]["ports"][0]["targetPort"], container["ports"][0]["name"]);
    assert_eq!(monitor["spec"]["endpoints"][0]["interval"], "15s");
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
}

fn contains(labels: &Value, selector: &Value) {
    let wanted =
        selector.as_object().filter(|wanted| !wanted.is_empty()).expect("a selector selects something");
    for (name, value) in wanted {
        assert_eq!(&labels[name], value, "{selector} does not select {labels}");
    }
}

#[tokio::test]
async fn the_chart_is_of_this_release_and_its_image_is_ours() {
    let read = |name: &str| std::fs::read_to_string(chart::dir().join(name)).unwrap();
    let about: Value = serde_yaml::from_str(&read("Chart.yaml")).unwrap();
    for field in ["version", "appVersion"] {
        assert_eq!(about[field], env!("CARGO_PKG_VERSION"), "{field}");
    }
    let values: Value = serde_yaml::from_str(&read("values.yaml")).unwrap();
    let image = &values["image"];
    assert_eq!(
        format!("{}:{}", image["repository"].as_str().unwrap(), image["tag"].as_str().unwrap()),
        IMAGE
    );
}
