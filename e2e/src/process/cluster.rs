//! Several nodes that are, or will be, one cluster.

use super::Node;
use crate::wait::eventually;
use schedia_api::{Role, Status};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// Forming, electing, catching up: seconds on a free machine, more on one whose cores others use.
const PATIENCE: Duration = Duration::from_secs(60);

/// The nodes of one test.
pub struct Cluster {
    /// In the order they were added: `n1` is the first.
    pub nodes: Vec<Node>,
    network: [u8; 2],
    dir: Option<TempDir>,
}

impl Cluster {
    /// No nodes yet.
    pub fn new() -> Cluster {
        Cluster::within(&std::env::temp_dir())
    }

    /// No nodes yet. They will have their directories below one that is made here in `place`.
    pub fn within(place: &Path) -> Cluster {
        let dir = tempfile::Builder::new().prefix("schedia-e2e-").tempdir_in(place);
        let dir = dir.expect("a temporary directory");
        Cluster { nodes: Vec::new(), network: [fastrand::u8(1..255), fastrand::u8(..)], dir: Some(dir) }
    }

    /// Formed as a person does it: the first node with `--bootstrap`, the others with `--join`.
    pub async fn joined(count: usize) -> Cluster {
        Cluster::joined_with(count, &[]).await
    }

    /// The same, each node with these settings too.
    pub async fn joined_with(count: usize, settings: &[&str]) -> Cluster {
        let mut cluster = Cluster::new();
        cluster.add().start(&[settings, &["--bootstrap"]].concat());
        let seed = cluster.nodes[0].http_url();
        cluster.settled(1).await;
        for _ in 1..count {
            cluster.add().start(&[settings, &["--join", &seed]].concat());
        }
        cluster.settled(count).await;
        cluster
    }

    /// Formed as a static list: every node with the same `--peers`.
    pub async fn listed(count: usize) -> Cluster {
        let mut cluster = Cluster::new();
        for _ in 0..count {
            cluster.add();
        }
        let peers = cluster.peers();
        for node in &mut cluster.nodes {
            node.start(&["--peers", &peers]);
        }
        cluster.settled(count).await;
        cluster
    }

    /// One more node, not started.
    pub fn add(&mut self) -> &mut Node {
        let number = self.nodes.len() + 1;
        let [a, b] = self.network;
        let address = Ipv4Addr::new(127, a, b, number as u8);
        let dir = self.dir.as_ref().expect("kept until drop").path();
        self.nodes.push(Node::new(&format!("n{number}"), address, dir));
        self.nodes.last_mut().expect("just added")
    }

    /// The list for `--peers`.
    pub fn peers(&self) -> String {
        let entries: Vec<_> = self.nodes.iter().map(|node| format!("{}={}", node.name, node.peer)).collect();
        entries.join(",")
    }

    /// The client URLs of all nodes.
    pub fn endpoints(&self) -> Vec<String> {
        self.nodes.iter().map(Node::http_url).collect()
    }

    /// Waits until the cluster has exactly `voters` voters, each running node of which is ready and agrees.
    pub async fn settled(&self, voters: usize) {
        eventually(&format!("{voters} settled voters"), PATIENCE, || async {
            for node in self.nodes.iter().filter(|node| node.is_running()) {
                let status = node.status().await?;
                let record =
                    status.record.as_ref().ok_or_else(|| format!("{}: no cluster record", node.name))?;
                if !record.settled
                    || record.voters.len() != voters
                    || status.role != Role::Voter
                    || !status.ready
                {
                    return Err(format!("{}: {status:?}", node.name));
                }
            }
            Ok(())
        })
        .await;
    }

    /// Waits until all running nodes name the same running leader of shard 0; its place in `nodes`.
    pub async fn leader(&self) -> usize {
        eventually("one leader that all agree on", PATIENCE, || async {
            let mut leaders = Vec::new();
            let mut statuses = Vec::new();
            for (place, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.is_running()) {
                let status = node.status().await?;
                let shard = status.shards.first().ok_or_else(|| format!("{}: no shard runs", node.name))?;
                leaders.push(shard.leader.ok_or_else(|| format!("{} knows no leader", node.name))?);
                statuses.push((place, status.node_id));
            }
            let [first, rest @ ..] = leaders.as_slice() else { return Err("no node runs".to_owned()) };
            if rest.iter().any(|other| other != first) {
                return Err(format!("they name different leaders: {leaders:?}"));
            }
            let place = statuses.iter().find(|(_, id)| *id == Some(*first)).map(|(place, _)| *place);
            place.ok_or_else(|| format!("the leader {first} does not run"))
        })
        .await
    }

    /// Waits until every running node has applied what the leader has committed now.
    pub async fn caught_up(&self) {
        let leader = self.leader().await;
        let committed = applied(&self.nodes[leader].status().await.unwrap_or_else(|e| panic!("{e}")));
        eventually(&format!("all nodes at {committed}"), PATIENCE, || async {
            for node in self.nodes.iter().filter(|node| node.is_running()) {
                let at = applied(&node.status().await?);
                if at < committed {
                    return Err(format!("{} is at {at}", node.name));
                }
            }
            Ok(())
        })
        .await;
    }
}

/// How far shard 0 is applied on a node.
pub fn applied(status: &Status) -> u64 {
    status.shards.first().and_then(|shard| shard.applied).map_or(0, |log_id| log_id.index)
}

impl Default for Cluster {
    fn default() -> Self {
        Cluster::new()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for node in &self.nodes {
            eprintln!("---- end of the log of {}\n{}", node.name, node.log_tail());
        }
        if let Some(dir) = self.dir.take() {
            eprintln!("---- all of it is kept in {}", dir.keep().display());
        }
    }
}
