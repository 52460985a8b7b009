//! Writes that are sent again: to whom the state came by a snapshot, and over the death of a leader.

use super::*;
use schedia_apps::once::{self, Fingerprint, Outcome, Write};

async fn once(shard: &Shard, key: &str) -> Result<once::Reply, ShardError> {
    let put =
        kv::Put { key: Bytes::from_static(b"a"), value: Bytes::from_static(b"1"), if_mod_revision: None };
    let command = once::Command {
        principal: String::new(),
        key: key.to_owned(),
        fingerprint: Fingerprint::of(&[b"put"]),
        write: Write::Kv(kv::Command::Put(put)),
    };
    match shard.propose(Command::Once(command), deadline()).await?.value {
        Reply::Once(reply) => Ok(reply),
        other => panic!("{other:?}"),
    }
}

fn version(reply: &once::Reply) -> u64 {
    match reply.outcome {
        Outcome::Kv(kv::Reply::Put { version, .. }) => version,
        ref other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_state_came_by_a_snapshot_knows_what_was_done() {
    let mut nodes = cluster(3).await;
    let leads = leader(&nodes).await;
    let behind = (leads + 1) % 3;
    nodes[behind].kill().await;
    let shard = nodes[leads].shard();
    let first = once(shard, "k").await.unwrap();
    assert_eq!((first.replayed, version(&first)), (false, 1));
    put(shard, "a", "2").await.unwrap();
    shard.snapshot().await.unwrap();
    let covered = shard.status().applied.unwrap().index;
    eventually("the leader has purged its log", || shard.purged().unwrap_or(0) >= covered).await;
    nodes[behind].run().await;
    let snapshot = || nodes[behind].shard().purged().unwrap_or(0) >= covered;
    eventually("it has a snapshot in place of its log", snapshot).await;
    let to = nodes[behind].id;
    let until = deadline();
    while let Err(error) = nodes[leads].shard().transfer_leader(to, deadline()).await {
        assert!(Instant::now() < until, "{error}");
        sleep(Duration::from_millis(20)).await;
    }
    eventually("it leads", || nodes[behind].shard().is_leader()).await;
    let again = once(nodes[behind].shard(), "k").await.unwrap();
    assert_eq!(again, once::Reply { replayed: true, ..first });
    let found = get(nodes[behind].shard(), "a", Consistency::Linearizable).await.unwrap();
    assert_eq!(found.as_deref(), Some("2"), "the copy has written nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_that_are_under_way_at_once_on_all_nodes_are_one_write() {
    let nodes = cluster(3).await;
    let copies = (0..30).map(|number| once(nodes[number % 3].shard(), "k"));
    let replies: Vec<_> = futures::future::join_all(copies).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(replies.iter().filter(|reply| !reply.replayed).count(), 1);
    assert!(replies.iter().all(|reply| version(reply) == 1), "{replies:?}");
    assert_eq!(version(&once(nodes[0].shard(), "another").await.unwrap()), 2);
}
