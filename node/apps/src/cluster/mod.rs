//! The cluster record: who belongs to this cluster, replicated on shard 0 from the first entry.
//!
//! The record is the intent. The leader of shard 0 drives raft's memberships toward it and marks it settled.

mod record;

pub use record::{Member, Record};
use serde::{Deserialize, Serialize};

/// Why the cluster record refused a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The change was planned from another generation of the record.
    #[error("stale: the cluster record is at generation {current}")]
    Stale {
        /// The generation now.
        current: u64,
    },
}
