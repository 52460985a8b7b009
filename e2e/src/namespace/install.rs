//! The product itself on the cluster under test: CRD, operator, RBAC from `deploy/manifests`, once for all tests.

use super::kubectl;
use crate::wait::until;
use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, Client};
use std::time::Duration;
use tokio::sync::OnceCell;

/// The image of nodes and operator; `E2E_IMAGE` names another one, for a cluster that pulls it.
pub const IMAGE: &str = crate::image::NAME;
/// Where `deploy/manifests` puts the operator.
const NAMESPACE: &str = "schedia-system";
/// Its Deployment.
const OPERATOR: &str = "schedia-operator";
const PATIENCE: Duration = Duration::from_secs(120);

/// Applies `deploy/manifests` and waits for the operator, the first time it is called.
pub async fn install(client: &Client) {
    static DONE: OnceCell<()> = OnceCell::const_new();
    DONE.get_or_init(|| async {
        if let Err(reason) = try_install(client).await {
            panic!("{reason}");
        }
    })
    .await;
}

async fn try_install(client: &Client) -> Result<(), String> {
    let dir = crate::paths::workspace().join("deploy/manifests");
    let dir = dir.to_str().ok_or("the path of the workspace is no text")?;
    let output = kubectl(&["apply", "--server-side", "--kustomize", dir], "").await;
    if !output.status.success() {
        return Err(format!("deploy/manifests: {}", String::from_utf8_lossy(&output.stderr)));
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
