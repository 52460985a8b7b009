//! Everything nodes say to each other: one listener for all shards, one connection per peer.
//!
//! A request is one frame, its answer another; many are in flight on a connection and answers come in any order.
//! Snapshots take a connection of their own, so that heartbeats never wait for them.
//!
//! Invariants:
//! * A frame for another cluster or another node is refused and counted, never handled.
//! * Only `hello` and `invite` are answered without a cluster id: they are how a blank node finds its cluster.
//! * A peer's name is resolved again at every connect.
//! * Nothing here waits without a bound, and no frame is longer than [`FRAME_BYTES_MAX`].
//!
//! Not here: what a frame's body means (`crate::raft`, `crate::shards`).

mod connection;
mod counts;
mod frame;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod invite;
mod listener;
mod stream;
#[cfg(test)]
mod tests;

pub(crate) use connection::Answer;
pub use connection::CallError;
use counts::Counters;
pub use counts::{Counts, Outgoing};
pub use frame::Kind;
pub use invite::{Invite, InviteAnswer};
pub use listener::{Request, Service};
pub use stream::Parts;

use bytes::Bytes;
use connection::Connection;
use frame::Frame;
use futures::Stream;
use schedia_apps::{ClusterId, NodeId, ShardId, StoreId};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// The longest frame that is sent or taken: an entry of 2 MiB, twice over, and what is around it.
pub const FRAME_BYTES_MAX: usize = 5 << 20;
/// How long a connect may take, and a peer may be silent while something waits for it.
const WIRE_TIMEOUT: Duration = Duration::from_secs(1);

/// How a node introduces itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The node's name.
    pub name: String,
    /// Its disk.
    pub store_id: StoreId,
    /// Where its peers reach it: host:port.
    pub address: String,
    /// Where its clients reach it: a URL.
    pub http_url: String,
    /// Whether it was marked to begin a static cluster.
    pub seed: bool,
}

/// What a peer answers to [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HelloAnswer {
    /// Its disk is blank: it belongs to no cluster yet.
    Blank {
        /// Whether it was marked to begin a static cluster.
        seed: bool,
    },
    /// It belongs to a cluster.
    Member {
        /// Which cluster.
        cluster_id: ClusterId,
        /// Its id in it.
        node_id: NodeId,
        /// Where its clients reach it: a URL.
        http_url: String,
    },
}

/// Why a peer did not handle a frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refused {
    /// The frame names another cluster than the peer's, or none.
    #[error("refused: the peer belongs to another cluster")]
    WrongCluster,
    /// The frame is meant for another node: the address leads to somebody else now.
    #[error("refused: the peer is node {node_id}")]
    WrongNode {
        /// Who answered.
        node_id: NodeId,
    },
    /// The peer belongs to no cluster yet.
    #[error("refused: the peer's disk is blank")]
    Blank,
    /// The sender was removed from the cluster.
    #[error("refused: this node was removed at log index {index}")]
    Removed {
        /// The entry that removed it.
        index: u64,
    },
    /// The shard does not run on the peer, or has stopped there.
    #[error("refused: shard {shard} does not run on the peer")]
    NoShard {
        /// Which one.
        shard: ShardId,
    },
    /// The peer could not read the request.
    #[error("refused: {reason}")]
    Invalid {
        /// Why.
        reason: String,
    },
}

impl Refused {
    fn encode(&self) -> Bytes {
        encode(self)
    }

    fn decode(bytes: &[u8]) -> io::Result<Self> {
        postcard::from_bytes(bytes).map_err(io::Error::other)
    }
}

fn encode(value: &impl Serialize) -> Bytes {
    postcard::to_stdvec(value).expect("plain data, which postcard always encodes").into()
}

/// Who this node is in its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    cluster_id: ClusterId,
    node_id: NodeId,
}

impl Member {
    fn frame(&self, to: NodeId, kind: Kind, shard: ShardId, request: u64, body: Bytes) -> Frame {
        Frame { kind, shard, request, from: self.node_id, to, cluster: Some(self.cluster_id.clone()), body }
    }
}

/// The peers of this node. Cheap to clone.
#[derive(Clone)]
pub struct Peers(Arc<Inner>);

struct Inner {
    hello: Hello,
    me: OnceLock<Member>,
    connections: Mutex<HashMap<NodeId, Arc<Connection>>>,
    removed: watch::Sender<Option<u64>>,
    invitations: invite::Invitations,
    counters: Arc<Counters>,
}

/// A peer to call: who it should be and where it was last said to be.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Its id: anybody else refuses.
    pub id: NodeId,
    /// host:port.
    pub address: &'a str,
}

impl Peers {
    /// A node that belongs to no cluster yet: it sends and answers nothing but `hello`.
    pub fn new(hello: Hello) -> Self {
        Peers(Arc::new(Inner {
            hello,
            me: OnceLock::new(),
            connections: Mutex::default(),
            removed: watch::Sender::new(None),
            invitations: invite::Invitations::default(),
            counters: Arc::default(),
        }))
    }

    /// From now on this node sends and takes the frames of this cluster, as this node. The first call counts.
    pub fn assign(&self, cluster_id: ClusterId, node_id: NodeId) {
        let _ = self.0.me.set(Member { cluster_id, node_id });
    }

    /// Answers peers until `stop`: `service` handles the frames of shards.
    pub async fn serve(&self, listener: TcpListener, service: Arc<impl Service>, stop: CancellationToken) {
        listener::serve(self, listener, service, stop).await;
    }

    /// Asks the node at `address` (host:port) who it is.
    ///
    /// A member of our own cluster that has seen this node removed says so: see [`Peers::removed`].
    pub async fn hello(&self, address: &str) -> Result<HelloAnswer, CallError> {
        let frame = Frame {
            kind: Kind::Hello,
            shard: ShardId(0),
            request: 0,
            from: self.0.me.get().map_or(NodeId(0), |me| me.node_id),
            to: NodeId(0),
            cluster: self.0.me.get().map(|me| me.cluster_id.clone()),
            body: encode(&self.0.hello),
        };
        let body = self.noted(stream::exchange(address, frame, &self.0.counters).await)?;
        postcard::from_bytes(&body).map_err(|error| CallError::Lost(format!("no answer to hello: {error}")))
    }

    /// One request and its answer, before `deadline`.
    pub async fn call(
        &self,
        target: Target<'_>,
        kind: Kind,
        shard: ShardId,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Bytes, CallError> {
        let late = |_| CallError::NotSent(format!("no connection to {} in time", target.address));
        let answer = timeout_at(deadline, self.send(target, kind, shard, body)).await.map_err(late)??;
        match timeout_at(deadline, answer).await {
            Ok(answer) => self.noted(answer),
            Err(_) => Err(CallError::Lost(format!("no answer from {} in time", target.address))),
        }
    }

    /// Sends a request, without waiting for its answer: requests to one peer arrive in the order they were sent.
    pub(crate) async fn send(
        &self,
        target: Target<'_>,
        kind: Kind,
        shard: ShardId,
        body: Bytes,
    ) -> Result<Answer, CallError> {
        self.connection(target.id)?.send(target.address, kind, shard, body).await
    }

    /// Streams a snapshot over a connection of its own; returns the receiver's answer. `parts` makes the stream of what the
    /// receiver says it has already; it is not called if the receiver needs nothing.
    pub(crate) async fn stream<P>(
        &self,
        target: Target<'_>,
        shard: ShardId,
        begin: Bytes,
        parts: impl FnOnce(Bytes) -> Result<P, CallError> + Send,
    ) -> Result<Bytes, CallError>
    where
        P: Stream<Item = io::Result<Bytes>> + Send + Unpin,
    {
        let me = self.0.me.get().ok_or_else(unassigned)?;
        self.noted(stream::send(target, me, shard, begin, parts, &self.0.counters).await)
    }

    /// The entry that removed this node from its cluster, once a peer has said so.
    pub fn removed(&self) -> Option<u64> {
        *self.0.removed.borrow()
    }

    /// Waits until a peer has said that this node was removed.
    pub(crate) async fn wait_removed(&self) {
        // The sender lives in `self`: waiting ends with a value.
        let _ = self.0.removed.subscribe().wait_for(Option::is_some).await;
    }

    /// This node's id, once it has one.
    pub(crate) fn me(&self) -> Option<NodeId> {
        self.0.me.get().map(|me| me.node_id)
    }

    /// How this node introduces itself.
    pub(crate) fn own_hello(&self) -> &Hello {
        &self.0.hello
    }

    /// What was counted since the start.
    pub fn counts(&self) -> Counts {
        self.0.counters.read()
    }

    /// What waits to be sent to each peer, or for its answer.
    pub fn outgoing(&self) -> Vec<(NodeId, Outgoing)> {
        let connections = self.0.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.iter().map(|(id, connection)| (*id, connection.outgoing())).collect()
    }

    fn connection(&self, to: NodeId) -> Result<Arc<Connection>, CallError> {
        let me = self.0.me.get().ok_or_else(unassigned)?;
        let mut connections = self.0.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Connection::new(me.clone(), to, self.0.counters.clone()));
        let connection = connections.entry(to).or_insert_with(new);
        Ok(connection.clone())
    }

    /// Remembers that a peer called this node removed.
    fn noted(&self, answer: Result<Bytes, CallError>) -> Result<Bytes, CallError> {
        if let Err(CallError::Refused(Refused::Removed { index })) = &answer
            && self.0.removed.send_replace(Some(*index)).is_none()
        {
            tracing::warn!(index, "a peer says that this node was removed from the cluster");
        }
        answer
    }
}

fn unassigned() -> CallError {
    CallError::NotSent("this node belongs to no cluster yet".into())
}
