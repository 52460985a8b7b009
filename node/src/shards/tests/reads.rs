//! Linearizable reads: how many rounds they cost.

use super::*;

const READS: u64 = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_that_wait_meanwhile_share_a_round_on_the_leader_and_on_a_follower() {
    let nodes = cluster(3).await;
    put(nodes[0].shard(), "a", "1").await.unwrap();
    let leads = leader(&nodes).await;
    for node in [leads, (leads + 1) % 3] {
        let shard = nodes[node].shard();
        let before = nodes.iter().map(|node| node.shard().read_rounds()).collect::<Vec<_>>();
        let reads = (0..READS).map(|_| get(shard, "a", Consistency::Linearizable));
        for found in futures::future::join_all(reads).await {
            assert_eq!(found.unwrap().as_deref(), Some("1"));
        }
        // The first read begins a round at once; those that come during it wait for the second.
        let rounds: Vec<_> =
            nodes.iter().zip(before).map(|(node, n)| node.shard().read_rounds() - n).collect();
        assert!((1..=READS / 50).contains(&rounds[node]), "{READS} reads of node {node} took {rounds:?}");
    }
}
