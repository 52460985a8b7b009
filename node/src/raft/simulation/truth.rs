//! What must hold at each step, and what has happened so far.

use super::super::types::{Entry, RaftLogId, Vote, encode_payload};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// Lines of a trace that are kept: the beginning is what two runs of a seed are compared by.
const LINES_MAX: usize = 200_000;

/// All nodes together. Clones are the same.
#[derive(Clone)]
pub(in crate::raft) struct Truth(Arc<Mutex<Known>>);

struct Known {
    began: Instant,
    leaders: BTreeMap<u64, u64>,
    entries: BTreeMap<u64, (RaftLogId, u64)>,
    states: BTreeMap<u64, String>,
    trace: Vec<String>,
    violations: Vec<String>,
}

impl Truth {
    pub(super) fn new() -> Truth {
        Truth(Arc::new(Mutex::new(Known {
            began: Instant::now(),
            leaders: BTreeMap::new(),
            entries: BTreeMap::new(),
            states: BTreeMap::new(),
            trace: Vec::new(),
            violations: Vec::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something has happened.
    pub(super) fn note(&self, what: impl FnOnce() -> String) {
        self.lock().note(what());
    }

    /// A message of whoever leads.
    pub(super) fn leads(&self, vote: &Vote) {
        let (term, leader) = (vote.leader_id.term, vote.leader_id.voted_for);
        if !vote.is_committed() {
            return;
        }
        let mut known = self.lock();
        let before = *known.leaders.entry(term).or_insert(leader);
        known.must(before == leader, || format!("term {term} has two leaders: {before} and {leader}"));
    }

    /// A node is about to apply an entry.
    pub(super) fn applies(&self, node: u64, entry: &Entry) {
        let (id, body) = (entry.log_id, hash(&encode_payload(&entry.payload)));
        let mut known = self.lock();
        let first = *known.entries.entry(id.index).or_insert((id, body));
        known.must(first == (id, body), || format!("{node} applies {id}, and {} was applied there", first.0));
        known.note(format!("{node} applies {id} {body:x}"));
    }

    /// The state of a node, whose last applied entry has this index.
    pub(super) fn has_applied(&self, node: u64, index: u64, digest: String) {
        let mut known = self.lock();
        let first = known.states.entry(index).or_insert_with(|| digest.clone()).clone();
        known.must(first == digest, || format!("{node} has another state at {index}"));
    }

    /// A linearizable read at a node finds what is applied up to `found`, and began when all up to `must_see` was known to somebody.
    pub(super) fn reads(&self, node: u64, found: u64, must_see: u64) {
        let mut known = self.lock();
        known.must(found >= must_see, || format!("{node} reads at {found}, and {must_see} was known before"));
        known.note(format!("{node} reads at {found}"));
    }

    /// Whether an acknowledged write is what was applied at its place.
    pub(super) fn was_applied(&self, id: RaftLogId) -> bool {
        self.lock().entries.get(&id.index).is_some_and(|(applied, _)| *applied == id)
    }

    /// Every event so far.
    pub(super) fn trace(&self) -> Vec<String> {
        self.lock().trace.clone()
    }

    /// Terms that had a leader.
    pub(super) fn leaders(&self) -> u64 {
        self.lock().leaders.len() as u64
    }

    /// Panics if anything has not held: the task that saw it may have been one of openraft's.
    pub(super) fn holds(&self) {
        let violations = self.lock().violations.clone();
        assert!(violations.is_empty(), "{}", violations.join("\n"));
    }
}

impl Known {
    fn must(&mut self, holds: bool, words: impl FnOnce() -> String) {
        if !holds {
            self.violations.push(words());
        }
    }

    fn note(&mut self, what: String) {
        if self.trace.len() < LINES_MAX {
            self.trace.push(format!("{:>6} {what}", self.began.elapsed().as_millis()));
        }
    }
}

/// Logs of two nodes: the same up to the last entry that both have with one index and term.
pub(super) fn match_each_other(one: &[Entry], other: &[Entry]) {
    let by_index: BTreeMap<u64, &Entry> = other.iter().map(|entry| (entry.log_id.index, entry)).collect();
    let pairs: Vec<_> =
        one.iter().filter_map(|entry| Some((entry, *by_index.get(&entry.log_id.index)?))).collect();
    let Some(last) = pairs.iter().rposition(|(a, b)| a.log_id == b.log_id) else { return };
    for (a, b) in &pairs[..=last] {
        assert_eq!(
            (a.log_id, encode_payload(&a.payload)),
            (b.log_id, encode_payload(&b.payload)),
            "two logs agree at {} and differ before it",
            pairs[last].0.log_id
        );
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
