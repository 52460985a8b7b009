//! Linearizable reads: how many rounds they cost.

use super::*;

const READS: u64 = 1_000;

/// In one thread: all of them begin before any round ends.
#[tokio::test]
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
        let rounds: Vec<_> =
            nodes.iter().zip(before).map(|(node, n)| node.shard().read_rounds() - n).collect();
        assert!((1..=2).contains(&rounds[node]), "{READS} reads of node {node} took {rounds:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_confirms_the_leader_of_its_newest_vote_and_none_before() {
    let nodes = cluster(3).await;
    put(nodes[0].shard(), "a", "1").await.unwrap();
    let old = leader(&nodes).await;
    let (asks, voter) = (&nodes[old], &nodes[(old + 1) % 3]);
    let confirms = async |term: u64| {
        let (target, peers) = (Target { id: voter.id, address: &voter.address }, &asks.running().peers);
        let question = Bytes::from(vec![1, u8::try_from(term).unwrap()]);
        let answer = peers.call(target, Kind::Confirm, ShardId(0), question, deadline()).await.unwrap();
        assert!(matches!(answer[..], [1, 0 | 1]), "{answer:?}");
        answer[1] == 1
    };
    let term = asks.shard().status().term;
    assert!(confirms(term).await && confirms(term + 1).await && !confirms(term - 1).await);
    hand_over(asks, voter).await;
    assert!(!confirms(term).await && confirms(term + 1).await);
}

/// From one to the other, as soon as that can take it.
async fn hand_over(from: &Node, to: &Node) {
    let until = deadline();
    while let Err(error) = from.shard().transfer_leader(to.id, deadline()).await {
        assert!(Instant::now() < until, "{error}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Reads that asked nobody, and rounds of the leader, for one read on the leader and one on a follower.
async fn leased(nodes: &[Node]) -> (u64, u64) {
    let leads = leader(nodes).await;
    let before = (nodes[leads].shard().lease_reads(), nodes[leads].shard().read_rounds());
    for node in [leads, (leads + 1) % nodes.len()] {
        assert_eq!(
            get(nodes[node].shard(), "a", Consistency::Linearizable).await.unwrap().as_deref(),
            Some("1")
        );
    }
    let (leased, rounds) = (nodes[leads].shard().lease_reads(), nodes[leads].shard().read_rounds());
    (leased - before.0, rounds - before.1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_reads_by_its_lease_once_a_majority_promises_and_only_then() {
    let mut nodes = cluster(3).await;
    put(nodes[0].shard(), "a", "1").await.unwrap();
    assert_eq!(leased(&nodes).await, (0, 2), "nobody promises anything");
    let leads = leader(&nodes).await;
    nodes[leads].with_lease_reads(true).await;
    put_at_last(nodes[leads].shard(), "a", "1").await;
    assert_eq!(leased(&nodes).await.0, 0, "no majority promises");
    for node in &mut nodes {
        if !node.lease_reads {
            node.with_lease_reads(true).await;
        }
    }
    put_at_last(nodes[leads].shard(), "a", "1").await;
    let until = deadline();
    // The first answers of a leader's term make its lease. Heartbeats keep it.
    while leased(&nodes).await != (2, 0) {
        assert!(Instant::now() < until, "it never reads by a lease");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_hands_over_reads_by_no_lease_from_then_on() {
    let mut nodes = cluster(3).await;
    for node in &mut nodes {
        node.with_lease_reads(true).await;
    }
    put_at_last(nodes[0].shard(), "a", "1").await;
    let leads = leader(&nodes).await;
    let term = |node: &Node| node.shard().status().term;
    let (before, to) = (&nodes[leads], &nodes[(leads + 1) % 3]);
    eventually("a lease", || before.shard().has_lease(term(before))).await;
    let term_before = term(before);
    hand_over(before, to).await;
    // Its last promises were given a moment ago.
    assert!(!before.shard().has_lease(term_before));
    eventually("a lease of the new leader", || to.shard().has_lease(term(to))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_remembers_for_how_long_promises_hold_and_forgets_it_when_they_have_ended() {
    let mut node = Node::start(1, 1).await;
    let promised = async |node: &mut Node| {
        node.kill().await;
        open(node.dir.path()).await.promised()
    };
    assert_eq!(promised(&mut node).await, Duration::ZERO);
    node.lease_reads = true;
    node.run().await;
    assert_eq!(promised(&mut node).await, Timings::default().election_max());
    node.lease_reads = false;
    node.run().await;
    assert_eq!(promised(&mut node).await, Timings::default().election_max(), "they may still hold");
    node.run().await;
    let file = node.dir.path().join("promise");
    eventually("the file goes", || !file.exists()).await;
}
