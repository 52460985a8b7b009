//! A snapshot whose connection breaks goes on where it was, while clients write.

use super::{PATIENCE, metric, seed};
use schedia_e2e::load::{Answer, Load, Wire};
use schedia_e2e::process::{Cluster, Node};
use schedia_e2e::torture::network::{Network, Trouble, Way};
use schedia_e2e::wait::eventually;
use std::time::Duration;

/// Of 1 MiB each, which nothing makes smaller.
const VALUES: usize = 80;
/// The connection breaks whenever so much more has arrived: four times.
const BREAK_AFTER_BYTES: u64 = 17 << 20;
const BREAKS: u64 = 4;
/// So that it is under way when it breaks: what a piece of 64 KiB waits.
const PIECE: Duration = Duration::from_millis(4);
/// The newcomer has no vote: whatever becomes of its connections, nobody waits for it. This is for busy cores.
const PAUSE_MAX: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_broken_off_again_and_again_is_sent_once() {
    let mut cluster = Cluster::joined(2).await;
    let wire = Wire::new();
    let mut random = fastrand::Rng::with_seed(seed());
    let leader = cluster.nodes[cluster.leader().await].http_url();
    for number in 0..VALUES {
        let mut value = vec![0; 1 << 20];
        random.fill(&mut value);
        let put = wire.put(&leader, &format!("large/{number}"), value.into()).await;
        assert!(matches!(put, Answer::Done { .. }), "{put:?}");
    }
    forget_logs(&cluster.nodes).await;
    let load = Load::start(&cluster.endpoints(), 4, seed());
    load.progress(100, PATIENCE).await;

    let (network, ways) = add_behind_a_proxy(&mut cluster).await;
    network.trouble(&ways, Trouble::Slow(PIECE));
    let reset = network.resetter();
    for number in 1..=BREAKS {
        let arrived = || async {
            match metric(&cluster.nodes[2], "snapshot_received_bytes_total").await? {
                bytes if bytes >= number * BREAK_AFTER_BYTES => Ok(()),
                bytes => Err(format!("{bytes} bytes")),
            }
        };
        eventually("more of the snapshot", PATIENCE, arrived).await;
        reset();
        // All that may go goes: only what the kept snapshot needs behind it stays, or this one would not be the last.
        forget_logs(&cluster.nodes[..2]).await;
    }
    network.free(&ways);
    cluster.settled(3).await;
    load.progress(100, PATIENCE).await;
    let history = load.stop().await;
    cluster.caught_up().await;

    let newcomer = &cluster.nodes[2];
    let size = metric(newcomer, "state_rows_bytes").await.unwrap();
    let installed = metric(newcomer, "snapshot_install_seconds_count").await.unwrap();
    let (mut sent, mut resumed) = (0, 0);
    for node in &cluster.nodes[..2] {
        sent += metric(node, "snapshot_sent_bytes_total").await.unwrap();
        resumed += metric(node, "snapshot_resumed_total").await.unwrap();
    }
    let pause = history.longest_gap();
    println!(
        "{size} bytes of rows, {sent} sent in all, {BREAKS} breaks, {resumed} times resumed, longest pause {pause:?}"
    );
    assert!(size > VALUES as u64 * (1 << 20), "{size}");
    assert!(sent < 2 * size, "{sent} bytes sent for {size}");
    assert!(resumed >= BREAKS, "it went on {resumed} times after {BREAKS} breaks");
    assert_eq!(installed, 1, "the log behind the first one was there");
    assert!(pause < PAUSE_MAX, "no write was acknowledged for {pause:?}");
    for node in &cluster.nodes {
        let nothing = || async {
            match metric(node, "snapshot_kept").await? {
                0 => Ok(()),
                kept => Err(format!("{} keeps {kept}", node.name)),
            }
        };
        eventually("nothing is kept", PATIENCE, nothing).await;
    }
    history.verify(&cluster.endpoints()).await;
}

/// One more node, which the others reach only through a proxy; and the ways to it.
async fn add_behind_a_proxy(cluster: &mut Cluster) -> (Network, [Way; 2]) {
    let seed = cluster.nodes[0].http_url();
    cluster.add();
    let mut network = Network::new();
    let mut advertised = Vec::new();
    for node in &cluster.nodes {
        advertised.push(network.add(node.peer).await.unwrap().to_string());
    }
    cluster.nodes[2].start(&["--join", &seed, "--advertise-peer", &advertised[2]]);
    for (place, node) in cluster.nodes.iter().enumerate() {
        network.runs_as(place, node.pid());
    }
    (network, [(0, 2), (1, 2)])
}

async fn forget_logs(nodes: &[Node]) {
    for node in nodes {
        node.checkpoint().await;
    }
}
