//! How nodes become a cluster and how it changes: whole nodes in one process, asked through their ports.

#![allow(clippy::unwrap_used)] // a panic here is the message of a failed test

use schedia_api::{
    AddLearner, Assign, Changed, Client, ClientError, Initialize, Joined, Role, SetVoters, TransferLeader,
};
use schedia_apps::cluster::Record;
use schedia_apps::{ClusterId, NodeId};
use schedia_node::config::{Config, Peers, Settings, Start};
use schedia_node::node::{self, Addresses, Listeners};
use schedia_node::storage::{Assigned, Options, Storage};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Long enough for a busy machine: nothing waits for it but failures.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node that can be ended and started again on its disk and its ports.
struct Node {
    config: Config,
    addresses: Addresses,
    listeners: Option<Listeners>,
    running: Option<(CancellationToken, JoinHandle<()>)>,
}

impl Node {
    /// Bound to free ports, not started.
    fn new(dir: &Path, name: &str, start: Start) -> Node {
        let any = "127.0.0.1:0".parse().unwrap();
        let data_dir = dir.join(name);
        let defaults = Settings::default().check().unwrap();
        let mut config =
            Config { name: name.to_owned(), data_dir, start, http: any, admin: any, peer: any, ..defaults };
        let listeners = Listeners::bind(&config).unwrap();
        let addresses = listeners.addresses();
        (config.http, config.admin, config.peer) = (addresses.http, addresses.admin, addresses.peer);
        Node { config, addresses, listeners: Some(listeners), running: None }
    }

    async fn started(dir: &Path, name: &str, start: Start) -> Node {
        let mut node = Node::new(dir, name, start);
        node.start();
        node
    }

    fn start(&mut self) {
        // RUST_LOG=schedia_node=debug shows what the nodes of a failed test did.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _ =
            tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_test_writer().try_init();
        let mut listeners = self.listeners.take();
        let (config, stop) = (self.config.clone(), CancellationToken::new());
        let stopped = stop.clone();
        let run = async move {
            let until = Instant::now() + PATIENCE;
            loop {
                let listeners = listeners.take().unwrap_or_else(|| Listeners::bind(&config).unwrap());
                match node::run(config.clone(), listeners, stopped.clone()).await {
                    // Tasks of the life before hold its files a moment longer: not so between processes.
                    Err(node::NodeError::Storage(_) | node::NodeError::Resume(_))
                        if Instant::now() < until =>
                    {
                        sleep(Duration::from_millis(10)).await;
                    }
                    ended => return ended.unwrap(),
                }
            }
        };
        self.running = Some((stop, tokio::spawn(run)));
    }

    async fn end(&mut self) {
        let (stop, run) = self.running.take().unwrap();
        stop.cancel();
        run.await.unwrap();
    }

    fn admin(&self) -> Client {
        self.admin_within(PATIENCE)
    }

    fn admin_within(&self, timeout: Duration) -> Client {
        Client::new(&[format!("http://{}", self.addresses.admin)], timeout).unwrap()
    }

    fn http_url(&self) -> String {
        format!("http://{}", self.addresses.http)
    }

    fn peer(&self) -> String {
        self.addresses.peer.to_string()
    }

    /// Its record, by a linearizable read, once it is as wanted.
    async fn record_when(&self, what: &str, wanted: impl Fn(&Record) -> bool) -> Record {
        let until = Instant::now() + PATIENCE;
        loop {
            let record = self.admin().record().await;
            match record {
                Ok(record) if wanted(&record) => return record,
                last => assert!(Instant::now() < until, "{what}: not in time: {last:?}"),
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn role_becomes(&self, role: Role) {
        let until = Instant::now() + PATIENCE;
        while self.admin().status().await.unwrap().role != role {
            assert!(Instant::now() < until, "{} did not become {role:?} in time", self.config.name);
            sleep(Duration::from_millis(20)).await;
        }
    }
}

fn voters(count: usize) -> impl Fn(&Record) -> bool {
    move |record| record.settled && record.voters.len() == count && record.members.len() == count
}

fn ids(ids: &[u64]) -> BTreeSet<NodeId> {
    ids.iter().map(|id| NodeId(*id)).collect()
}

fn code(result: Result<impl std::fmt::Debug, ClientError>) -> (u16, String, Option<u64>) {
    match result {
        Err(ClientError::Refused { status, info }) => (status, info.code, info.current),
        other => panic!("not refused: {other:?}"),
    }
}

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

/// What the operator does, one verb after another.
struct Operator {
    leader: Client,
    cluster_id: ClusterId,
}

impl Operator {
    async fn begin(node: &Node) -> Operator {
        let cluster_id: ClusterId = "c1".parse().unwrap();
        let (name, address) = (node.config.name.clone(), node.peer());
        let managed_by = Some("operator".to_owned());
        let verb = Initialize { cluster_id: cluster_id.clone(), name, address, shards: 1, managed_by };
        let leader = node.admin();
        for _ in 0..2 {
            let joined = leader.initialize(&verb).await.unwrap();
            assert_eq!(joined, Joined { cluster_id: cluster_id.clone(), node_id: NodeId(1) });
        }
        Operator { leader, cluster_id }
    }

    async fn assigned(&self, node: &Node) -> NodeId {
        let node_id = self.leader.new_node_id().await.unwrap().node_id;
        let verb = Assign { cluster_id: self.cluster_id.clone(), node_id };
        for _ in 0..2 {
            assert_eq!(node.admin().assign(&verb).await.unwrap().node_id, node_id);
        }
        node_id
    }

    fn learner(&self, node: &Node, node_id: NodeId, expected: u64) -> AddLearner {
        let (name, address) = (node.config.name.clone(), node.peer());
        AddLearner { node_id, name, address, http_url: None, store_id: None, expected }
    }
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
    let fewer = SetVoters { expected: 4, ..fewer };
    assert_eq!(code(leader.set_voters(&fewer).await).1, "bad_request");
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
    let operator = Operator::begin(&n1).await;
    let two = operator.assigned(&n2).await;
    n2.end().await;
    // A learner needs nobody to be up; a vote needs it to catch up.
    operator.leader.add_learner(&operator.learner(&n2, two, 1)).await.unwrap();
    let verb = SetVoters { voters: [NodeId(1), two].into(), expected: 2 };
    let impatient = n1.admin_within(Duration::from_millis(500));
    assert!(matches!(impatient.set_voters(&verb).await, Err(ClientError::OutcomeUnknown { .. })));
    n1.record_when("the intent", |record| !record.settled && record.generation == 3).await;
    let more = SetVoters { voters: [two].into(), expected: 3 };
    assert_eq!(code(n1.admin().set_voters(&more).await).1, "change_in_progress");

    n1.end().await;
    n1.start();
    n2.start();
    n1.record_when("the change", voters(2)).await;
    let same = n1.admin().set_voters(&verb).await.unwrap();
    assert_eq!(same, Changed { generation: 3, settled: true });
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
