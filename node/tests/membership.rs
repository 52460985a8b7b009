//! How nodes become a cluster and how it changes: whole nodes in one process, asked through their ports.

#![allow(clippy::unwrap_used)] // a panic here is the message of a failed test

#[path = "membership/nodes.rs"]
mod nodes;
#[path = "membership/removal.rs"]
mod removal;
#[path = "membership/reset.rs"]
mod reset;

use nodes::{Node, Operator, PATIENCE, code, ids, voters};
use schedia_api::{Assign, Changed, Client, ClientError, Initialize, Role, SetVoters, TransferLeader};
use schedia_apps::cluster::Record;
use schedia_apps::{ClusterId, NodeId};
use schedia_node::config::{Peers, Start};
use schedia_node::storage::{Assigned, Options, Storage};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::sleep;

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_join_a_bootstrapped_one_become_voters() {
    let dir = TempDir::new().unwrap();
    let n1 = Node::started(dir.path(), "n1", Start::Bootstrap).await;
    let first = n1.record_when("bootstrap", voters(1)).await;
    assert_eq!((first.generation, first.managed_by), (1, None));
    let n2 = Node::started(dir.path(), "n2", Start::Join(n1.http_url())).await;
    let n3 = Node::started(dir.path(), "n3", Start::Join(n1.http_url())).await;
    let record = n3.record_when("three voters", voters(3)).await;
    assert_eq!(record.joining, ids(&[]));
    assert_eq!(n1.record_when("the same everywhere", |_| true).await, record);
    for node in [&n1, &n2, &n3] {
        node.role_becomes(Role::Voter).await;
    }
}

/// Nodes that know each other from the start.
fn listed(dir: &Path, marked: Option<&str>) -> Vec<Node> {
    let mut nodes: Vec<Node> = ["n1", "n2", "n3"].map(|name| Node::new(dir, name, Start::Wait)).into();
    let list: std::collections::BTreeMap<String, String> =
        nodes.iter().map(|node| (node.config.name.clone(), node.peer())).collect();
    for node in &mut nodes {
        let (first, marked) = (node.config.name == "n1", marked == Some(&node.config.name));
        node.config.start = Start::Peers(Peers { nodes: list.clone(), marked, first });
    }
    nodes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_cluster_forms_once_and_a_wiped_seed_is_let_in_again() {
    let dir = TempDir::new().unwrap();
    let mut nodes = listed(dir.path(), None);
    nodes[0].start();
    nodes[1].start();
    sleep(Duration::from_millis(500)).await;
    for node in &nodes[..2] {
        let status = node.admin().status().await.unwrap();
        assert_eq!(status.role, Role::Unassigned, "one node is silent: it may be a member");
    }
    nodes[2].start();
    let formed = nodes[0].record_when("formation", voters(3)).await;
    assert_eq!(formed.members[&NodeId(1)].name, "n1");
    let cluster: ClusterId = nodes[1].admin().status().await.unwrap().cluster_id.unwrap();

    nodes[0].end().await;
    std::fs::remove_dir_all(&nodes[0].config.data_dir).unwrap();
    nodes[0].start();
    let replaced = |record: &Record| voters(3)(record) && !record.members.contains_key(&NodeId(1));
    let record = nodes[0].record_when("replacement", replaced).await;
    let names: BTreeSet<&str> = record.members.values().map(|member| member.name.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["n1", "n2", "n3"]));
    let status = nodes[0].admin().status().await.unwrap();
    assert_eq!(status.cluster_id, Some(cluster), "it began no second cluster");
    assert!(status.node_id > formed.members.keys().next_back().copied(), "an id is never used again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marked_seed_begins_the_listed_cluster() {
    let dir = TempDir::new().unwrap();
    let mut nodes = listed(dir.path(), Some("n2"));
    nodes.iter_mut().for_each(Node::start);
    let record = nodes[0].record_when("formation", voters(3)).await;
    assert_eq!(record.members[&NodeId(1)].name, "n2");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_makes_members_of_waiting_nodes() {
    let dir = TempDir::new().unwrap();
    let [n1, n2, n3] = ["n1", "n2", "n3"].map(|name| {
        let mut node = Node::new(dir.path(), name, Start::Wait);
        node.start();
        node
    });
    n2.role_becomes(Role::Unassigned).await;
    let operator = Operator::begin(&n1).await;
    let leader = &operator.leader;
    let other = Initialize {
        cluster_id: "c2".parse().unwrap(),
        name: "n1".into(),
        address: n1.peer(),
        shards: 1,
        managed_by: None,
    };
    assert_eq!(code(leader.initialize(&other).await).1, "already_assigned");
    let unmanaged = Initialize { cluster_id: operator.cluster_id.clone(), ..other };
    assert_eq!(code(leader.initialize(&unmanaged).await).1, "already_initialized");

    let two = operator.assigned(&n2).await;
    let three = operator.assigned(&n3).await;
    let again = Assign { cluster_id: operator.cluster_id.clone(), node_id: three };
    assert_eq!(code(n2.admin().assign(&again).await).1, "already_assigned");

    let verb = operator.learner(&n2, two, 1);
    let changed = Changed { generation: 2, settled: true };
    assert_eq!(leader.add_learner(&verb).await.unwrap(), changed);
    assert_eq!(leader.add_learner(&verb).await.unwrap(), changed, "already so");
    let stale = operator.learner(&n3, three, 1);
    assert_eq!(code(leader.add_learner(&stale).await), (409, "stale".into(), Some(2)));
    let never = operator.learner(&n3, NodeId(1 << 40), 2);
    assert_eq!(code(leader.add_learner(&never).await).1, "id_not_given");
    leader.add_learner(&operator.learner(&n3, three, 2)).await.unwrap();
    n3.role_becomes(Role::Learner).await;

    let all = SetVoters { voters: [NodeId(1), two, three].into(), expected: 3 };
    let nobody = SetVoters { voters: [NodeId(1), NodeId(99)].into(), expected: 3 };
    assert_eq!(code(leader.set_voters(&nobody).await).1, "unknown_member");
    assert_eq!(leader.set_voters(&all).await.unwrap(), Changed { generation: 4, settled: true });
    assert_eq!(leader.set_voters(&all).await.unwrap(), Changed { generation: 4, settled: true });
    for node in [&n1, &n2, &n3] {
        node.role_becomes(Role::Voter).await;
    }
    let fewer = SetVoters { voters: [NodeId(1)].into(), expected: 3 };
    assert_eq!(code(leader.set_voters(&fewer).await).1, "stale");
    let nobody = SetVoters { voters: ids(&[]), expected: 4 };
    assert_eq!(code(leader.set_voters(&nobody).await).1, "bad_request");
    assert_eq!(code(n2.admin().set_voters(&fewer).await), (421, "not_leader".into(), None));

    leader.transfer_leader(&TransferLeader { to: two }).await.unwrap();
    assert_eq!(code(leader.new_node_id().await).1, "not_leader");
    let next = n2.admin().new_node_id().await.unwrap().node_id;
    assert!(next > three, "ids only grow");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_managed_cluster_lets_nobody_in_by_itself() {
    let dir = TempDir::new().unwrap();
    let n1 = Node::started(dir.path(), "n1", Start::Wait).await;
    Operator::begin(&n1).await;
    let door = Client::new(&[n1.http_url()], PATIENCE).unwrap();
    let verb = schedia_api::Join {
        name: "n2".into(),
        address: "n2:7000".into(),
        http_url: None,
        store_id: "s2".parse().unwrap(),
    };
    assert_eq!(code(door.join(&verb).await), (403, "managed_by_operator".into(), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_resumed_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let mut n1 = Node::started(dir.path(), "n1", Start::Wait).await;
    let mut n2 = Node::started(dir.path(), "n2", Start::Wait).await;
    let mut n3 = Node::started(dir.path(), "n3", Start::Wait).await;
    let operator = Operator::begin(&n1).await;
    let two = operator.assigned(&n2).await;
    let three = operator.assigned(&n3).await;
    n3.end().await;
    // A learner needs nobody to be up; a vote needs it to catch up.
    operator.leader.add_learner(&operator.learner(&n2, two, 1)).await.unwrap();
    operator.leader.add_learner(&operator.learner(&n3, three, 2)).await.unwrap();
    let without_a_majority = SetVoters { voters: [NodeId(1), three].into(), expected: 3 };
    assert_eq!(code(operator.leader.set_voters(&without_a_majority).await).1, "not_caught_up");
    let verb = SetVoters { voters: [NodeId(1), two, three].into(), expected: 3 };
    let impatient = n1.admin_within(Duration::from_millis(500));
    assert!(matches!(impatient.set_voters(&verb).await, Err(ClientError::OutcomeUnknown { .. })));
    n1.record_when("the intent", |record| !record.settled && record.generation == 4).await;
    let more = SetVoters { voters: [two].into(), expected: 4 };
    assert_eq!(code(n1.admin().set_voters(&more).await).1, "change_in_progress");

    n1.end().await;
    n2.end().await;
    n1.start();
    n2.start();
    n3.start();
    n1.record_when("the change", voters(3)).await;
    let everybody = [&n1, &n2, &n3].map(|node| format!("http://{}", node.addresses.admin));
    let same = Client::new(&everybody, PATIENCE).unwrap().set_voters(&verb).await.unwrap();
    assert_eq!(same, Changed { generation: 4, settled: true });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_begun_halfway_is_finished_at_the_next_start() {
    let dir = TempDir::new().unwrap();
    let mut n1 = Node::new(dir.path(), "n1", Start::Wait);
    let cluster_id: ClusterId = "c1".parse().unwrap();
    let (name, address) = (n1.config.name.clone(), n1.peer());
    let verb = Initialize { cluster_id: cluster_id.clone(), name, address, shards: 1, managed_by: None };
    let assign = |data_dir: PathBuf, seed: Option<String>| {
        let storage = Storage::open(&data_dir, Options::default()).unwrap();
        storage.assign(Assigned { cluster_id: cluster_id.clone(), node_id: NodeId(1), seed }).unwrap();
    };
    // As far as a crash behind the first write to the disk leaves it.
    assign(n1.config.data_dir.clone(), Some(serde_json::to_string(&verb).unwrap()));
    n1.start();
    n1.record_when("the record", voters(1)).await;
    n1.end().await;

    // Once it has begun, a disk that lost its shards begins nothing.
    let mut lost = Node::new(dir.path(), "n2", Start::Bootstrap);
    assign(lost.config.data_dir.clone(), None);
    lost.start();
    lost.role_becomes(Role::Assigned).await;
    sleep(Duration::from_secs(1)).await;
    lost.role_becomes(Role::Assigned).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_moved_is_found_again() {
    let dir = TempDir::new().unwrap();
    let n1 = Node::started(dir.path(), "n1", Start::Bootstrap).await;
    n1.record_when("bootstrap", voters(1)).await;
    let n2 = Node::started(dir.path(), "n2", Start::Join(n1.http_url())).await;
    let mut n3 = Node::started(dir.path(), "n3", Start::Join(n1.http_url())).await;
    let before = n1.record_when("three voters", voters(3)).await;
    let three = n3.admin().status().await.unwrap().node_id.unwrap();
    n3.end().await;
    // While it is away the others agree on something, and nobody is where it was.
    n1.admin().new_node_id().await.unwrap();
    let mut moved = Node::new(dir.path(), "n3", Start::Wait);
    moved.start();
    let is_there = |record: &Record| record.settled && record.members[&three].address == moved.peer();
    let after = n2.record_when("its new address", is_there).await;
    assert!(after.generation > before.generation);
    assert_eq!(after.members[&three].http_url, Some(moved.http_url()));
    moved.status_when("it follows again", |status| status.ready && status.role == Role::Voter).await;
    assert_eq!(after.voters, before.voters);
}
