//! Question 5: is everything as it should be?

use super::{Decision, Reason};
use crate::census::Census;
use crate::observed::{Observed, Pod};
use crate::validate::Cluster;
use schedia_api::Role;

pub(super) fn decide(cluster: &Cluster, observed: &Observed, census: &Census) -> Decision {
    let Some(probe) = &observed.record else {
        return Decision::wait(Reason::NodesUnreachable, "no node answers for the cluster");
    };
    let troubles: Vec<String> =
        (0..census.size).filter_map(|ordinal| trouble(cluster, observed, census, ordinal)).collect();
    let roll = census.roll(cluster, observed);
    let margin = roll.margin().max(0);
    let voters = probe.record.voters.len();
    if troubles.is_empty() && voters == census.target as usize {
        let leader = probe.record.members.get(&probe.leader).map_or("nobody", |member| &member.name);
        return Decision::wait(
            Reason::Ready,
            format!("{voters} of {voters} voters are ready, {leader} leads; can lose {margin} more"),
        );
    }
    let mut message = troubles.join("; ");
    if voters != census.target as usize {
        message = format!("{voters} voters instead of {}; {message}", census.target);
    }
    let reason = if arriving(cluster) { Reason::Bootstrapping } else { Reason::Degraded };
    Decision::wait(reason, format!("{message}; can lose {margin} more"))
}

/// Whether the cluster is on its way to Ready for the first time: its members' readiness follows their votes by a moment.
fn arriving(cluster: &Cluster) -> bool {
    let on_the_way = ["Bootstrapping", "AddingLearner", "CatchingUp", "ChangingMembership"];
    let ready = cluster.status.conditions.iter().find(|condition| condition.type_ == "Ready");
    ready.is_some_and(|ready| on_the_way.contains(&ready.reason.as_str()))
}

/// What is wrong with the member of an ordinal.
fn trouble(cluster: &Cluster, observed: &Observed, census: &Census, ordinal: u32) -> Option<String> {
    let name = cluster.names.pod(ordinal);
    let member = census.member(&name);
    if member.is_none() && ordinal >= census.target {
        // A pod too many, perhaps on its way out: no member, no trouble.
        return None;
    }
    let Some(pod) = observed.pods.get(&ordinal) else { return Some(format!("{name} does not exist")) };
    let status = match &pod.node {
        Ok(status) => status,
        Err(silence) => return Some(unanswered(pod, &silence.0)),
    };
    let id = status.node_id;
    match member {
        None => Some(format!("{name} is not a member")),
        Some(member) if id != Some(member.id) => Some(format!(
            "{name} has lost the disk of member {}; this release cannot replace a member",
            member.id
        )),
        Some(_) if pod.terminating => Some(format!("{name} is stopping")),
        Some(_) if status.role == Role::Retired => Some(format!("{name} was removed from the cluster")),
        Some(_) if !status.alarms.is_empty() => {
            let alarms: Vec<_> = status.alarms.iter().map(|alarm| alarm.message.as_str()).collect();
            Some(format!("{name}: {}", alarms.join(", ")))
        }
        Some(_) if !status.ready => Some(format!(
            "{name} is not ready: {}",
            status.ready_reason.as_deref().unwrap_or("it gives no reason")
        )),
        Some(_) if !pod.ready => Some(format!("{name} is ready, but not yet in its Service")),
        Some(_) => None,
    }
}

fn unanswered(pod: &Pod, silence: &str) -> String {
    match &pod.trouble {
        Some(trouble) => format!("{} does not run: {trouble}", pod.name),
        None if pod.terminating => format!("{} is stopping", pod.name),
        None if !pod.running => format!("{} is starting", pod.name),
        None => format!("{} does not answer: {silence}", pod.name),
    }
}
