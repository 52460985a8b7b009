//! How a node comes to know its cluster, and how a member lets others in.
//!
//! The identity file comes first, always: a node is on disk as a member before it runs a shard as one. The node that
//! begins a cluster keeps a note beside its identity (`seed`) until the cluster record is committed, so that a crash
//! in between is finished at the next start, and a disk that lost its shards later never begins the cluster again.
//!
//! Invariants:
//! * A disk that knows its cluster asks nobody and begins nothing.
//! * A disk that was reset begins no cluster by itself (`--bootstrap`): the one it was removed from may still be there.
//! * No node begins a cluster while a node it was told of is a member of one, or does not answer.
//! * Asking twice is harmless everywhere: a disk has one id in one cluster, whatever is repeated.
//!
//! Not here: when a member gets its vote (`shards/membership.rs`), what travels between peers (`peer/`).

mod formation;
mod invitation;
mod reset;

pub use invitation::{InviteError, Invited};

use crate::config::{self, Start};
use crate::peer::Peers;
use crate::shards::{MembershipError, ShardError, Shards};
use crate::storage::{AssignError, Assigned, Storage};
use schedia_api::{Assign, Client, ClientError, Initialize, Join, Joined};
use schedia_apps::cluster::{self, Member, Record};
use schedia_apps::{ClusterId, Command, Epoch, Level, NodeId, Refusal, ShardId};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// The seed's id. All others are log indexes above it.
const SEED: NodeId = NodeId(1);
/// Shards of a cluster that nobody said otherwise about.
const SHARDS: u32 = 1;
/// What a node starts before it has seen the record, which says how many shards there are.
const SHARD_0: u32 = 1;
/// How long one attempt to become a member may take.
const ATTEMPT: Duration = Duration::from_secs(10);
/// The pause between two attempts, doubled each time up to the second value.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// What this node tells others of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// Its name.
    pub name: String,
    /// Where its peers reach it: host:port.
    pub address: String,
    /// Where its clients reach it: a URL.
    pub http_url: String,
}

/// Why a node did not become a member.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The disk belongs to a member already.
    #[error("this node is already node {node_id} of cluster {cluster_id}")]
    AlreadyAssigned {
        /// The cluster.
        cluster_id: ClusterId,
        /// The id in it.
        node_id: NodeId,
    },
    /// A node that belongs to no cluster can let nobody in.
    #[error("this node belongs to no cluster yet")]
    Unassigned,
    /// Only the operator changes this cluster's membership.
    #[error("membership is managed by the operator")]
    ManagedByOperator,
    /// A reset names another disk or member than this one.
    #[error("nothing was changed: this node is {is}")]
    NotThatMember {
        /// Who it is.
        is: String,
    },
    /// A reset of a node that may still be in some shard.
    #[error("nothing was changed: the leader has not confirmed that this node was removed: {reason}")]
    NotConfirmed {
        /// Why not.
        reason: String,
    },
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The identity could not be written.
    #[error("failed to write the identity: {0}")]
    Storage(#[from] io::Error),
    /// As for any change of the membership.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// As for any proposal.
    #[error(transparent)]
    Shard(#[from] ShardError),
}

impl From<AssignError> for JoinError {
    fn from(error: AssignError) -> JoinError {
        match error {
            AssignError::Other(Assigned { cluster_id, node_id, seed: _ }) => {
                JoinError::AlreadyAssigned { cluster_id, node_id }
            }
            AssignError::Io(error) => JoinError::Storage(error),
        }
    }
}

/// This node's way into a cluster. Owned by the composition root; the admin API and the doors call it.
pub struct Admission {
    storage: Arc<Storage>,
    shards: Arc<Shards>,
    peers: Peers,
    me: Advertised,
    /// With how many shards a cluster begins that this node begins by itself, if somebody said so.
    shard_count: Option<u32>,
    /// One identity is written at a time.
    entering: Mutex<()>,
    /// Cancelled when this node has been reset: its parts are to end, and to begin again on a blank disk.
    anew: CancellationToken,
    /// Held while a node that waits for an invitation begins a cluster, or asks to be let into one.
    choosing: Mutex<()>,
}

impl Admission {
    /// Nothing is started yet: see [`Admission::resume`].
    pub fn new(
        storage: Arc<Storage>,
        shards: Arc<Shards>,
        peers: Peers,
        me: Advertised,
        shard_count: Option<u32>,
    ) -> Admission {
        let (entering, choosing, anew) = (Mutex::default(), Mutex::default(), CancellationToken::new());
        Admission { storage, shards, peers, me, shard_count, entering, choosing, anew }
    }

    /// Waits until this node has been reset.
    pub async fn was_reset(&self) {
        self.anew.cancelled().await;
    }

    /// A disk with an identity: starts its shards. A blank disk: nothing.
    pub async fn resume(&self) -> Result<(), JoinError> {
        if let Some(Assigned { cluster_id, node_id, seed: _ }) = self.storage.identity().assigned {
            self.shards.start(&cluster_id, node_id, SHARD_0).await?;
            self.shards.start_missing().await?;
        }
        Ok(())
    }

    /// A blank disk: does what the settings say, again and again until the node is a member. A disk of a cluster that
    /// was not quite begun: finishes that. Any other: nothing. Cancel by dropping.
    pub async fn enter(&self, start: &Start) {
        let (mut told, (mut pause, pause_max)) = (String::new(), PAUSE);
        while let Err(reason) = self.try_to_enter(start).await {
            // The same reason again and again is one line.
            if reason != told {
                tracing::warn!(%reason, "not a member yet");
                told = reason;
            }
            sleep(pause).await;
            pause = (2 * pause).min(pause_max);
        }
        self.compare_shards().await;
    }

    /// Says so if the cluster has another number of shards than was asked for.
    async fn compare_shards(&self) {
        let (Some(asked), Some(shard)) = (self.shard_count, self.shards.shard(ShardId(0))) else { return };
        let mut record = shard.watch_record();
        let known =
            record.wait_for(Option::is_some).await.ok().and_then(|record| Some(record.as_ref()?.shards));
        if let Some(shards) = known.filter(|shards| *shards != asked) {
            tracing::warn!(
                shards,
                asked,
                "a cluster keeps the number of shards it began with: --shards has no effect"
            );
        }
    }

    /// `POST /admin/v1/initialize`.
    pub async fn initialize(&self, verb: Initialize, deadline: Instant) -> Result<Joined, JoinError> {
        if !(1..=cluster::SHARDS_MAX).contains(&verb.shards) {
            let reason = format!("a cluster has 1 to {} shards, not {}", cluster::SHARDS_MAX, verb.shards);
            return Err(JoinError::Invalid(reason));
        }
        let cluster_id = verb.cluster_id.clone();
        let begun = Assigned { cluster_id: cluster_id.clone(), node_id: SEED, seed: None };
        match self.storage.identity().assigned {
            Some(now) if now == begun => {}
            // A blank disk, or a cluster not quite begun: perhaps with other words than these.
            _ => {
                self.assigned(Assigned {
                    seed: Some(serde_json::to_string(&verb).map_err(io::Error::from)?),
                    ..begun.clone()
                })
                .await?
            }
        }
        self.begin(&verb, deadline).await?;
        self.assigned(begun).await?;
        tracing::info!(cluster = %cluster_id, node = %SEED, "the cluster has begun");
        Ok(Joined { cluster_id, node_id: SEED })
    }

    /// `POST /admin/v1/assign`.
    pub async fn assign(&self, verb: Assign) -> Result<Joined, JoinError> {
        let Assign { cluster_id, node_id } = verb;
        let known = self.storage.identity().assigned;
        if known.is_none_or(|known| (known.cluster_id, known.node_id) != (cluster_id.clone(), node_id)) {
            self.assigned(Assigned { cluster_id: cluster_id.clone(), node_id, seed: None }).await?;
            tracing::info!(cluster = %cluster_id, node = %node_id, "this node has its identity");
        }
        self.shards.start(&cluster_id, node_id, SHARD_0).await?;
        Ok(Joined { cluster_id, node_id })
    }

    /// `POST /v1/cluster/join`, on any member; repeatable by store id.
    pub async fn admit(&self, verb: Join, deadline: Instant) -> Result<Joined, JoinError> {
        let Assigned { cluster_id, .. } = self.storage.identity().assigned.ok_or(JoinError::Unassigned)?;
        match self.shards.admit(verb, deadline).await {
            Ok(node_id) => Ok(Joined { cluster_id, node_id }),
            Err(ShardError::Refused(Refusal::Cluster(cluster::Refusal::Managed { .. }))) => {
                Err(JoinError::ManagedByOperator)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn try_to_enter(&self, start: &Start) -> Result<(), String> {
        let deadline = Instant::now() + ATTEMPT;
        let words = |error: JoinError| error.to_string();
        if let Some(assigned) = self.storage.identity().assigned {
            return match assigned.seed {
                Some(note) => self.finish(&note, deadline).await.map_err(words),
                None => Ok(()),
            };
        }
        match start {
            Start::Wait => Ok(()),
            Start::Bootstrap if self.storage.identity().former.is_some() => {
                Err("this disk was reset: it begins no cluster again, let it join one".to_owned())
            }
            Start::Bootstrap => self.begin_anew(deadline).await.map_err(words),
            Start::Join(url) => self.ask(std::slice::from_ref(url)).await,
            Start::Invited => self.come_when_invited().await,
            Start::Peers(peers) => self.form(peers, deadline).await,
        }
    }

    /// Forms a static cluster with the listed nodes, or finds that it was formed.
    async fn form(&self, listed: &config::Peers, deadline: Instant) -> Result<(), String> {
        let others = listed.nodes.iter().filter(|(name, _)| **name != self.me.name);
        let asked = others.map(|(name, address)| async {
            let answer = self.peers.hello(address).await.map_err(|error| error.to_string());
            (name.clone(), formation::Other { address: address.clone(), answer })
        });
        let others = futures::future::join_all(asked).await.into_iter().collect();
        match formation::decide(listed, &others)? {
            formation::Turn::Begin => self.begin_anew(deadline).await.map_err(|error| error.to_string()),
            formation::Turn::Ask(urls) => self.ask(&urls).await,
        }
    }

    async fn begin_anew(&self, deadline: Instant) -> Result<(), JoinError> {
        let cluster_id = ClusterId::try_from(uuid::Uuid::new_v4().to_string())
            .map_err(|error| JoinError::Invalid(error.to_string()))?;
        let Advertised { name, address, http_url: _ } = self.me.clone();
        let verb = Initialize {
            cluster_id,
            name,
            address,
            shards: self.shard_count.unwrap_or(SHARDS),
            managed_by: None,
        };
        self.initialize(verb, deadline).await.map(|_| ())
    }

    /// Goes on where beginning the cluster ended.
    async fn finish(&self, note: &str, deadline: Instant) -> Result<(), JoinError> {
        let verb = serde_json::from_str(note).map_err(io::Error::other)?;
        self.initialize(verb, deadline).await.map(|_| ())
    }

    /// Asks members, by their client URLs, to become one of them.
    async fn ask(&self, urls: &[String]) -> Result<(), String> {
        let words = |error: ClientError| error.to_string();
        let Advertised { name, address, http_url } = self.me.clone();
        let store_id = self.storage.identity().store_id;
        let client = Client::new(urls, ATTEMPT).map_err(words)?;
        let joined = client.join(&Join { name, address, http_url: Some(http_url), store_id }).await;
        let Joined { cluster_id, node_id } = joined.map_err(words)?;
        self.assign(Assign { cluster_id, node_id }).await.map(|_| ()).map_err(|error| error.to_string())
    }

    /// Makes the cluster record the first thing that is agreed on. Repeatable: a record like this one stays as it is.
    async fn begin(&self, verb: &Initialize, deadline: Instant) -> Result<(), JoinError> {
        if self.storage.identity().assigned.is_some_and(|assigned| assigned.seed.is_some()) {
            self.shards.start(&verb.cluster_id, SEED, verb.shards).await?;
            self.shards.initialize(&verb.address).await?;
        } else {
            // It has begun. Whether as these words say is for its record to tell: no other shard is started for them.
            self.shards.start(&verb.cluster_id, SEED, SHARD_0).await?;
        }
        let shard = self.shards.shard(ShardId(0)).ok_or(JoinError::Unassigned)?;
        let command = Command::Cluster(cluster::Command::Initialize(self.first_record(verb)));
        shard.propose(command, deadline).await?;
        Ok(())
    }

    fn first_record(&self, verb: &Initialize) -> Record {
        let Initialize { cluster_id: _, name, address, shards, managed_by } = verb.clone();
        let member = Member {
            id: SEED,
            name,
            address,
            http_url: Some(self.me.http_url.clone()),
            store_id: Some(self.storage.identity().store_id),
        };
        Record {
            generation: 1,
            members: [(SEED, member)].into(),
            voters: [SEED].into(),
            joining: [].into(),
            settled: true,
            shards,
            level: Level::MAX,
            epoch: Epoch(0),
            managed_by,
        }
    }

    /// Writes the identity; durable on return.
    async fn assigned(&self, assigned: Assigned) -> Result<(), JoinError> {
        let _entering = self.entering.lock().await;
        let storage = self.storage.clone();
        let written = tokio::task::spawn_blocking(move || storage.assign(assigned)).await;
        written.map_err(io::Error::other)??;
        Ok(())
    }
}
