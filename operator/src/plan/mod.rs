//! Decides what to do next, and says why. Pure: no client, no clock, no randomness; a fresh cluster id is handed in.
//!
//! The first of these that has something to say decides:
//!
//! 1. `conflict`: contradicting latches, foreign objects, nodes of two clusters. Nothing is touched.
//! 2. `bootstrap`: no node has confirmed a cluster yet.
//! 3. `quorum`: fewer than a majority answer. Nothing is touched but members' own pods.
//! 4. `change`: finish an open membership change, then go toward the members that are asked for.
//! 5. `leftovers`: pods and volume claims of those who are no members any more.
//! 6. `steady`: everything as it should be, or what is not.
//!
//! Invariants:
//! * A plan holds at most one step, and a step is at most one mutation of the cluster.
//! * Every membership step carries the generation of the record it was planned from.
//! * No step initializes a cluster that may already exist.

mod bootstrap;
mod change;
mod conflict;
mod leftovers;
mod operation;
mod quorum;
mod steady;
mod step;

pub use operation::Operation;
pub use step::Step;

use crate::build::{Built, Difference, Objects, differences};
use crate::census::Census;
use crate::observed::Observed;
use crate::validate::Cluster;
use schedia_apps::ClusterId;
use std::collections::BTreeMap;

/// Why a cluster is (not) ready: the reason of its condition Ready, and the column Status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Everything in force is as it should be.
    Ready,
    /// The cluster is being made.
    Bootstrapping,
    /// A member without a vote is being added.
    AddingLearner,
    /// Members without a vote receive what the cluster knows.
    CatchingUp,
    /// The voters are being changed.
    ChangingMembership,
    /// Leadership goes to a member that stays.
    TransferringLeader,
    /// A member without a vote is being dropped, with its pod and its volume.
    RemovingMember,
    /// A majority is there, but not everybody.
    Degraded,
    /// No majority.
    QuorumLost,
    /// Perhaps a majority, but the operator cannot see it.
    NodesUnreachable,
    /// Somebody must decide: the message says what.
    Blocked,
    /// The spec cannot be worked with.
    Invalid,
    /// `spec.paused` is set.
    Paused,
}

/// What has been decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Where the cluster stands.
    pub reason: Reason,
    /// In words.
    pub message: String,
    /// For [`Reason::Blocked`]: which kind, as a word for programs.
    pub blocked: Option<&'static str>,
    /// Why what is asked for is not begun, as a word for programs, if it would not be safe.
    pub refused: Option<&'static str>,
    /// The change under way.
    pub operation: Option<Operation>,
    /// The one mutation of this pass.
    pub step: Option<Step>,
    /// Whether the objects of the cluster may be written.
    pub apply: bool,
    /// What is to be done to those that are not as they should be: `apply Service demo`.
    pub objects: Vec<String>,
    /// Whether the StatefulSet gets another number of pods: that is the one mutation of the pass then, and a step waits for the next.
    pub resize: bool,
    /// Whether a majority is there: proven by a linearizable read.
    pub quorum: Quorum,
    /// What of the spec is not in force, because this release cannot bring it about.
    pub unsupported: Vec<Unsupported>,
    /// The role labels that pods should carry, by ordinal.
    pub roles: BTreeMap<u32, &'static str>,
}

/// Whether a majority works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Quorum {
    /// There is no cluster yet.
    None,
    /// A leader answered a linearizable read.
    Confirmed,
    /// A majority answers the operator, but no leader does.
    NoLeader,
    /// Too few voters answer; in words.
    Missing(String),
}

/// Something asked for that this release cannot bring about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// As a word for programs.
    pub reason: &'static str,
    /// In words.
    pub message: String,
}

/// What one of the questions answers.
#[derive(Clone, Debug, PartialEq)]
struct Decision {
    reason: Reason,
    message: String,
    step: Option<Step>,
    blocked: Option<&'static str>,
    refused: Option<&'static str>,
    /// The pod it is about.
    member: Option<String>,
}

impl Decision {
    fn wait(reason: Reason, message: impl Into<String>) -> Decision {
        let message = message.into();
        Decision { reason, message, step: None, blocked: None, refused: None, member: None }
    }

    fn step(reason: Reason, step: Step) -> Decision {
        let member = step.pod().map(str::to_owned);
        Decision { step: Some(step.clone()), member, ..Decision::wait(reason, step.to_string()) }
    }

    fn blocked(kind: &'static str, message: impl Into<String>) -> Decision {
        Decision { blocked: Some(kind), ..Decision::wait(Reason::Blocked, message) }
    }

    fn refused(kind: &'static str, message: impl Into<String>) -> Decision {
        Decision { refused: Some(kind), ..Decision::wait(Reason::Degraded, message) }
    }

    fn about(self, member: String) -> Decision {
        Decision { member: Some(member), ..self }
    }
}

/// Decides. `fresh` is used only if no cluster id is latched or reported.
pub fn plan(
    cluster: &Cluster,
    observed: &Observed,
    census: &Census,
    built: &Objects<Built>,
    fresh: &ClusterId,
) -> Plan {
    let decision = conflict::decide(cluster, observed, census)
        .or_else(|| bootstrap::decide(cluster, observed, census, fresh))
        .or_else(|| quorum::decide(cluster, observed, census))
        .or_else(|| change::decide(cluster, observed, census))
        .or_else(|| leftovers::decide(cluster, observed, census))
        .unwrap_or_else(|| steady::decide(cluster, observed, census));
    let operation = Operation::of(cluster, census, &decision);
    let Decision { reason, message, step, blocked, refused, member: _ } = decision;
    let paused = cluster.spec.paused;
    Plan {
        reason,
        message,
        apply: blocked.is_none() && !paused,
        objects: if blocked.is_none() { built.differing(&observed.live) } else { Vec::new() },
        resize: built.resized(&observed.live).is_some(),
        step,
        blocked,
        refused,
        operation,
        quorum: quorum::assess(cluster, observed, census),
        unsupported: unsupported(cluster, observed, census),
        roles: roles(cluster, observed),
    }
}

impl Plan {
    /// The step, unless the cluster is paused or this pass changes the number of pods.
    pub fn step_now(&self) -> Option<&Step> {
        self.step.as_ref().filter(|_| self.apply && !self.resize)
    }

    /// What happens next, in words.
    pub fn next_action(&self) -> String {
        let step = self.step.as_ref().map(ToString::to_string);
        let actions: Vec<_> = self.objects.iter().cloned().chain(step).collect();
        match self.reason {
            _ if !actions.is_empty() => actions.join("; "),
            Reason::Ready => "none".to_owned(),
            _ => format!("wait: {}", self.message),
        }
    }
}

fn unsupported(cluster: &Cluster, observed: &Observed, census: &Census) -> Vec<Unsupported> {
    let Difference { template, storage } = differences(cluster, census, observed.live.stateful_set.as_ref());
    let mut list = Vec::new();
    if template {
        list.push(Unsupported {
            reason: "RollUnsupported",
            message: "this release cannot restart the pods with another image or pod template; the old one stays in force".to_owned(),
        });
    }
    if storage {
        list.push(Unsupported {
            reason: "StorageGrowthUnsupported",
            message: "this release cannot grow volumes; their old size stays in force".to_owned(),
        });
    }
    list
}

/// The roles a majority has confirmed. Without a confirmation the labels stay as they are.
fn roles(cluster: &Cluster, observed: &Observed) -> BTreeMap<u32, &'static str> {
    let Some(probe) = observed.record.as_ref().filter(|probe| probe.record.settled) else {
        return BTreeMap::new();
    };
    let role = |id| if probe.record.voters.contains(id) { "voter" } else { "learner" };
    let members = probe.record.members.iter();
    members.filter_map(|(id, member)| Some((cluster.names.ordinal(&member.name)?, role(id)))).collect()
}

/// `demo-0, demo-2`
fn list(names: &[String]) -> String {
    names.join(", ")
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod model;
