//! Several shards on the same nodes: one log and one port for all, and nothing else in common.

use super::*;

const SHARDS: u32 = 4;

fn shards() -> impl Iterator<Item = u32> {
    0..SHARDS
}

/// The index of the node that leads a shard.
async fn leader_of(nodes: &[Node], shard: u32) -> usize {
    let leads = |node: &Node| node.running.is_some() && node.of(shard).is_leader();
    eventually("somebody leads", || nodes.iter().any(leads)).await;
    nodes.iter().position(leads).unwrap_or_default()
}

async fn value_of(node: &Node, shard: u32, key: &str) -> Option<String> {
    get(node.of(shard), key, Consistency::Linearizable).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_shard_has_a_state_of_its_own_also_after_all_nodes_were_killed() {
    let mut nodes = cluster_of(3, SHARDS).await;
    for shard in shards() {
        put(nodes[shard as usize % 3].of(shard), "key", &format!("of {shard}")).await.unwrap();
    }
    // Half of them have a checkpoint, the others only their log.
    for shard in shards().filter(|shard| shard % 2 == 0) {
        nodes[leader_of(&nodes, shard).await].of(shard).snapshot().await.unwrap();
    }
    for node in &mut nodes {
        node.kill().await;
    }
    for node in &mut nodes {
        node.run().await;
    }
    for shard in shards() {
        put_at_last(nodes[0].of(shard), "after", "1").await;
        for node in &nodes {
            assert_eq!(value_of(node, shard, "key").await, Some(format!("of {shard}")), "on {}", node.id);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_without_a_majority_holds_up_no_other() {
    let nodes = cluster_of(3, SHARDS).await;
    for node in &nodes[1..] {
        node.of(2).stop_at_once().await;
    }
    let soon = || Instant::now() + Duration::from_millis(300);
    let key = || kv::Put { key: Bytes::from_static(b"a"), value: Bytes::new(), if_mod_revision: None };
    let stuck = nodes[0].of(2).propose(Command::Kv(kv::Command::Put(key())), soon()).await;
    assert!(matches!(stuck, Err(ShardError::OutcomeUnknown { .. })), "{stuck:?}");
    for shard in shards().filter(|shard| *shard != 2) {
        for node in &nodes {
            put(node.of(shard), "a", &format!("by {}", node.id)).await.unwrap();
        }
        assert_eq!(value_of(&nodes[1], shard, "a").await.as_deref(), Some("by 3"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_far_behind_on_every_shard_catches_up_by_a_snapshot_of_each() {
    let mut nodes = cluster_of(3, SHARDS).await;
    nodes[2].kill().await;
    let value = "v".repeat(4_000);
    let mut covered = BTreeMap::new();
    for shard in shards() {
        let leads = nodes[leader_of(&nodes[..2], shard).await].of(shard);
        let puts = (0..100).map(|number| {
            let value = value.clone();
            async move { put(leads, &format!("k{number:03}"), &value).await.unwrap() }
        });
        futures::future::join_all(puts).await;
        leads.snapshot().await.unwrap();
        covered.insert(shard, leads.status().applied.unwrap().index);
        eventually("the leader has purged", || leads.purged().unwrap_or(0) >= covered[&shard]).await;
    }
    nodes[2].run().await;
    for shard in shards() {
        let snapshot = || nodes[2].of(shard).purged().unwrap_or(0) >= covered[&shard];
        eventually("it has a snapshot in place of its log", snapshot).await;
        assert_eq!(value_of(&nodes[2], shard, "k099").await.as_deref(), Some(value.as_str()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_shuts_down_hands_all_its_shards_over() {
    let mut nodes = cluster_of(3, SHARDS).await;
    let terms: Vec<_> = shards().map(|shard| nodes[0].of(shard).status().term).collect();
    nodes[0].shut_down().await;
    for shard in shards() {
        let heir = nodes[leader_of(&nodes, shard).await].of(shard);
        assert_eq!(heir.status().term, terms[shard as usize] + 1, "shard {shard}: by one election");
    }
}
