//! Question 4: is the membership the one that is asked for? Growing and shrinking are one thing: the voters should be the members in
//! the ordinals below the number asked for, whatever set they are now. Pods that are missing come first ([`arrive`]), as learners; when
//! all have caught up, **one** joint change goes from the old odd set to the new one ([`leave`] says when members may lose their
//! vote); members that nobody wants any more are then dropped.
//!
//! Invariants:
//! * The voters go from one asked-for set to another, never through a set between them.
//! * Nobody loses a vote while those who stay could not go on alone.

mod arrive;
mod leave;

use super::{Decision, Reason, Step};
use crate::census::Census;
use crate::observed::{Observed, Pod, Probe};
use crate::validate::Cluster;
use schedia_api::{RemoveLearner, SetVoters, ShardStatus};
use schedia_apps::cluster::{Member, Record};
use schedia_apps::{NodeId, ShardId};
use std::collections::BTreeSet;

/// A member may be this many entries behind when it becomes, or stays, one of the voters: less than what one heartbeat carries.
const LAG_ENTRIES_MAX: u64 = 1_000;

pub(super) fn decide(cluster: &Cluster, observed: &Observed, census: &Census) -> Option<Decision> {
    let Probe { leader, record } = observed.record.as_ref()?;
    let leader = record.members.get(leader)?;
    let change = Change { cluster, observed, census, record, leader };
    if !record.settled {
        return Some(change.finish());
    }
    let arrivals: Vec<_> = (0..census.target).map(|ordinal| change.arrival(ordinal)).collect();
    // What can be done is done before what must be waited for.
    let act = arrivals.iter().filter_map(|arrival| arrival.as_ref().err()).find(|d| d.step.is_some());
    if let Some(act) = act {
        return Some(Decision::clone(act));
    }
    if let Some(unwanted) = change.unwanted() {
        return Some(change.remove(unwanted));
    }
    match arrivals.into_iter().collect::<Result<BTreeSet<NodeId>, _>>() {
        Ok(voters) if voters == record.voters => None,
        Ok(voters) => Some(change.voters(voters)),
        Err(waiting) => Some(*waiting),
    }
}

/// What a change of the membership is decided from.
struct Change<'a> {
    cluster: &'a Cluster,
    observed: &'a Observed,
    census: &'a Census,
    /// By a linearizable read.
    record: &'a Record,
    leader: &'a Member,
}

impl Change<'_> {
    /// A change that was begun is finished before anything else: by its own goal again.
    fn finish(&self) -> Decision {
        let Change { census, record, .. } = self;
        let raft = census.membership.clone().unwrap_or_default();
        let in_raft = |id: &NodeId| raft.voters.contains(id) || raft.learners.contains(id);
        let arriving = record.members.values().find(|member| !in_raft(&member.id));
        let leaving = raft.voters.union(&raft.learners).find(|id| !record.members.contains_key(id));
        let reason = match (arriving, leaving) {
            (Some(_), _) => Reason::AddingLearner,
            (None, Some(_)) => Reason::RemovingMember,
            (None, None) => Reason::ChangingMembership,
        };
        let verb = SetVoters { voters: record.voters.clone(), expected: record.generation };
        let decision = Decision::step(reason, Step::Settle { leader: self.leader.name.clone(), verb });
        match arriving {
            Some(member) => decision.about(member.name.clone()),
            None => decision,
        }
    }

    /// One joint change to these voters, as soon as nobody who leaves is needed.
    fn voters(&self, voters: BTreeSet<NodeId>) -> Decision {
        if let Some(decision) = self.not_without_those_who_leave(&voters) {
            return decision;
        }
        let leader = self.leader.name.clone();
        let verb = SetVoters { voters, expected: self.record.generation };
        Decision::step(Reason::ChangingMembership, Step::SetVoters { leader, verb })
    }

    /// A member without a vote that is not to get one: beyond the ordinals asked for, or whose pod has another disk by now. The highest
    /// ordinal first.
    fn unwanted(&self) -> Option<&Member> {
        let without_vote = self.record.members.values().filter(|m| !self.record.voters.contains(&m.id));
        let unwanted = without_vote.filter(|member| match self.cluster.names.ordinal(&member.name) {
            Some(ordinal) if ordinal < self.census.target => {
                let wanted = self.census.member(&member.name).is_some_and(|wanted| wanted.id == member.id);
                !wanted || self.answers_otherwise(ordinal, member.id)
            }
            _ => true,
        });
        unwanted.max_by_key(|member| (self.cluster.names.ordinal(&member.name), member.id))
    }

    fn answers_otherwise(&self, ordinal: u32, id: NodeId) -> bool {
        let answer = self.observed.pods.get(&ordinal).and_then(Pod::answer);
        answer.is_some_and(|status| status.node_id != Some(id))
    }

    fn remove(&self, member: &Member) -> Decision {
        let (leader, pod) = (self.leader.name.clone(), member.name.clone());
        let verb = RemoveLearner { node_id: member.id, expected: self.record.generation };
        Decision::step(Reason::RemovingMember, Step::RemoveMember { leader, pod, verb })
    }

    /// The shards, if any, on which a member is too far behind, as their leaders say.
    fn behind(&self, id: NodeId) -> Option<String> {
        let shards = (0..self.record.shards).map(ShardId).filter(|shard| !self.follows(*shard, id));
        let shards: Vec<_> = shards.map(|shard| shard.to_string()).collect();
        (!shards.is_empty()).then(|| super::list(&shards))
    }

    fn follows(&self, shard: ShardId, id: NodeId) -> bool {
        let Some((leader, view)) = self.leader_of(shard) else { return false };
        leader == id || view.lag.get(&id).is_some_and(|lag| *lag <= LAG_ENTRIES_MAX)
    }

    /// Who leads a shard, by its own word; of several the one of the newest term.
    fn leader_of(&self, shard: ShardId) -> Option<(NodeId, &ShardStatus)> {
        let answers = self.observed.pods.values().filter_map(Pod::answer);
        let views = answers.flat_map(|status| status.shards.iter().map(|view| (status.node_id, view)));
        let leaders =
            views.filter(|(node, view)| view.shard == shard && view.leader.is_some() && view.leader == *node);
        leaders.max_by_key(|(_, view)| view.term).and_then(|(node, view)| Some((node?, view)))
    }
}
