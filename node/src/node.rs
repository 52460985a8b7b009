//! The composition root: one node, its parts, their beginning and their end.
//!
//! Invariants:
//! * The admin port serves from before recovery until after the shards ended: it can always say what is going on.
//! * When storage fails, shards, client port and peer port end and the process stays, to say why.
//! * A node that was reset ends all its parts and begins again in the same process, on a blank disk and the same ports.
//! * A told-to-end node hands leadership over while it still answers; a second signal ends it at once.
//!
//! Not here: what a part does; only that it has what it needs and when it begins and ends.

mod disk;
mod overview;
mod queues;

use crate::auth::{Auth, AuthConfigError};
use crate::config::{Config, Start};
use crate::doors::access::Access;
use crate::health::{self, Health, Unready};
use crate::join::{Admission, Advertised, JoinError};
use crate::listen::{ListenError, listen};
use crate::metrics::{Metrics, Now};
use crate::peer::{Hello, Peers};
use crate::shards::{Consistency, Shard, ShardError, Shards};
use crate::storage::{self, Storage};
use crate::{admin, compaction, doors};
use queues::NodeQueues;
use schedia_api::{Alarm, DiskStatus, Role, Status};
use schedia_apps::cluster::Record;
use schedia_apps::{Level, NodeId, ShardId};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often a node looks at itself: a change of its status is pushed this soon.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Said as loudly as can be: nobody is to find it out after a power loss.
const UNSYNCED: &str = "nothing is synced to disk (--unsafe-no-fsync): a power loss loses acknowledged writes; for benchmarks only";

/// Why a node did not start, or ended with an error.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Storage(#[from] storage::OpenError),
    /// A listener cannot be bound.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Who may use the queue cannot be checked.
    #[error(transparent)]
    Auth(#[from] AuthConfigError),
    /// The shards of this disk cannot be started.
    #[error("cannot start as a member: {0}")]
    Resume(#[from] JoinError),
    /// Storage failed while the node ran.
    #[error(transparent)]
    Failed(#[from] storage::Failed),
    /// A thread of ours ended in a panic.
    #[error("internal: {0}")]
    Internal(String),
}

/// One node: what doors and the admin port know of it.
pub struct Node {
    me: Advertised,
    storage: Arc<Storage>,
    shards: Arc<Shards>,
    peers: Peers,
    admission: Admission,
    queues: NodeQueues,
    metrics: Arc<Metrics>,
    health: Health,
    ending: AtomicBool,
}

/// The listeners of a node, bound.
pub struct Listeners {
    http: TcpListener,
    admin: TcpListener,
    peer: TcpListener,
}

/// Where a node listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// For clients.
    pub http: SocketAddr,
    /// For the operator.
    pub admin: SocketAddr,
    /// For the other members.
    pub peer: SocketAddr,
}

impl Listeners {
    /// Binds all three.
    pub fn bind(config: &Config) -> Result<Listeners, ListenError> {
        Ok(Listeners {
            http: listen("http", config.http)?,
            admin: listen("admin", config.admin)?,
            peer: listen("peer", config.peer)?,
        })
    }

    /// Where they listen: a port of 0 has become a real one.
    pub fn addresses(&self) -> Addresses {
        let [http, admin, peer] = [&self.http, &self.admin, &self.peer]
            .map(|listener| listener.local_addr().expect("a bound listener has an address"));
        Addresses { http, admin, peer }
    }
}

/// Runs a node until `stop` is cancelled. After a failure of storage it stays, to say why, and ends with that error.
pub async fn run(config: Config, listeners: Listeners, stop: CancellationToken) -> Result<(), NodeError> {
    if config.unsafe_no_fsync {
        tracing::warn!("{UNSYNCED}");
    }
    if !config.without_effect.is_empty() {
        let variables = config.without_effect.join(" ");
        tracing::info!(%variables, "codeQ's variables that are set and have no effect here");
    }
    let metrics = Metrics::new();
    let mut storage = disk::open(&config, &metrics).await?;
    // The same ports in the next life, if there is one.
    let Addresses { http, admin, peer } = listeners.addresses();
    let config = Config { http, admin, peer, ..config };
    let (mut listeners, mut metrics) = (listeners, metrics);
    loop {
        match live(config.clone(), listeners, storage, metrics, stop.clone()).await? {
            Ended::Told => return Ok(()),
            Ended::Reset => {}
        }
        metrics = Metrics::new();
        storage = disk::open_again(&config, &metrics).await?;
        listeners = Listeners::bind(&config)?;
    }
}

/// How the life of a node ended.
enum Ended {
    /// As it was told.
    Told,
    /// It was reset: another one begins.
    Reset,
}

/// From the open disk to the end of every part.
async fn live(
    config: Config,
    listeners: Listeners,
    storage: Arc<Storage>,
    metrics: Metrics,
    stop: CancellationToken,
) -> Result<Ended, NodeError> {
    let addresses = listeners.addresses();
    let Addresses { http, admin, peer } = addresses;
    tracing::info!(name = %config.name, store = %storage.identity().store_id, %http, %admin, %peer, "listening");
    let auth = Auth::new(&config.auth)?;
    let node = Arc::new(Node::new(&config, auth, addresses, storage, metrics));

    let [clients, members, operator] = [(); 3].map(|()| Part::default());
    operator.spawn(|stop| {
        let router = admin::router(node.clone());
        doors::server::serve(listeners.admin, router, Access::of_operators(), stop)
    });
    operator.spawn(|stop| node.clone().look(stop));
    members.spawn(|stop| node.clone().serve_peers(listeners.peer, stop));
    let ended = tokio::select! {
        ended = node.clone().serve_clients(listeners.http, config, &clients, stop.clone()) => {
            ended.map(|()| Ended::Told)
        }
        () = node.admission.was_reset() => Ok(Ended::Reset),
        failed = node.storage.failure().wait() => {
            tracing::error!(%failed, "only the admin port is served from now on");
            tokio::join!(clients.end(), members.end(), node.shards.shutdown());
            stop.cancelled().await;
            Err(failed.into())
        }
    };
    node.ending.store(true, Ordering::Relaxed);
    // What clients have under way is answered, and members are answered, while leadership is handed over.
    tokio::join!(clients.end(), node.shards.shutdown());
    members.end().await;
    operator.end().await;
    tracing::info!("ended");
    ended
}

/// The client URL of a listener. One on every address is reached under the host that peers use.
fn http_url(http: SocketAddr, peer_address: &str) -> String {
    match peer_address.rsplit_once(':') {
        Some((host, _)) if http.ip().is_unspecified() => format!("http://{host}:{}", http.port()),
        _ => format!("http://{http}"),
    }
}

/// Tasks that begin and end together.
#[derive(Default)]
struct Part {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Part {
    fn spawn<F>(&self, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(task(self.stop.clone()));
    }

    async fn end(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Node {
    fn new(config: &Config, auth: Auth, at: Addresses, storage: Arc<Storage>, metrics: Metrics) -> Node {
        let metrics = Arc::new(metrics);
        let address = config.advertise_peer.clone().unwrap_or_else(|| at.peer.to_string());
        let http_url = config.advertise_http.clone().unwrap_or_else(|| http_url(at.http, &address));
        let me = Advertised { name: config.name.clone(), address, http_url };
        let Advertised { name, address, http_url } = me.clone();
        let seed = matches!(&config.start, Start::Peers(peers) if peers.marked);
        let peers =
            Peers::new(Hello { name, store_id: storage.identity().store_id, address, http_url, seed });
        let shards = Shards::new(storage.clone(), config.timings, peers.clone(), metrics.clone());
        let shards = Arc::new(shards.lease_reads(config.lease_reads));
        if config.start == Start::Invited {
            peers.take_invitations();
        }
        let (disk, count) = (storage.clone(), config.shards);
        let admission = Admission::new(disk, shards.clone(), peers.clone(), me.clone(), count);
        let queues = NodeQueues::new(config, auth, shards.clone());
        Node {
            me,
            storage,
            shards,
            peers,
            admission,
            queues,
            metrics,
            health: Health::new(),
            ending: AtomicBool::new(false),
        }
    }

    async fn serve_peers(self: Arc<Self>, listener: TcpListener, stop: CancellationToken) {
        self.peers.serve(listener, self.shards.clone(), stop).await;
    }

    /// From recovery to the signal: the shards of this disk first, then clients.
    async fn serve_clients(
        self: Arc<Self>,
        listener: TcpListener,
        config: Config,
        part: &Part,
        stop: CancellationToken,
    ) -> Result<(), NodeError> {
        self.admission.resume().await?;
        part.spawn(|stop| {
            let router = doors::native::router(self.clone(), config.doors, stop.clone());
            let access = Access::of_clients(self.metrics.http.clone(), config.slow_request);
            doors::server::serve(listener, router, access, stop)
        });
        part.spawn(|stop| self.shards.clone().drive_membership(stop));
        part.spawn(|stop| compaction::run(self.clone(), config.kv_history, stop));
        part.spawn(|stop| self.shards.clone().spread_leaders(stop));
        part.spawn(|stop| self.queues().clone().run(stop));
        part.spawn(|stop| self.clone().enter(config.start, stop));
        stop.cancelled().await;
        Ok(())
    }

    /// A blank disk becomes a member's as the settings say.
    async fn enter(self: Arc<Self>, start: Start, stop: CancellationToken) {
        stop.run_until_cancelled(self.admission.enter(&start)).await;
    }

    /// Looks at the node until `stop`, so that waiting callers learn what changed.
    async fn look(self: Arc<Self>, stop: CancellationToken) {
        let mut every = tokio::time::interval(LOOK_EVERY);
        while stop.run_until_cancelled(every.tick()).await.is_some() {
            self.status().await;
        }
    }

    /// What the node tells of itself, now.
    pub async fn status(&self) -> Status {
        let identity = self.storage.identity();
        let (cluster_id, node_id) = match identity.assigned {
            Some(assigned) => (Some(assigned.cluster_id), Some(assigned.node_id)),
            None => (None, None),
        };
        let shards: Vec<_> = self.shards.iter().map(Shard::status).collect();
        self.health.note_leaders(&shards);
        // Also before this node has recovered: waiting for the others, it can still name them to whoever could bring them back.
        let record = self.shards.record_here();
        let ready = self.ready();
        let mut status = Status {
            revision: String::new(),
            name: self.me.name.clone(),
            address: self.me.address.clone(),
            http_url: self.me.http_url.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            role: health::role(node_id, self.is_removed(), &shards),
            store_id: identity.store_id,
            cluster_id,
            node_id,
            level_min: Level::MIN,
            level_max: Level::MAX,
            epoch: record.as_ref().map(|record| record.epoch).unwrap_or_default(),
            ready: ready.is_ok(),
            ready_reason: ready.err().map(|unready| unready.to_string()),
            record,
            shards,
            disk: self.disk(),
            alarms: self.alarms(),
        };
        self.health.stamp(&mut status);
        status
    }

    /// What the node tells of itself, as soon as it is not what `seen` names.
    pub async fn status_after(&self, seen: &str) -> Status {
        self.health.changed_from(seen).await;
        self.status().await
    }

    /// Whether the node takes requests.
    pub fn ready(&self) -> Result<(), Unready> {
        self.storage.failure().check()?;
        self.storage.full().map_or(Ok(()), Err)?;
        if self.ending.load(Ordering::Relaxed) {
            return Err(Unready::ShuttingDown);
        }
        let Some(me) = self.node_id() else { return Err(Unready::Unassigned) };
        if self.is_removed() {
            return Err(Unready::Removed(me));
        }
        let statuses: Vec<_> = self.shards.iter().map(Shard::status).collect();
        if let Some(stopped) = statuses.iter().find(|status| status.stopped.is_some()) {
            let reason = stopped.stopped.clone().unwrap_or_default();
            return Err(Unready::Stopped { shard: stopped.shard, reason });
        }
        if health::role(Some(me), false, &statuses) == Role::Assigned {
            return Err(Unready::NotMember);
        }
        if !self.shards.all_run() || !self.shards.iter().all(Shard::is_recovered) {
            return Err(Unready::Recovering);
        }
        // Who began a cluster votes in it a moment before there is a record, which says how many shards there are.
        if self.shards.record_here().is_none() {
            return Err(Unready::NotMember);
        }
        self.health.led()
    }

    /// A shard, if it runs here.
    pub fn shard(&self, id: ShardId) -> Result<&Shard, ShardError> {
        self.shards.shard(id).ok_or_else(|| match self.storage.failure().check() {
            Err(failed) => ShardError::Stopped { reason: failed.to_string() },
            Ok(()) => ShardError::Unavailable { reason: "this node is no member of a cluster yet".into() },
        })
    }

    /// The client URL of the leader of shard 0, if both are known here.
    pub fn leader_url(&self) -> Option<String> {
        let leader = self.shards.shard(ShardId(0))?.status().leader?;
        self.shards.record_here()?.members.remove(&leader)?.http_url
    }

    /// The way into a cluster.
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// The shards of this node, once it is a member.
    pub fn member(&self) -> Result<&Shards, Unready> {
        self.storage.failure().check()?;
        self.node_id().ok_or(Unready::Unassigned)?;
        Ok(&self.shards)
    }

    /// The cluster record.
    pub async fn record(
        &self,
        consistency: Consistency,
        deadline: Instant,
    ) -> Result<Option<Record>, ShardError> {
        self.shard(ShardId(0))?;
        self.shards.record(consistency, deadline).await
    }

    /// What this node counts.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The metrics as text, positions and disk as they are now.
    pub fn scrape(&self) -> String {
        let shards: Vec<_> = self.shards.iter().map(Shard::status).collect();
        let offset = |shard: &Shard| Some((shard.id(), shard.clock_offset_ms()?));
        self.metrics.encode(&Now {
            node: self.node_id(),
            shards: &shards,
            tasks: &self.queues().figures(),
            queues: &self.shards.iter().map(|shard| (shard.id(), shard.queues())).collect::<Vec<_>>(),
            clock_offsets_ms: &self.shards.iter().filter_map(offset).collect::<Vec<_>>(),
            disk: &self.disk(),
            peers: self.peers.counts(),
            outgoing: &self.peers.outgoing(),
            in_flight_bytes: self.shards.in_flight_bytes(),
            log_queue_bytes: self.storage.log_queue_bytes(),
            ready: self.ready().is_ok(),
            disk_full: self.storage.full().is_some(),
            synced: self.storage.is_synced(),
        })
    }

    fn node_id(&self) -> Option<NodeId> {
        self.storage.identity().assigned.map(|assigned| assigned.node_id)
    }

    fn is_removed(&self) -> bool {
        self.node_id().is_some_and(|me| self.shards.own_removal(me).is_some())
    }

    fn disk(&self) -> DiskStatus {
        let space = self.storage.space();
        DiskStatus { total_bytes: space.total_bytes, free_bytes: space.free_bytes }
    }

    fn alarms(&self) -> Vec<Alarm> {
        let alarm = |code: &str, message: String| Alarm { code: code.to_owned(), message };
        let failed = self.storage.failure().get().map(|failed| alarm("disk_failed", failed.to_string()));
        let low = self.storage.space().is_low().then(|| {
            alarm(
                "disk_low",
                "the disk is nearly full: only deletions are taken until there is room".to_owned(),
            )
        });
        let full = self.storage.full().map(|full| alarm("disk_full", full.to_string()));
        let skew = self.shards.clock_skew().map(|words| alarm("clock_skew", words));
        let unsynced = (!self.storage.is_synced()).then(|| alarm("unsafe_no_fsync", UNSYNCED.to_owned()));
        let removed = self
            .is_removed()
            .then(|| alarm("removed", "this node was removed from its cluster; it may be reset".to_owned()));
        [failed, full, low, skew, unsynced, removed].into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_every_address_is_reached_under_the_peers_host() {
        let url = |http: &str, peer| http_url(http.parse().unwrap(), peer);
        assert_eq!(url("127.0.0.1:80", "n1.example:7000"), "http://127.0.0.1:80");
        assert_eq!(url("[::]:8080", "n1.example:7000"), "http://n1.example:8080");
        assert_eq!(url("0.0.0.0:8080", "[fd00::1]:7000"), "http://[fd00::1]:8080");
    }
}
