//! Whether this node leads still: one question to every voter, for all reads that wait.
//!
//! A voter answers from what it has saved: yes, as long as its newest vote is of no later term. It saves a vote before it gives it, so nobody was elected to a later term with
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
    /// Whether a majority says, asked from now on, that it has voted in no term after the one in question; `own` is what this node says itself.
    pub(super) async fn confirm<A>(
        &mut self,
        (me, own): (u64, bool),
        voters: &Configs,
        ask: impl Fn(u64) -> A,
        deadline: Instant,
    ) -> bool
    where
        A: Future<Output = bool> + Send + 'static,
    {
        self.number += 1;
        let mut yes = BTreeSet::from_iter(own.then_some(me));
        let others: BTreeSet<u64> = voters.iter().flatten().copied().filter(|voter| *voter != me).collect();
        let mut may_say_yes = &others | &yes;
        others.iter().for_each(|voter| self.ask(*voter, &ask));
        while !is_majority(voters, |voter| yes.contains(&voter)) {
            if !is_majority(voters, |voter| may_say_yes.contains(&voter)) {
                return false;
            }
            let Ok(Some(answered)) = timeout_at(deadline, self.open.next()).await else { return false };
            let Answered { voter, number, yes: says_yes } = answered;
            self.asked.remove(&voter);
            match number == self.number {
                true if says_yes => _ = yes.insert(voter),
                true => _ = may_say_yes.remove(&voter),
                false if others.contains(&voter) => self.ask(voter, &ask),
                false => {}
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

/// Whether nobody was elected to a later term with the help of whose log this is, until now.
pub(super) fn has_voted_in_none_after(log: &ShardLog, term: u64) -> bool {
    match log.vote().map(|vote| decode_vote(&vote)) {
        Some(Ok(vote)) => vote.leader_id.term <= term,
        Some(Err(_)) => false,
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::{Mutex, PoisonError};
    use std::time::Duration;
    use tokio::sync::oneshot;

    /// Questions that are answered by hand.
    #[derive(Default)]
    struct Asked(Mutex<BTreeMap<u64, Vec<oneshot::Sender<bool>>>>);

    impl Asked {
        fn ask(&self, voter: u64) -> impl Future<Output = bool> + Send + use<> {
            let (answer, answered) = oneshot::channel();
            self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(voter).or_default().push(answer);
            async move { answered.await.unwrap_or(false) }
        }

        /// Answers the oldest question to a voter.
        fn answer(&self, voter: u64, yes: bool) {
            let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            asked.get_mut(&voter).expect("it was asked").remove(0).send(yes).expect("somebody waits");
        }

        fn open(&self) -> Vec<(u64, usize)> {
            let asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            asked.iter().map(|(voter, open)| (*voter, open.len())).collect()
        }
    }

    fn voters(ids: impl IntoIterator<Item = u64>) -> BTreeSet<u64> {
        ids.into_iter().collect()
    }

    /// A round of node 1 in which voters answer as told, one after another.
    async fn round(rounds: &mut Rounds, asked: &Asked, configs: &Configs, says: &[(u64, bool)]) -> bool {
        let deadline = Instant::now() + Duration::from_millis(500);
        let round = rounds.confirm((1, true), configs, |voter| asked.ask(voter), deadline);
        let answering = async {
            for (voter, yes) in says {
                tokio::task::yield_now().await;
                asked.answer(*voter, *yes);
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            confirmed = round => confirmed,
            () = answering => unreachable!("it never ends"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_half_of_each_configuration_confirm() {
        let (rounds, asked) = (&mut Rounds::default(), &Asked::default());
        assert!(round(rounds, asked, &[voters([1])], &[]).await, "nobody else votes");
        assert!(round(rounds, asked, &[voters(1..=3)], &[(2, true)]).await);
        let joint = [voters(1..=3), voters([1, 4, 5])];
        let (rounds, asked) = (&mut Rounds::default(), &Asked::default());
        assert!(
            !round(rounds, asked, &joint, &[(2, true), (3, true)]).await,
            "the new half has said nothing"
        );
        let (rounds, asked) = (&mut Rounds::default(), &Asked::default());
        assert!(round(rounds, asked, &joint, &[(2, true), (5, true)]).await);
        let (rounds, asked) = (&mut Rounds::default(), &Asked::default());
        let leaves = [voters(2..=4)];
        assert!(!round(rounds, asked, &leaves, &[(2, true)]).await, "a leader that does not vote has no say");
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_counts_in_no_later_round_and_whoever_gave_it_is_asked_again() {
        let (rounds, asked, five) = (&mut Rounds::default(), &Asked::default(), &[voters(1..=5)]);
        assert!(round(rounds, asked, five, &[(2, true), (3, true)]).await);
        assert_eq!(asked.open(), [(2, 0), (3, 0), (4, 1), (5, 1)]);
        // Both late answers come first; they do not make a majority.
        assert!(!round(rounds, asked, five, &[(4, true), (5, true)]).await);
        assert_eq!(asked.open(), [(2, 1), (3, 1), (4, 1), (5, 1)], "nobody has two questions");
    }

    #[tokio::test(start_paused = true)]
    async fn who_votes_no_more_is_not_asked_again() {
        let (rounds, asked) = (&mut Rounds::default(), &Asked::default());
        assert!(round(rounds, asked, &[voters(1..=3)], &[(2, true)]).await);
        assert!(round(rounds, asked, &[voters([1, 2, 4])], &[(3, true), (4, true)]).await);
        assert_eq!(asked.open(), [(2, 1), (3, 0), (4, 0)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_that_cannot_be_confirmed_any_more_ends_at_once() {
        let (rounds, asked, begun) = (&mut Rounds::default(), &Asked::default(), Instant::now());
        let noes = [(2, false), (3, false), (4, false)];
        assert!(!round(rounds, asked, &[voters(1..=5)], &noes).await);
        assert_eq!(Instant::now(), begun, "the fifth is not waited for");
        let (alone, deadline) = ([voters([1])], begun + Duration::from_secs(1));
        assert!(!rounds.confirm((1, false), &alone, |voter| asked.ask(voter), deadline).await);
        assert_eq!(Instant::now(), begun);
    }
}
