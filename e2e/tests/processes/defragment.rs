//! State files give back the room of rows that are gone, while clients go on.

use super::command_line::schedia;
use super::{PATIENCE, seed};
use schedia_api::KvDeleted;
use schedia_e2e::load::{Answer, Load, Wire};
use schedia_e2e::process::{Cluster, Node};
use schedia_e2e::wait::eventually;

/// Of 1 MiB each: enough that a node copies its file without being asked, once they are gone.
const VALUES: usize = 80;

#[tokio::test(flavor = "multi_thread")]
async fn after_most_keys_are_deleted_nodes_copy_their_state_files_and_no_client_notices() {
    let mut cluster = Cluster::joined(3).await;
    let leader = cluster.nodes[cluster.leader().await].http_url();
    let wire = Wire::new();
    for number in 0..VALUES {
        let put = wire.put(&leader, &format!("large/{number}"), vec![number as u8; 1 << 20].into()).await;
        assert!(matches!(put, Answer::Done { .. }), "{put:?}");
    }
    let load = Load::start(&cluster.endpoints(), 4, seed());
    give_up_all(&leader).await;

    // One is asked for a copy, the others find out by themselves.
    let rows_are_gone = || async { rows_are_gone(&cluster.nodes[0]).await };
    eventually("the rows of the deleted keys are gone", PATIENCE, rows_are_gone).await;
    let asked = cluster.nodes[0].admin_url();
    let said = schedia(&["defragment", "--admin-endpoints", &asked, "--timeout", "60s"], b"").await;
    assert_eq!(said.exit, 0, "{said:?}");
    assert!(said.out.contains("shard 0: ") && said.out.contains(" bytes are "), "{said:?}");
    for node in &cluster.nodes {
        let small = || async { small(node).await };
        eventually(&format!("{} has copied its state file", node.name), PATIENCE, small).await;
    }
    load.progress(300, PATIENCE).await;
    cluster.nodes.iter_mut().for_each(Node::kill);
    cluster.nodes.iter_mut().for_each(|node| node.start(&[]));
    load.progress(300, PATIENCE).await;
    let history = load.stop().await;
    cluster.caught_up().await;
    history.verify(&cluster.endpoints()).await;
}

/// Deletes the large keys, and their history.
async fn give_up_all(leader: &str) {
    let http = reqwest::Client::new();
    let deleted = http.delete(format!("{leader}/v1/kv?prefix=large/")).send().await.unwrap();
    assert!(deleted.status().is_success(), "{deleted:?}");
    let KvDeleted { revision, .. } = deleted.json().await.unwrap();
    let compact = serde_json::json!({ "revision": revision });
    let compacted = http.post(format!("{leader}/v1/kv:compact")).json(&compact).send().await.unwrap();
    assert!(compacted.status().is_success(), "{compacted:?}");
}

async fn rows_are_gone(node: &Node) -> Result<(), String> {
    let metrics = node.metrics().await?;
    let line = metrics.lines().find(|line| line.starts_with("schedia_state_rows_bytes{"));
    let bytes = line.and_then(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
    bytes.filter(|bytes| *bytes < 16_000_000).map(drop).ok_or_else(|| format!("{line:?}"))
}

async fn small(node: &Node) -> Result<(), String> {
    let file = std::fs::metadata(node.data_dir().join("shards/0/state.redb")).map_err(|e| e.to_string())?;
    match file.len() {
        0..16_000_000 => Ok(()),
        bytes => Err(format!("its state file has {bytes} bytes")),
    }
}
