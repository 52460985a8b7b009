//! The steps a plan may hold: each is at most one mutation, and each may be repeated.

use crate::latches::Latched;
use schedia_api::{AddLearner, Initialize, RemoveLearner, Reset, SetVoters, TransferLeader};
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
    /// Make a blank node of one that was removed: what is on its disk is moved aside.
    Reset {
        /// The pod.
        pod: String,
        /// What it is told; it names the disk.
        verb: Reset,
    },
    /// Add a member without a vote.
    AddLearner {
        /// The leader's pod.
        leader: String,
        /// What it is told.
        verb: AddLearner,
    },
    /// Hand leadership to another voter.
    TransferLeader {
        /// The leader's pod.
        leader: String,
        /// The pod of the leader to be.
        to: String,
        /// What the leader is told.
        verb: TransferLeader,
    },
    /// Change the voters in one joint change.
    SetVoters {
        /// The leader's pod.
        leader: String,
        /// What it is told.
        verb: SetVoters,
    },
    /// Finish a membership change that is open, by naming the voters that it already has for its goal.
    Settle {
        /// The leader's pod.
        leader: String,
        /// What it is told.
        verb: SetVoters,
    },
    /// Drop a member without a vote.
    RemoveMember {
        /// The leader's pod.
        leader: String,
        /// The pod of the member.
        pod: String,
        /// What the leader is told.
        verb: RemoveLearner,
    },
    /// Delete the volume claim of a pod that the cluster no longer has.
    DeleteClaim {
        /// The pod it belonged to.
        pod: String,
        /// The claim.
        claim: String,
        /// Only this one.
        uid: String,
    },
}

impl Step {
    /// As a word for programs: the reason of events, a label of metrics, the name of a failpoint.
    pub fn kind(&self) -> &'static str {
        match self {
            Step::Latch(Latched { initialized: false, .. }) => "LatchIntent",
            Step::Latch(_) => "LatchInitialized",
            Step::Recreate { .. } => "RecreatePod",
            Step::Initialize { .. } => "Initialize",
            Step::Assign { .. } => "AssignNodeId",
            Step::Reset { .. } => "ResetNode",
            Step::AddLearner { .. } => "AddLearner",
            Step::TransferLeader { .. } => "TransferLeader",
            Step::SetVoters { .. } => "ChangeVoters",
            Step::Settle { .. } => "FinishChange",
            Step::RemoveMember { .. } => "RemoveMember",
            Step::DeleteClaim { .. } => "DeleteVolumeClaim",
        }
    }

    /// The pod it is about, if it is about one.
    pub fn pod(&self) -> Option<&str> {
        match self {
            Step::Recreate { pod, .. }
            | Step::Initialize { pod, .. }
            | Step::Assign { pod, .. }
            | Step::Reset { pod, .. }
            | Step::TransferLeader { to: pod, .. }
            | Step::RemoveMember { pod, .. }
            | Step::DeleteClaim { pod, .. } => Some(pod),
            Step::AddLearner { verb, .. } => Some(&verb.name),
            Step::Latch(_) | Step::SetVoters { .. } | Step::Settle { .. } => None,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Latch(Latched { cluster_id: Some(id), initialized }) => {
                let what = if *initialized { "confirmed" } else { "intended" };
                write!(f, "record {id} as the {what} cluster id")
            }
            Step::Latch(_) => write!(f, "record nothing"),
            Step::Recreate { pod, .. } => write!(f, "recreate {pod} from the newest template"),
            Step::Initialize { pod, verb, .. } => {
                write!(f, "initialize {pod} as cluster {}", verb.cluster_id)
            }
            Step::Assign { pod, .. } => write!(f, "give {pod} a node id"),
            Step::Reset { pod, verb } => {
                write!(
                    f,
                    "make {pod} blank again: its disk is that of node {}, which was removed",
                    verb.node_id
                )
            }
            Step::AddLearner { verb, .. } => {
                write!(f, "add {} as a learner with node id {}", verb.name, verb.node_id)
            }
            Step::TransferLeader { leader, to, .. } => {
                write!(f, "hand leadership from {leader} to {to}")
            }
            Step::SetVoters { verb, .. } => write!(f, "make {} the voters", ids(&verb.voters)),
            Step::Settle { verb, .. } => {
                write!(f, "finish the open membership change, with {} as voters", ids(&verb.voters))
            }
            Step::RemoveMember { pod, verb, .. } => {
                write!(f, "remove {pod}, node {}, from the cluster", verb.node_id)
            }
            Step::DeleteClaim { claim, pod, .. } => {
                write!(f, "delete volume claim {claim}: {pod} is no longer a member")
            }
        }
    }
}

fn ids<'a>(ids: impl IntoIterator<Item = &'a NodeId>) -> String {
    let ids: Vec<_> = ids.into_iter().map(ToString::to_string).collect();
    match &ids[..] {
        [one] => format!("node {one}"),
        many => format!("nodes {}", many.join(", ")),
    }
}
