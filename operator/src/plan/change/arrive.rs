//! What the pod of an ordinal still lacks to be a voter: its pod, a node id, membership, the data.

use super::{Change, Decision, Reason, Step};
use crate::observed::Pod;
use schedia_api::{AddLearner, Reset, Role, Status};
use schedia_apps::NodeId;

impl Change<'_> {
    /// The node id of an ordinal that votes or may vote now; `Err`: what must be done or waited for first.
    ///
    /// Who votes already is not asked how it is: it keeps its vote whatever becomes of the others.
    pub(super) fn arrival(&self, ordinal: u32) -> Result<NodeId, Box<Decision>> {
        let name = self.cluster.names.pod(ordinal);
        let member = self.census.member(&name);
        if let Some(voter) = member.filter(|member| self.record.voters.contains(&member.id)) {
            return Ok(voter.id);
        }
        let wait = |message: String| Box::new(self.wait(Reason::AddingLearner, &name, message));
        let pod = self.observed.pods.get(&ordinal);
        let pod = pod.ok_or_else(|| wait(self.absent(ordinal, &name)))?;
        if pod.terminating {
            return Err(wait(format!("{name} is stopping")));
        }
        let status = pod.answer().ok_or_else(|| wait(silent(pod)))?;
        match (member, status.node_id) {
            (Some(member), id) if id == Some(member.id) => self.caught_up(&name, member.id),
            // Dropped by `unwanted`, so that the disk can come in anew.
            (Some(_), _) => Err(wait(format!("{name} has another disk than the member of that name"))),
            (None, None) => Err(Box::new(self.assign(name, status))),
            (None, Some(node_id)) => Err(Box::new(self.newcomer(name, node_id, status))),
        }
    }

    fn wait(&self, reason: Reason, name: &str, message: String) -> Decision {
        Decision::wait(reason, message).about(name.to_owned())
    }

    fn absent(&self, ordinal: u32, name: &str) -> String {
        match self.observed.claims.get(&ordinal).filter(|claim| claim.terminating) {
            Some(_) => format!("volume claim {} is still being deleted", self.cluster.names.claim(ordinal)),
            None => format!("{name} does not exist yet"),
        }
    }

    fn assign(&self, pod: String, status: &Status) -> Decision {
        let Some(cluster_id) = self.census.cluster_id.clone() else {
            return Decision::wait(Reason::AddingLearner, "the cluster id is not latched yet");
        };
        let (leader, store_id) = (self.leader.name.clone(), status.store_id.clone());
        Decision::step(Reason::AddingLearner, Step::Assign { leader, pod, store_id, cluster_id })
    }

    /// A node with an id that is in no membership: new, or once removed.
    fn newcomer(&self, name: String, node_id: NodeId, status: &Status) -> Decision {
        match status.role {
            Role::Retired => self.reset(name, node_id, status),
            // By what it last heard it is a member: an old disk, which will learn better from its peers.
            Role::Voter | Role::Learner => {
                let message =
                    format!("{name} has the disk of node {node_id}, and has not heard yet of its removal");
                self.wait(Reason::AddingLearner, &name, message)
            }
            Role::Assigned | Role::Unassigned => self.learner(name, node_id, status),
        }
    }

    fn reset(&self, pod: String, node_id: NodeId, status: &Status) -> Decision {
        let Some(cluster_id) = status.cluster_id.clone() else {
            return Decision::wait(Reason::AddingLearner, format!("{pod} does not say whose disk it has"));
        };
        let verb = Reset { cluster_id, node_id, store_id: status.store_id.clone() };
        Decision::step(Reason::AddingLearner, Step::Reset { pod, verb })
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
        Decision::step(Reason::AddingLearner, Step::AddLearner { leader: self.leader.name.clone(), verb })
    }

    /// Whether the leader of every shard says that the member lags by little.
    fn caught_up(&self, name: &str, id: NodeId) -> Result<NodeId, Box<Decision>> {
        match self.behind(id) {
            None => Ok(id),
            Some(shards) => {
                let message = format!("{name} is catching up on shard {shards}");
                Err(Box::new(self.wait(Reason::CatchingUp, name, message)))
            }
        }
    }
}

fn silent(pod: &Pod) -> String {
    match &pod.trouble {
        Some(trouble) => format!("{} does not run: {trouble}", pod.name),
        None if !pod.running => format!("{} is starting", pod.name),
        None => format!("{} does not answer", pod.name),
    }
}
