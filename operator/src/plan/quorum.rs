//! Question 3: is there a majority? Without one nothing is touched but members' own pods, which the StatefulSet brings back.

use super::{Decision, Quorum, Reason, list};
use crate::census::{Census, Roll};
use crate::observed::Observed;
use crate::validate::Cluster;

pub(super) fn decide(cluster: &Cluster, observed: &Observed, census: &Census) -> Option<Decision> {
    match assess(cluster, observed, census) {
        Quorum::None | Quorum::Confirmed => None,
        Quorum::NoLeader => Some(Decision::wait(Reason::Degraded, "no leader: an election is under way")),
        Quorum::Missing(message) => {
            let roll = census.roll(cluster, observed);
            let hidden = roll.answering.len() + roll.silent.len() >= roll.quorum;
            let reason = if hidden { Reason::NodesUnreachable } else { Reason::QuorumLost };
            Some(Decision::wait(reason, message))
        }
    }
}

/// Whether a majority works.
pub(super) fn assess(cluster: &Cluster, observed: &Observed, census: &Census) -> Quorum {
    if observed.record.is_some() {
        return Quorum::Confirmed;
    }
    if !census.exists() {
        return Quorum::None;
    }
    let roll = census.roll(cluster, observed);
    if roll.has_quorum() { Quorum::NoLeader } else { Quorum::Missing(missing(&roll)) }
}

fn missing(roll: &Roll) -> String {
    let Roll { voters, quorum, answering, silent, down, lost } = roll;
    let mut message = format!("{} of {voters} voters answer, {quorum} are needed", answering.len());
    for (names, what) in
        [(down, "not running"), (silent, "running but unreachable"), (lost, "on another disk")]
    {
        if !names.is_empty() {
            message.push_str(&format!("; {what}: {}", list(names)));
        }
    }
    message
}
