//! kind on an engine of our own, with a node image of our own.
//!
//! kind's own cluster needs a registry for its node image and knows only its own network for pods. Both are left out
//! (`disableDefaultCNI`), and kubeadm is told where the images are that the nodes already have.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_yaml::Value;
use tokio::process::Command;

use super::{node_image, pods};
use crate::engine::Engine;
use crate::kube::process::{run, run_as_is};
use crate::kube::{KubeError, Machine, Paths, Programs};

/// Of the API server, on the loopback of the engine's machine.
const API_PORT: u16 = 6443;

/// What differs from an ordinary kind, and why.
const DIFFERENCES: &str = r#"
networking:
  disableDefaultCNI: true
  # As in the local Kubernetes: the node image has no other rules to keep company with.
  kubeProxyMode: nftables
  apiServerPort: 6443
kubeadmConfigPatches:
- |
  kind: ClusterConfiguration
  imageRepository: localhost
# cgroupfs: so is containerd of the node image. failCgroupV1: kubelet may run where cgroups are those of v1.
# oomScoreAdj: the default is below zero, which takes CAP_SYS_RESOURCE.
- |
  kind: KubeletConfiguration
  cgroupDriver: cgroupfs
  failCgroupV1: false
  oomScoreAdj: 0
"#;

/// Builds what is missing in the cache; returns the node image's archive.
pub(super) async fn build(engine: &Engine, paths: &Paths) -> Result<PathBuf, KubeError> {
    let say: fn(&str) = |text| eprintln!("{text}");
    let programs = Programs::new(paths.cache());
    programs.build(say).await?;
    programs.build_kind(say).await?;
    engine.build().await?;
    node_image::make(&programs, say).await
}

/// Starts the engine and the cluster in it, and writes the kubeconfig. The nodes are Ready soon afterwards. Of a cluster that
/// is there only what a restart takes away is made again.
pub(super) async fn up(engine: &Engine, paths: &Paths, config: &Path) -> Result<(), KubeError> {
    let node = build(engine, paths).await?;
    engine.up().await?;
    let kubeconfig = paths.machine(Machine::Engine).join("kubeconfig");
    // Written last of all, and gone with an engine that has died.
    if !paths.kubeconfig().is_file() {
        create(engine, paths, config, &node, &kubeconfig).await?;
    }
    pods::connect(engine, paths.name()).await?;
    let address = engine.publish(API_PORT).await?;
    let text = fs::read_to_string(&kubeconfig).map_err(KubeError::io("read", &kubeconfig))?;
    let inside = SocketAddr::from((Ipv4Addr::LOCALHOST, API_PORT));
    let text = text.replace(&format!("https://{inside}"), &format!("https://{address}"));
    fs::write(paths.kubeconfig(), text).map_err(KubeError::io("write", paths.kubeconfig()))
}

async fn create(
    engine: &Engine,
    paths: &Paths,
    config: &Path,
    node: &Path,
    kubeconfig: &Path,
) -> Result<(), KubeError> {
    let kind = |verb: &str| -> Result<Command, KubeError> {
        let mut kind = engine.client(&Programs::new(paths.cache()).kind())?;
        kind.args([verb, "cluster", "--name", paths.name(), "--kubeconfig"]).arg(kubeconfig);
        Ok(kind)
    };
    // Half of one, of an `up` that was stopped.
    run(&mut kind("delete")?, "kind delete cluster").await?;
    import(engine, node).await?;
    let file = paths.machine(Machine::Engine).join("kind.yaml");
    let text = fs::read_to_string(config).map_err(KubeError::io("read", config))?;
    fs::write(&file, with_differences(&text)?).map_err(KubeError::io("write", &file))?;
    let mut kind = kind("create")?;
    run(kind.args(["--image", node_image::NAME, "--config"]).arg(&file), "kind create cluster")
        .await
        .map(drop)
}

async fn import(engine: &Engine, node: &Path) -> Result<(), KubeError> {
    let tar = fs::File::open(node).map_err(KubeError::io("read", node))?;
    let mut docker = engine.docker()?;
    docker.args(["import", "--change", "ENV container=docker"]);
    docker.args([
        "--change",
        r#"ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]"#,
        "-",
        node_image::NAME,
    ]);
    run_as_is(docker.stdin(Stdio::from(tar)), "importing the node image").await.map(drop)
}

fn with_differences(config: &str) -> Result<String, KubeError> {
    let read = |text| {
        serde_yaml::from_str::<serde_yaml::Mapping>(text).map_err(KubeError::api("read deploy/kind.yaml"))
    };
    let mut config = read(config)?;
    config.extend(read(DIFFERENCES)?);
    serde_yaml::to_string(&Value::Mapping(config)).map_err(KubeError::api("write kind's settings"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_is_that_of_deploy_with_what_differs_here() {
        let config = with_differences(include_str!("../../../deploy/kind.yaml")).expect("it is YAML");
        let config: Value = serde_yaml::from_str(&config).expect("it is YAML");
        assert_eq!(config["networking"]["apiServerPort"], API_PORT);
        let patches = config["kubeadmConfigPatches"].as_sequence().expect("a list");
        let first = patches[0].as_str().expect("text");
        assert!(first.contains(&format!("imageRepository: {}", node_image::REPOSITORY)));
        let workers = config["nodes"].as_sequence().expect("a list").iter().filter(|n| n["role"] == "worker");
        assert_eq!(workers.count(), 3, "a node for each member of a quorum");
    }
}
