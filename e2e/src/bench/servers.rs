//! One cluster under measurement, ours or the peer's, behind one vocabulary.

use super::codeq::Codeq;
use super::etcd::Etcd;
use super::usage::Usage;
use super::wire::{Client, Protocol};
use crate::metrics::sum;
use crate::process::{Cluster, resident_bytes};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What is measured: which program, with which settings.
#[derive(Clone, Debug)]
pub struct Build {
    /// As the report calls it.
    pub name: String,
    /// Whose it is.
    pub make: Make,
    /// The program.
    pub program: PathBuf,
    /// More arguments for it; without any, its defaults are measured. Of a codeQ: its addresses.
    pub arguments: Vec<String>,
    /// What clients of the queue show, if the load is on tasks.
    pub token: Option<String>,
}

/// Whose program it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    /// Ours.
    Schedia,
    /// The peer's.
    Etcd,
    /// A codeQ that runs already.
    Codeq,
}

/// A running cluster. It ends, and its directories go, when this is dropped.
pub struct Servers {
    build: Build,
    kind: Kind,
}

enum Kind {
    Schedia(Cluster),
    Etcd(Etcd),
    Codeq(Codeq),
}

/// Counted by one server since its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Syncs {
    /// Of the log of entries.
    pub log: f64,
    /// Of the file of the state, where the server counts them (etcd's commits of its backend).
    pub state: f64,
}

impl Servers {
    /// `count` members with a leader, their directories below `place`.
    pub async fn start(build: &Build, count: usize, place: &Path) -> Result<Servers, String> {
        let kind = match build.make {
            Make::Etcd => Kind::Etcd(Etcd::start(&build.program, count, place).await?),
            Make::Schedia => Kind::Schedia(schedia(build, count, place).await),
            Make::Codeq => {
                let token = build.token.as_deref().unwrap_or_default();
                Kind::Codeq(Codeq::find(&build.arguments, token).await?)
            }
        };
        Ok(Servers { build: build.clone(), kind })
    }

    /// What runs.
    pub fn build(&self) -> &Build {
        &self.build
    }

    /// The place of the leader; waits for one.
    pub async fn leader(&self) -> Result<usize, String> {
        match &self.kind {
            Kind::Schedia(cluster) => Ok(cluster.leader().await),
            Kind::Etcd(etcd) => etcd.leader().await,
            Kind::Codeq(codeq) => codeq.leader().await,
        }
    }

    /// Where clients reach each member.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        match &self.kind {
            Kind::Schedia(cluster) => cluster.nodes.iter().map(|node| node.http).collect(),
            Kind::Etcd(etcd) => etcd.clients(),
            Kind::Codeq(codeq) => codeq.addresses(),
        }
    }

    /// `count` clients of the member at `place`: see [`Client::connect`]. With `wait`, claims wait at the next member.
    pub async fn clients(
        &self,
        place: usize,
        count: usize,
        connections: Option<usize>,
        wait: bool,
    ) -> Result<Vec<Client>, String> {
        let servers = self.addresses();
        let other = wait.then(|| servers[(place + 1) % servers.len()]);
        Client::connect(self.protocol(other), servers[place], count, connections).await
    }

    /// A client of the member at `place`, for another task.
    pub fn connecting(&self, place: usize) -> impl Future<Output = Result<Client, String>> + use<> {
        // A kill is measured by writes of keys, whatever else the cluster has.
        let (protocol, server) = (self.keys(), self.addresses()[place]);
        async move {
            let one = Client::connect(protocol, server, 1, None).await?.pop();
            one.ok_or_else(|| format!("{server}: no client"))
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self, place: usize) {
        match &mut self.kind {
            Kind::Schedia(cluster) => cluster.nodes[place].kill(),
            Kind::Etcd(etcd) => etcd.kill(place),
            // It is somebody else's: the scenes that kill do not take it.
            Kind::Codeq(_) => {}
        }
    }

    /// Starts a member that was killed.
    pub fn start_member(&mut self, place: usize) -> Result<(), String> {
        match &mut self.kind {
            Kind::Schedia(cluster) => {
                let arguments: Vec<_> = self.build.arguments.iter().map(String::as_str).collect();
                cluster.nodes[place].start(&arguments);
                Ok(())
            }
            Kind::Etcd(etcd) => etcd.start_member(place),
            Kind::Codeq(_) => Ok(()),
        }
    }

    /// Waits until every member serves.
    pub async fn whole(&self) -> Result<(), String> {
        match &self.kind {
            Kind::Schedia(cluster) => {
                cluster.settled(cluster.nodes.len()).await;
                Ok(())
            }
            Kind::Etcd(etcd) => etcd.whole().await,
            Kind::Codeq(codeq) => codeq.leader().await.map(drop),
        }
    }

    fn protocol(&self, other: Option<SocketAddr>) -> Protocol {
        match &self.build.token {
            Some(token) => Protocol::Codeq(token.as_str().into(), other),
            None => self.keys(),
        }
    }

    fn keys(&self) -> Protocol {
        match self.build.make {
            Make::Schedia | Make::Codeq => Protocol::Native,
            Make::Etcd => Protocol::EtcdGrpc,
        }
    }

    /// Used by all members together since their start.
    pub fn usage(&self) -> Result<Usage, String> {
        self.pids().into_iter().map(Usage::of).sum::<Result<Usage, String>>()
    }

    /// Memory of each member that runs, in bytes.
    pub fn resident_bytes(&self) -> Vec<u64> {
        self.pids().into_iter().map(resident_bytes).collect()
    }

    /// What the member at `place` has synced so far.
    pub async fn syncs(&self, place: usize) -> Result<Syncs, String> {
        match &self.kind {
            Kind::Schedia(cluster) => {
                let text = cluster.nodes[place].metrics().await?;
                Ok(Syncs {
                    log: sum(&text, "schedia_log_sync_seconds_count"),
                    state: sum(&text, "schedia_checkpoint_seconds_count"),
                })
            }
            // It counts none.
            Kind::Codeq(_) => Ok(Syncs::default()),
            Kind::Etcd(etcd) => {
                let text = etcd.metrics(place).await?;
                Ok(Syncs {
                    log: sum(&text, "etcd_disk_wal_fsync_duration_seconds_count"),
                    state: sum(&text, "etcd_disk_backend_commit_duration_seconds_count"),
                })
            }
        }
    }

    fn pids(&self) -> Vec<u32> {
        match &self.kind {
            Kind::Schedia(cluster) => {
                cluster.nodes.iter().filter(|node| node.is_running()).map(|node| node.pid()).collect()
            }
            Kind::Etcd(etcd) => etcd.pids(),
            Kind::Codeq(codeq) => codeq.pids().to_vec(),
        }
    }
}

/// Formed as a person does it: the first node alone, the others join.
async fn schedia(build: &Build, count: usize, place: &Path) -> Cluster {
    let mut cluster = Cluster::within(place);
    let mut formed = vec!["--bootstrap".to_owned()];
    for number in 1..=count {
        let node = cluster.add();
        node.use_program(&build.program);
        let arguments: Vec<_> = formed.iter().chain(&build.arguments).map(String::as_str).collect();
        node.start(&arguments);
        if number == 1 {
            formed = vec!["--join".to_owned(), node.http_url()];
            cluster.settled(1).await;
        }
    }
    cluster.settled(count).await;
    cluster
}
