//! When members may lose their vote: not before those who stay could go on alone, and not while one of those who go leads.

use super::{Change, Decision, Reason, Step};
use crate::observed::Pod;
use schedia_api::TransferLeader;
use schedia_apps::NodeId;
use schedia_apps::cluster::Member;
use std::collections::BTreeSet;

impl Change<'_> {
    /// What stands before a change to these voters because of those who are not among them; `None`: nothing.
    pub(super) fn not_without_those_who_leave(&self, voters: &BTreeSet<NodeId>) -> Option<Decision> {
        self.record.voters.difference(voters).next()?;
        let staying = || voters.iter().filter_map(|id| self.record.members.get(id));
        let troubles: Vec<_> = staying().filter_map(|member| self.trouble(member)).collect();
        if !troubles.is_empty() {
            let (from, to) = (self.record.voters.len(), voters.len());
            let message = format!(
                "going from {from} to {to} voters must wait: every member that stays has to be healthy, but {}",
                troubles.join("; ")
            );
            return Some(Decision::refused("ScaleDownUnsafe", message));
        }
        let lagging = staying().find_map(|member| Some((member, self.behind(member.id)?)));
        if let Some((Member { name, .. }, shards)) = lagging {
            let message = format!("{name} stays and is catching up on shard {shards}");
            return Some(Decision::wait(Reason::CatchingUp, message).about(name.clone()));
        }
        if voters.contains(&self.leader.id) {
            return None;
        }
        // The lowest ordinal: it is the last to leave, should the cluster shrink further. A member that is new has no vote yet.
        let heir = staying().filter(|member| self.record.voters.contains(&member.id));
        let heir = heir.min_by_key(|member| self.cluster.names.ordinal(&member.name))?;
        let (leader, to) = (self.leader.name.clone(), heir.name.clone());
        let verb = TransferLeader { to: heir.id };
        Some(Decision::step(Reason::TransferringLeader, Step::TransferLeader { leader, to, verb }))
    }

    /// Why a member that stays cannot be relied upon.
    fn trouble(&self, member: &Member) -> Option<String> {
        let Member { id, name, .. } = member;
        let pod = self.cluster.names.ordinal(name).and_then(|ordinal| self.observed.pods.get(&ordinal));
        let Some(pod) = pod else { return Some(format!("{name} does not exist")) };
        let Some(status) = pod.answer() else { return Some(unanswered(pod)) };
        let stopped = status.shards.iter().find_map(|shard| shard.stopped.as_ref());
        // A learner that is about to vote is not ready for clients yet, and needs not be.
        let votes = self.record.voters.contains(id);
        match stopped {
            _ if status.node_id != Some(*id) => Some(format!("{name} has lost the disk of member {id}")),
            _ if pod.terminating => Some(format!("{name} is stopping")),
            Some(reason) => Some(format!("{name} has stopped: {reason}")),
            None if votes && !status.ready => {
                let reason = status.ready_reason.as_deref().unwrap_or("it gives no reason");
                Some(format!("{name} is not ready: {reason}"))
            }
            None => None,
        }
    }
}

fn unanswered(pod: &Pod) -> String {
    match &pod.trouble {
        Some(trouble) => format!("{} does not run: {trouble}", pod.name),
        None => format!("{} does not answer", pod.name),
    }
}
