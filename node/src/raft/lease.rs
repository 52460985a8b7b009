//! Who answered this leader and to what, and until when nobody else can lead.
//!
//! A voter that takes an append grants nobody a vote for one maximal election timeout of its own (openraft's lease of followers). Run with
//! `--lease-reads` it says so with its answer: that is its **promise**. A leader that has the promises of a majority, of both
//! majorities while the membership is joint, knows that no other leader can have committed anything before they end, and answers reads without a round.
//!
//! What makes that safe, each part by itself necessary:
//! * A promise counts from when the leader **sent** the append, which is before the voter took it, and for [`USED`] of what was promised: so it ends here first
//!   as long as no voter's clock runs faster than the leader's by a quarter. Clocks are monotonic ones; one that stands still while time passes
//!   (a virtual machine that is suspended, or moved while it runs) breaks this.
//! * A voter that starts again has forgotten its promises, its disk has not (`storage/promise.rs`): until they have ended it grants nothing and does not
//!   stand for election (`super::serve`, `super::group`). A voter without the setting promises nothing, and is not counted.
//! * A promise belongs to a term, and so does the index that is read with it (`super::reading`): what a leader was promised before it was deposed says
//!   nothing later.
//! * What overrides promises ends the lease of its term first, for good: a transfer of leadership, before any member hears of it, and a request for a vote of a later
//!   term, before raft may grant it. The leader's own vote needs no other promise: whoever asks for it ends the lease by asking.
//!
//! Not used for this: openraft's `ReadPolicy::LeaseRead`. It takes the answer to an append for one to every later append without entries that was made meanwhile
//! (`InflightAppendQueue::drain_acked` compares log ids, and theirs are the same), and dates it by the last of them. So its lease may count from long after
//! the voter took anything; and so may its round for a read (`ReadPolicy::ReadIndex`) be confirmed by answers to what was sent before the read began: ours are
//! those of `super::confirm`.

use super::confirm::{Configs, is_majority};
use schedia_apps::NodeId;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The part of a promise that the leader uses, in fifths: what is left makes up for clocks that do not run alike.
const USED: u32 = 4;

/// What this node does about leases.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promises {
    /// Whether it gives promises, and uses those of others.
    pub(crate) given: bool,
    /// Until then those from before the start of this process may hold.
    pub(crate) old_end: Instant,
}

/// Shared by all that send, answer and read in one shard.
#[derive(Clone, Default)]
pub(super) struct Lease(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// std Mutex: never held across an await.
    table: Mutex<Table>,
    /// The newest entry that anybody was told to be committed.
    told: AtomicU64,
    /// The newest that each member was told. std Mutex: as above.
    told_to: Mutex<BTreeMap<NodeId, u64>>,
}

/// What was heard in the newest term in which this node led.
#[derive(Default)]
struct Table {
    term: u64,
    answers: BTreeMap<NodeId, Answered>,
    /// In this term and before it no promise counts, given or taken.
    ended: u64,
}

/// The newest append that a member has taken.
#[derive(Clone, Copy)]
struct Answered {
    sent: Instant,
    promise: Duration,
}

impl Answered {
    fn is_kept_at(&self, now: Instant) -> bool {
        now < self.sent + self.promise * USED / 5
    }
}

impl Lease {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A member has taken an append of this leader's that was sent then.
    pub(super) fn note(&self, id: NodeId, term: u64, sent: Instant, promise: Duration) {
        self.table().note(id, term, Answered { sent, promise });
    }

    /// A member is about to be told that this entry is committed.
    pub(super) fn tell(&self, id: NodeId, index: u64) {
        self.0.told.fetch_max(index, Ordering::AcqRel);
        let mut told_to = self.0.told_to.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = told_to.entry(id).or_default();
        *newest = index.max(*newest);
    }

    /// The newest entry that this member has been told to be committed.
    pub(super) fn told_to(&self, id: NodeId) -> u64 {
        let told_to = self.0.told_to.lock().unwrap_or_else(PoisonError::into_inner);
        told_to.get(&id).copied().unwrap_or(0)
    }

    /// The newest entry that another member can have heard of from this one to be committed.
    pub(super) fn told(&self) -> u64 {
        self.0.told.load(Ordering::Acquire)
    }

    /// From now on no promise of this term counts, nor of any before it.
    pub(super) fn end(&self, term: u64) {
        let mut table = self.table();
        table.ended = table.ended.max(term);
    }

    /// Whether promises to the leader of this term count.
    pub(super) fn is_open(&self, term: u64) -> bool {
        self.table().ended < term
    }

    /// Whether at `now` no other leader than `me` of `term` can have committed anything.
    pub(super) fn holds(&self, term: u64, now: Instant, me: NodeId, voters: &Configs) -> bool {
        self.table().holds(term, now, me, voters)
    }
}

impl Table {
    fn note(&mut self, id: NodeId, term: u64, answered: Answered) {
        if term > self.term {
            self.term = term;
            self.answers.clear();
        }
        let before = self.answers.get(&id).filter(|before| before.sent > answered.sent);
        if term == self.term && before.is_none() {
            self.answers.insert(id, answered);
        }
    }

    /// Whether more than half of each configuration are this node or have promises to keep.
    fn holds(&self, term: u64, now: Instant, me: NodeId, voters: &Configs) -> bool {
        let keeps = |id| self.answers.get(&NodeId(id)).is_some_and(|answered| answered.is_kept_at(now));
        self.ended < term && is_majority(voters, |id| id == me.0 || (term == self.term && keeps(id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const PROMISE: Duration = Duration::from_millis(500);
    const ME: NodeId = NodeId(1);
    const TERM: u64 = 5;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn voters(ids: impl IntoIterator<Item = u64>) -> BTreeSet<u64> {
        ids.into_iter().collect()
    }

    /// Answers of this term, each to what was sent so many milliseconds after the beginning.
    fn table(begun: Instant, answers: &[(u64, u64, Duration)]) -> Table {
        let mut table = Table::default();
        for (id, sent_ms, promise) in answers {
            table.note(NodeId(*id), TERM, Answered { sent: begun + ms(*sent_ms), promise: *promise });
        }
        table
    }

    /// The last millisecond after the beginning at which it holds.
    fn holds_until(table: &Table, begun: Instant, voters: &Configs) -> Option<u64> {
        (0..2_000).rev().find(|at| table.holds(TERM, begun + ms(*at), ME, voters))
    }

    #[test]
    fn a_lease_lasts_four_fifths_of_a_promise_from_when_the_append_was_sent() {
        let (begun, three) = (Instant::now(), [voters(1..=3)]);
        let end = |answers: &[_]| holds_until(&table(begun, answers), begun, &three);
        assert_eq!(end(&[]), None);
        assert_eq!(end(&[(2, 100, PROMISE)]), Some(499));
        assert_eq!(end(&[(2, 100, PROMISE), (3, 300, PROMISE)]), Some(699), "one of two is enough");
        assert_eq!(end(&[(2, 100, PROMISE), (2, 50, PROMISE)]), Some(499), "answers may overtake each other");
        assert_eq!(end(&[(2, 0, PROMISE), (2, 100, ms(250))]), Some(299), "the newest one says for how long");
    }

    #[test]
    fn a_majority_has_to_promise_and_only_voters_count() {
        let (begun, five) = (Instant::now(), [voters(1..=5)]);
        let end = |answers: &[_], voters: &Configs| holds_until(&table(begun, answers), begun, voters);
        let answers = [(2, 0, PROMISE), (3, 100, PROMISE), (4, 200, PROMISE), (9, 900, PROMISE)];
        assert_eq!(end(&answers[..1], &five), None);
        assert_eq!(
            end(&answers, &five),
            Some(499),
            "two others make a majority with the leader: the two that end last"
        );
        assert_eq!(
            end(&[(2, 0, PROMISE), (3, 0, ms(0))], &five),
            None,
            "who promises nothing is not counted"
        );
        assert_eq!(end(&answers, &[voters(2..=4)]), Some(499), "a leader that does not vote has no say");
        assert_eq!(end(&[], &[voters([1])]), Some(1_999), "nobody else votes");
        assert_eq!(end(&answers, &[]), None);
    }

    #[test]
    fn both_halves_of_a_joint_membership_have_to_promise() {
        let begun = Instant::now();
        let joint = [voters(1..=3), voters([1, 4, 5])];
        let end = |answers: &[_]| holds_until(&table(begun, answers), begun, &joint);
        assert_eq!(end(&[(2, 0, PROMISE), (3, 0, PROMISE)]), None);
        assert_eq!(end(&[(2, 0, PROMISE), (5, 100, PROMISE)]), Some(399));
    }

    #[test]
    fn a_promise_counts_in_its_term_and_until_something_overrides_it() {
        let (begun, three) = (Instant::now(), [voters(1..=3)]);
        let holds = |table: &Table, term| table.holds(term, begun + ms(1), ME, &three);
        let mut table = table(begun, &[(2, 0, PROMISE)]);
        assert!(holds(&table, TERM) && !holds(&table, TERM - 1) && !holds(&table, TERM + 1));
        let late = Answered { sent: begun + ms(100), promise: PROMISE };
        table.note(NodeId(3), TERM - 1, late);
        assert!(!table.answers.contains_key(&NodeId(3)), "an answer from a term before");
        table.ended = TERM - 1;
        assert!(holds(&table, TERM));
        table.ended = TERM;
        assert!(!holds(&table, TERM));
        table.note(NodeId(2), TERM, late);
        assert!(!holds(&table, TERM), "for the rest of the term");
        table.note(NodeId(2), TERM + 1, late);
        assert!(holds(&table, TERM + 1) && !holds(&table, TERM), "not for the next one");
    }
}
