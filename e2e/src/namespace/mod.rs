//! A namespace of a Kubernetes for one test: the vocabulary of the Kubernetes tests.
//!
//! Works with whatever `KUBECONFIG` names; nothing here knows the local cluster. What a test waits for has a deadline,
//! and what a failed test leaves to read is printed before its namespace goes (`report`).
//!
//! Not here: faults below Kubernetes (machines, networks): those are [`crate::kube`]'s, for the local cluster only.

mod forward;
mod install;
mod kubectl;
mod operator;
mod raft;
mod report;
mod requests;

pub use forward::Forward;
pub use install::{
    IMAGE, NAMESPACE as OPERATOR_NAMESPACE, OPERATOR, install, operator_memory, scale_operator, stop_operator,
};
pub use kubectl::kubectl;
pub use operator::{Operator, Operators};
pub use raft::{condition, image, is_ready, no_pods, pod_names};
pub use requests::Requests;

use futures::FutureExt;
use k8s_openapi::api::core::v1::Namespace as CoreNamespace;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use std::future::Future;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Duration;
use tokio::sync::RwLock;

/// Images are there already, volumes take seconds, elections less: this is for two shared cores.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// A namespace of its own, and a client.
#[derive(Clone)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// For the cluster it is in.
    pub client: Client,
}

/// Tests that disturb what all share (the operator) hold it alone.
static OPERATOR_IN_USE: RwLock<()> = RwLock::const_new(());

/// Runs `test` in a fresh namespace whose pods must satisfy the restricted security standard. Afterwards the namespace
/// is deleted; after a failure its objects are printed first, and it is kept if `E2E_KEEP` is set.
pub async fn with_temp_namespace<F>(name: &str, test: impl FnOnce(Namespace) -> F)
where
    F: Future<Output = ()>,
{
    let _shared = OPERATOR_IN_USE.read().await;
    run(name, test).await.unwrap_or_else(|panic| resume_unwind(panic));
}

/// The same while no other test runs: for one that ends the operator, or takes away what it stands on.
pub async fn alone_with_temp_namespace<F>(name: &str, test: impl FnOnce(Namespace) -> F)
where
    F: Future<Output = ()>,
{
    let _alone = OPERATOR_IN_USE.write().await;
    let outcome = run(name, test).await;
    // Whatever became of the test, the next one finds an operator, and all that it needs.
    if let Err(reason) = install(&client().await, kubectl::command()).await {
        eprintln!("the operator could not be installed again: {reason}");
    }
    outcome.unwrap_or_else(|panic| resume_unwind(panic));
}

async fn run<F>(name: &str, test: impl FnOnce(Namespace) -> F) -> std::thread::Result<()>
where
    F: Future<Output = ()>,
{
    let client = client().await;
    install::once(&client).await;
    let name = format!("{name}-{:06x}", fastrand::u32(..1 << 24));
    let enforced = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": { "name": name, "labels": { "pod-security.kubernetes.io/enforce": "restricted" } },
    });
    let namespaces: Api<CoreNamespace> = Api::all(client.clone());
    let object = serde_json::from_value(enforced).expect("this is a Namespace");
    namespaces
        .create(&PostParams::default(), &object)
        .await
        .unwrap_or_else(|e| panic!("namespace {name}: {e}"));
    let namespace = Namespace { name: name.clone(), client };
    let outcome = AssertUnwindSafe(test(namespace.clone())).catch_unwind().await;
    if outcome.is_err() {
        report::print(&namespace).await;
    }
    if outcome.is_ok() || std::env::var_os("E2E_KEEP").is_none() {
        // Another test does not wait for the end of this one's pods.
        let _ = namespaces.delete(&name, &DeleteParams::background()).await;
    }
    outcome
}

/// A client for the cluster that `KUBECONFIG` names.
pub async fn client() -> Client {
    assert!(
        std::env::var_os("KUBECONFIG").is_some(),
        "KUBECONFIG is not set: `cargo cluster up`, then `export KUBECONFIG=$(cargo cluster kubeconfig)`"
    );
    Client::try_default().await.unwrap_or_else(|e| panic!("KUBECONFIG cannot be used: {e}"))
}
