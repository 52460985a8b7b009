//! The identity file: which disk this is, and which member of which cluster lives on it.
//!
//! One line of JSON, one line with its CRC-32C in hexadecimal. Written to a temporary file, synced, renamed, and the
//! directory synced, so that a crash leaves the old or the new one.
//!
//! Invariants:
//! * A disk draws its store id once, and it is durable before anybody hears it.
//! * A disk that has a cluster and a node id never takes others.

use schedia_apps::{ClusterId, NodeId, StoreId};
use serde::{Deserialize, Serialize};

/// Who lives on this disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// This disk, for ever.
    pub store_id: StoreId,
    /// The member on it. `None` = a blank disk.
    pub assigned: Option<Assigned>,
}

/// A member of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assigned {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The member's id in it.
    pub node_id: NodeId,
    /// Set on the node that began the cluster: what it needs to finish that after a crash. Opaque here.
    pub seed: Option<String>,
}
