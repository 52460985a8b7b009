//! Why a command or a query did not answer: split by who must act.

use serde::{Deserialize, Serialize};

/// A command or query that ended without its reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// Goes to the client; the same on every member; nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// This member's tables cannot be read or make no sense: its shard halts here, and is never hidden.
    #[error("state is broken: {0}")]
    Broken(String),
}

/// A deterministic no.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// Refused by the key/value store.
    #[error(transparent)]
    Kv(#[from] crate::kv::Refusal),
    /// Refused by the cluster record.
    #[error(transparent)]
    Cluster(#[from] crate::cluster::Refusal),
    /// Refused as a write that may be sent again.
    #[error(transparent)]
    Once(#[from] crate::once::Unrepeatable),
    /// Refused by the queues.
    #[error(transparent)]
    Queue(#[from] crate::queue::Refusal),
}

impl Refusal {
    /// Whether another state might have taken what was refused. Otherwise nothing will ever take it.
    pub fn is_of_the_state(&self) -> bool {
        match self {
            Refusal::Kv(refusal) => refusal.is_of_the_state(),
            Refusal::Queue(refusal) => refusal.is_of_the_state(),
            Refusal::Cluster(_) | Refusal::Once(_) => true,
        }
    }
}

impl From<crate::kv::Refusal> for Stop {
    fn from(refusal: crate::kv::Refusal) -> Stop {
        Stop::Refused(refusal.into())
    }
}

impl From<crate::cluster::Refusal> for Stop {
    fn from(refusal: crate::cluster::Refusal) -> Stop {
        Stop::Refused(refusal.into())
    }
}

impl From<crate::queue::Refusal> for Stop {
    fn from(refusal: crate::queue::Refusal) -> Stop {
        Stop::Refused(refusal.into())
    }
}
