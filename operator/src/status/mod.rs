//! Computes the status from what this very pass has seen. Pure; [`write()`] puts it to the API server, only if it differs.
//!
//! Invariants:
//! * A condition keeps its time until its status flips.
//! * Nothing in the status moves with the writes of the cluster's clients; such numbers are metrics.
//! * Ready is never true before `initialized`.

mod conditions;

pub use conditions::{Truth, set_condition};

use crate::build::{Applied, Objects};
use crate::census::{Census, role_name};
use crate::latches::Latched;
use crate::observed::{Observed, Pod, newest_revision};
use crate::plan::{self, Plan, Quorum, Reason};
use crate::validate::Cluster;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{PartialObjectMeta, PartialObjectMetaExt};
use kube::{Api, Client, ResourceExt};
use schedia_api::Status as NodeStatus;
use schedia_crds::{JointVoters, MemberStatus, Operation, RaftCluster, RaftClusterStatus, Target};
use serde_json::json;

/// An election takes a second; without a leader for this long it is no election any more.
const ELECTION_MAX: SignedDuration = SignedDuration::from_secs(10);

/// Why Progressing is False when a step takes too long.
const OVERDUE: &str = "DeadlineExceeded";

/// What a pass did beyond what it saw.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The latches as they are after the step.
    pub latched: Latched,
    /// Why the step failed, if it did and that is worth telling.
    pub failure: Option<String>,
}

/// The status after a pass.
pub fn status(
    cluster: &Cluster,
    observed: &Observed,
    census: &Census,
    plan: &Plan,
    applied: &Objects<Applied>,
    outcome: &Outcome,
) -> RaftClusterStatus {
    let Latched { cluster_id, initialized } = &outcome.latched;
    let in_force = || observed.pods.range(..census.target).map(|(_, pod)| pod);
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    let ready = in_force().filter(|pod| is_ready(pod)).count();
    let leader = observed.record.as_ref();
    let leading = observed.pods.values().find(|pod| {
        pod.answer().is_some_and(|node| leader.is_some_and(|probe| node.node_id == Some(probe.leader)))
    });
    let membership = census.membership.as_ref();
    let operation = plan.operation.as_ref().map(|now| operation(cluster, now, observed.now));
    RaftClusterStatus {
        observed_generation: Some(cluster.generation),
        cluster_id: cluster_id.as_ref().map(ToString::to_string),
        initialized: *initialized,
        target: Some(target(cluster, census, plan, applied)),
        replicas: count(observed.pods.len()),
        ready_replicas: count(observed.pods.values().filter(|pod| is_ready(pod)).count()),
        updated_replicas: count(updated(observed, plan, applied)),
        voters: count(membership.map_or(0, |m| m.voters.len())),
        learners: count(membership.map_or(0, |m| m.learners.len())),
        ready: Some(format!("{ready}/{}", census.target)),
        selector: Some(cluster.names.selector_text()),
        leader: leading.map(|pod| pod.name.clone()),
        leader_id: leader.map(|probe| probe.leader.to_string()),
        term: leading.and_then(|pod| i64::try_from(pod.answer()?.shards.first()?.term).ok()),
        generation: census.record.as_ref().and_then(|record| i64::try_from(record.generation).ok()),
        joint: membership.and_then(|m| m.joint.as_ref()).map(|joint| JointVoters {
            old: joint.old.iter().map(ToString::to_string).collect(),
            new: joint.new.iter().map(ToString::to_string).collect(),
        }),
        version: oldest_version(observed),
        members: observed.pods.values().map(member).collect(),
        next_action: Some(plan.next_action()),
        conditions: conditions(cluster, observed, census, plan, outcome, operation.as_ref()),
        operation,
    }
}

fn is_ready(pod: &Pod) -> bool {
    pod.ready && !pod.terminating && pod.answer().is_some_and(|node| node.ready)
}

fn target(cluster: &Cluster, census: &Census, plan: &Plan, applied: &Objects<Applied>) -> Target {
    let template = applied.stateful_set.spec.as_ref().map(|spec| &spec.template);
    let container = template.and_then(|template| template.spec.as_ref()?.containers.first());
    let image = container.and_then(|container| container.image.clone());
    let before = cluster.status.target.as_ref();
    let in_force = plan.unsupported.is_empty() && census.voters == Some(census.target);
    Target {
        // Nothing is pursued while paused.
        replicas: before
            .filter(|_| cluster.spec.paused)
            .map_or(cluster.spec.replicas, |target| target.replicas),
        image: image.unwrap_or_else(|| cluster.spec.image.clone()),
        generation: if in_force { cluster.generation } else { before.map_or(0, |target| target.generation) },
    }
}

/// The operation, begun now unless it was under way before at the same step.
fn operation(cluster: &Cluster, now: &plan::Operation, at: Timestamp) -> Operation {
    let plan::Operation { kind, step, member } = now;
    let started_at = match &cluster.status.operation {
        Some(before) if before.type_ == *kind && before.step == *step && before.member == *member => {
            before.started_at.clone()
        }
        _ => Time(at),
    };
    let (type_, step) = ((*kind).to_owned(), (*step).to_owned());
    Operation { type_, step, member: member.clone(), started_at }
}

/// Whether a step has taken longer than it may.
pub fn is_overdue(status: &RaftClusterStatus) -> bool {
    status.conditions.iter().any(|condition| condition.type_ == "Progressing" && condition.reason == OVERDUE)
}

/// Pods made from the template that the spec asks for. While another one is in force there are none.
fn updated(observed: &Observed, plan: &Plan, applied: &Objects<Applied>) -> usize {
    if plan.unsupported.iter().any(|unsupported| unsupported.reason == "RollUnsupported") {
        return 0;
    }
    let newest = newest_revision(&applied.stateful_set);
    observed.pods.values().filter(|pod| newest.is_some() && pod.revision.as_deref() == newest).count()
}

fn oldest_version(observed: &Observed) -> Option<String> {
    let versions = observed.pods.values().filter_map(|pod| Some(pod.answer()?.version.clone()));
    let parts =
        |version: &str| version.split(['.', '-']).map(|part| part.parse().unwrap_or(0)).collect::<Vec<u64>>();
    versions.min_by_key(|version| parts(version))
}

fn member(pod: &Pod) -> MemberStatus {
    let node = pod.answer();
    MemberStatus {
        name: pod.name.clone(),
        node_id: node.and_then(|node| node.node_id).map(|id| id.to_string()),
        store_id: node.map(|node| node.store_id.to_string()),
        role: node.map(|node| role_name(node.role).to_owned()),
        ready: is_ready(pod),
        healthy: node.is_some_and(|node| node.alarms.is_empty() && stopped(node).is_none()),
        version: node.map(|node| node.version.clone()),
        message: complaint(pod),
    }
}

/// What is wrong with a member, without anything that changes from one answer to the next.
fn complaint(pod: &Pod) -> Option<String> {
    match &pod.node {
        Err(_) if pod.terminating => Some("stopping".to_owned()),
        Err(_) => Some(pod.trouble.clone().unwrap_or_else(|| {
            if pod.running { "does not answer".to_owned() } else { "starting".to_owned() }
        })),
        Ok(node) => {
            let alarm = node.alarms.first().map(|alarm| alarm.message.clone());
            alarm.or_else(|| stopped(node)).or_else(|| node.ready_reason.clone())
        }
    }
}

fn stopped(node: &NodeStatus) -> Option<String> {
    node.shards.iter().find_map(|shard| shard.stopped.clone())
}

fn conditions(
    cluster: &Cluster,
    observed: &Observed,
    census: &Census,
    plan: &Plan,
    outcome: &Outcome,
    operation: Option<&Operation>,
) -> Vec<Condition> {
    let mut list = cluster.status.conditions.clone();
    let mut set = |type_: &str, truth: Truth, reason: &str, message: &str| {
        set_condition(&mut list, type_, truth, reason, message, cluster.generation, observed.now);
    };
    let (truth, reason) = ready(cluster, plan, outcome, observed.now);
    set("Ready", truth, reason, &plan.message);
    let (truth, reason, message) = quorum(plan);
    set("QuorumAvailable", truth, reason, &message);
    let overdue = operation.filter(|operation| {
        let deadline = SignedDuration::from_secs(cluster.spec.progress_deadline_seconds.into());
        observed.now.duration_since(operation.started_at.0) > deadline
    });
    let (truth, reason, message) = progressing(cluster, plan, outcome, overdue);
    set("Progressing", truth, &reason, &message);
    let degraded = matches!(plan.reason, Reason::Degraded | Reason::QuorumLost | Reason::NodesUnreachable);
    let reason = if degraded { plan.reason.as_str() } else { "AsSpecified" };
    set("Degraded", degraded.into(), reason, &plan.message);
    let (reason, message) = match cluster.spec.paused {
        true => ("Paused", "spec.paused is set: the operator observes and changes nothing"),
        false => ("Running", "the operator acts"),
    };
    set("Paused", cluster.spec.paused.into(), reason, message);
    set("SpecValid", Truth::True, "Valid", "the spec keeps all rules");
    let (truth, reason, message) = storage(observed, census, plan);
    set("StorageReady", truth, reason, &message);
    list
}

fn ready(cluster: &Cluster, plan: &Plan, outcome: &Outcome, now: Timestamp) -> (Truth, &'static str) {
    let truth = match plan.reason {
        Reason::Ready => outcome.latched.initialized.into(),
        Reason::NodesUnreachable => Truth::Unknown,
        _ => Truth::False,
    };
    let reason = match plan.reason {
        Reason::Degraded if plan.quorum == Quorum::NoLeader && leaderless_for_long(cluster, now) => {
            Reason::QuorumLost
        }
        grave @ (Reason::Blocked | Reason::Invalid | Reason::QuorumLost | Reason::NodesUnreachable) => grave,
        _ if cluster.spec.paused => Reason::Paused,
        other => other,
    };
    (truth, reason.as_str())
}

fn leaderless_for_long(cluster: &Cluster, now: Timestamp) -> bool {
    let condition = cluster.status.conditions.iter().find(|condition| condition.type_ == "QuorumAvailable");
    condition.is_some_and(|condition| {
        condition.reason == "NoLeader" && now.duration_since(condition.last_transition_time.0) > ELECTION_MAX
    })
}

fn quorum(plan: &Plan) -> (Truth, &'static str, String) {
    match &plan.quorum {
        Quorum::Confirmed => (Truth::True, "Confirmed", "a leader answered a linearizable read".to_owned()),
        Quorum::None => (Truth::False, "Bootstrapping", "there is no cluster yet".to_owned()),
        Quorum::NoLeader => (Truth::False, "NoLeader", "a majority answers, but no leader".to_owned()),
        Quorum::Missing(message) if plan.reason == Reason::NodesUnreachable => {
            (Truth::Unknown, "NodesUnreachable", message.clone())
        }
        Quorum::Missing(message) => (Truth::False, "QuorumLost", message.clone()),
    }
}

fn progressing(
    cluster: &Cluster,
    plan: &Plan,
    outcome: &Outcome,
    overdue: Option<&Operation>,
) -> (Truth, String, String) {
    let moving = plan.step.is_some() || plan.resize || plan.reason.is_on_the_way();
    if let Some(kind) = plan.blocked.or(plan.refused) {
        return (Truth::False, kind.to_owned(), plan.message.clone());
    }
    if let Some(failure) = &outcome.failure {
        return (Truth::False, "StepFailed".to_owned(), format!("{}: {failure}", plan.next_action()));
    }
    if cluster.spec.paused && (moving || !plan.objects.is_empty()) {
        return (Truth::False, "Paused".to_owned(), format!("paused before: {}", plan.next_action()));
    }
    if let Some(operation) = overdue {
        let (seconds, step) = (cluster.spec.progress_deadline_seconds, &operation.step);
        let message = format!("{step} for more than {seconds} s: {}", plan.message);
        return (Truth::False, OVERDUE.to_owned(), message);
    }
    match plan.unsupported.first() {
        _ if moving => (Truth::True, plan.reason.as_str().to_owned(), plan.next_action()),
        Some(first) => {
            let messages: Vec<_> =
                plan.unsupported.iter().map(|unsupported| unsupported.message.as_str()).collect();
            (Truth::False, first.reason.to_owned(), messages.join("; "))
        }
        None => (Truth::False, "Complete".to_owned(), "nothing is left to do".to_owned()),
    }
}

fn storage(observed: &Observed, census: &Census, plan: &Plan) -> (Truth, &'static str, String) {
    let mut nodes = observed.pods.values().filter_map(|pod| Some((&pod.name, pod.answer()?)));
    let alarm = nodes.find_map(|(name, node)| {
        let alarm = node.alarms.iter().find(|alarm| alarm.code.starts_with("disk"))?;
        Some(format!("{name}: {}", alarm.message))
    });
    if let Some(message) = alarm {
        return (Truth::False, "DiskTrouble", message);
    }
    if let Some(growth) = plan.unsupported.iter().find(|u| u.reason == "StorageGrowthUnsupported") {
        return (Truth::False, growth.reason, growth.message.clone());
    }
    let open =
        (0..census.target).filter(|ordinal| observed.pods.get(ordinal).is_some_and(|pod| pod.node.is_ok()));
    if open.count() == census.target as usize {
        (Truth::True, "Open", "every member has opened its volume".to_owned())
    } else {
        (Truth::Unknown, "Waiting", "not every member answers".to_owned())
    }
}

impl Reason {
    /// As it stands in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Ready => "Ready",
            Reason::Bootstrapping => "Bootstrapping",
            Reason::AddingLearner => "AddingLearner",
            Reason::CatchingUp => "CatchingUp",
            Reason::ChangingMembership => "ChangingMembership",
            Reason::TransferringLeader => "TransferringLeader",
            Reason::RemovingMember => "RemovingMember",
            Reason::Degraded => "Degraded",
            Reason::QuorumLost => "QuorumLost",
            Reason::NodesUnreachable => "NodesUnreachable",
            Reason::Blocked => "Blocked",
            Reason::Invalid => "Invalid",
            Reason::Paused => "Paused",
        }
    }
}

/// The status when a pass could not be made: the spec is invalid, or the API server forbids something. What was last seen stays.
pub fn unworkable(resource: &RaftCluster, reason: &str, message: &str, now: Timestamp) -> RaftClusterStatus {
    let mut status = resource.status.clone().unwrap_or_default();
    let generation = resource.metadata.generation.unwrap_or_default();
    let mut set = |type_: &str, truth: Truth, reason: &str| {
        set_condition(&mut status.conditions, type_, truth, reason, message, generation, now);
    };
    let invalid = reason == Reason::Invalid.as_str();
    set(
        "Ready",
        if invalid { Truth::False } else { Truth::Unknown },
        if invalid { reason } else { "Blocked" },
    );
    set("Progressing", Truth::False, reason);
    if invalid {
        set("SpecValid", Truth::False, reason);
    }
    status.observed_generation = Some(generation);
    status
}

/// Writes a status if it differs from the one the resource was read with; a conflict if anybody wrote the resource meanwhile.
pub async fn write(client: &Client, resource: &RaftCluster, status: RaftClusterStatus) -> kube::Result<bool> {
    if resource.status.as_ref() == Some(&status) {
        return Ok(false);
    }
    let api = Api::<RaftCluster>::namespaced(client.clone(), &resource.namespace().unwrap_or_default());
    let updated = RaftCluster { status: Some(status), ..resource.clone() };
    api.replace_status(&resource.name_any(), &PostParams::default(), &updated).await?;
    Ok(true)
}

/// Says in the conditions of a resource that it cannot be read, once. Returns its metadata if that was news.
pub async fn mark_malformed(
    client: &Client,
    namespace: &str,
    name: &str,
    error: &str,
) -> kube::Result<Option<PartialObjectMeta<RaftCluster>>> {
    let kind = ApiResource::erase::<RaftCluster>(&());
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &kind);
    let Some(object) = api.get_opt(name).await? else { return Ok(None) };
    let listed = object.data["status"]["conditions"].clone();
    let before: Vec<Condition> = serde_json::from_value(listed).unwrap_or_default();
    let mut after = before.clone();
    let generation = object.metadata.generation.unwrap_or_default();
    for (type_, truth) in [("Ready", Truth::Unknown), ("SpecValid", Truth::False)] {
        set_condition(&mut after, type_, truth, "Malformed", error, generation, Timestamp::now());
    }
    if before == after {
        return Ok(None);
    }
    let patch = json!({"metadata": {"resourceVersion": object.metadata.resource_version}, "status": {"conditions": after}});
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(Some(object.metadata.into_response_partial()))
}

#[cfg(test)]
mod tests;
