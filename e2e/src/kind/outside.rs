//! A way from this machine to a Service: a node port, which `deploy/kind.yaml` has mapped to a loopback port.
//!
//! Nothing runs for it on this machine, and it goes with the cluster. There is one node port: the API server refuses it to a second Service.

use std::net::SocketAddr;

use k8s_openapi::api::core::v1::Service;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use crate::kube::KubeError;

/// That of `deploy/kind.yaml`.
const NODE_PORT: u16 = 30080;

/// Makes a Service beside this one that has the node port and leads to the same pods.
pub(super) async fn publish(
    client: &Client,
    namespace: &str,
    service: &str,
    port: u16,
) -> Result<(), KubeError> {
    let doing = || format!("publish the Service {namespace}/{service}");
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let inside = services.get(service).await.map_err(KubeError::api(doing()))?;
    let selector = inside.spec.and_then(|spec| spec.selector).unwrap_or_default();
    let name = format!("{service}-outside");
    let outside = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": name },
        "spec": {
            "type": "NodePort", "selector": selector,
            "ports": [{ "port": port, "nodePort": NODE_PORT, "protocol": "TCP" }],
        },
    });
    let params = PatchParams::apply("schedia-kind").force();
    services.patch(&name, &params, &Patch::Apply(&outside)).await.map(drop).map_err(KubeError::api(doing()))
}

/// What docker is asked for the loopback port.
pub(super) fn question(cluster: &str) -> [String; 3] {
    ["port".to_owned(), format!("{cluster}-control-plane"), format!("{NODE_PORT}/tcp")]
}

/// The loopback port in docker's answer.
pub(super) fn answer(text: &str) -> Result<SocketAddr, KubeError> {
    let mut addresses = text.lines().filter_map(|line| line.trim().parse().ok());
    addresses.next().ok_or_else(|| {
        KubeError::Refused(format!("docker names no loopback port for the node port {NODE_PORT}: {text:?}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_port_is_mapped_to_a_loopback_port_by_the_cluster_of_deploy() {
        let config: serde_yaml::Value =
            serde_yaml::from_str(include_str!("../../../deploy/kind.yaml")).expect("it is YAML");
        let mapped = &config["nodes"][0]["extraPortMappings"][0];
        assert_eq!(config["nodes"][0]["role"], "control-plane");
        assert_eq!(mapped["containerPort"], NODE_PORT);
        assert_eq!(mapped["listenAddress"], "127.0.0.1");
    }

    #[test]
    fn the_loopback_port_is_the_one_that_docker_says() {
        assert_eq!(answer("127.0.0.1:41234\n").expect("one"), "127.0.0.1:41234".parse().expect("an address"));
        assert!(answer("").is_err());
    }
}
