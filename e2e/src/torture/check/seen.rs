//! What anybody has seen of each write: all that is known of one without an answer.

use super::{Verdict, written};
use crate::torture::history::{Answer, Call, Cell, History, Operation, Outcome};
use std::collections::{BTreeMap, BTreeSet};

/// What was seen of the writes of a history.
pub(super) struct Seen {
    /// At which revision each value was seen, by whomever.
    revisions: BTreeMap<u64, u64>,
    /// When an answer first named this revision or a later one.
    told: BTreeMap<u64, u64>,
    /// Whether a watch came to the newest revision that was answered: then it has shown all that happened.
    complete: bool,
    /// Keys with a deletion that was shown and never acknowledged.
    deleted: BTreeSet<(usize, usize)>,
}

impl Seen {
    pub(super) fn gather(history: &History, verdict: &mut Verdict) -> Seen {
        let mut seen = Seen {
            revisions: BTreeMap::new(),
            told: told(history),
            complete: false,
            deleted: BTreeSet::new(),
        };
        let mut acknowledged = BTreeSet::new();
        for operation in &history.operations {
            let Outcome::Done(answer) = &operation.outcome else { continue };
            for cell in cells(&operation.call, answer) {
                seen.note(cell, verdict);
            }
            if let Answer::Written { revision } = answer {
                acknowledged.insert(*revision);
            }
        }
        for event in history.watches.iter().flat_map(|watched| &watched.events) {
            for change in &event.changes {
                match change.value {
                    Some(value) => seen.note(Cell { value, revision: event.revision }, verdict),
                    None if acknowledged.contains(&event.revision) => {}
                    None => drop(seen.deleted.insert((change.group, change.key))),
                }
            }
        }
        let newest = acknowledged.last().copied().unwrap_or(0);
        seen.complete = history.watches.iter().any(|watched| watched.upto >= newest);
        seen
    }

    fn note(&mut self, cell: Cell, verdict: &mut Verdict) {
        let known = *self.revisions.entry(cell.value).or_insert(cell.revision);
        if known != cell.revision {
            let Cell { value, revision } = cell;
            let words = format!("value {value} appears twice: at revisions {known} and {revision}");
            verdict.violations.push(words);
        }
    }

    /// Where a write was seen.
    pub(super) fn of(&self, call: &Call) -> Option<u64> {
        written(call).into_iter().find_map(|value| self.revisions.get(&value).copied())
    }

    /// When a write that was seen had happened at the latest.
    pub(super) fn end(&self, call: &Call) -> Option<u64> {
        self.told.range(self.of(call)?..).next().map(|(_, ended)| *ended)
    }

    /// Whether a write without an answer was certainly never done: a watch has shown all there was, and this was not in it.
    pub(super) fn has_not_happened(&self, operation: &Operation) -> bool {
        let shown = match &operation.call {
            Call::Delete { key } => self.deleted.contains(&(operation.group, *key)),
            call => self.of(call).is_some(),
        };
        self.complete && !shown
    }
}

/// For each revision that was answered: when it or a later one was first.
fn told(history: &History) -> BTreeMap<u64, u64> {
    let mut told: BTreeMap<u64, u64> = BTreeMap::new();
    for operation in &history.operations {
        if let Outcome::Done(answer) = &operation.outcome
            && !matches!(operation.call, Call::Past { .. })
            && let Some(revision) = answer.revision()
        {
            let ended = told.entry(revision).or_insert(operation.ended_us);
            *ended = (*ended).min(operation.ended_us);
        }
    }
    let mut first = u64::MAX;
    for ended in told.values_mut().rev() {
        first = first.min(*ended);
        *ended = first;
    }
    told
}

/// The values that an answer shows, with their revisions.
fn cells(call: &Call, answer: &Answer) -> Vec<Cell> {
    match answer {
        Answer::Written { revision } => {
            written(call).into_iter().map(|value| Cell { value, revision: *revision }).collect()
        }
        Answer::Found { cell, .. } => cell.iter().copied().collect(),
        Answer::Listed { cells, .. } => cells.iter().flatten().copied().collect(),
        Answer::Otherwise { cells, .. } => cells.iter().flatten().copied().collect(),
        Answer::Differs { .. } | Answer::Missing => Vec::new(),
    }
}
