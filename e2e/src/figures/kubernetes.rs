//! The operator on a local Kubernetes of its own: how long things take, what they interrupt, what rest costs.

use super::Table;
use crate::chart;
use crate::image::Archive;
use crate::kube::{Cluster, Settings};
use crate::load::{Answer, Load, Wire};
use crate::namespace::{Namespace, OPERATOR, OPERATOR_NAMESPACE, Requests, operator_memory};
use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream};
use kube::Client;
use kube::api::{Patch, PatchParams};
use schedia_crds::RaftCluster;
use serde_json::json;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

/// The local Kubernetes of the figures: one that a person has up is left alone.
const CLUSTER: &str = "figures";
const NAME: &str = "demo";
/// What is in the store when it grows and shrinks.
const VALUES: usize = 1_526;
const VALUE_BYTES: usize = 64 << 10;
const WRITERS: usize = 4;
/// Growing with data, on two cores that do everything else as well.
const PATIENCE: Duration = Duration::from_secs(300);

/// Starts a cluster, measures on it, and takes it down whatever happened.
pub async fn kubernetes(table: &mut Table, archive: &Archive) -> Result<(), String> {
    let cluster = Cluster::named(CLUSTER).map_err(|e| e.chain())?;
    cluster.build().await.map_err(|e| e.chain())?;
    let measured = AssertUnwindSafe(measure(&cluster, table, archive)).catch_unwind().await;
    let down = cluster.down().await.map_err(|e| e.chain());
    // What panicked has said why.
    measured.unwrap_or_else(|_| Err("not all was measured on Kubernetes".to_owned()))?;
    down
}

async fn measure(cluster: &Cluster, table: &mut Table, archive: &Archive) -> Result<(), String> {
    let begun = Instant::now();
    cluster.up(&Settings::default()).await.map_err(|e| e.chain())?;
    table.row("local Kubernetes of three nodes, up", &seconds(begun));
    cluster.load_image(archive).await.map_err(|e| e.chain())?;
    let client = cluster.client().await.map_err(|e| e.chain())?;
    let requests = count_operator(&client).await?;

    let begun = Instant::now();
    chart::install(cluster.helm(), chart::dir(), &[]).await?;
    table.row("helm install to an operator that is ready", &seconds(begun));
    let here = Namespace { name: "default".to_owned(), client: client.clone() };
    let begun = Instant::now();
    here.apply_raft(NAME, json!({ "storage": { "size": "2Gi" } })).await;
    here.ready(NAME).await;
    table.row("apply to Ready, three replicas", &seconds(begun));

    table.row("operator's requests to the API server, per minute at rest", &at_rest(&requests).await?);
    let bytes = operator_memory(&client).await?;
    table.row("memory of the idle operator", &format!("{} MB", bytes / 1_000_000));

    let address = cluster.publish(&here.name, NAME, 8080, 0).await.map_err(|e| e.chain())?;
    let megabytes = fill(address).await? / 1_000_000;
    for (from, to) in [(3, 5), (5, 3)] {
        let name = format!("{from} to {to} replicas with {megabytes} MB, {WRITERS} clients writing");
        table.row(&name, &resize(&here, address, to).await?);
    }
    Ok(())
}

fn seconds(begun: Instant) -> String {
    format!("{:.1} s", begun.elapsed().as_secs_f64())
}

/// Has the API server count the operator's requests.
async fn count_operator(client: &Client) -> Result<Requests, String> {
    let rule = json!({
        "resourceRules": [{
            "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true,
        }],
        "nonResourceRules": [{ "verbs": ["*"], "nonResourceURLs": ["*"] }],
    });
    Requests::count(client, json!({ "name": OPERATOR }), (OPERATOR_NAMESPACE, OPERATOR), rule).await
}

/// Two minutes without a change. Time passing is the subject: there is no condition to wait for.
async fn at_rest(requests: &Requests) -> Result<String, String> {
    const MINUTE: Duration = Duration::from_secs(60);
    // What became Ready just now may be looked at once more.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let counted = || async {
        let so_far = requests.so_far().await?;
        so_far.ok_or_else(|| "the API server does not count the operator's requests".to_owned())
    };
    let before = counted().await?;
    tokio::time::sleep(2 * MINUTE).await;
    let after = counted().await?;
    Ok(format!("{:.1} with one cluster of three", (after - before) as f64 / 2.0))
}

/// Values through the Service; returns their bytes. What is refused is tried again.
async fn fill(address: SocketAddr) -> Result<usize, String> {
    let (wire, url) = (Wire::new(), format!("http://{address}"));
    let put = |number: usize| {
        let (wire, url) = (wire.clone(), url.clone());
        async move {
            let value = Bytes::from(vec![(number % 251) as u8; VALUE_BYTES]);
            let mut answer = wire.put(&url, &format!("fill/{number}"), value.clone()).await;
            for _ in 0..50 {
                if matches!(answer, Answer::Done { .. }) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
                answer = wire.put(&url, &format!("fill/{number}"), value.clone()).await;
            }
            answer
        }
    };
    let answers: Vec<_> = stream::iter((0..VALUES).map(put)).buffer_unordered(4).collect().await;
    match answers.iter().find(|answer| !matches!(answer, Answer::Done { .. })) {
        Some(refused) => Err(format!("the store could not be filled: {refused:?}")),
        None => Ok(VALUES * VALUE_BYTES),
    }
}

/// Changes the number of replicas under writes; how long until Ready with as many voters, and the longest silence.
async fn resize(here: &Namespace, address: SocketAddr, replicas: i32) -> Result<String, String> {
    let load = Load::start(&[format!("http://{address}")], WRITERS, fastrand::u64(..1 << 32));
    load.progress(200, PATIENCE).await;
    let begun = Instant::now();
    let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
    let api = here.api::<RaftCluster>();
    api.patch_scale(NAME, &PatchParams::default(), &patch).await.map_err(|e| e.to_string())?;
    here.await_raft(NAME, &format!("Ready with {replicas} voters"), PATIENCE, |raft| {
        crate::namespace::is_ready(raft)
            && raft.status.as_ref().is_some_and(|status| status.voters == replicas)
    })
    .await;
    let took = seconds(begun);
    load.progress(200, PATIENCE).await;
    let history = load.stop().await;
    Ok(format!("{took}, longest write gap {} ms", history.longest_gap().as_millis()))
}
