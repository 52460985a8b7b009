//! The network of pods on our own kind, in place of kindnet, whose image is in a registry: on each node a bridge, and routes
//! to the pods of the others. And a cluster DNS that asks nobody outside.
//!
//! The routes are gone when a node's container is started again; [`connect`] may be called again.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::engine::Engine;
use crate::kube::KubeError;
use crate::kube::process::{run, run_with_input};
use crate::wait::until;

/// What kubeadm's DNS does, but names that are not of the cluster do not exist: asking the outside would only time out.
const DNS: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: coredns, namespace: kube-system}
data:
  Corefile: |
    cluster.local:53 in-addr.arpa:53 ip6.arpa:53 {
      errors
      health
      ready
      kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        ttl 2
      }
      reload
      loadbalance
    }
    .:53 {
      errors
      template ANY ANY {
        rcode NXDOMAIN
      }
    }
"#;

/// A node is given its range of pods a moment after it has joined.
const RANGES: Duration = Duration::from_secs(60);

struct Node {
    name: String,
    address: String,
    pods: String,
}

/// Gives every node of the cluster its bridge and its routes, and the cluster its DNS.
pub(super) async fn connect(engine: &Engine, cluster: &str) -> Result<(), KubeError> {
    let asked = until("every node has its range of pods", RANGES, || async {
        nodes(engine, cluster).await.map_err(|e| e.chain())
    });
    let nodes = asked.await.map_err(KubeError::api("wait for the ranges of pods"))?;
    for node in &nodes {
        let mut batch = String::new();
        for other in nodes.iter().filter(|other| other.name != node.name) {
            batch += &format!("route replace {} via {}\n", other.pods, other.address);
        }
        let what = format!("connecting {}", node.name);
        run_with_input(exec(engine, &node.name)?.args(["ip", "-batch", "-"]), &what, &batch).await?;
        let mut write = exec(engine, &node.name)?;
        write.args(["dd", "status=none", "of=/etc/cni/net.d/10-bridge.conflist"]);
        run_with_input(&mut write, &what, &bridge(&node.pods)).await?;
    }
    run_with_input(&mut kubectl(engine, cluster, &["apply", "--filename", "-"])?, "setting up DNS", DNS)
        .await
        .map(drop)
}

fn bridge(pods: &str) -> String {
    json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
                "ipam": {
                    "type": "host-local", "dataDir": "/run/cni-ipam",
                    "ranges": [[{ "subnet": pods }]], "routes": [{ "dst": "0.0.0.0/0" }],
                },
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    })
    .to_string()
}

async fn nodes(engine: &Engine, cluster: &str) -> Result<Vec<Node>, KubeError> {
    let mut get = kubectl(engine, cluster, &["get", "nodes", "--output", "json"])?;
    let text = run(&mut get, "asking for the nodes").await?;
    let list: Value = serde_json::from_str(&text).map_err(KubeError::api("read the list of nodes"))?;
    let node = |node: &Value| {
        let addresses = node["status"]["addresses"].as_array()?;
        let internal = addresses.iter().find(|address| address["type"] == "InternalIP")?;
        Some(Node {
            name: node["metadata"]["name"].as_str()?.to_owned(),
            address: internal["address"].as_str()?.to_owned(),
            pods: node["spec"]["podCIDR"].as_str()?.to_owned(),
        })
    };
    let nodes: Option<Vec<Node>> =
        list["items"].as_array().and_then(|items| items.iter().map(node).collect());
    nodes.ok_or_else(|| {
        KubeError::Refused(format!("a node of {cluster} has no address or no range of pods yet"))
    })
}

/// A command in a node, which has docker's standard input.
fn exec(engine: &Engine, node: &str) -> Result<Command, KubeError> {
    let mut docker = engine.docker()?;
    docker.args(["exec", "--interactive", node]);
    Ok(docker)
}

fn kubectl(engine: &Engine, cluster: &str, arguments: &[&str]) -> Result<Command, KubeError> {
    let mut command = exec(engine, &format!("{cluster}-control-plane"))?;
    command.args(["kubectl", "--kubeconfig=/etc/kubernetes/admin.conf"]).args(arguments);
    Ok(command)
}
