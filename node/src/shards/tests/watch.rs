//! Watches while leaders change, snapshots are installed and history is compacted.

use super::*;
use schedia_apps::kv::{Changed, KeyRange, Operation, Txn};

/// All revisions of a watch up to one, in the order they came.
async fn revisions(watch: &mut Watch, upto: u64) -> Vec<u64> {
    let until = deadline();
    let mut seen: Vec<u64> = Vec::new();
    while seen.last().is_none_or(|last| *last < upto) {
        watch.wait(until).await;
        seen.extend(watch.take().unwrap().iter().map(|changed| changed.revision.main));
        assert!(Instant::now() < until, "only up to {:?} of {upto}", seen.last());
    }
    seen
}

async fn revision(shard: &Shard) -> u64 {
    match shard
        .read(Query::Kv(kv::Query::Revisions), Consistency::Linearizable, deadline())
        .await
        .unwrap()
        .value
    {
        Reply::Kv(kv::Reply::Revisions { revision, .. }) => revision,
        other => panic!("{other:?}"),
    }
}

fn all(shard: &Shard, from: u64) -> Watch {
    shard.watch(KeyRange::all(), from, false)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_tells_the_same_changes_once_whoever_leads() {
    let mut nodes = cluster(3).await;
    let mut watches: Vec<Watch> = nodes.iter().map(|node| all(node.shard(), 2)).collect();
    for round in 0..4 {
        let leads = leader(&nodes).await;
        for number in 0..25 {
            put_at_last(nodes[(leads + 1) % 3].shard(), &format!("k{number}"), &round.to_string()).await;
        }
        let heir = nodes[(leads + 1) % 3].id;
        // The heir may be behind for a moment: then the leader stays, which is as good.
        let _ = nodes[leads].shard().transfer_leader(heir, deadline()).await;
    }
    let upto = revision(nodes[0].shard()).await;
    let expected: Vec<u64> = (2..=upto).collect();
    for watch in &mut watches {
        assert_eq!(revisions(watch, upto).await, expected);
    }
    // A leader that is killed takes its own watch with it; the others go on.
    let leads = leader(&nodes).await;
    drop(watches.remove(leads));
    nodes[leads].kill().await;
    put_at_last(nodes[(leads + 1) % 3].shard(), "after", "1").await;
    for watch in &mut watches {
        assert_eq!(revisions(watch, upto + 1).await, [upto + 1]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installed_snapshot_neither_loses_nor_repeats_changes() {
    let mut nodes = cluster(3).await;
    let leads = leader(&nodes).await;
    let behind = (leads + 1) % 3;
    let before = revision(nodes[behind].shard()).await;
    let mut watch = all(nodes[behind].shard(), 2);
    assert_eq!(revisions(&mut watch, before).await, (2..=before).collect::<Vec<_>>());
    nodes[behind].stop_hearing().await;
    let value = "v".repeat(4_000);
    for number in 0..50 {
        put_at_last(nodes[leads].shard(), &format!("k{number}"), &value).await;
    }
    let shard = nodes[leads].shard();
    shard.snapshot().await.unwrap();
    let covered = shard.status().applied.unwrap().index;
    eventually("the leader has purged its log", || shard.purged().unwrap_or(0) >= covered).await;
    let upto = revision(shard).await;
    nodes[behind].hear().await;
    let snapshot = || nodes[behind].shard().purged().unwrap_or(0) >= covered;
    eventually("a snapshot is installed", snapshot).await;
    put_at_last(nodes[leads].shard(), "after", "1").await;
    assert_eq!(revisions(&mut watch, upto + 1).await, (before + 1..=upto + 1).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_gets_everything_from_the_history_or_is_told_what_is_gone() {
    let nodes = cluster(1).await;
    let shard = nodes[0].shard();
    let begun = revision(shard).await;
    let [mut patient, mut lazy] = [all(shard, begun + 1), all(shard, begun + 1)];
    // More changes than the feed keeps.
    for number in 0..80 {
        let put =
            |n| Operation::Put { key: Bytes::from(format!("k{n}")), value: Bytes::from(number.to_string()) };
        let txn = Txn { success: (0..128).map(put).collect(), ..Txn::default() };
        shard.propose(Command::Kv(kv::Command::Txn(txn)), deadline()).await.unwrap();
    }
    let mut changes: Vec<Changed> = Vec::new();
    while changes.len() < 80 * 128 {
        patient.wait(deadline()).await;
        let page = patient.take().unwrap();
        assert!(!page.is_empty(), "after {} changes", changes.len());
        assert_eq!(page.len() % 128, 0, "revisions come whole");
        changes.extend(page);
    }
    assert!(changes.is_sorted_by(|a, b| a.revision < b.revision));
    assert_eq!(patient.place().main, begun + 81);
    let compact = Command::Kv(kv::Command::Compact { revision: begun + 80 });
    shard.propose(compact, deadline()).await.unwrap();
    let gone = lazy.take().unwrap_err();
    let expected: schedia_apps::Refusal = kv::Refusal::Compacted { compacted: begun + 80 }.into();
    assert_eq!(gone, expected.into());
    // Who is behind the compaction goes on.
    put(shard, "after", "1").await.unwrap();
    assert_eq!(revisions(&mut patient, begun + 81).await, [begun + 81]);
}
