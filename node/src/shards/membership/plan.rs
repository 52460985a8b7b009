//! What to do next so that memberships follow the cluster record. Pure: it sees numbers, and names one step.
//!
//! The order within a shard: new members as learners; when they have caught up, one joint change to the voters of the
//! record; then members that the record no longer has are dropped. Shard 0 changes its voters last, so that whoever can
//! write the record can still reach the other shards.

use schedia_api::Membership;
use schedia_apps::NodeId;
use schedia_apps::cluster::{Member, Record};
use std::collections::{BTreeMap, BTreeSet};

/// A member this many entries behind has caught up: what a busy shard has in flight.
const LAG_ENTRIES: u64 = 128;

/// How far the members of a shard are, as its leader sees it.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// The last entry.
    pub(super) last: u64,
    /// How many entries each other member is behind; one that never answered, all of them.
    pub(super) lag: BTreeMap<NodeId, u64>,
    /// The last entry when the leader first saw this generation of the record.
    pub(super) seen: u64,
}

impl Progress {
    /// Whether a member is nearly level, and has answered since the change was asked for: one that is down would take
    /// the quorum with it.
    fn caught_up(&self, id: NodeId) -> bool {
        let level = |lag: &u64| *lag <= LAG_ENTRIES && self.last.saturating_sub(*lag) >= self.seen;
        self.lag.get(&id).is_some_and(level)
    }
}

/// One shard, as its leader sees it.
#[derive(Clone, Debug)]
pub(super) struct View<'a> {
    pub(super) record: &'a Record,
    pub(super) membership: &'a Membership,
    pub(super) progress: &'a Progress,
    /// Whether this shard may change its voters: shard 0 waits for all others.
    pub(super) voters_may_change: bool,
    /// Whether a member that does not catch up has been waited for long enough.
    pub(super) patience_over: bool,
}

/// What to do next on a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing: the shard's committed membership is what the record says.
    Follows,
    /// Nothing yet.
    Wait(String),
    /// Add members without a vote, by their peer addresses.
    AddLearners(BTreeMap<NodeId, String>),
    /// One joint change to exactly these voters.
    ChangeVoters(BTreeSet<NodeId>),
    /// Leave the open joint configuration.
    FinishJoint,
    /// Drop members without a vote.
    RemoveLearners(BTreeSet<NodeId>),
}

/// What to do next on a shard.
pub(super) fn next(view: &View<'_>) -> Step {
    let View { record, membership, progress, voters_may_change, patience_over } = view;
    if !membership.committed {
        return Step::Wait("the newest membership is not committed yet".to_owned());
    }
    if membership.joint.is_some() {
        return Step::FinishJoint;
    }
    let known = |id: &NodeId| membership.voters.contains(id) || membership.learners.contains(id);
    let missing = record.members.values().filter(|member| !known(&member.id));
    let missing: BTreeMap<NodeId, String> =
        missing.map(|member| (member.id, member.address.clone())).collect();
    if !missing.is_empty() {
        return Step::AddLearners(missing);
    }
    if membership.voters != record.voters {
        let behind = record.voters.difference(&membership.voters).find(|id| !progress.caught_up(**id));
        return match behind {
            Some(id) => Step::Wait(format!("node {id} has not caught up")),
            None if !voters_may_change => Step::Wait("other shards change their voters first".to_owned()),
            None => Step::ChangeVoters(record.voters.clone()),
        };
    }
    let extra: BTreeSet<NodeId> =
        membership.learners.iter().filter(|id| !record.members.contains_key(id)).copied().collect();
    match extra.iter().find(|id| progress.lag.get(id) != Some(&0)) {
        // It learns of its removal from the log if it can.
        Some(id) if !patience_over => Step::Wait(format!("node {id} has not seen its removal")),
        _ if extra.is_empty() => Step::Follows,
        _ => Step::RemoveLearners(extra),
    }
}

/// The voters to be, if members that join by themselves can have their vote now.
///
/// All of them at once, or those that have caught up when patience is over. Who takes the place of a member of the same
/// name (its disk was lost) takes its vote too.
pub(super) fn promoted(
    record: &Record,
    progress: &Progress,
    patience_over: bool,
) -> Option<BTreeSet<NodeId>> {
    let ready: BTreeSet<NodeId> =
        record.joining.iter().filter(|id| progress.caught_up(**id)).copied().collect();
    if !record.settled || ready.is_empty() || (ready != record.joining && !patience_over) {
        return None;
    }
    let replaced = |id: &NodeId| ready.iter().any(|by| replaces(record, *by, *id));
    Some(record.voters.iter().filter(|id| !replaced(id)).chain(&ready).copied().collect())
}

/// A member without a vote whose place a voter of the same name has taken: it can go.
pub(super) fn replaced(record: &Record) -> Option<NodeId> {
    if !record.settled || record.managed_by.is_some() {
        return None;
    }
    let idle = |id: &&NodeId| !record.voters.contains(id);
    let gone = |id: &&NodeId| record.voters.iter().any(|by| replaces(record, *by, **id));
    record.members.keys().filter(idle).find(gone).copied()
}

fn replaces(record: &Record, by: NodeId, id: NodeId) -> bool {
    let name = |id| record.members.get(&id).map(|member: &Member| &member.name);
    by > id && name(by).is_some() && name(by) == name(id)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
