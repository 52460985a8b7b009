//! The product on the real kind: whether it also runs on stock kubeadm, in containers, under systemd.
//!
//! Needs root and the image (`cargo cluster image`), or docker and kind that work. Not part of a plain `cargo test`:
//! `cargo test --package schedia-e2e --test kind`, or `cargo verify --full`.

// Helpers of tests are tests: their panic is the message.
#![allow(clippy::unwrap_used)]

mod tool;

use schedia_crds::RaftCluster;
use schedia_e2e::kind::Kind;
use schedia_e2e::kube::{KubeError, surroundings};
use schedia_e2e::load::{Answer, Wire};
use schedia_e2e::namespace::{Namespace, OPERATOR_NAMESPACE, PATIENCE, install, pod_names};
use schedia_e2e::paths;
use schedia_e2e::wait::eventually;
use serde_json::json;
use std::time::Instant;

const NAME: &str = "schedia-kind";

/// A cluster that is deleted even if the test fails.
struct Fixture {
    kind: Kind,
}

impl Fixture {
    async fn new() -> Fixture {
        Fixture { kind: Kind::find(tool::paths(NAME), tool::program()).await }
    }

    async fn kubectl(&self, arguments: &[&str]) {
        let output = self.kind.kubectl().args(arguments).output().await.unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {arguments:?}: {words}");
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // Of a cluster on an engine of ours, which `down` has removed unless the test failed.
        let _ = tool::command(NAME, &["down"]).status();
    }
}

fn done<T>(result: Result<T, KubeError>) -> T {
    result.unwrap_or_else(|e| panic!("{}", e.chain()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_is_installed_written_to_and_uninstalled_on_a_stock_kind() {
    let before = surroundings().unwrap();
    let archive = paths::image_archive();
    assert!(archive.is_file(), "no image: run `cargo cluster image`: {}", archive.display());
    let began = Instant::now();
    let lap = |what: &str| println!("{:5.1} s  {what}", began.elapsed().as_secs_f32());
    let fixture = Fixture::new().await;
    println!("{}", fixture.kind.provider());
    done(fixture.kind.up().await);
    lap("cluster up: nodes, DNS and volumes ready");
    done(fixture.kind.load_image(&archive).await);
    lap("image loaded");

    let client = done(fixture.kind.client().await);
    install(&client, fixture.kind.kubectl()).await.unwrap();
    lap("operator available");
    let here = Namespace { name: "default".to_owned(), client };
    here.apply_raft("demo", json!({})).await;
    here.ready("demo").await;
    lap("three voters, Ready");
    every_node_has_what_one_was_given(&here, 3).await;

    fixture.kubectl(&["delete", "raft", "demo", "--timeout=120s"]).await;
    eventually("no pod is left", PATIENCE, || async {
        let pods = here.api::<k8s_openapi::api::core::v1::Pod>().list(&Default::default()).await;
        let pods = pods.map_err(|e| e.to_string())?.items;
        if pods.is_empty() { Ok(()) } else { Err(format!("{} pods", pods.len())) }
    })
    .await;
    let manifests = paths::workspace().join("deploy/manifests");
    fixture.kubectl(&["delete", "--kustomize", manifests.to_str().unwrap(), "--timeout=120s"]).await;
    let definition = kube::Api::<RaftCluster>::namespaced(here.client.clone(), OPERATOR_NAMESPACE);
    assert!(definition.list(&Default::default()).await.is_err(), "the definition is gone with the manifests");
    lap("uninstalled");

    done(fixture.kind.down().await);
    assert_eq!(fixture.kind.leftovers().unwrap(), [""; 0]);
    assert_eq!(surroundings().unwrap(), before);
    lap("cluster down");
}

async fn every_node_has_what_one_was_given(here: &Namespace, replicas: usize) {
    let wire = Wire::new();
    let mut forwards = Vec::new();
    for pod in pod_names("demo", replicas) {
        forwards.push(here.http(&pod).await);
    }
    let put = wire.put(&forwards[0].url, "greeting", "hello".into()).await;
    let Answer::Done { revision, .. } = put else { panic!("no write: {put:?}") };
    for forward in &forwards {
        let seen = wire.get(&forward.url, "greeting", false).await;
        assert_eq!(seen, Answer::Done { revision, value: "hello".into() }, "at {}", forward.url);
    }
}
