//! Full load alone is not a fault: it must not look like one to the nodes.

use super::full;
use schedia_e2e::load::{Answer, Wire};
use schedia_e2e::process::Cluster;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// As many as keep a cluster on one machine busy without a pause.
const CLIENTS: usize = 64;
/// Each client overwrites keys of its own: the run may be long, the store stays small.
const KEYS: u64 = 1_000;
const VALUE_BYTES: usize = 256;

#[tokio::test(flavor = "multi_thread")]
async fn full_load_causes_no_election() {
    let window = Duration::from_secs(if full() { 600 } else { 10 });
    let cluster = Cluster::joined(3).await;
    let leader = cluster.leader().await;
    let term = cluster.nodes[leader].status().await.unwrap().shards[0].term;
    let (done, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let end = Instant::now() + window;
    let client = |number: usize| {
        let (endpoints, done, refused) = (cluster.endpoints(), done.clone(), refused.clone());
        tokio::spawn(async move {
            let wire = Wire::new();
            for count in 0.. {
                if Instant::now() >= end {
                    return;
                }
                let (url, key) =
                    (&endpoints[number % endpoints.len()], format!("load/{number}/{}", count % KEYS));
                match wire.put(url, &key, vec![b'v'; VALUE_BYTES].into()).await {
                    Answer::Done { .. } => done.fetch_add(1, Ordering::Relaxed),
                    other => {
                        eprintln!("{url}: {other:?}");
                        refused.fetch_add(1, Ordering::Relaxed)
                    }
                };
            }
        })
    };
    let clients: Vec<_> = (0..CLIENTS).map(client).collect();
    for task in clients {
        task.await.unwrap();
    }
    let (done, refused) = (done.load(Ordering::Relaxed), refused.load(Ordering::Relaxed));
    println!("{done} puts in {} s, {refused} refused", window.as_secs());
    assert_eq!(refused, 0, "a cluster without a fault refuses nothing");
    cluster.caught_up().await;
    for node in &cluster.nodes {
        let status = node.status().await.unwrap();
        assert_eq!(status.shards[0].term, term, "{}: an election without a cause", node.name);
    }
}
