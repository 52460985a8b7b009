//! One peer that takes nothing, or takes its time, costs the others nothing.

use schedia_apps::NodeId;
use schedia_e2e::load::{Answer, Wire};
use schedia_e2e::process::{Cluster, Node};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const CLIENTS: usize = 16;
const KEYS: u64 = 100;
/// Large enough that what is kept for a stuck peer would be seen: some ten mebibytes a second.
const VALUE_BYTES: usize = 16 << 10;
const ROUNDS: usize = 2;
const WINDOW: Duration = Duration::from_secs(2);
/// What may wait for one peer: the appends sent ahead of their answers (8 MiB), each time they are tried.
const QUEUE_BYTES_MAX: f64 = 16.0 * 1024.0 * 1024.0;

/// Puts in one window, all by the leader, none of them refused.
async fn puts(leader: &Node) -> u64 {
    let (done, end) = (Arc::new(AtomicU64::new(0)), Instant::now() + WINDOW);
    let client = |number: usize| {
        let (url, done) = (leader.http_url(), done.clone());
        tokio::spawn(async move {
            let wire = Wire::new();
            for count in 0.. {
                if Instant::now() >= end {
                    return;
                }
                let key = format!("peers/{number}/{}", count % KEYS);
                let put = wire.put(&url, &key, vec![b'v'; VALUE_BYTES].into()).await;
                assert!(matches!(put, Answer::Done { .. }), "with two of three nodes: {put:?}");
                done.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    for client in (0..CLIENTS).map(client).collect::<Vec<_>>() {
        client.await.unwrap();
    }
    done.load(Ordering::Relaxed)
}

/// Freezes a node for nine tenths of the time, until told to stop.
async fn hesitate(node: &Node, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        node.freeze();
        tokio::time::sleep(Duration::from_millis(90)).await;
        node.thaw();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The most that waited for a peer, looked at ten times a second.
async fn queue_bytes(leader: &Node, peer: NodeId, stop: &AtomicBool) -> f64 {
    let (line, mut most) = (format!("schedia_peer_queue_bytes{{node=\"{peer}\"}} "), 0.0f64);
    while !stop.load(Ordering::Relaxed) {
        let text = leader.metrics().await.unwrap();
        let waiting = text.lines().find_map(|l| l.strip_prefix(&line)?.parse().ok());
        most = most.max(waiting.expect("the leader has a connection to each peer"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    most
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_stuck_or_slow_costs_the_others_nothing() {
    let cluster = Cluster::joined(3).await;
    let at = cluster.leader().await;
    let (leader, peer) = (&cluster.nodes[at], &cluster.nodes[(at + 1) % 3]);
    let term = leader.status().await.unwrap().shards[0].term;
    let id = peer.status().await.unwrap().node_id.unwrap();
    puts(leader).await;
    for how in ["stuck", "slow"] {
        let (mut healthy, mut disturbed, mut queued) = (0, 0, 0.0f64);
        // In turns, and the better of each: other work on the machine must not look like the peer's.
        for _ in 0..ROUNDS {
            healthy = healthy.max(puts(leader).await);
            let stop = AtomicBool::new(false);
            let count = async {
                let count = puts(leader).await;
                stop.store(true, Ordering::Relaxed);
                count
            };
            let disturb = async {
                match how {
                    // It accepts connections and bytes, as far as the kernel does that for it, and reads nothing.
                    "stuck" => peer.freeze(),
                    _ => hesitate(peer, &stop).await,
                }
            };
            let (count, (), waited) = tokio::join!(count, disturb, queue_bytes(leader, id, &stop));
            peer.thaw();
            (disturbed, queued) = (disturbed.max(count), queued.max(waited));
            cluster.caught_up().await;
        }
        println!("{how}: {healthy} puts, then {disturbed}; at most {queued} bytes waited for it");
        assert!(disturbed * 10 >= healthy * 6, "a {how} peer: {disturbed} puts instead of {healthy}");
        assert!(queued <= QUEUE_BYTES_MAX, "{queued} bytes wait for a {how} peer");
    }
    let now = leader.status().await.unwrap().shards[0].term;
    assert_eq!(now, term, "an election because of one peer");
}
