//! The steps a plan may hold: each is at most one mutation, and each may be repeated.

use crate::latches::Latched;
use schedia_api::{AddLearner, Initialize, SetVoters};
use schedia_apps::{ClusterId, NodeId, StoreId};
use std::fmt;

/// One mutation.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Write the latches to the annotation of the StatefulSet, and to the status at the end of the pass.
    Latch(Latched),
    /// Delete a pod of a cluster that does not exist yet, so that it comes back from the newest template.
    Recreate {
        /// The pod.
        pod: String,
        /// Only this one, not one that has replaced it meanwhile.
        uid: String,
    },
    /// Make a cluster of one out of a blank node.
    Initialize {
        /// The pod.
        pod: String,
        /// Only this disk.
        store_id: StoreId,
        /// What it is told.
        verb: Initialize,
    },
    /// Draw a fresh node id from the leader and tell a blank node. An id drawn and not used is harmless.
    Assign {
        /// The leader's pod.
        leader: String,
        /// The blank node's pod.
        pod: String,
        /// Only this disk.
        store_id: StoreId,
        /// The cluster it belongs to from now on.
        cluster_id: ClusterId,
    },
    /// Add a member without a vote.
    AddLearner {
        /// The leader's pod.
        leader: String,
        /// What it is told.
        verb: AddLearner,
    },
    /// Change the voters in one joint change, or finish one that is open.
    SetVoters {
        /// The leader's pod.
        leader: String,
        /// What it is told.
        verb: SetVoters,
    },
}

impl Step {
    /// As a word for programs: the reason of events, a label of metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Step::Latch(Latched { initialized: false, .. }) => "LatchIntent",
            Step::Latch(_) => "LatchInitialized",
            Step::Recreate { .. } => "RecreatePod",
            Step::Initialize { .. } => "Initialize",
            Step::Assign { .. } => "AssignNodeId",
            Step::AddLearner { .. } => "AddLearner",
            Step::SetVoters { .. } => "ChangeVoters",
        }
    }

    /// The pod it is about, if it is about one.
    pub fn pod(&self) -> Option<&str> {
        match self {
            Step::Recreate { pod, .. } | Step::Initialize { pod, .. } | Step::Assign { pod, .. } => Some(pod),
            Step::AddLearner { verb, .. } => Some(&verb.name),
            Step::Latch(_) | Step::SetVoters { .. } => None,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Latch(Latched { cluster_id: Some(id), initialized, .. }) => {
                let what = if *initialized { "confirmed" } else { "intended" };
                write!(f, "record {id} as the {what} cluster id")
            }
            Step::Latch(_) => write!(f, "record nothing"),
            Step::Recreate { pod, .. } => write!(f, "recreate {pod} from the newest template"),
            Step::Initialize { pod, verb, .. } => {
                write!(f, "initialize {pod} as cluster {}", verb.cluster_id)
            }
            Step::Assign { pod, .. } => write!(f, "give {pod} a node id"),
            Step::AddLearner { verb, .. } => {
                write!(f, "add {} as a learner with node id {}", verb.name, verb.node_id)
            }
            Step::SetVoters { verb, .. } => write!(f, "make {} the voters", ids(&verb.voters)),
        }
    }
}

fn ids<'a>(ids: impl IntoIterator<Item = &'a NodeId>) -> String {
    let ids: Vec<_> = ids.into_iter().map(ToString::to_string).collect();
    format!("nodes {}", ids.join(", "))
}
