//! The CustomResourceDefinition and its YAML.
//!
//! The derived schema is wider than the types in two places, and closed here, so that what the API server accepts can be read:
//! `Quantity` is emitted as nullable though it reads no null, and `format: int32` bounds nothing in a Kubernetes schema.

use crate::RaftCluster;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

/// What Kubernetes reads as a quantity.
const QUANTITY: &str = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";

const HEADER: &str = "# Generated from the crate schedia-crds by `cargo fixup`; do not edit.\n";

/// The CustomResourceDefinition of RaftCluster.
pub fn crd() -> CustomResourceDefinition {
    let mut crd = RaftCluster::crd();
    for version in &mut crd.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut()) {
            close(schema);
        }
    }
    crd
}

/// The CustomResourceDefinition as it is committed in `deploy/manifests/crd.yaml`.
pub fn yaml() -> String {
    let body = serde_yaml::to_string(&crd()).expect("a CustomResourceDefinition is plain data");
    format!("{HEADER}{body}")
}

fn close(schema: &mut JSONSchemaProps) {
    if schema.x_kubernetes_int_or_string == Some(true) {
        schema.nullable = None;
        // A rule beside the field says it better than a pattern.
        if schema.x_kubernetes_validations.is_none() {
            schema.pattern = Some(QUANTITY.to_owned());
        }
    }
    if schema.format.as_deref() == Some("int32") {
        schema.minimum.get_or_insert(f64::from(i32::MIN));
        schema.maximum.get_or_insert(f64::from(i32::MAX));
    }
    for property in schema.properties.iter_mut().flat_map(|p| p.values_mut()) {
        close(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        close(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        close(values);
    }
}

#[cfg(test)]
mod tests;
