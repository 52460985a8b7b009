//! Question 4: is a membership change open, or are members still missing? A cluster begins with one voter and gets the others as
//! learners first; when all have caught up, one joint change makes them voters together.

use super::{Decision, Reason, Step, list};
use crate::census::Census;
use crate::observed::{Observed, Pod, Probe};
use crate::validate::Cluster;
use schedia_api::{AddLearner, Role, SetVoters, Status};
use schedia_apps::cluster::Record;
use schedia_apps::{NodeId, ShardId};
use std::collections::BTreeSet;

/// A learner may be this many entries behind when it becomes a voter: less than what one heartbeat carries.
const LAG_ENTRIES_MAX: u64 = 1_000;

pub(super) fn decide(cluster: &Cluster, observed: &Observed, census: &Census) -> Option<Decision> {
    let Probe { leader, record } = observed.record.as_ref()?;
    let leader = record.members.get(leader)?.name.clone();
    if !record.settled {
        return Some(finish(leader, record, census));
    }
    if record.voters.len() >= census.target as usize {
        return None;
    }
    let missing = Missing { cluster, observed, record, leader };
    let arrivals: Vec<_> = (0..census.target).map(|ordinal| missing.arrival(ordinal)).collect();
    // What can be done is done before what must be waited for.
    if let Some(act) = arrivals.iter().filter_map(|arrival| arrival.as_ref().err()).find(|d| d.step.is_some())
    {
        return Some(Decision::clone(act));
    }
    match arrivals.into_iter().collect::<Result<BTreeSet<NodeId>, Box<Decision>>>() {
        Ok(voters) => {
            let verb = SetVoters { voters, expected: record.generation };
            Some(Decision::step(Reason::ChangingMembership, Step::SetVoters { leader: missing.leader, verb }))
        }
        Err(waiting) => Some(*waiting),
    }
}

/// A change that was begun is finished before anything else: by the same verb again.
fn finish(leader: String, record: &Record, census: &Census) -> Decision {
    let known =
        |id| census.membership.as_ref().is_some_and(|m| m.voters.contains(id) || m.learners.contains(id));
    let reason =
        if record.members.keys().all(known) { Reason::ChangingMembership } else { Reason::AddingLearner };
    let verb = SetVoters { voters: record.voters.clone(), expected: record.generation };
    Decision::step(reason, Step::SetVoters { leader, verb })
}

struct Missing<'a> {
    cluster: &'a Cluster,
    observed: &'a Observed,
    record: &'a Record,
    leader: String,
}

impl Missing<'_> {
    /// The node id of an ordinal that may vote now; `Err`: what must be done or waited for first.
    fn arrival(&self, ordinal: u32) -> Result<NodeId, Box<Decision>> {
        let name = self.cluster.names.pod(ordinal);
        let wait = |message: String| Box::new(Decision::wait(Reason::Bootstrapping, message));
        let pod =
            self.observed.pods.get(&ordinal).ok_or_else(|| wait(format!("{name} does not exist yet")))?;
        let status = pod.answer().ok_or_else(|| wait(silent(pod)))?;
        let member = self.record.members.values().find(|member| member.name == name);
        match (member, status.node_id) {
            (Some(member), id) if id == Some(member.id) => self.caught_up(&name, member.id),
            (Some(member), _) => Err(wait(format!(
                "{name} has lost the disk of member {}; this release cannot replace a member",
                member.id
            ))),
            (None, None) => {
                let cluster_id = self.cluster.latched_id.clone();
                let cluster_id =
                    cluster_id.ok_or_else(|| wait("the cluster id is not latched yet".to_owned()))?;
                let (leader, pod, store_id) = (self.leader.clone(), name, status.store_id.clone());
                let step = Step::Assign { leader, pod, store_id, cluster_id };
                Err(Box::new(Decision::step(Reason::AddingLearner, step)))
            }
            (None, Some(_)) if status.role == Role::Retired => Err(wait(format!(
                "{name} holds the disk of a member that was removed: delete its volume claim and the pod"
            ))),
            (None, Some(node_id)) => Err(Box::new(self.learner(name, node_id, status))),
        }
    }

    fn learner(&self, name: String, node_id: NodeId, status: &Status) -> Decision {
        let verb = AddLearner {
            node_id,
            address: self.cluster.names.peer_address(&name),
            http_url: Some(self.cluster.names.http_url(&name)),
            store_id: Some(status.store_id.clone()),
            name,
            expected: self.record.generation,
        };
        Decision::step(Reason::AddingLearner, Step::AddLearner { leader: self.leader.clone(), verb })
    }

    /// Whether the leader of every shard says that the member lags by little.
    fn caught_up(&self, name: &str, id: NodeId) -> Result<NodeId, Box<Decision>> {
        let behind: Vec<_> =
            (0..self.record.shards).map(ShardId).filter(|shard| !self.follows(*shard, id)).collect();
        if self.record.voters.contains(&id) || behind.is_empty() {
            return Ok(id);
        }
        let shards: Vec<_> = behind.iter().map(ToString::to_string).collect();
        let message = format!("{name} is catching up on shard {}", list(&shards));
        Err(Box::new(Decision::wait(Reason::CatchingUp, message)))
    }

    fn follows(&self, shard: ShardId, id: NodeId) -> bool {
        let answers = self.observed.pods.values().filter_map(Pod::answer);
        let mut views =
            answers.flat_map(|status| status.shards.iter().map(move |view| (status.node_id, view)));
        let leader =
            views.find(|(node, view)| view.shard == shard && view.leader.is_some() && view.leader == *node);
        leader.and_then(|(_, view)| view.lag.get(&id)).is_some_and(|lag| *lag <= LAG_ENTRIES_MAX)
    }
}

fn silent(pod: &Pod) -> String {
    match &pod.trouble {
        Some(trouble) => format!("{} does not run: {trouble}", pod.name),
        None => format!("{} does not answer", pod.name),
    }
}
