//! A leader whose connections the kernel closes is missed at the end of its lease, not a random time later.

use super::PATIENCE;
use schedia_e2e::load::{Answer, Wire};
use schedia_e2e::process::Cluster;
use schedia_e2e::wait::eventually;
use std::time::{Duration, Instant};

/// A lease of three seconds; raft's own timer would ring after two and a half to three seconds more.
const TIMINGS: [&str; 6] =
    ["--heartbeat-ms", "100", "--election-min-ms", "2500", "--election-max-ms", "3000"];

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_killed_is_replaced_when_its_lease_ends() {
    let mut cluster = Cluster::new();
    cluster.add().start(&[&TIMINGS[..], &["--bootstrap"]].concat());
    cluster.settled(1).await;
    let seed = cluster.nodes[0].http_url();
    for _ in 1..3 {
        cluster.add().start(&[&TIMINGS[..], &["--join", &seed]].concat());
    }
    cluster.settled(3).await;
    cluster.caught_up().await;
    let leader = cluster.leader().await;
    let survivor = cluster.nodes[(leader + 1) % 3].http_url();
    cluster.nodes[leader].kill();
    let (killed, wire) = (Instant::now(), Wire::new());
    eventually("a write after the leader's death", PATIENCE, || async {
        match wire.put(&survivor, "failover", "v".into()).await {
            Answer::Done { .. } => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let outage = killed.elapsed();
    println!("no leader for {outage:?}");
    assert!(outage < Duration::from_millis(5_000), "the timer of raft was waited for: {outage:?}");
}
