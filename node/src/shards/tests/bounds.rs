//! What is refused before it is proposed, and what is waited for.

use super::super::forward;
use super::*;
use crate::raft::Leader;
use crate::storage::Space;
use schedia_apps::StoreId;
use std::sync::mpsc;
use std::task::Poll;
use tokio::sync::Notify;

const MIB: usize = 1 << 20;

fn delete(key: &str) -> Command {
    let key = Bytes::copy_from_slice(key.as_bytes());
    Command::Kv(kv::Command::Delete(kv::Delete { key, if_mod_revision: None }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_bytes_in_flight_than_the_bound_are_busy_and_those_within_are_applied() {
    let nodes = cluster(1).await;
    let (shard, shards) = (nodes[0].shard(), &nodes[0].running().shards);
    // While somebody reads a page nothing is applied, and so nothing answered.
    let (state, (reading, begun), (stop, stopped)) =
        (shard.state().clone(), mpsc::channel(), mpsc::channel::<()>());
    let reader = std::thread::spawn(move || {
        let _view = state.view();
        reading.send(()).unwrap();
        let _ = stopped.recv();
    });
    begun.recv().unwrap();
    let value = "v".repeat(3 * MIB / 2);
    let (mut waiting, mut refused) = (Vec::new(), Vec::new());
    for key in (0..60).map(|number| format!("k{number:02}")) {
        let (shard, value, written) = (shard.clone(), value.clone(), key.clone());
        let mut answer = Box::pin(async move { put(&shard, &written, &value).await });
        match futures::poll!(&mut answer) {
            Poll::Pending => waiting.push((key, answer)),
            Poll::Ready(answer) => refused.push((key, answer)),
        }
    }
    assert!(refused.iter().all(|(_, answer)| *answer == Err(ShardError::Busy)), "{refused:?}");
    assert_eq!((waiting.len(), refused.len()), (42, 18), "64 MiB are let in");
    assert!(shards.in_flight_bytes() > 62 * MIB);
    drop(stop);
    reader.join().unwrap();
    for (key, answer) in waiting {
        answer.await.unwrap();
        assert!(get(shard, &key, Consistency::Stale).await.unwrap().is_some(), "{key}");
    }
    // That of the last one right after its answer.
    eventually("all room is given back", || shards.in_flight_bytes() == 0).await;
    for (key, _) in refused {
        assert_eq!(get(shard, &key, Consistency::Stale).await.unwrap(), None, "{key}");
        put_at_last(shard, &key, "there is room again").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_nearly_full_disk_a_leader_takes_only_deletions_until_there_is_room() {
    let nodes = cluster(3).await;
    let leads = leader(&nodes).await;
    let follower = nodes[(leads + 1) % 3].shard();
    for key in ["a", "b"] {
        put(follower, key, "1").await.unwrap();
    }
    let storage = &nodes[leads].running().shards.storage;
    storage.pretend(Some(Space { total_bytes: 10 << 30, free_bytes: 100 << 20 }));
    for shard in [nodes[leads].shard(), follower] {
        assert_eq!(put(shard, "c", "1").await, Err(ShardError::DiskLow));
    }
    nodes[leads].shard().propose(delete("a"), deadline()).await.unwrap();
    follower.propose(delete("b"), deadline()).await.unwrap();
    storage.pretend(None);
    put(follower, "c", "1").await.unwrap();
}

/// Answers nothing, and says when it was asked.
struct Silent(Arc<Notify>);

impl Service for Silent {
    fn call(&self, _: Request) -> BoxFuture<'static, Result<Bytes, Refused>> {
        self.0.notify_one();
        std::future::pending().boxed()
    }

    fn snapshot(&self, _: Request, _: Parts) -> BoxFuture<'static, Result<Bytes, Refused>> {
        std::future::pending().boxed()
    }

    fn lost(&self, _: NodeId) {}

    fn removed(&self, _: ShardId, _: NodeId) -> Option<u64> {
        None
    }
}

fn member(id: u64, address: &str) -> Peers {
    let (name, store_id) = (format!("n{id}"), StoreId::try_from(format!("s-{id}")).unwrap());
    let peers = Peers::new(Hello {
        name,
        store_id,
        address: address.into(),
        http_url: "http://nowhere".into(),
        seed: false,
    });
    peers.assign("test".parse().unwrap(), NodeId(id));
    peers
}

#[tokio::test]
async fn a_forward_whose_answer_is_lost_is_in_doubt_and_one_never_sent_is_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (asked, stop) = (Arc::new(Notify::new()), CancellationToken::new());
    let serving = tokio::spawn({
        let (leads, silent, stop) = (member(1, &address), Arc::new(Silent(asked.clone())), stop.clone());
        async move { leads.serve(listener, silent, stop).await }
    });
    let follower = member(2, "127.0.0.1:0");
    let to = Leader { id: NodeId(1), address };
    let command = Bytes::from(delete("a").encode());
    let propose = |until| forward::propose(&follower, &to, ShardId(0), command.clone(), until);

    let late = propose(Instant::now() + Duration::from_millis(100)).await;
    assert!(matches!(late, Err(ShardError::OutcomeUnknown { .. })), "it may still be applied: {late:?}");
    asked.notified().await;
    let ended = async {
        asked.notified().await;
        stop.cancel();
        serving.await.unwrap();
    };
    let (lost, ()) = tokio::join!(propose(deadline()), ended);
    assert!(matches!(lost, Err(ShardError::OutcomeUnknown { .. })), "the connection ended: {lost:?}");
    let never = propose(deadline()).await;
    assert!(matches!(never, Err(ShardError::Unavailable { .. })), "nobody listens: {never:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leader_answers_from_its_first_moment() {
    let nodes = cluster(3).await;
    for round in 0..6 {
        let old = leader(&nodes).await;
        let (new, other) = ((old + 1) % 3, (old + 2) % 3);
        let to = nodes[new].id;
        let caught_up = || nodes[old].shard().lag().get(&to) == Some(&0);
        eventually("the next leader has caught up", caught_up).await;
        while nodes[old].shard().transfer_leader(to, deadline()).await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
        let round = round.to_string();
        put(nodes[new].shard(), "a", &round).await.unwrap();
        for index in [new, other] {
            let found = get(nodes[index].shard(), "a", Consistency::Linearizable).await.unwrap();
            assert_eq!(found.as_ref(), Some(&round), "on node {}", nodes[index].id);
        }
    }
}
