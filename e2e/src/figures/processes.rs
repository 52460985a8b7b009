//! Three real processes on one machine, which share its cores and its disk with the load.
//!
//! Latency is seen by the client, from before the request to the whole answer.

use super::Table;
use crate::load::{Answer, Load, Wire};
use crate::process::{Cluster, applied};
use bytes::Bytes;
use futures::{StreamExt, stream};
use std::time::{Duration, Instant};

/// Long enough for several flushes of the state.
const WINDOW: Duration = Duration::from_secs(10);
/// The value of a measured put.
const VALUE_BYTES: usize = 256;
/// Keys in the store when its memory is measured.
const KEYS: usize = 100_000;
const PATIENCE: Duration = Duration::from_secs(120);

/// Measures everything on three fresh nodes.
pub async fn processes(table: &mut Table) {
    let mut cluster = Cluster::joined(3).await;
    for clients in [16, 64] {
        let name = format!("puts of {VALUE_BYTES} B, {clients} clients, three processes");
        table.row(&name, &puts(&cluster, clients).await);
    }
    table.row("write gap at kill -9 of the leader", &gap(&mut cluster).await);
    drop(cluster);
    let cluster = Cluster::joined(3).await;
    let name = format!("memory of a node with {KEYS} keys of {VALUE_BYTES} B");
    table.row(&name, &memory(&cluster).await);
}

/// Each client puts one key after another at the leader.
async fn puts(cluster: &Cluster, clients: usize) -> String {
    let url = cluster.nodes[cluster.leader().await].http_url();
    let end = Instant::now() + WINDOW;
    let client = |number: usize| {
        let url = url.clone();
        tokio::spawn(async move {
            let (wire, value) = (Wire::new(), Bytes::from(vec![b'v'; VALUE_BYTES]));
            let mut latencies = Vec::new();
            while Instant::now() < end {
                let begun = Instant::now();
                let key = format!("figures/{number}/{}", latencies.len());
                if let Answer::Done { .. } = wire.put(&url, &key, value.clone()).await {
                    latencies.push(begun.elapsed());
                }
            }
            latencies
        })
    };
    let tasks: Vec<_> = (0..clients).map(client).collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.expect("a client does not panic"));
    }
    latencies.sort_unstable();
    let at = |part: f64| latencies.get((latencies.len() as f64 * part) as usize).copied().unwrap_or_default();
    format!(
        "{:.0}/s, median {:.1} ms, 99 % {:.1} ms",
        latencies.len() as f64 / WINDOW.as_secs_f64(),
        at(0.5).as_secs_f64() * 1e3,
        at(0.99).as_secs_f64() * 1e3,
    )
}

/// The longest silence between two acknowledgements while leaders are killed, seen by clients of the other nodes.
async fn gap(cluster: &mut Cluster) -> String {
    let mut gaps = Vec::new();
    for _ in 0..5 {
        let leader = cluster.leader().await;
        let others: Vec<_> = cluster
            .nodes
            .iter()
            .enumerate()
            .filter(|(place, _)| *place != leader)
            .map(|(_, node)| node.http_url())
            .collect();
        let load = Load::start(&others, 8, fastrand::u64(..));
        load.progress(200, PATIENCE).await;
        cluster.nodes[leader].kill();
        load.progress(200, PATIENCE).await;
        gaps.push(load.stop().await.longest_gap().as_millis());
        cluster.nodes[leader].start(&[]);
        cluster.settled(3).await;
    }
    gaps.sort_unstable();
    format!("median {} ms, longest {} ms of {}", gaps[gaps.len() / 2], gaps[gaps.len() - 1], gaps.len())
}

/// After the puts are checkpointed everywhere: what a node needs at rest.
async fn memory(cluster: &Cluster) -> String {
    let leader = &cluster.nodes[cluster.leader().await];
    let (wire, url) = (Wire::new(), leader.http_url());
    let put = |number: usize| {
        let (wire, url) = (wire.clone(), url.clone());
        async move { wire.put(&url, &format!("memory/{number}"), Bytes::from(vec![b'v'; VALUE_BYTES])).await }
    };
    let done = stream::iter((0..KEYS).map(put)).buffer_unordered(64).filter(|answer| {
        let done = matches!(answer, Answer::Done { .. });
        async move { done }
    });
    let done = done.count().await;
    cluster.caught_up().await;
    for node in &cluster.nodes {
        node.checkpoint().await;
    }
    let mut sizes = Vec::new();
    for node in &cluster.nodes {
        let status = node.status().await.unwrap_or_else(|e| panic!("{e}"));
        eprintln!("{}: {} MB at index {}", node.name, node.resident_bytes() / 1_000_000, applied(&status));
        sizes.push(node.resident_bytes() / 1_000_000);
    }
    sizes.sort_unstable();
    let list: Vec<_> = sizes.iter().map(|size| format!("{size} MB")).collect();
    format!("{} ({done} of {KEYS} puts acknowledged)", list.join(", "))
}
