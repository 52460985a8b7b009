//! The product on the real kind: whether it also runs on stock kubeadm, in containers, under systemd.
//!
//! Needs root and the image (`cargo cluster image`), or docker and kind that work. Not part of a plain `cargo test`:
//! `cargo test --package schedia-e2e --test kind`, or `cargo verify --full`.

// Helpers of tests are tests: their panic is the message.
#![allow(clippy::unwrap_used)]

mod tool;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use schedia_e2e::chart;
use schedia_e2e::kind::Kind;
use schedia_e2e::kube::{KubeError, surroundings};
use schedia_e2e::load::{History, Load};
use schedia_e2e::namespace::{Namespace, OPERATOR, OPERATOR_NAMESPACE, PATIENCE, no_pods};
use schedia_e2e::paths;
use serde_json::json;
use std::process::Command;
use std::time::Instant;

/// Not that of `cargo demo --kind`: both may be on the same docker.
const NAME: &str = "schedia-test";
/// Few: each connection is forwarded by the API server.
const WRITERS: usize = 2;
/// Acknowledged before and after a change of members.
const WRITES: u64 = 100;

/// A cluster that is deleted even if the test fails.
struct Fixture {
    kind: Kind,
}

impl Fixture {
    async fn new() -> Fixture {
        Fixture { kind: Kind::find(tool::paths(NAME), tool::program()).await }
    }

    async fn kubectl(&self, arguments: &[&str]) -> String {
        let output = self.kind.kubectl().args(arguments).output().await.unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {arguments:?}: {words}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // `down` has removed it unless the test failed.
        let _ = if self.kind.is_installed() {
            Command::new("kind").args(["delete", "cluster", "--name", NAME]).status()
        } else {
            tool::command(NAME, &["down"]).status()
        };
    }
}

fn done<T>(result: Result<T, KubeError>) -> T {
    result.unwrap_or_else(|e| panic!("{}", e.chain()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_is_installed_scaled_under_writes_and_uninstalled_on_a_stock_kind() {
    let before = surroundings().unwrap();
    let archive = paths::image_archive();
    assert!(archive.is_file(), "no image: run `cargo cluster image`: {}", archive.display());
    let began = Instant::now();
    let lap = |what: &str| println!("{:5.1} s  {what}", began.elapsed().as_secs_f32());
    let fixture = Fixture::new().await;
    println!("{}", fixture.kind.provider());
    done(fixture.kind.build().await);
    lap("built what is not in the cache");
    done(fixture.kind.up().await);
    lap("cluster up: nodes, DNS and volumes ready");
    done(fixture.kind.load_image(&archive).await);
    lap("image loaded");

    chart::install(fixture.kind.helm(), chart::dir(), &[]).await.unwrap();
    lap("chart installed, operator available");
    let here = Namespace { name: "default".to_owned(), client: done(fixture.kind.client().await) };
    here.apply_raft("demo", json!({})).await;
    here.ready_with("demo", 3).await;
    lap("three voters, Ready");

    let outside = done(fixture.kind.publish("default", "demo", 8080).await);
    let grown = scaled(&here, &[format!("http://{outside}")], 5).await;
    let (_forwards, urls) = here.forwards("demo", 5).await;
    grown.verify(&urls).await;
    lap("five voters, every write on each");
    // Through those that stay: a client of one that leaves is refused in the end.
    let shrunk = scaled(&here, &urls[..3], 3).await;
    grown.verify(&urls[..3]).await;
    shrunk.verify(&urls[..3]).await;
    lap("three voters, every write on each");

    uninstalled(&fixture, &here).await;
    lap("uninstalled");
    done(fixture.kind.down().await);
    assert_eq!(fixture.kind.leftovers().unwrap(), [""; 0]);
    assert_eq!(surroundings().unwrap(), before);
    lap("cluster down");
}

/// Changes the number of replicas while clients write through these endpoints.
async fn scaled(here: &Namespace, endpoints: &[String], replicas: i32) -> History {
    let load = Load::start(endpoints, WRITERS, fastrand::u64(..1 << 32));
    load.progress(WRITES, PATIENCE).await;
    here.edit("demo", json!({ "replicas": replicas })).await;
    here.ready_with("demo", replicas).await;
    load.progress(WRITES, PATIENCE).await;
    load.stop().await
}

/// The release goes and the cluster stays; then the cluster goes, for which no operator is needed; then the definition.
async fn uninstalled(fixture: &Fixture, here: &Namespace) {
    let pods = here.api::<Pod>();
    chart::uninstall(fixture.kind.helm()).await.unwrap();
    let operators: Api<Deployment> = Api::namespaced(here.client.clone(), OPERATOR_NAMESPACE);
    assert!(operators.get_opt(OPERATOR).await.unwrap().is_none(), "the operator is gone");
    assert!(here.raft("demo").await.is_ok(), "the resource stays");
    assert_eq!(pods.list(&Default::default()).await.unwrap().items.len(), 3, "and so do the pods");

    fixture.kubectl(&["delete", "raft", "demo", "--timeout=120s"]).await;
    no_pods(&pods).await;
    fixture.kubectl(&["delete", "crd", "raftclusters.schedia.dev", "--timeout=120s"]).await;
    let left = fixture.kubectl(&["api-resources", "--api-group=schedia.dev", "--output=name"]).await;
    assert_eq!(left, "", "the definition is gone");
}
