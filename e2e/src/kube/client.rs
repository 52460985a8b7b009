//! Questions to the API server that starting a cluster needs answers to.

use std::path::Path;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Namespace, Node, Service};
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

use super::KubeError;

/// A client for the kubeconfig in this file.
pub(crate) async fn from_file(path: &Path) -> Result<Client, KubeError> {
    let doing = || format!("use the kubeconfig {}", path.display());
    let kubeconfig = Kubeconfig::read_from(path).map_err(KubeError::api(doing()))?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    Client::try_from(config.map_err(KubeError::api(doing()))?).map_err(KubeError::api(doing()))
}

/// Whether the API server says that it is ready, and the namespace that `up` writes to exists.
pub(crate) async fn ready(client: &Client) -> bool {
    let Ok(request) = http::Request::get("/readyz").body(Vec::new()) else { return false };
    client.request_text(request).await.is_ok_and(|answer| answer == "ok")
        && Api::<Namespace>::all(client.clone()).get("kube-system").await.is_ok()
}

/// The names of the nodes that are Ready, and how many there are.
pub(crate) async fn nodes_ready(client: &Client) -> Result<(Vec<String>, usize), kube::Error> {
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?.items;
    let is_ready = |node: &&Node| {
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
    };
    let ready = nodes.iter().filter(is_ready).filter_map(|node| node.metadata.name.clone()).collect();
    Ok((ready, nodes.len()))
}

/// Whether CoreDNS answers on every one of `nodes` nodes.
pub(crate) async fn dns_ready(client: &Client, nodes: u8) -> bool {
    let set = Api::<DaemonSet>::namespaced(client.clone(), "kube-system").get("coredns").await;
    set.is_ok_and(|set| set.status.is_some_and(|status| status.number_ready >= i32::from(nodes)))
}

/// Whether claims are served.
pub(crate) async fn volumes_ready(client: &Client) -> bool {
    let name = "local-path-provisioner";
    let deployment = Api::<Deployment>::namespaced(client.clone(), "local-path-storage").get(name).await;
    deployment.is_ok_and(|d| d.status.is_some_and(|status| status.ready_replicas >= Some(1)))
}

/// The ClusterIP of a Service.
pub(crate) async fn cluster_ip(client: &Client, namespace: &str, service: &str) -> Result<String, KubeError> {
    let found = Api::<Service>::namespaced(client.clone(), namespace).get(service).await;
    let found = found.map_err(KubeError::api(format!("look up the Service {namespace}/{service}")))?;
    let ip = found.spec.and_then(|spec| spec.cluster_ip).filter(|ip| ip != "None" && !ip.is_empty());
    ip.ok_or_else(|| {
        KubeError::Refused(format!("a Service without a ClusterIP cannot be published: {service}"))
    })
}
