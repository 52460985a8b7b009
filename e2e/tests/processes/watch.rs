//! Watches of three processes, under load, while leaders are killed and followers hang: every change once, in order.

use super::{PATIENCE, rounds, seed};
use schedia_api::{KvChanges, Transport, Watched};
use schedia_e2e::process::Cluster;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Collects revisions until it has seen one, from node to node.
fn watcher(
    endpoints: Vec<String>,
    upto: tokio::sync::watch::Receiver<Option<u64>>,
) -> JoinHandle<Vec<KvChanges>> {
    let mut upto = upto;
    tokio::spawn(async move {
        let transport = Transport::new(&endpoints, Duration::from_secs(5)).unwrap();
        let mut watch = transport.watch("/v1/kv:watch?prefix=w&from-revision=2");
        let mut seen: Vec<KvChanges> = Vec::new();
        loop {
            let reached =
                |upto: Option<u64>| upto.is_some_and(|upto| watch.last().is_some_and(|last| last >= upto));
            if reached(*upto.borrow_and_update()) {
                return seen;
            }
            tokio::select! {
                next = watch.next() => match next.expect("nothing is compacted, and somebody always lives") {
                    Watched::Changes(changes) => seen.push(changes),
                    Watched::Progress(_) => {}
                },
                _ = upto.changed() => {}
            }
        }
    })
}

/// Writes pairs of keys in one transaction, through any node, until told to stop; how many were acknowledged.
fn writer(endpoints: Vec<String>, stop: Arc<AtomicBool>) -> JoinHandle<u64> {
    tokio::spawn(async move {
        let transport = Transport::new(&endpoints, Duration::from_secs(5)).unwrap();
        let mut acknowledged = 0;
        // "w/a" and "w/b", always together.
        let txn = r#"{"success":[{"put":{"key":"dy9h","value":""}},{"put":{"key":"dy9i","value":""}},{"put":{"key":"b3RoZXI=","value":""}}]}"#;
        while !stop.load(Ordering::Relaxed) {
            let body = Some(("application/json", txn.as_bytes().into()));
            acknowledged +=
                u64::from(transport.send(reqwest::Method::POST, "/v1/kv:txn", body).await.is_ok());
        }
        acknowledged
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_watch_tells_every_change_once_while_leaders_are_killed() {
    let seed = seed();
    println!("E2E_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut cluster = Cluster::joined(3).await;
    let (told, upto) = tokio::sync::watch::channel(None);
    let endpoints = cluster.endpoints();
    let rotated = |n: usize| [&endpoints[n..], &endpoints[..n]].concat();
    let watchers: Vec<_> = (0..3).map(|n| watcher(rotated(n), upto.clone())).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..3).map(|n| writer(rotated(n), stop.clone())).collect();
    for _ in 0..rounds(2) {
        tokio::time::sleep(Duration::from_millis(random.u64(300..1_000))).await;
        let leader = cluster.leader().await;
        cluster.nodes[leader].kill();
        tokio::time::sleep(Duration::from_millis(random.u64(300..1_500))).await;
        cluster.nodes[leader].start(&[]);
        cluster.settled(3).await;
        // One that hangs tells nothing, and what it missed later.
        let hung = random.usize(..3);
        cluster.nodes[hung].freeze();
        tokio::time::sleep(Duration::from_millis(random.u64(300..1_500))).await;
        cluster.nodes[hung].thaw();
        cluster.settled(3).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = 0;
    for writer in writers {
        acknowledged += writer.await.unwrap();
    }
    cluster.caught_up().await;
    let status: serde_json::Value =
        reqwest::get(format!("{}/v1/status", endpoints[0])).await.unwrap().json().await.unwrap();
    let revision = status["revision"].as_u64().unwrap();
    told.send_replace(Some(revision));
    // Nothing else is written: each revision from 2 on is one transaction, two of its keys in the range.
    let expected: Vec<u64> = (2..=revision).collect();
    assert!(acknowledged > 0 && acknowledged < revision, "{acknowledged} acknowledged, {revision} revisions");
    for (n, watcher) in watchers.into_iter().enumerate() {
        let seen = tokio::time::timeout(PATIENCE, watcher).await.expect("it sees the last one").unwrap();
        let revisions: Vec<u64> = seen.iter().map(|changes| changes.revision).collect();
        assert_eq!(revisions, expected, "watch {n}");
        assert!(
            seen.iter().all(|changes| changes.changes.len() == 2 && !changes.more),
            "revisions come whole"
        );
    }
    println!(
        "{acknowledged} transactions acknowledged, {revision} revisions, each told once by three watches"
    );
}
