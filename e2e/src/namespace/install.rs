//! The product itself on the cluster under test: CRD, operator, RBAC from `deploy/manifests`, once for all tests.

use super::no_pods;
use crate::wait::until;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::OnceCell;

/// The image of nodes and operator; `E2E_IMAGE` names another one, for a cluster that pulls it.
pub const IMAGE: &str = crate::image::NAME;
/// Where `deploy/manifests` puts the operator.
pub const NAMESPACE: &str = "schedia-system";
/// Its Deployment.
pub const OPERATOR: &str = "schedia-operator";
const PATIENCE: Duration = Duration::from_secs(120);

/// Installs the product the first time it is called.
pub(super) async fn once(client: &Client) {
    static DONE: OnceCell<()> = OnceCell::const_new();
    DONE.get_or_init(|| async {
        if let Err(reason) = install(client, super::kubectl::command()).await {
            panic!("{reason}");
        }
    })
    .await;
}

/// Applies `deploy/manifests` with this kubectl, and waits for the operator.
pub async fn install(client: &Client, mut kubectl: Command) -> Result<(), String> {
    let dir = crate::paths::workspace().join("deploy/manifests");
    kubectl.args(["apply", "--server-side", "--force-conflicts", "--kustomize"]).arg(&dir);
    let output = kubectl.output().await.map_err(|e| format!("kubectl cannot be started: {e}"))?;
    if !output.status.success() {
        return Err(format!("{}: {}", dir.display(), String::from_utf8_lossy(&output.stderr)));
    }
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    until("the operator is available", PATIENCE, || async {
        let deployment = deployments.get(OPERATOR).await.map_err(|e| e.to_string())?;
        let status = deployment.status.unwrap_or_default();
        if status.available_replicas.unwrap_or(0) > 0 { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await
    .map_err(|e| e.to_string())
}

/// Sets the number of the operator's pods, and does not wait for them.
pub async fn scale_operator(client: &Client, replicas: u32) {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let patch = Patch::Merge(serde_json::json!({ "spec": { "replicas": replicas } }));
    let scaled = deployments.patch_scale(OPERATOR, &PatchParams::default(), &patch).await;
    scaled.unwrap_or_else(|e| panic!("{OPERATOR} cannot be scaled: {e}"));
}

/// Sets their number to none, and waits until they are gone: each has finished its passes and given the Lease back.
pub async fn stop_operator(client: &Client) {
    scale_operator(client, 0).await;
    no_pods(&operators(client)).await;
}

fn operators(client: &Client) -> Api<Pod> {
    Api::namespaced(client.clone(), NAMESPACE)
}

/// Resident memory of the operator's pods in bytes, the largest of them, as their kubelet counts it.
pub async fn operator_memory(client: &Client) -> Result<u64, String> {
    let pods = operators(client);
    let pods = pods.list(&ListParams::default()).await.map_err(|e| e.to_string())?.items;
    let mut largest = None;
    for pod in pods {
        let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) else { continue };
        let path = format!("/api/v1/nodes/{node}/proxy/stats/summary");
        let request = http::Request::get(path).body(Vec::new()).map_err(|e| e.to_string())?;
        let summary: serde_json::Value = client.request(request).await.map_err(|e| e.to_string())?;
        let all = summary["pods"].as_array().into_iter().flatten();
        let ours = all.filter(|stats| stats["podRef"]["name"] == pod.name_any().as_str());
        largest =
            largest.max(ours.filter_map(|stats| stats["containers"][0]["memory"]["rssBytes"].as_u64()).max());
    }
    largest.ok_or_else(|| "no kubelet knows the operator's pod".to_owned())
}
