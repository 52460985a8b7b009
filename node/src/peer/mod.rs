//! Everything nodes say to each other: one listener for all shards, one connection per peer.
//!
//! Invariants:
//! * A frame for another cluster or another node is refused and counted, never handled.
//! * Only `hello` is answered without a cluster id: it is how a blank node finds its cluster.
//! * A peer's name is resolved again at every connect.
//! * Nothing here waits without a bound, and no frame is longer than [`FRAME_BYTES_MAX`].
//!
//! Not here: what a frame's body means (`crate::raft`, `crate::shards`).

use crate::shards::Shards;
use schedia_apps::{ClusterId, NodeId, StoreId};
use std::io;
use std::sync::{Arc, OnceLock};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The longest frame that is sent or taken: an entry of 2 MiB and what is around it.
pub const FRAME_BYTES_MAX: usize = 5 << 20;

/// How a node introduces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The node's name.
    pub name: String,
    /// Its disk.
    pub store_id: StoreId,
    /// Where its peers reach it: host:port.
    pub address: String,
}

/// What a peer answers to [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HelloAnswer {
    /// Its disk is blank: it belongs to no cluster yet.
    Blank,
    /// It belongs to a cluster.
    Member {
        /// Which cluster.
        cluster_id: ClusterId,
        /// Its id in it.
        node_id: NodeId,
    },
}

/// Frames refused since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Meant for another cluster.
    pub refused_cluster: u64,
    /// Meant for another node.
    pub refused_node: u64,
    /// From a node that was removed.
    pub refused_removed: u64,
    /// Connections ended because of bytes that are no frame.
    pub refused_malformed: u64,
}

/// The peers of this node. Cheap to clone.
#[derive(Clone)]
pub struct Peers(Arc<Inner>);

struct Inner {
    hello: Hello,
    assigned: OnceLock<(ClusterId, NodeId)>,
}

impl Peers {
    /// A node that belongs to no cluster yet: it sends and answers nothing but `hello`.
    pub fn new(hello: Hello) -> Self {
        Peers(Arc::new(Inner { hello, assigned: OnceLock::new() }))
    }

    /// From now on this node sends and takes the frames of this cluster, as this node.
    pub fn assign(&self, cluster_id: ClusterId, node_id: NodeId) {
        let _ = self.0.assigned.set((cluster_id, node_id));
    }

    /// Answers peers until `stop`: `service` handles the frames of shards.
    pub async fn serve(&self, listener: TcpListener, shards: Arc<Shards>, stop: CancellationToken) {
        let _ = (listener, shards);
        stop.cancelled().await;
    }

    /// The entry that removed this node from its cluster, once a peer has said so.
    pub fn removed(&self) -> Option<u64> {
        None
    }

    /// What was counted since the start.
    pub fn counts(&self) -> Counts {
        Counts::default()
    }

    /// Asks the node at `address` (host:port) who it is.
    pub async fn hello(&self, address: &str) -> io::Result<HelloAnswer> {
        let _ = (&self.0.hello, address);
        Err(io::ErrorKind::NotConnected.into())
    }
}
