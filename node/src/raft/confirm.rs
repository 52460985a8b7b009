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

use super::types::decode_vote;
use crate::storage::ShardLog;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
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
    /// Whether a majority with `me` says, asked from now on, that it has voted in no term after the one in question.
    pub(super) async fn confirm<A>(
        &mut self,
        me: u64,
        voters: &Configs,
        ask: impl Fn(u64) -> A,
        deadline: Instant,
    ) -> bool
    where
        A: Future<Output = bool> + Send + 'static,
    {
        self.number += 1;
        let mut yes = BTreeSet::from([me]);
        for voter in voters.iter().flatten().filter(|voter| **voter != me) {
            self.ask(*voter, &ask);
        }
        while !is_majority(voters, |voter| yes.contains(&voter)) {
            let Ok(Some(answered)) = timeout_at(deadline, self.open.next()).await else { return false };
            self.asked.remove(&answered.voter);
            match answered.number == self.number {
                true if answered.yes => _ = yes.insert(answered.voter),
                true => {}
                false => self.ask(answered.voter, &ask),
            }
        }
        true
    }

    fn ask<A>(&mut self, voter: u64, ask: impl Fn(u64) -> A)
    where
        A: Future<Output = bool> + Send + 'static,
    {
        if self.asked.insert(voter) {
            let (number, answer) = (self.number, ask(voter));
            self.open.push(Box::pin(async move { Answered { voter, number, yes: answer.await } }));
        }
    }
}

/// Whether nobody was elected after that term with the help of whose log this is, until now.
pub(super) fn has_voted_in_none_after(log: &ShardLog, term: u64) -> bool {
    match log.vote().map(|vote| decode_vote(&vote)) {
        Some(Ok(vote)) => vote.leader_id.term <= term,
        Some(Err(_)) => false,
        None => true,
    }
}
