//! Names the change that is under way, for the status. Pure.

use super::{Decision, Reason};
use crate::census::Census;
use crate::validate::Cluster;

/// A change under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Bootstrap, ScaleUp or ScaleDown.
    pub kind: &'static str,
    /// How far it is.
    pub step: &'static str,
    /// The pod that it is about.
    pub member: Option<String>,
}

const BOOTSTRAP: &str = "Bootstrap";

impl Operation {
    /// What a decision is part of; `None` at rest, and while paused, when nothing goes on.
    pub(super) fn of(cluster: &Cluster, census: &Census, decision: &Decision) -> Option<Operation> {
        let Decision { reason, step, refused, member, .. } = decision;
        let under_way = step.is_some() || refused.is_some() || reason.is_on_the_way();
        if !under_way || cluster.spec.paused {
            return None;
        }
        let voters = census.record.as_ref().map_or(0, |record| record.voters.len());
        let target = census.target as usize;
        // A bootstrap lasts until its first Ready: it grows like any cluster of one.
        let before = cluster.status.operation.as_ref().map(|operation| operation.type_.as_str());
        let kind = match reason {
            Reason::Bootstrapping => BOOTSTRAP,
            Reason::TransferringLeader => "ScaleDown",
            Reason::RemovingMember if voters >= target => "ScaleDown",
            _ if voters > target => "ScaleDown",
            _ if before == Some(BOOTSTRAP) => BOOTSTRAP,
            _ => "ScaleUp",
        };
        Some(Operation { kind, step: reason.as_str(), member: member.clone() })
    }
}

impl Reason {
    /// Whether it says that a change goes on.
    pub fn is_on_the_way(self) -> bool {
        match self {
            Reason::Bootstrapping
            | Reason::AddingLearner
            | Reason::CatchingUp
            | Reason::ChangingMembership
            | Reason::TransferringLeader
            | Reason::RemovingMember => true,
            Reason::Ready
            | Reason::Degraded
            | Reason::QuorumLost
            | Reason::NodesUnreachable
            | Reason::Blocked
            | Reason::Invalid
            | Reason::Paused => false,
        }
    }
}
