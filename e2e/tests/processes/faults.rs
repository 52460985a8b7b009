//! Processes die, hang and return while clients write: nothing acknowledged is lost, nothing refused appears.

use super::{PATIENCE, rounds, seed};
use schedia_e2e::load::{Answer, Load, Wire};
use schedia_e2e::process::Cluster;
use schedia_e2e::wait::eventually;

const WRITERS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_formed_by_join_take_writes_everywhere_and_agree() {
    let cluster = Cluster::joined(3).await;
    let load = Load::start(&cluster.endpoints(), WRITERS, seed());
    load.progress(500, PATIENCE).await;
    load.stop().await.verify(&cluster.endpoints()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_formed_by_a_list_of_peers_take_writes_everywhere_and_agree() {
    let cluster = Cluster::listed(3).await;
    let load = Load::start(&cluster.endpoints(), WRITERS, seed());
    load.progress(500, PATIENCE).await;
    load.stop().await.verify(&cluster.endpoints()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_the_leader_under_load_loses_no_acknowledged_write() {
    let mut cluster = Cluster::joined(3).await;
    let load = Load::start(&cluster.endpoints(), WRITERS, seed());
    for _ in 0..rounds(3) {
        load.progress(300, PATIENCE).await;
        let leader = cluster.leader().await;
        cluster.nodes[leader].kill();
        load.progress(300, PATIENCE).await;
        cluster.nodes[leader].start(&[]);
        cluster.settled(3).await;
    }
    let history = load.stop().await;
    cluster.caught_up().await;
    history.verify(&cluster.endpoints()).await;
}

/// A leader keeps the newest 64 MiB of its log for members that were away for a moment; this is well beyond.
const MORE_THAN_THE_LOG_KEEPS: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_follower_holds_nobody_up_and_returns_by_a_snapshot() {
    let cluster = Cluster::joined(3).await;
    let leader = cluster.leader().await;
    let hung = &cluster.nodes[(leader + 1) % 3];
    let others: Vec<_> = cluster.endpoints().into_iter().filter(|url| *url != hung.http_url()).collect();
    let load = Load::start(&others, WRITERS, seed());
    load.progress(300, PATIENCE).await;
    hung.freeze();
    let wire = Wire::new();
    for number in 0..MORE_THAN_THE_LOG_KEEPS {
        let url = cluster.nodes[leader].http_url();
        let put = wire.put(&url, &format!("large/{number}"), vec![number as u8; 1 << 20].into()).await;
        assert!(matches!(put, Answer::Done { .. }), "with two of three nodes: {put:?}");
    }
    cluster.nodes[leader].checkpoint().await;
    load.progress(300, PATIENCE).await;
    hung.thaw();
    cluster.caught_up().await;
    // Only if the leader has purged what the follower lacks is there a snapshot to receive.
    assert!(hung.log().contains("receiving a snapshot"), "it caught up from the log: {}", hung.log_tail());
    let history = load.stop().await;
    cluster.caught_up().await;
    history.verify(&cluster.endpoints()).await;
    for node in &cluster.nodes {
        let last = wire.get(&node.http_url(), "large/99", false).await;
        assert!(matches!(&last, Answer::Done { value, .. } if value[..] == [99; 1 << 20]), "{}", node.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_all_nodes_at_once_loses_no_acknowledged_write() {
    let mut cluster = Cluster::joined(3).await;
    let mut histories = Vec::new();
    for _ in 0..rounds(2) {
        let load = Load::start(&cluster.endpoints(), WRITERS, seed());
        load.progress(500, PATIENCE).await;
        for node in &mut cluster.nodes {
            node.kill();
        }
        histories.push(load.stop().await);
        for node in &mut cluster.nodes {
            node.start(&[]);
        }
        cluster.settled(3).await;
    }
    cluster.caught_up().await;
    for history in histories {
        history.verify(&cluster.endpoints()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_told_to_end_hands_leadership_over_first() {
    let mut cluster = Cluster::joined(3).await;
    let load = Load::start(&cluster.endpoints(), WRITERS, seed());
    load.progress(300, PATIENCE).await;
    let leader = cluster.leader().await;
    let before = cluster.nodes[leader].status().await.unwrap().shards[0].term;
    let ended = cluster.nodes[leader].terminate(PATIENCE).await;
    assert!(ended.success(), "it ended with {ended}");
    load.progress(300, PATIENCE).await;
    let heir = cluster.leader().await;
    let after = cluster.nodes[heir].status().await.unwrap().shards[0].term;
    // An election after a silence may need several terms; a hand-over needs exactly one.
    assert_eq!(after, before + 1, "the heir was chosen in one term");
    cluster.nodes[leader].start(&[]);
    cluster.settled(3).await;
    let history = load.stop().await;
    cluster.caught_up().await;
    history.verify(&cluster.endpoints()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_writes_are_refused_and_stale_reads_answer() {
    let mut cluster = Cluster::joined(3).await;
    let load = Load::start(&cluster.endpoints(), WRITERS, seed());
    load.progress(100, PATIENCE).await;
    let history = load.stop().await;
    cluster.caught_up().await;
    let (gone, [left]) = cluster.nodes.split_at_mut(2) else { unreachable!("three nodes") };
    gone.iter_mut().for_each(|node| node.kill());
    eventually("the survivor knows that it cannot serve", PATIENCE, || async {
        let response =
            reqwest::get(format!("{}/readyz", left.admin_url())).await.map_err(|e| e.to_string())?;
        if response.status() == 503 { Ok(()) } else { Err(response.status().to_string()) }
    })
    .await;
    let refused = reqwest::Client::new()
        .put(format!("{}/v1/kv?key=a", left.http_url()))
        .body("b")
        .send()
        .await
        .unwrap();
    assert!([503, 504].contains(&refused.status().as_u16()), "{refused:?}");
    let key = &history.writes[0].key;
    let stale = reqwest::get(format!("{}/v1/kv?key={key}&consistency=stale", left.http_url())).await.unwrap();
    assert_eq!(stale.status(), 200);
    for node in gone {
        node.start(&[]);
    }
    cluster.settled(3).await;
    cluster.caught_up().await;
    history.verify(&cluster.endpoints()).await;
}
