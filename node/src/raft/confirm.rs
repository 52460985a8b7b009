//! Whether this node leads still: one question to every voter, for all reads that wait.
//!
//! A voter answers from what it has saved: yes, as long as its newest vote is of no later term. It saves a vote before it gives it, so nobody was elected with
//! its help when it answers; and whoever is elected needs one of any majority. It is the rule of ReadIndex (Ongaro's thesis, 6.4) without heartbeats: raft's core is not asked, here or there.
//!
//! openraft's own rounds are not used: they are confirmed by answers to what was sent before them, too (`super::lease`).
//!
//! Invariants:
//! * An answer counts for the round that its question was sent in, for no later one.
//! * A voter has one question at a time, so one that is slow or hung does not gather them.

use super::group::Group;
use super::types::decode_vote;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use schedia_apps::NodeId;
use std::collections::BTreeSet;
use tokio::time::{Instant, timeout_at};

/// Voters, of one configuration or of both while it is joint.
pub(super) type Configs = [BTreeSet<u64>];

/// Whether more than half of each configuration count.
pub(super) fn is_majority(configs: &Configs, counts: impl Fn(u64) -> bool) -> bool {
    let more_than_half = |ids: &BTreeSet<u64>| 2 * ids.iter().filter(|id| counts(**id)).count() > ids.len();
    !configs.is_empty() && configs.iter().all(more_than_half)
}

/// The questions of one shard, one round after another.
#[derive(Default)]
pub(crate) struct Rounds {
    number: u64,
    open: FuturesUnordered<BoxFuture<'static, Answered>>,
    /// Who has not answered yet.
    asked: BTreeSet<u64>,
}

struct Answered {
    voter: u64,
    number: u64,
    yes: bool,
}

impl Rounds {
    /// Whether a majority says, asked from now on, that it has voted in no term after `term`.
    pub(super) async fn confirm(&mut self, group: &Group, term: u64, deadline: Instant) -> bool {
        self.number += 1;
        let (me, voters) = (group.me.0, group.voters());
        let mut yes = BTreeSet::from_iter(group.has_voted_in_none_after(term).then_some(me));
        for voter in voters.iter().flatten().filter(|voter| **voter != me) {
            self.ask(group, *voter, term);
        }
        while !is_majority(&voters, |voter| yes.contains(&voter)) {
            let Ok(Some(answered)) = timeout_at(deadline, self.open.next()).await else { return false };
            self.asked.remove(&answered.voter);
            match answered.number == self.number {
                true if answered.yes => _ = yes.insert(answered.voter),
                true => {}
                false => self.ask(group, answered.voter, term),
            }
        }
        true
    }

    fn ask(&mut self, group: &Group, voter: u64, term: u64) {
        if self.asked.insert(voter) {
            let (number, answer) = (self.number, group.network.confirm(NodeId(voter), term));
            self.open.push(Box::pin(async move { Answered { voter, number, yes: answer.await } }));
        }
    }
}

impl Group {
    /// Whether nobody was elected with this node's help after that term, until now.
    pub(super) fn has_voted_in_none_after(&self, term: u64) -> bool {
        match self.log.vote().map(|vote| decode_vote(&vote)) {
            Some(Ok(vote)) => vote.leader_id.term <= term,
            Some(Err(_)) => false,
            None => true,
        }
    }
}
