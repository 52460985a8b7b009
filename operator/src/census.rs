//! Adds up what the nodes said: one identity, one membership, who of it answers. Pure.
//!
//! Invariant: an absent or silent pod proves nothing about membership; only what nodes report counts.

use crate::latches::{Latched, Latches};
use crate::observed::{Observed, Pod};
use crate::validate::Cluster;
use schedia_api::{Membership, Role, Status};
use schedia_apps::cluster::{Member, Record};
use schedia_apps::{ClusterId, NodeId};
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
    /// The number of voters in force or being bootstrapped.
    pub target: u32,
    /// The number of pods there must be.
    pub size: u32,
}

/// How the voters answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roll {
    /// The voters, by id or, where no node told, by pod name only.
    pub voters: usize,
    /// How many of them are needed.
    pub quorum: usize,
    /// Names of voters whose node answers as that voter.
    pub answering: Vec<String>,
    /// Names of voters whose pod runs but does not answer the operator.
    pub silent: Vec<String>,
    /// Names of voters whose pod does not run.
    pub down: Vec<String>,
    /// Names of voters whose pod answers from another disk.
    pub lost: Vec<String>,
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
        let record = observed.record.as_ref().map(|probe| probe.record.clone()).or(told);
        let target = target(cluster, &latched, record.as_ref());
        let named = ours().filter_map(|(_, s)| s.record.as_ref()).chain(&record);
        let no_cluster = cluster_id.is_none() && latches.is_ok();
        let size = size(cluster, observed, target, named, no_cluster);
        Census { latches, cluster_id, strangers, membership, record, target, size }
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

    /// The member of that name in the newest record.
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.record.as_ref()?.members.values().find(|member| member.name == name)
    }

    /// Calls the roll of the voters. While a joint configuration is open, of the voter set that answers worse.
    pub fn roll(&self, cluster: &Cluster, observed: &Observed) -> Roll {
        let Some(membership) = &self.membership else {
            // No node of the cluster answers: the pods in force are all that is known.
            let names = (0..self.target).map(|ordinal| (None, cluster.names.pod(ordinal)));
            return self.call(cluster, observed, names.collect());
        };
        let named = |ids: &BTreeSet<NodeId>| {
            let name = |id: &NodeId| self.record.as_ref()?.members.get(id).map(|member| member.name.clone());
            ids.iter().map(|id| (Some(*id), name(id).unwrap_or_else(|| format!("node {id}")))).collect()
        };
        let sets = match &membership.joint {
            Some(joint) => vec![named(&joint.old), named(&joint.new)],
            None => vec![named(&membership.voters)],
        };
        let rolls = sets.into_iter().map(|set| self.call(cluster, observed, set));
        rolls.min_by_key(Roll::margin).unwrap_or_default()
    }

    fn call(&self, cluster: &Cluster, observed: &Observed, voters: Vec<(Option<NodeId>, String)>) -> Roll {
        let mut roll = Roll { voters: voters.len(), quorum: voters.len() / 2 + 1, ..Roll::default() };
        for (id, name) in voters {
            let pod = cluster.names.ordinal(&name).and_then(|ordinal| observed.pods.get(&ordinal));
            let list = match pod {
                Some(pod) => match &pod.node {
                    Ok(status) if id.is_some() && status.node_id == id => &mut roll.answering,
                    Ok(_) => &mut roll.lost,
                    Err(_) if pod.running => &mut roll.silent,
                    Err(_) => &mut roll.down,
                },
                None => &mut roll.down,
            };
            list.push(name);
        }
        roll
    }
}

impl Roll {
    /// Whether a majority answers.
    pub fn has_quorum(&self) -> bool {
        self.voters > 0 && self.answering.len() >= self.quorum
    }

    /// How many more voters may be lost; negative: how many are missing.
    pub fn margin(&self) -> isize {
        self.answering.len() as isize - self.quorum as isize
    }
}

fn answers(observed: &Observed) -> impl Iterator<Item = (&Pod, &Status)> {
    observed.pods.values().filter_map(|pod| Some((pod, pod.answer()?)))
}

/// The number of voters in force: latched with the intent; before that what is asked for; for a cluster that is found rather than
/// made, what its record says. A record of one voter may be a bootstrap that was cut short, so it grows to what is asked for.
fn target(cluster: &Cluster, latched: &Latched, record: Option<&Record>) -> u32 {
    let recorded = record.map(|r| r.voters.len() as u32).filter(|voters| *voters > 1);
    latched.target.or(recorded).unwrap_or(cluster.replicas)
}

/// The pods of every member must exist, so that each can start on its own disk. Pods beyond go only when a majority has confirmed
/// that no member is among them, or when there is no cluster at all.
fn size<'a>(
    cluster: &Cluster,
    observed: &Observed,
    target: u32,
    named: impl Iterator<Item = &'a Record>,
    no_cluster: bool,
) -> u32 {
    let ordinals = named.flat_map(|r| r.members.values()).filter_map(|m| cluster.names.ordinal(&m.name));
    let needed = ordinals.map(|ordinal| ordinal + 1).max().unwrap_or(0).max(target);
    let replicas = observed.live.stateful_set.as_ref().and_then(|set| set.spec.as_ref()?.replicas);
    let live = replicas.and_then(|r| u32::try_from(r).ok()).unwrap_or(0);
    let confirmed = observed.record.as_ref().is_some_and(|probe| probe.record.settled);
    if confirmed || no_cluster { needed } else { needed.max(live) }
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
