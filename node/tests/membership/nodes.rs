//! Whole nodes in one process, which end and begin again on their disks, and what an operator does with them.

use schedia_api::{AddLearner, Assign, Client, ClientError, Initialize, Joined, Role, Status};
use schedia_apps::cluster::Record;
use schedia_apps::{ClusterId, NodeId};
use schedia_node::config::{Config, Settings, Start};
use schedia_node::node::{self, Addresses, Listeners};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Long enough for a busy machine: nothing waits for it but failures.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A node that can be ended and started again on its disk and its ports.
pub(crate) struct Node {
    pub(crate) config: Config,
    pub(crate) addresses: Addresses,
    listeners: Option<Listeners>,
    running: Option<(CancellationToken, JoinHandle<()>)>,
}

impl Node {
    /// Bound to free ports, not started.
    pub(crate) fn new(dir: &Path, name: &str, start: Start) -> Node {
        let any = "127.0.0.1:0".parse().unwrap();
        let data_dir = dir.join(name);
        let defaults = Settings::default().check(|_| None).unwrap();
        let mut config =
            Config { name: name.to_owned(), data_dir, start, http: any, admin: any, peer: any, ..defaults };
        let listeners = Listeners::bind(&config).unwrap();
        let addresses = listeners.addresses();
        (config.http, config.admin, config.peer) = (addresses.http, addresses.admin, addresses.peer);
        Node { config, addresses, listeners: Some(listeners), running: None }
    }

    pub(crate) async fn started(dir: &Path, name: &str, start: Start) -> Node {
        let mut node = Node::new(dir, name, start);
        node.start();
        node
    }

    pub(crate) fn start(&mut self) {
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

    pub(crate) async fn end(&mut self) {
        let (stop, run) = self.running.take().unwrap();
        stop.cancel();
        run.await.unwrap();
    }

    pub(crate) fn admin(&self) -> Client {
        self.admin_within(PATIENCE)
    }

    pub(crate) fn admin_within(&self, timeout: Duration) -> Client {
        Client::new(&[format!("http://{}", self.addresses.admin)], timeout).unwrap()
    }

    pub(crate) fn http_url(&self) -> String {
        format!("http://{}", self.addresses.http)
    }

    pub(crate) fn peer(&self) -> String {
        self.addresses.peer.to_string()
    }

    /// Its record, by a linearizable read, once it is as wanted.
    pub(crate) async fn record_when(&self, what: &str, wanted: impl Fn(&Record) -> bool) -> Record {
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

    pub(crate) async fn role_becomes(&self, role: Role) {
        self.status_when(&format!("{} becomes {role:?}", self.config.name), |status| status.role == role)
            .await;
    }

    /// What it says of itself, once that is as wanted. It may be gone for a moment.
    pub(crate) async fn status_when(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.admin().status().await {
                Ok(status) if wanted(&status) => return status,
                last => assert!(Instant::now() < until, "{what}: not in time: {last:?}"),
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

pub(crate) fn voters(count: usize) -> impl Fn(&Record) -> bool {
    move |record| record.settled && record.voters.len() == count && record.members.len() == count
}

pub(crate) fn ids(ids: &[u64]) -> BTreeSet<NodeId> {
    ids.iter().map(|id| NodeId(*id)).collect()
}

pub(crate) fn code(result: Result<impl std::fmt::Debug, ClientError>) -> (u16, String, Option<u64>) {
    match result {
        Err(ClientError::Refused { status, info }) => (status, info.code, info.current),
        other => panic!("not refused: {other:?}"),
    }
}

/// What the operator does, one verb after another.
pub(crate) struct Operator {
    pub(crate) leader: Client,
    pub(crate) cluster_id: ClusterId,
}

impl Operator {
    pub(crate) async fn begin(node: &Node) -> Operator {
        Operator::begin_with(node, 1).await
    }

    pub(crate) async fn begin_with(node: &Node, shards: u32) -> Operator {
        let cluster_id: ClusterId = "c1".parse().unwrap();
        let (name, address) = (node.config.name.clone(), node.peer());
        let managed_by = Some("operator".to_owned());
        let verb = Initialize { cluster_id: cluster_id.clone(), name, address, shards, managed_by };
        let leader = node.admin();
        for _ in 0..2 {
            let joined = leader.initialize(&verb).await.unwrap();
            assert_eq!(joined, Joined { cluster_id: cluster_id.clone(), node_id: NodeId(1) });
        }
        Operator { leader, cluster_id }
    }

    pub(crate) async fn assigned(&self, node: &Node) -> NodeId {
        let node_id = self.leader.new_node_id().await.unwrap().node_id;
        let verb = Assign { cluster_id: self.cluster_id.clone(), node_id };
        for _ in 0..2 {
            assert_eq!(node.admin().assign(&verb).await.unwrap().node_id, node_id);
        }
        node_id
    }

    /// Gives waiting nodes their votes, in one change. Their ids, in order.
    pub(crate) async fn voters(&self, nodes: &[&Node]) -> Vec<NodeId> {
        let mut ids = Vec::new();
        for node in nodes {
            let id = self.assigned(node).await;
            let expected = self.leader.record().await.unwrap().generation;
            self.leader.add_learner(&self.learner(node, id, expected)).await.unwrap();
            ids.push(id);
        }
        let record = self.leader.record().await.unwrap();
        let voters = record.voters.iter().chain(&ids).copied().collect();
        let verb = schedia_api::SetVoters { voters, expected: record.generation };
        assert!(self.leader.set_voters(&verb).await.unwrap().settled);
        ids
    }

    pub(crate) fn learner(&self, node: &Node, node_id: NodeId, expected: u64) -> AddLearner {
        let (name, address) = (node.config.name.clone(), node.peer());
        AddLearner { node_id, name, address, http_url: None, store_id: None, expected }
    }
}
