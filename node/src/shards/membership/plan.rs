//! What to do next so that memberships follow the cluster record. Pure: it sees numbers, and names one step.
//!
//! The order within a shard:
//! 1. A change that is open is finished; addresses are corrected.
//! 2. New members become learners, and catch up.
//! 3. A leader that loses its vote hands leadership to a voter that keeps it.
//! 4. One joint change to the voters of the record: who is not among them becomes a learner.
//! 5. A leader that could not do 3 before, because no voter stays, does it now.
//! 6. Members that the record no longer has are dropped, when they know.
//!
//! Shard 0 does 3 and 4 last, so that whoever can write the record can still reach the other shards.
//!
//! Not here: that nobody is dropped while it has a vote in another shard. The record sees to it: it removes only who
//! does not vote, in a change of its own, which begins when every shard follows the one before.

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
    /// Members that have answered again since they had that entry: they know that it is committed.
    pub(super) told: BTreeSet<NodeId>,
}

impl Progress {
    /// Whether a member is nearly level, and has answered since the change was asked for: one that is down would take
    /// the quorum with it.
    fn caught_up(&self, id: NodeId) -> bool {
        self.lag.get(&id).is_some_and(|lag| *lag <= LAG_ENTRIES) && self.has_seen(id)
    }

    /// Whether a member has the entry that was the last one when the change was asked for.
    pub(super) fn has_seen(&self, id: NodeId) -> bool {
        self.lag.get(&id).is_some_and(|lag| self.last.saturating_sub(*lag) >= self.seen)
    }
}

/// One shard, as its leader sees it.
#[derive(Clone, Debug)]
pub(super) struct View<'a> {
    pub(super) record: &'a Record,
    pub(super) membership: &'a Membership,
    /// Where the membership says its members are.
    pub(super) addresses: &'a BTreeMap<NodeId, String>,
    pub(super) progress: &'a Progress,
    /// Who leads the shard, if that is known.
    pub(super) leader: Option<NodeId>,
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
    /// Correct the peer addresses of members.
    SetAddresses(BTreeMap<NodeId, String>),
    /// Hand leadership to one of these voters.
    HandOver(BTreeSet<NodeId>),
    /// One joint change to exactly these voters.
    ChangeVoters(BTreeSet<NodeId>),
    /// Leave the open joint configuration.
    FinishJoint,
    /// Drop members without a vote.
    RemoveLearners(BTreeSet<NodeId>),
}

/// What to do next on a shard.
pub(super) fn next(view: &View<'_>) -> Step {
    let View { record, membership, addresses, .. } = view;
    if !membership.committed {
        return Step::Wait("the newest membership is not committed yet".to_owned());
    }
    if membership.joint.is_some() {
        return Step::FinishJoint;
    }
    let wanted = || record.members.values().map(|member| (member.id, &member.address));
    let pick = |(id, address): (NodeId, &String)| (id, address.clone());
    let moved = |(id, address): &(NodeId, &String)| addresses.get(id).is_some_and(|now| now != *address);
    let moved: BTreeMap<_, _> = wanted().filter(moved).map(pick).collect();
    if !moved.is_empty() {
        return Step::SetAddresses(moved);
    }
    let known = |id: &NodeId| membership.voters.contains(id) || membership.learners.contains(id);
    let missing: BTreeMap<_, _> = wanted().filter(|(id, _)| !known(id)).map(pick).collect();
    if !missing.is_empty() {
        return Step::AddLearners(missing);
    }
    if membership.voters != record.voters { votes(view) } else { rest(view) }
}

/// The voters are not yet those of the record.
fn votes(view: &View<'_>) -> Step {
    let View { record, membership, progress, leader, .. } = view;
    if let Some(id) = record.voters.difference(&membership.voters).find(|id| !progress.caught_up(**id)) {
        return Step::Wait(format!("node {id} has not caught up"));
    }
    // The joint configuration counts from the moment it is appended: a new set that cannot agree would stop the shard.
    let agree = |id: &&NodeId| Some(**id) == *leader || progress.caught_up(**id);
    if record.voters.iter().filter(agree).count() <= record.voters.len() / 2 {
        return Step::Wait("no majority of the new voters has caught up".to_owned());
    }
    if !view.voters_may_change {
        return Step::Wait("other shards change their voters first".to_owned());
    }
    let stay = record.voters.intersection(&membership.voters).filter(|id| progress.caught_up(**id));
    let stay: BTreeSet<NodeId> = stay.copied().collect();
    match leader {
        Some(leader) if !record.voters.contains(leader) && !stay.is_empty() => Step::HandOver(stay),
        _ => Step::ChangeVoters(record.voters.clone()),
    }
}

/// The voters are those of the record; who leads, and who is a learner, perhaps not yet.
fn rest(view: &View<'_>) -> Step {
    let View { record, membership, progress, leader, patience_over, .. } = view;
    if leader.is_some_and(|leader| !record.voters.contains(&leader)) {
        return Step::HandOver(record.voters.clone());
    }
    let extra: BTreeSet<NodeId> =
        membership.learners.iter().filter(|id| !record.members.contains_key(id)).copied().collect();
    match extra.iter().find(|id| !progress.told.contains(id)) {
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
