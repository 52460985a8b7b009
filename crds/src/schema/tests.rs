//! The schema as the API server sees it.

use super::*;
use crate::{RaftClusterSpec, RaftClusterStatus};
use proptest::prelude::*;
use serde_json::{Value, json};

fn root() -> Value {
    serde_json::to_value(crd()).unwrap()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Any value that the schema accepts, its CEL rules aside.
fn accepted(schema: &Value) -> BoxedStrategy<Value> {
    let value = if schema["x-kubernetes-int-or-string"] == json!(true) {
        prop_oneof![
            any::<i64>().prop_map(Value::from),
            "[0-9]{1,4}(\\.[0-9]{1,2})?(Ki|Mi|Gi|m|k|M|G)?".prop_map(Value::from)
        ]
        .boxed()
    } else if let Some(values) = schema["enum"].as_array() {
        proptest::sample::select(values.clone()).boxed()
    } else {
        match schema["type"].as_str() {
            Some("object") => object(schema),
            Some("array") => {
                prop::collection::vec(accepted(&schema["items"]), 0..2).prop_map(Value::from).boxed()
            }
            Some("boolean") => any::<bool>().prop_map(Value::from).boxed(),
            Some("string") if schema["format"] == "date-time" => Just(json!("2026-01-02T03:04:05Z")).boxed(),
            Some("string") => "[a-z]{0,4}".prop_map(Value::from).boxed(),
            Some("integer") => {
                let bound = |key: &str, or: i64| schema[key].as_f64().map_or(or, |bound| bound as i64);
                (bound("minimum", i64::MIN)..=bound("maximum", i64::MAX)).prop_map(Value::from).boxed()
            }
            other => panic!("a type this test does not know: {other:?} in {schema}"),
        }
    };
    if schema["nullable"] == json!(true) {
        prop_oneof![1 => Just(Value::Null), 4 => value].boxed()
    } else {
        value
    }
}

fn object(schema: &Value) -> BoxedStrategy<Value> {
    if schema["additionalProperties"].is_object() {
        let values = accepted(&schema["additionalProperties"]);
        return prop::collection::btree_map("[a-z]{1,3}", values, 0..3)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
            .boxed();
    }
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema["properties"].as_object().cloned().unwrap_or_default();
    let mut fields = Just(serde_json::Map::new()).boxed();
    for (name, property) in properties {
        let value = accepted(&property);
        let field = match required.contains(&name.as_str()) {
            true => value.prop_map(Some).boxed(),
            false => prop::option::weighted(0.4, value).boxed(),
        };
        fields = (fields, field)
            .prop_map(move |(mut map, value)| {
                map.extend(value.map(|value| (name.clone(), value)));
                map
            })
            .boxed();
    }
    fields.prop_map(Value::Object).boxed()
}

#[test]
fn whatever_the_schema_accepts_deserialises() {
    let root = root();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(200));
    runner
        .run(&accepted(&root["properties"]["spec"]), |spec| {
            serde_json::from_value::<RaftClusterSpec>(spec.clone())
                .map(|_| ())
                .map_err(|e| TestCaseError::fail(format!("{e}: {spec}")))
        })
        .unwrap();
    runner
        .run(&accepted(&root["properties"]["status"]), |status| {
            serde_json::from_value::<RaftClusterStatus>(status.clone())
                .map(|_| ())
                .map_err(|e| TestCaseError::fail(format!("{e}: {status}")))
        })
        .unwrap();
}

#[test]
fn no_quantity_is_nullable() {
    let text = yaml();
    let size = &root()["properties"]["spec"]["properties"]["storage"]["properties"]["size"];
    assert_eq!(size["nullable"], Value::Null);
    let limits = &root()["properties"]["spec"]["properties"]["resources"]["properties"]["limits"];
    assert_eq!(limits["additionalProperties"]["nullable"], Value::Null);
    assert!(limits["additionalProperties"]["pattern"].is_string());
    assert!(text.contains("x-kubernetes-int-or-string"));
}

#[test]
fn defaults_are_filled_in_by_the_api_server() {
    let spec = &root()["properties"]["spec"]["properties"];
    assert_eq!(spec["replicas"]["default"], json!(3));
    assert_eq!(
        spec["storage"]["default"],
        json!({"size": "10Gi", "retentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Delete"}})
    );
    assert_eq!(spec["raft"]["properties"]["heartbeatMilliseconds"]["default"], json!(100));
    assert_eq!(spec["raft"]["properties"]["leaseReads"]["default"], json!(false));
    assert_eq!(spec["progressDeadlineSeconds"]["default"], json!(600));
    assert_eq!(spec["tolerations"]["default"], Value::Null);
}

#[test]
fn the_short_name_is_raft_and_it_is_among_all() {
    let names = crd().spec.names;
    assert_eq!(names.short_names, Some(vec!["raft".to_owned()]));
    assert_eq!(names.categories, Some(vec!["all".to_owned(), "schedia".to_owned()]));
}

#[test]
fn the_committed_yaml_is_fresh() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/manifests/crd.yaml");
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(committed == yaml(), "deploy/manifests/crd.yaml is stale: run `cargo fixup`");
}
