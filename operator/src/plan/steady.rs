//! Question 6: is everything as it should be?

use super::{Decision, Reason};
use crate::census::Census;
use crate::observed::{Observed, Pod};
use crate::validate::Cluster;
use schedia_api::Role;

pub(super) fn decide(cluster: &Cluster, observed: &Observed, census: &Census) -> Decision {
    let Some(probe) = &observed.record else {
        return Decision::wait(Reason::NodesUnreachable, "no node answers for the cluster");
    };
    let troubles: Vec<_> =
        (0..census.target).filter_map(|ordinal| trouble(cluster, observed, census, ordinal)).collect();
    let margin = census.roll(cluster, observed).margin().max(0);
    let Some(first) = troubles.first() else {
        let voters = probe.record.voters.len();
        let leader = probe.record.members.get(&probe.leader).map_or("nobody", |member| &member.name);
        return Decision::wait(
            Reason::Ready,
            format!("{voters} of {voters} voters are ready, {leader} leads; can lose {margin} more"),
        );
    };
    let messages: Vec<_> = troubles.iter().map(|trouble| trouble.message.as_str()).collect();
    let message = format!("{}; can lose {margin} more", messages.join("; "));
    // The readiness of new voters follows their votes by a moment.
    let arriving = cluster.status.operation.as_ref().filter(|_| troubles.iter().all(|t| t.passing));
    match arriving {
        Some(operation) if operation.type_ == "Bootstrap" => Decision::wait(Reason::Bootstrapping, message),
        Some(_) => Decision::wait(Reason::ChangingMembership, message),
        None => Decision::wait(Reason::Degraded, message),
    }
    .about(first.pod.clone())
}

/// Something wrong with a member.
struct Trouble {
    pod: String,
    message: String,
    /// Whether every member goes through it when it gets its vote.
    passing: bool,
}

/// What is wrong with the member of an ordinal.
fn trouble(cluster: &Cluster, observed: &Observed, census: &Census, ordinal: u32) -> Option<Trouble> {
    let name = cluster.names.pod(ordinal);
    let trouble = |message: String| Some(Trouble { pod: name.clone(), message, passing: false });
    let passing = |message: String| Some(Trouble { pod: name.clone(), message, passing: true });
    let Some(pod) = observed.pods.get(&ordinal) else { return trouble(format!("{name} does not exist")) };
    let status = match &pod.node {
        Ok(status) => status,
        Err(silence) => return trouble(unanswered(pod, &silence.0)),
    };
    let id = status.node_id;
    match census.member(&name) {
        None => trouble(format!("{name} is not a member")),
        Some(member) if id != Some(member.id) => trouble(format!(
            "{name} has lost the disk of member {}; this release cannot replace a member",
            member.id
        )),
        Some(_) if pod.terminating => trouble(format!("{name} is stopping")),
        Some(_) if status.role == Role::Retired => trouble(format!("{name} was removed from the cluster")),
        Some(_) if !status.alarms.is_empty() => {
            let alarms: Vec<_> = status.alarms.iter().map(|alarm| alarm.message.as_str()).collect();
            trouble(format!("{name}: {}", alarms.join(", ")))
        }
        Some(_) if !status.ready => {
            let reason = status.ready_reason.as_deref().unwrap_or("it gives no reason");
            passing(format!("{name} is not ready: {reason}"))
        }
        Some(_) if !pod.ready => passing(format!("{name} is ready, but not yet in its Service")),
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
