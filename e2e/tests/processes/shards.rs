//! Leaders of several shards: spread over the nodes, together again on those that are left, and spread anew.

use super::{PATIENCE, seed};
use schedia_api::Status;
use schedia_apps::{NodeId, ShardId};
use schedia_e2e::load::Load;
use schedia_e2e::process::{Cluster, Node};
use schedia_e2e::wait::eventually;
use std::collections::BTreeMap;

const SHARDS: &str = "4";

/// Who leads each shard, if all running nodes agree.
async fn leaders(nodes: &[Node]) -> Result<BTreeMap<ShardId, NodeId>, String> {
    let mut agreed = None;
    for node in nodes.iter().filter(|node| node.is_running()) {
        let Status { shards, .. } = node.status().await?;
        let leader = |shard: &schedia_api::ShardStatus| shard.leader.map(|leader| (shard.shard, leader));
        let leaders: Option<BTreeMap<_, _>> = shards.iter().map(leader).collect();
        let leaders = leaders.ok_or_else(|| format!("{} misses a leader", node.name))?;
        if agreed.get_or_insert_with(|| leaders.clone()) != &leaders {
            return Err(format!("{} says {leaders:?}, another one {agreed:?}", node.name));
        }
    }
    agreed.ok_or_else(|| "no node runs".to_owned())
}

/// Waits until running nodes lead these numbers of shards, in any order.
async fn spread(cluster: &Cluster, wanted: &[usize]) {
    eventually(&format!("leaders are spread {wanted:?}"), PATIENCE, || async {
        let leaders = leaders(&cluster.nodes).await?;
        let mut led: BTreeMap<NodeId, usize> = BTreeMap::new();
        leaders.values().for_each(|id| *led.entry(*id).or_default() += 1);
        let mut counts: Vec<_> = led.into_values().collect();
        counts.sort_unstable();
        if counts == wanted { Ok(()) } else { Err(format!("{leaders:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_of_shards_are_spread_and_spread_again_when_a_node_returns() {
    let mut cluster = Cluster::joined_with(3, &["--shards", SHARDS]).await;
    spread(&cluster, &[1, 1, 2]).await;
    let load = Load::start(&cluster.endpoints(), 2, seed());
    load.progress(50, PATIENCE).await;
    let gone = cluster.leader().await;
    cluster.nodes[gone].kill();
    spread(&cluster, &[2, 2]).await;
    load.progress(50, PATIENCE).await;
    cluster.nodes[gone].start(&[]);
    spread(&cluster, &[1, 1, 2]).await;
    load.progress(50, PATIENCE).await;
    let history = load.stop().await;
    history.verify(&cluster.endpoints()).await;
}

/// What a person gives who has read nothing: more shards for a cluster that has one.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_keeps_its_number_of_shards_and_says_so() {
    let mut cluster = Cluster::joined_with(1, &[]).await;
    cluster.nodes[0].kill();
    cluster.nodes[0].start(&["--bootstrap", "--shards", SHARDS]);
    cluster.settled(1).await;
    eventually("it says that --shards has no effect", PATIENCE, || async {
        let told = cluster.nodes[0].log().contains("--shards has no effect");
        if told { Ok(()) } else { Err(cluster.nodes[0].log_tail()) }
    })
    .await;
    assert_eq!(cluster.nodes[0].status().await.unwrap().shards.len(), 1);
}
