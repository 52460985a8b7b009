//! Nodes of one process that talk over loopback and write real files.

mod bounds;
mod clock;
mod grace;
mod once;
mod reads;
mod several;
mod watch;

use super::*;
use crate::peer::{CallError, Hello, Kind, Target};
use crate::shards::{Applied, Consistency};
use crate::storage::Options;
use schedia_apps::{Command, Query, Reply, kv};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Long enough for a busy machine: nothing waits for it but failures.
const PATIENCE: Duration = Duration::from_secs(30);

fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

struct Node {
    id: NodeId,
    dir: TempDir,
    address: String,
    /// How far its wall clock is ahead.
    ahead_ms: Arc<AtomicI64>,
    lease_reads: bool,
    timings: Timings,
    shards: u32,
    running: Option<Running>,
}

struct Running {
    shards: Arc<Shards>,
    peers: Peers,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Node {
    async fn start(id: u64, shards: u32) -> Node {
        let mut node = Node {
            id: NodeId(id),
            dir: TempDir::new().unwrap(),
            address: "127.0.0.1:0".into(),
            ahead_ms: Arc::default(),
            lease_reads: false,
            timings: Timings::default(),
            shards,
            running: None,
        };
        node.run().await;
        node
    }

    /// Starts it again, with lease reads or without.
    async fn with_lease_reads(&mut self, on: bool) {
        self.kill().await;
        self.lease_reads = on;
        self.run().await;
    }

    async fn run(&mut self) {
        let storage = Arc::new(open(self.dir.path()).await);
        let listener = TcpListener::bind(&self.address).await.unwrap();
        self.address = listener.local_addr().unwrap().to_string();
        let name = format!("n{}", self.id);
        let store_id = storage.identity().store_id;
        let peers = Peers::new(Hello {
            name,
            store_id,
            address: self.address.clone(),
            http_url: "http://nowhere".into(),
            seed: false,
        });
        let shards = Shards::new(storage, self.timings, peers.clone(), Arc::default());
        let shards = shards.on(clock::wall(self.ahead_ms.clone())).lease_reads(self.lease_reads);
        let shards = Arc::new(shards);
        shards.start(&"test".parse().unwrap(), self.id, self.shards).await.unwrap();
        let stop = CancellationToken::new();
        let serving = tokio::spawn({
            let (peers, shards, stop) = (peers.clone(), shards.clone(), stop.clone());
            async move { peers.serve(listener, shards, stop).await }
        });
        self.running = Some(Running { shards, peers, stop, serving });
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    fn shard(&self) -> &Shard {
        self.of(0)
    }

    fn of(&self, shard: u32) -> &Shard {
        self.running().shards.shard(ShardId(shard)).unwrap()
    }

    /// Goes on, but hears nobody.
    async fn stop_hearing(&mut self) {
        let running = self.running.as_mut().unwrap();
        running.stop.cancel();
        (&mut running.serving).await.unwrap();
    }

    /// Is heard, and hears, again.
    async fn hear(&mut self) {
        let listener = TcpListener::bind(&self.address).await.unwrap();
        let running = self.running.as_mut().unwrap();
        running.stop = CancellationToken::new();
        let (peers, shards, stop) = (running.peers.clone(), running.shards.clone(), running.stop.clone());
        running.serving = tokio::spawn(async move { peers.serve(listener, shards, stop).await });
    }

    /// Ends as a process that is killed: nothing is handed over, nothing flushed.
    async fn kill(&mut self) {
        let Running { shards, stop, serving, .. } = self.running.take().unwrap();
        stop.cancel();
        serving.await.unwrap();
        for shard in shards.iter() {
            shard.stop_at_once().await;
        }
    }

    /// Ends as a process that is asked to.
    async fn shut_down(&mut self) {
        let Running { shards, stop, serving, .. } = self.running.take().unwrap();
        shards.shutdown().await;
        stop.cancel();
        serving.await.unwrap();
    }
}

/// The tasks and threads of the node before hold its files until they have ended.
async fn open(dir: &Path) -> Storage {
    let until = deadline();
    loop {
        match Storage::open(dir, Options::default()) {
            Ok(storage) => return storage,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        sleep(Duration::from_millis(10)).await;
    }
}

async fn put(shard: &Shard, key: &str, value: &str) -> Result<Applied<Reply>, ShardError> {
    let (key, value) = (Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes()));
    let put = kv::Put { key, value, if_mod_revision: None };
    shard.propose(Command::Kv(kv::Command::Put(put)), deadline()).await
}

/// Puts until it is certain that it was applied.
async fn put_at_last(shard: &Shard, key: &str, value: &str) {
    let until = deadline();
    while let Err(error) = put(shard, key, value).await {
        assert!(Instant::now() < until, "{error}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn get(shard: &Shard, key: &str, consistency: Consistency) -> Result<Option<String>, ShardError> {
    let query = kv::Query::Get { key: Bytes::copy_from_slice(key.as_bytes()), revision: None };
    match shard.read(Query::Kv(query), consistency, deadline()).await?.value {
        Reply::Kv(kv::Reply::Got { found, .. }) => {
            Ok(found.map(|found| String::from_utf8(found.value.to_vec()).unwrap()))
        }
        other => panic!("{other:?}"),
    }
}

async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = deadline();
    while !condition() {
        assert!(Instant::now() < until, "not in time: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// A cluster of nodes 1 to `count`, all voters, with one shard.
async fn cluster(count: u64) -> Vec<Node> {
    cluster_of(count, 1).await
}

/// The same with several shards, all led by node 1 at first.
async fn cluster_of(count: u64, shards: u32) -> Vec<Node> {
    let mut nodes = vec![Node::start(1, shards).await];
    nodes[0].running().shards.initialize(&nodes[0].address).await.unwrap();
    for id in 2..=count {
        nodes.push(Node::start(id, shards).await);
    }
    let learners: BTreeMap<_, _> = nodes[1..].iter().map(|node| (node.id, node.address.clone())).collect();
    for leader in nodes[0].running().shards.iter() {
        eventually("node 1 leads", || leader.is_leader()).await;
        put_at_last(leader, "first", "1").await;
        if !learners.is_empty() {
            leader.add_learners(leader.membership().log_id, learners.clone(), deadline()).await.unwrap();
            let voters: BTreeSet<_> = nodes.iter().map(|node| node.id).collect();
            leader.change_voters(leader.membership().log_id, voters, deadline()).await.unwrap();
        }
    }
    nodes
}

/// The index of the node that leads.
async fn leader(nodes: &[Node]) -> usize {
    let until = deadline();
    loop {
        let leads = |node: &Node| node.running.is_some() && node.shard().is_leader();
        if let Some(index) = nodes.iter().position(leads) {
            return index;
        }
        assert!(Instant::now() < until, "nobody leads");
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_alone_takes_writes_and_is_killed_without_losing_one() {
    let mut nodes = cluster(1).await;
    for number in 0..50 {
        put(nodes[0].shard(), &format!("k{number}"), &format!("v{number}")).await.unwrap();
    }
    nodes[0].kill().await;
    nodes[0].run().await;
    for number in 0..50 {
        let found = get(nodes[0].shard(), &format!("k{number}"), Consistency::Linearizable).await.unwrap();
        assert_eq!(found, Some(format!("v{number}")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_put_on_a_follower_is_read_on_every_node() {
    let nodes = cluster(3).await;
    put(nodes[2].shard(), "a", "1").await.unwrap();
    for node in &nodes {
        let found = get(node.shard(), "a", Consistency::Linearizable).await.unwrap();
        assert_eq!(found.as_deref(), Some("1"), "on node {}", node.id);
    }
    let refused = nodes[1]
        .shard()
        .propose(
            Command::Kv(kv::Command::Delete(kv::Delete {
                key: Bytes::from_static(b"absent"),
                if_mod_revision: None,
            })),
            deadline(),
        )
        .await;
    assert_eq!(refused, Err(ShardError::Refused(schedia_apps::Refusal::Kv(kv::Refusal::KeyNotFound))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_sent_at_once_are_answered_each_with_its_own_place() {
    let nodes = cluster(1).await;
    let shard = nodes[0].shard();
    let puts = (0..500).map(|number| async move { put(shard, &format!("k{number:03}"), "v").await.unwrap() });
    let places: BTreeSet<_> = futures::future::join_all(puts)
        .await
        .into_iter()
        .map(|applied| (applied.at.index, applied.at.position))
        .collect();
    assert_eq!(places.len(), 500, "every command has a place of its own");
    let entries: BTreeSet<_> = places.iter().map(|(index, _)| index).collect();
    assert!(entries.len() < 500, "commands that wait share entries");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_leader_is_killed_another_one_leads_and_nothing_is_lost() {
    let mut nodes = cluster(3).await;
    for number in 0..20 {
        put(nodes[1].shard(), &format!("k{number}"), "before").await.unwrap();
    }
    let old = leader(&nodes).await;
    nodes[old].kill().await;
    let new = leader(&nodes).await;
    assert_ne!(new, old);
    put_at_last(nodes[new].shard(), "after", "1").await;
    nodes[old].run().await;
    eventually("the old leader has recovered", || nodes[old].shard().is_recovered()).await;
    for number in 0..20 {
        for node in &nodes {
            let found = get(node.shard(), &format!("k{number}"), Consistency::Linearizable).await.unwrap();
            assert_eq!(found.as_deref(), Some("before"), "on node {}", node.id);
        }
    }
    assert_eq!(
        get(nodes[old].shard(), "after", Consistency::Linearizable).await.unwrap().as_deref(),
        Some("1")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_shuts_down_hands_over_first() {
    let mut nodes = cluster(3).await;
    let old = leader(&nodes).await;
    let term = nodes[old].shard().status().term;
    let was = nodes[old].id;
    nodes[old].shut_down().await;
    let others: Vec<&Node> = nodes.iter().filter(|node| node.id != was).collect();
    // The others may not have heard of it yet; the heir has.
    let heir = others.iter().find(|node| node.shard().is_leader());
    assert!(heir.is_some(), "somebody else leads at once: {:?}", others[0].shard().status());
    assert_eq!(heir.unwrap().shard().status().term, term + 1, "by one election");
    put_at_last(others[1].shard(), "a", "1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_goes_to_a_voter_that_has_caught_up_and_to_nobody_else() {
    let nodes = cluster(3).await;
    let old = leader(&nodes).await;
    let to = nodes[(old + 1) % 3].id;
    let stranger = nodes[old].shard().transfer_leader(NodeId(99), deadline()).await;
    assert_eq!(stranger, Err(MembershipError::NotCaughtUp(NodeId(99))));
    eventually("the voter has caught up", || nodes[old].shard().lag().get(&to) == Some(&0)).await;
    nodes[old].shard().transfer_leader(to, deadline()).await.unwrap();
    assert_eq!(leader(&nodes).await, (old + 1) % 3);
    let follower = nodes[old].shard().transfer_leader(to, deadline()).await;
    assert_eq!(follower, Err(ShardError::NotLeader { leader: Some(to) }.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_planned_from_an_old_membership_changes_nothing() {
    let nodes = cluster(3).await;
    let shard = nodes[leader(&nodes).await].shard();
    let before = shard.membership();
    assert!(before.committed && before.joint.is_none(), "{before:?}");
    let one = BTreeSet::from([NodeId(1)]);
    assert_eq!(shard.change_voters(None, one, deadline()).await, Err(MembershipError::Stale));
    assert_eq!(shard.membership(), before);
    let unknown = shard.change_voters(before.log_id, BTreeSet::from([NodeId(9)]), deadline()).await;
    assert_eq!(unknown, Err(MembershipError::NotMember(NodeId(9))));
    assert_eq!(shard.membership(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_voter_becomes_a_learner_and_then_nothing() {
    let nodes = cluster(3).await;
    let shard = nodes[leader(&nodes).await].shard();
    let (leading, gone) = (shard.status().leader.unwrap(), nodes.iter().map(|node| node.id).max().unwrap());
    let gone = if leading == gone { NodeId(1) } else { gone };
    let stay: BTreeSet<_> = nodes.iter().map(|node| node.id).filter(|id| *id != gone).collect();
    shard.change_voters(shard.membership().log_id, stay.clone(), deadline()).await.unwrap();
    assert_eq!(shard.membership().learners, BTreeSet::from([gone]));
    shard.remove_learners(shard.membership().log_id, BTreeSet::from([gone]), deadline()).await.unwrap();
    assert_eq!((shard.membership().voters, shard.membership().learners), (stay, BTreeSet::new()));
    assert!(!shard.addresses().contains_key(&gone));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_three_outcomes_are_told_apart() {
    let mut nodes = cluster(3).await;
    let leads = leader(&nodes).await;
    put(nodes[leads].shard(), "done", "1").await.unwrap();
    for index in (0..3).filter(|index| *index != leads) {
        nodes[index].kill().await;
    }
    // At once the leader still takes it, and cannot say what becomes of it.
    let soon = Instant::now() + Duration::from_millis(200);
    let unknown = kv::Put { key: Bytes::from_static(b"unknown"), value: Bytes::new(), if_mod_revision: None };
    let unknown = nodes[leads].shard().propose(Command::Kv(kv::Command::Put(unknown)), soon).await;
    assert!(matches!(unknown, Err(ShardError::OutcomeUnknown { .. })), "{unknown:?}");
    // Once no majority has answered for a while it takes nothing: certainly not applied.
    let until = deadline();
    let unavailable = loop {
        let soon = Instant::now() + Duration::from_millis(200);
        let put = kv::Put { key: Bytes::from_static(b"never"), value: Bytes::new(), if_mod_revision: None };
        match nodes[leads].shard().propose(Command::Kv(kv::Command::Put(put)), soon).await {
            Err(ShardError::OutcomeUnknown { .. }) => assert!(Instant::now() < until),
            other => break other,
        }
    };
    assert!(
        matches!(unavailable, Err(ShardError::Unavailable { .. } | ShardError::NoLeader)),
        "{unavailable:?}"
    );
    // A leader without a majority answers no linearizable read; what it has it may tell.
    let read = get(nodes[leads].shard(), "done", Consistency::Linearizable).await;
    assert!(matches!(read, Err(ShardError::Unavailable { .. } | ShardError::NoLeader)), "{read:?}");
    assert_eq!(get(nodes[leads].shard(), "done", Consistency::Stale).await.unwrap().as_deref(), Some("1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_far_behind_catches_up_by_a_snapshot_while_the_leader_serves() {
    let mut nodes = cluster(3).await;
    let leads = leader(&nodes).await;
    let behind = (leads + 1) % 3;
    nodes[behind].kill().await;
    let value = "v".repeat(4_000);
    let shard = nodes[leads].shard();
    let puts = (0..400).map(|number| {
        let value = value.clone();
        async move { put(shard, &format!("k{number:03}"), &value).await.unwrap() }
    });
    futures::future::join_all(puts).await;
    shard.snapshot().await.unwrap();
    let purged = || shard.purged().unwrap_or(0);
    let covered = shard.status().applied.unwrap().index;
    eventually("the leader has purged its log", || purged() >= covered).await;
    nodes[behind].run().await;
    let until = deadline();
    let mut number = 0;
    while nodes[behind].shard().status().applied.is_none_or(|applied| applied.index < covered) {
        put(nodes[leads].shard(), "meanwhile", &number.to_string()).await.unwrap();
        number += 1;
        assert!(Instant::now() < until, "not caught up: {:?}", nodes[behind].shard().status());
    }
    let snapshot = || nodes[behind].shard().purged().unwrap_or(0) >= covered;
    eventually("it has a snapshot in place of its log", snapshot).await;
    for number in [0, 199, 399] {
        let found =
            get(nodes[behind].shard(), &format!("k{number:03}"), Consistency::Linearizable).await.unwrap();
        assert_eq!(found.as_deref(), Some(value.as_str()));
    }
    // What was received is on disk: a restart needs no second snapshot.
    nodes[behind].kill().await;
    nodes[behind].run().await;
    eventually("it has recovered", || nodes[behind].shard().is_recovered()).await;
    assert!(get(nodes[behind].shard(), "k399", Consistency::Stale).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_for_another_node_reaches_no_shard() {
    let nodes = cluster(1).await;
    let peers = &nodes[0].running().peers;
    let target = Target { id: NodeId(2), address: &nodes[0].address };
    let refused = peers.call(target, Kind::ReadIndex, ShardId(0), Bytes::new(), deadline()).await;
    assert_eq!(refused, Err(CallError::Refused(Refused::WrongNode { node_id: NodeId(1) })));
    assert_eq!(peers.counts().refused_node, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_is_pushed_when_the_leader_changes_and_not_with_every_write() {
    let nodes = cluster(3).await;
    let old = leader(&nodes).await;
    let to = nodes[(old + 1) % 3].id;
    put(nodes[old].shard(), "a", "1").await.unwrap();
    eventually("the membership is committed everywhere", || {
        nodes
            .iter()
            .all(|node| node.shard().membership().committed && node.shard().membership().joint.is_none())
    })
    .await;
    let mut status = nodes[(old + 2) % 3].shard().watch_status();
    status.mark_unchanged();
    for number in 0..50 {
        put(nodes[old].shard(), "a", &number.to_string()).await.unwrap();
    }
    assert!(!status.has_changed().unwrap(), "writes alone change nothing of it");
    nodes[old].shard().transfer_leader(to, deadline()).await.unwrap();
    tokio::time::timeout(PATIENCE, status.wait_for(|status| status.leader == Some(to)))
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_recovers_without_a_write_though_its_last_entries_were_never_committed() {
    let mut nodes = cluster(3).await;
    let old = leader(&nodes).await;
    for index in (0..3).filter(|index| *index != old) {
        nodes[index].kill().await;
    }
    // More entries than the one that a new leader begins its term with.
    for _ in 0..3 {
        let soon = Instant::now() + Duration::from_millis(50);
        let put = kv::Put { key: Bytes::from_static(b"alone"), value: Bytes::new(), if_mod_revision: None };
        let unknown = nodes[old].shard().propose(Command::Kv(kv::Command::Put(put)), soon).await;
        assert!(matches!(unknown, Err(ShardError::OutcomeUnknown { .. })), "{unknown:?}");
    }
    nodes[old].kill().await;
    for index in (0..3).filter(|index| *index != old) {
        nodes[index].run().await;
    }
    leader(&nodes).await;
    nodes[old].run().await;
    eventually("it has recovered", || nodes[old].shard().is_recovered()).await;
}
