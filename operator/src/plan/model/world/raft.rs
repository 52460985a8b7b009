//! What the raft group does by itself: changes are finished, learners catch up, leadership moves.

use super::{Raft, World};
use schedia_apps::NodeId;
use std::collections::BTreeSet;

impl World {
    /// Whether a majority runs on its own disks, of both sets while a change is open.
    pub(super) fn has_quorum(&self, raft: &Raft) -> bool {
        let majority = |voters: &BTreeSet<NodeId>| {
            voters.iter().filter(|node| self.runs(raft, **node)).count() > voters.len() / 2
        };
        majority(&raft.record.voters) && (raft.old.is_empty() || majority(&raft.old))
    }

    /// The favourite, or the lowest voter that runs on its own disk, if a majority does.
    pub(in crate::plan::model) fn leader(&self, raft: &Raft) -> Option<NodeId> {
        let can = |node: &NodeId| self.runs(raft, *node);
        let electable = || raft.old.union(&raft.record.voters).filter(|node| can(node));
        let favourite = raft.favourite.filter(|node| electable().any(|other| other == node));
        let lowest = raft.record.voters.iter().find(|node| can(node)).or_else(|| electable().next());
        favourite.or(lowest.copied()).filter(|_| self.has_quorum(raft))
    }

    /// Compare-and-set on the generation, refused while a change is open or no leader works.
    pub(super) fn change(&mut self, expected: u64, change: impl FnOnce(&mut Raft)) -> bool {
        let works = self.rafts.first().is_some_and(|raft| self.leader(raft).is_some());
        let Some(raft) = self.rafts.first_mut().filter(|_| works) else { return false };
        if raft.record.generation != expected || !raft.record.settled {
            return false;
        }
        change(raft);
        raft.record.generation += 1;
        raft.record.settled = false;
        true
    }

    /// The leader drives an open change to its end: not before its new voters run and have caught up.
    pub(in crate::plan::model) fn settle(&mut self) {
        for number in 0..self.rafts.len() {
            let raft = &self.rafts[number];
            let mut new = raft.record.voters.difference(&raft.old);
            let wait =
                !raft.old.is_empty() && new.any(|id| raft.lagging.contains(id) || !self.runs(raft, *id));
            if self.leader(raft).is_some() && !wait {
                let raft = &mut self.rafts[number];
                raft.record.settled = true;
                raft.old.clear();
            }
        }
    }

    /// Learners that run receive what the cluster knows.
    pub(in crate::plan::model) fn catch_up(&mut self) {
        for number in 0..self.rafts.len() {
            for id in self.behind(number) {
                self.rafts[number].lagging.remove(&id);
            }
        }
    }

    /// Learners that could catch up now.
    pub(in crate::plan::model) fn behind(&self, number: usize) -> Vec<NodeId> {
        let Some(raft) = self.rafts.get(number) else { return Vec::new() };
        let works = self.leader(raft).is_some();
        raft.lagging.iter().filter(|id| works && self.runs(raft, **id)).copied().collect()
    }

    pub(in crate::plan::model) fn caught_up(&mut self, id: NodeId) {
        self.rafts[0].lagging.remove(&id);
    }

    /// Somebody else would like to lead.
    pub(in crate::plan::model) fn favour(&mut self, id: NodeId) {
        if let Some(raft) = self.rafts.first_mut().filter(|raft| raft.record.voters.contains(&id)) {
            raft.favourite = Some(id);
        }
    }
}
