//! Adds up what the nodes said: one identity, one membership, who of it answers. Pure.
//!
//! Invariant: an absent or silent pod proves nothing about membership; only what nodes report counts.

mod roll;
mod size;

pub use roll::Roll;

use crate::latches::{Latched, Latches};
use crate::observed::{Observed, Pod};
use crate::validate::Cluster;
use schedia_api::{Membership, Role, ShardStatus, Status};
use schedia_apps::cluster::{Member, Record};
use schedia_apps::{ClusterId, NodeId, ShardId};
use std::collections::BTreeSet;

/// The sum of one observation.
#[derive(Clone, Debug)]
pub struct Census {
    /// The latches; `Err`: they contradict each other.
    pub latches: Result<Latches, String>,
    /// The latched cluster, or the only one reported by nodes.
    pub cluster_id: Option<ClusterId>,
    /// Pods that report another cluster than that, with what they report.
    pub strangers: Vec<(String, ClusterId)>,
    /// The newest membership of shard 0 that a node of the cluster reports.
    pub membership: Option<Membership>,
    /// The newest cluster record: by a linearizable read, else as a node last applied it.
    pub record: Option<Record>,
    /// The number of voters asked for: an edit takes the place of a change that is under way.
    pub target: u32,
    /// The number of pods there must be.
    pub size: u32,
    /// The number of voters by a linearizable read while no change is open.
    pub voters: Option<u32>,
    /// Whether a quorum of the voters has been read, each by itself, to be in exactly the membership that the settled record tells, on
    /// every shard. Only then may a pod or a volume go.
    pub read_back: bool,
}

impl Census {
    /// Of everything seen in one pass.
    pub fn of(cluster: &Cluster, observed: &Observed) -> Census {
        let latches = Latches::read(cluster, observed.live.stateful_set.as_ref());
        let latched = latches.as_ref().map(|l| l.union.clone()).unwrap_or_default();
        let reported: BTreeSet<_> = answers(observed).filter_map(|(_, s)| s.cluster_id.clone()).collect();
        let cluster_id = latched.cluster_id.clone().or_else(|| reported.first().cloned());
        let strangers = answers(observed)
            .filter_map(|(pod, status)| Some((pod.name.clone(), status.cluster_id.clone()?)))
            .filter(|(_, id)| Some(id) != cluster_id.as_ref())
            .collect();
        let ours = || answers(observed).filter(|(_, s)| s.cluster_id.is_some() && s.cluster_id == cluster_id);
        let membership = ours().filter_map(|(_, s)| s.shards.first()).map(|shard| shard.membership.clone());
        let membership = membership.filter(|m| m.log_id.is_some()).max_by_key(|m| m.log_id);
        let told = ours().filter_map(|(_, s)| s.record.clone()).max_by_key(|r| r.generation);
        let confirmed = observed.record.as_ref().map(|probe| &probe.record);
        let settled = confirmed.filter(|record| record.settled);
        let read_back = settled.is_some_and(|record| is_read_back(record, ours().map(|(_, s)| s)));
        let size = size::size(&size::Sizing {
            names: &cluster.names,
            observed,
            target: cluster.replicas,
            exists: latched.initialized || told.is_some() || confirmed.is_some(),
            may_exist: cluster_id.is_some() || latches.is_err(),
            reported: ours().filter_map(|(_, s)| s.record.as_ref()).collect(),
            read_back,
        });
        Census {
            latches,
            cluster_id,
            strangers,
            membership,
            record: confirmed.cloned().or(told),
            target: cluster.replicas,
            size,
            voters: settled.and_then(|record| u32::try_from(record.voters.len()).ok()),
            read_back,
        }
    }

    /// What is latched, as far as both places agree.
    pub fn latched(&self) -> Latched {
        self.latches.as_ref().map(|l| l.union.clone()).unwrap_or_default()
    }

    /// As it will be once these latches are written.
    pub fn latching(&self, latched: &Latched) -> Census {
        let latches = Latches { union: latched.clone(), complete: true };
        Census { latches: Ok(latches), ..self.clone() }
    }

    /// Whether the cluster exists: a node confirmed it, now or ever.
    pub fn exists(&self) -> bool {
        self.latched().initialized || self.record.is_some()
    }

    /// The member of that name in the newest record: its voter, if several have had the name.
    pub fn member(&self, name: &str) -> Option<&Member> {
        let record = self.record.as_ref()?;
        let named = || record.members.values().filter(|member| member.name == name);
        named().find(|member| record.voters.contains(&member.id)).or_else(|| named().next())
    }

    /// Calls the roll of the voters. While a joint configuration is open, of the voter set that answers worse.
    pub fn roll(&self, cluster: &Cluster, observed: &Observed) -> Roll {
        let Some(membership) = &self.membership else {
            // No node of the cluster answers: the pods in force are all that is known.
            let names = (0..self.size).map(|ordinal| (None, cluster.names.pod(ordinal)));
            return Roll::call(cluster, observed, names.collect());
        };
        let named = |ids: &BTreeSet<NodeId>| {
            let name = |id: &NodeId| self.record.as_ref()?.members.get(id).map(|member| member.name.clone());
            ids.iter().map(|id| (Some(*id), name(id).unwrap_or_else(|| format!("node {id}")))).collect()
        };
        let sets = match &membership.joint {
            Some(joint) => vec![named(&joint.old), named(&joint.new)],
            None => vec![named(&membership.voters)],
        };
        let rolls = sets.into_iter().map(|set| Roll::call(cluster, observed, set));
        rolls.min_by_key(Roll::margin).unwrap_or_default()
    }
}

fn answers(observed: &Observed) -> impl Iterator<Item = (&Pod, &Status)> {
    observed.pods.values().filter_map(|pod| Some((pod, pod.answer()?)))
}

/// Whether a quorum of the voters is, each by its own word, in the membership of the record on every shard.
fn is_read_back<'a>(record: &Record, nodes: impl Iterator<Item = &'a Status>) -> bool {
    let is_in = |shard: &ShardStatus| {
        let Membership { log_id: _, committed, voters, learners, joint } = &shard.membership;
        let members = voters.union(learners);
        *committed && joint.is_none() && *voters == record.voters && members.eq(record.members.keys())
    };
    let agrees = |node: &&Status| {
        let on = |id| node.shards.iter().find(|shard| shard.shard == ShardId(id));
        node.node_id.is_some_and(|id| record.voters.contains(&id))
            && (0..record.shards).all(|id| on(id).is_some_and(is_in))
    };
    nodes.filter(agrees).count() > record.voters.len() / 2
}

/// A role as the status shows it.
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Unassigned => "Unassigned",
        Role::Assigned => "Assigned",
        Role::Learner => "Learner",
        Role::Voter => "Voter",
        Role::Retired => "Retired",
    }
}
